package ops

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHosts(t *testing.T) {
	t.Parallel()

	loopback := start(t)
	everywhere := start(t, func(cfg *Config) {
		cfg.Addr, cfg.User, cfg.Password, cfg.BehindProxy = "0.0.0.0:0", "ada", "hunter2", true
		cfg.Hosts = []HostName{"pages.example.com", "192.0.2.7", "2001:db8::1"}
	})
	_, port, err := net.SplitHostPort(everywhere.listener.Addr().String())
	require.NoError(t, err)
	require.Equal(t, "http://pages.example.com:"+port+"/riverui/", everywhere.URL(), "what is printed is answered")

	const ok, wrong, locked = http.StatusOK, http.StatusMisdirectedRequest, http.StatusUnauthorized
	for _, tt := range []struct {
		host                 string
		loopback, everywhere int
	}{
		{"127.0.0.1", ok, locked},
		{"127.0.0.1:1234", ok, locked}, // a tunnel's port
		{"localhost", ok, locked},
		{"LocalHost:8080", ok, locked},
		{"localhost.", ok, locked},
		{"[::1]:8080", ok, locked},
		{"[::ffff:127.0.0.1]", ok, locked},
		{"pages.example.com", wrong, locked},
		{"Pages.Example.COM.:443", wrong, locked},
		{"192.0.2.7:8080", wrong, locked},
		{"[2001:DB8:0::1]", wrong, locked},
		{"evil.test", wrong, wrong},
		{"evil.test:80", wrong, wrong},
		{"pages.example.com.evil.test", wrong, wrong},
		{"x.pages.example.com", wrong, wrong},
		{"localhost.evil.test", wrong, wrong},
		{"127.0.0.1.evil.test", wrong, wrong},
		{"192.0.2.8", wrong, wrong},
		{"0.0.0.0", wrong, wrong},
		{"[::]", wrong, wrong},
		{"2130706433", wrong, wrong},
		{"@localhost", wrong, wrong},
	} {
		got := do(t, http.MethodGet, loopback.at("/riverui/"), "Host", tt.host)
		require.Equal(t, tt.loopback, got.status, tt.host)
		if got.status == wrong {
			require.Equal(t, "these pages are not served under this name: use another, or give it with --host\n", got.body)
		}
		got = do(t, http.MethodGet, "http://127.0.0.1:"+port+"/riverui/", "Host", tt.host)
		require.Equal(t, tt.everywhere, got.status, tt.host)
		for _, path := range []string{"/healthz", "/readyz"} {
			require.Equal(t, ok, do(t, http.MethodGet, loopback.at(path), "Host", tt.host).status, "%s %s", tt.host, path)
		}
	}
}

// From another machine, the address that it asks is enough.
func TestHostsOfOtherInterfaces(t *testing.T) {
	t.Parallel()

	request := func(local, host string) bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		require.NoError(t, err)
		r.Host = host
		address, err := net.ResolveTCPAddr("tcp", local)
		require.NoError(t, err)
		return isLocal(hostOf(r), r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, address)))
	}
	require.True(t, request("192.0.2.1:80", "192.0.2.1"))
	require.True(t, request("192.0.2.1:80", "192.0.2.1:8080"))
	require.True(t, request("[::ffff:192.0.2.1]:80", "192.0.2.1"))
	require.True(t, request("[2001:db8::1]:80", "[2001:db8::1]:80"))
	require.False(t, request("192.0.2.1:80", "192.0.2.2"))
	require.False(t, request("192.0.2.1:80", "localhost"))
	require.False(t, request("192.0.2.1:80", "127.0.0.1"))
}

func TestHostName(t *testing.T) {
	t.Parallel()

	for text, want := range map[string]HostName{
		"pages.example.com": "pages.example.com", "Pages.Example.COM": "pages.example.com", "localhost": "localhost", "127.0.0.1": "127.0.0.1",
		"::1": "::1", "[2001:DB8:0::1]": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1", "xn--bcher-kva.example": "xn--bcher-kva.example", "web_1": "web_1",
	} {
		var name HostName
		require.NoError(t, name.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, name)
	}
	for _, text := range []string{"", "https://pages.example.com", "pages.example.com:443", "pages.example.com/", "*.example.com", "a b", "-x", "bücher.example", "a,b"} {
		var name HostName
		require.ErrorContains(t, name.UnmarshalText([]byte(text)), "without scheme and port", text)
	}
}
