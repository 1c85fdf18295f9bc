package main

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/partners"
)

// leakPartners are the URLs of partners that answer in every way there is, by slug.
func leakPartners(t *testing.T) map[string]string {
	t.Helper()
	serve := func(handler http.HandlerFunc) string {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		return server.URL
	}
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			key := r.Header.Get("X-Api-Key")
			w.Header().Set("Location", "/?key="+url.QueryEscape(key))
			w.Header().Set("X-Request-Id", url.PathEscape(key))
			w.Header().Set("Via", key)
			w.WriteHeader(status)
			document, _ := json.Marshal(r.Header)
			_, _ = fmt.Fprintf(w, "%v %q %s %q %s %s", r.Header, key, document, document, html.EscapeString(key), body)
		}
	}
	insecure := httptest.NewTLSServer(echo(http.StatusOK))
	t.Cleanup(insecure.Close)
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	return map[string]string{
		"ok":      serve(echo(http.StatusOK)),
		"failing": serve(echo(http.StatusInternalServerError)),
		"moved":   serve(echo(http.StatusTemporaryRedirect)),
		"gone":    serve(echo(http.StatusGone)),
		"slow": serve(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // before that the server does not see the client go
			<-r.Context().Done()
		}),
		"garbage":  serve(func(w http.ResponseWriter, _ *http.Request) { hijackWith(w, "HTTP/1.1 what\x00\r\n\r\n") }),
		"insecure": insecure.URL,
		"closed":   "http://" + closed.Addr().String(),
		"unknown":  "https://webhooks.invalid/",
		"blocked":  "http://10.255.255.1/",
	}
}

func hijackWith(w http.ResponseWriter, answer string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	}
}

// addPartners adds them in every way that a secret gets in, and gives some of them new ones.
func (w *leakWorld) addPartners(t *testing.T) {
	t.Helper()
	secretOf := map[string]string{
		"ok":      w.hide("secret of ok", partners.GenerateSecret().Reveal()),
		"failing": w.hide("secret of failing", awkward("signing secret")),
	}
	old := w.call(t, call{ // by a process that has the old key only
		command: "partner add --user u --event other --name old --slug old --url https://example.com --secret -",
		stdin:   w.hide("secret of old", awkward("old")) + "\n", meant: []string{"secret of old"},
		environ: []string{"WEBHOOK_ENCRYPTION_KEY=" + w.canary("old encryption key").text, "WEBHOOK_ENCRYPTION_KEYS_OLD="},
	})
	require.Zero(t, old.status, old.stderr)
	for slug, address := range leakPartners(t) {
		// A worker does not let through what was open when the partner was added.
		add := call{environ: []string{"WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8,10.0.0.0/8"}, command: "partner add --json --user u --event * --field brand=Acme --name " + slug + " --slug " + slug + " --url " + address}
		if secret, given := secretOf[slug]; given {
			add.command, add.stdin, add.meant = add.command+" --secret -", secret+"\n", []string{"secret of " + slug}
		}
		w.hideGenerated(t, "secret of "+slug, add)
	}
	w.hideGenerated(t, "second secret of ok", call{command: "partner rotate-secret --json --user u ok --overlap 1h"})
	second := w.hide("second secret of failing", awkward("second secret"))
	rotated := w.call(t, call{
		command: "partner rotate-secret --user u failing --secret -", stdin: second + "\r\n", meant: []string{"second secret of failing"},
	})
	require.Zero(t, rotated.status, rotated.stderr)
	w.hideGenerated(t, "second secret of moved", call{command: "partner rotate-secret --json --user u moved --expire-now"})
	w.hideGenerated(t, "second secret of gone", call{command: "partner rotate-secret --json --user u gone --signature v1a"})

	// The headers that a partner repeats in its answer.
	for _, slug := range []string{"ok", "failing", "moved", "gone"} {
		value := w.hide("header of "+slug, `header "'\+/=&<%  `+newKey()[:16])
		set := w.call(t, call{command: "partner update --user u " + slug + " --secret-header X-Api-Key=-", stdin: value + "\n"})
		require.Zero(t, set.status, set.stderr)
	}
}

// hideGenerated runs a command that prints a secret, which is a canary from then on if it is none.
func (w *leakWorld) hideGenerated(t *testing.T, name string, c call) {
	t.Helper()
	c.meant = append(c.meant, name)
	got := w.call(t, c)
	require.Zero(t, got.status, "%s: %s", c.command, got.stderr)
	var printed struct {
		Secret string `json:"secret"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &printed), got.stdout)
	require.NotEmpty(t, printed.Secret)
	if c.stdin == "" {
		w.hide(name, printed.Secret)
	}
}

// ended waits until no delivery is on its way.
func (w *leakWorld) ended(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		return countRows(t, w.pool, `webhook_delivery_queue where status in ('pending', 'processing', 'failed')`) == 0
	}, time.Minute, 50*time.Millisecond)
}
