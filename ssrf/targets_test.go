//go:build ssrf

package ssrf

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTargets(t *testing.T) {
	t.Parallel()
	web := newInternet(t)
	for name, try := range map[string]func(*testing.T, *internet){
		"forms": tryForms, "names": tryNames, "names over HTTP/2": tryNamesOverHTTP2, "redirects": tryRedirects, "proxies": tryProxies,
		"allowed networks": tryAllowedNetworks,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try(t, web)
		})
	}
}

// Every form is refused when a partner is saved, and, where it got into the table all the same, when it is called.
func tryForms(t *testing.T, web *internet) {
	t.Helper()
	web.lead("public.example", "8.8.8.8")
	for _, name := range []string{"metadata", "metadata.google.internal", "localhost.localdomain", "router.lan", "printer.local", "ip6-localhost"} {
		web.lead(name, "169.254.169.254")
	}
	w := newWorld(t)
	w.work(t)

	for i, url := range controls {
		slug := fmt.Sprintf("control%d", i)
		w.save(t, slug, url+"control")
		requireDelivered(t, w.send(t, slug, slug))
	}
	require.Len(t, web.arrived("/control"), len(controls))

	w.save(t, "forced", "https://example.com/")
	var table report
	for _, form := range forms {
		for _, url := range form.urls {
			_, stderr, status := w.run(t, addArgs("refused", url)...)
			require.Equal(t, 2, status, "%s is saved: %s", url, stderr)
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
			_, reason, found := strings.Cut(stderr, `" must`)
			require.True(t, found, stderr)

			w.force(t, "forced", url)
			got := w.send(t, "forced", url)
			requireBlocked(t, got, url)
			table.add(form.what, url, "must "+strings.TrimSpace(reason), *got.Error)
		}
	}
	require.Empty(t, web.arrived("/"), "nothing arrived")
	table.finish(t)
}

// What a name leads to is looked at when it is dialled, whatever it led to before.
func tryNames(t *testing.T, web *internet) {
	t.Helper()
	w := newWorld(t)
	w.work(t)
	for i, address := range []string{
		"127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "240.0.0.1", "::1", "fd00:ec2::254", "fe80::1", "64:ff9b::a9fe:a9fe",
		"2002:7f00:1::1", "::ffff:169.254.169.254", "::ffff:127.0.0.1",
	} {
		slug, name := fmt.Sprintf("name%d", i), fmt.Sprintf("name%d.example", i)
		web.lead(name, address)
		w.save(t, slug, "http://"+name+"/name")
		requireBlocked(t, w.send(t, slug, slug), address)
	}
	require.Empty(t, web.arrived("/name"))

	// Public first, loopback second: the connection that there is may be used again, a new one is refused.
	web.lead("rebinding.example", "8.8.8.8", "127.0.0.1")
	w.save(t, "rebinding", "http://rebinding.example/rebinding")
	w.requireBoundToFirst(t, web, "rebinding", "HTTP/1.1")
}

func tryNamesOverHTTP2(t *testing.T, web *internet) {
	t.Helper()
	w := newWorld(t)
	w.work(t, "SSL_CERT_FILE="+web.certificates)
	web.lead("example.com", "8.8.8.8", "169.254.169.254")
	w.save(t, "h2", "https://example.com/h2")
	w.requireBoundToFirst(t, web, "h2", "HTTP/2.0")
}

// requireBoundToFirst wants that what arrives from a partner whose name led to 8.8.8.8 once, and leads to a private
// address since, all arrives at the first.
func (w *world) requireBoundToFirst(t *testing.T, web *internet, slug, proto string) {
	t.Helper()
	requireDelivered(t, w.send(t, slug, "first"))
	// The connection that there is may be used again, unless this comes too late for it.
	again := w.send(t, slug, "again")
	time.Sleep(5 * time.Second) // idle connections are closed after 4 s
	requireBlocked(t, w.send(t, slug, "on a new connection"), slug)
	if again.Outcome != "delivered" {
		requireBlocked(t, again, slug)
	}
	arrived := web.arrived("/" + slug)
	require.NotEmpty(t, arrived)
	for _, a := range arrived {
		require.Equal(t, proto, a.proto)
		require.Contains(t, a.to, "8.8.8.8")
	}
}

func tryRedirects(t *testing.T, web *internet) {
	t.Helper()
	w := newWorld(t)
	w.work(t)
	for i, target := range []string{"http://169.254.169.254/secret", "http://127.0.0.1/secret", "http://8.8.8.8/secret", "//10.0.0.1/secret", "/secret"} {
		slug := fmt.Sprintf("redirect%d", i)
		w.save(t, slug, "http://8.8.8.8/redirect?redirect="+target)
		got := w.send(t, slug, slug)
		require.Equal(t, "redirect", *got.ErrorKind)
		require.Equal(t, 307, *got.Status)
	}
	require.Len(t, web.arrived("/redirect"), 5)
	require.Empty(t, web.arrived("/secret"))
}

// Proxies of the environment are for other programs; ours is asked for nothing that can be seen to be private.
func tryProxies(t *testing.T, web *internet) {
	t.Helper()
	web.lead("public.example", "8.8.8.8")
	w := newWorld(t)
	const proxy = "http://127.0.0.1:3128"
	w.work(t, "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy, "ALL_PROXY="+proxy, "http_proxy="+proxy, "https_proxy="+proxy, "all_proxy="+proxy)
	w.save(t, "direct", "http://public.example/direct")
	requireDelivered(t, w.send(t, "direct", "direct"))
	require.Equal(t, "8.8.8.8:80", web.arrived("/direct")[0].to)

	behind := newWorld(t, "WEBHOOK_PROXY_URL="+proxy)
	behind.work(t)
	behind.save(t, "proxied", "http://public.example/proxied")
	requireDelivered(t, behind.send(t, "proxied", "proxied"))
	require.Equal(t, "127.0.0.1:3128", web.arrived("/proxied")[0].to)
	require.Equal(t, "public.example", web.arrived("/proxied")[0].host)
	for _, url := range []string{"http://169.254.169.254/behind", "http://metadata.google.internal/behind", "http://127.1/behind", "http://[::ffff:10.0.0.1]/behind", "http://localhost/behind"} {
		behind.force(t, "proxied", url)
		requireBlocked(t, behind.send(t, "proxied", url), url)
	}
	require.Empty(t, web.arrived("/behind"))
}

// What an operator opens may be called, on any port, and nothing besides.
func tryAllowedNetworks(t *testing.T, web *internet) {
	t.Helper()
	w := newWorld(t, "WEBHOOK_ALLOW_NETWORKS=10.1.0.0/16,fd00:1::/32")
	w.work(t)
	web.lead("inside.internal", "10.1.2.3")
	web.lead("outside.internal", "10.2.0.1")
	for i, url := range []string{"http://10.1.255.255:22/inside", "http://[fd00:1::1]:22/inside", "http://[::ffff:10.1.0.1]/inside", "http://inside.internal:22/inside"} {
		slug := fmt.Sprintf("inside%d", i)
		w.save(t, slug, url)
		requireDelivered(t, w.send(t, slug, slug))
	}
	require.Len(t, web.arrived("/inside"), 4)
	for _, url := range []string{"http://10.2.0.0/outside", "http://10.0.255.255/outside", "http://[fd00:2::1]/outside", "http://outside.internal/outside", "http://127.0.0.1/outside", "http://8.8.8.8:22/outside"} {
		w.force(t, "inside0", url)
		requireBlocked(t, w.send(t, "inside0", url), url)
	}
	require.Empty(t, web.arrived("/outside"))
}
