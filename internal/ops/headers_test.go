package ops

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every answer has them, also those that never reach River UI.
func TestHeaders(t *testing.T) {
	t.Parallel()

	server := start(t, func(cfg *Config) { cfg.User, cfg.Password = "ada", "hunter2" })
	in := []string{"Authorization", basic("ada", "hunter2")}
	for path, tt := range map[string]struct {
		header []string
		status int
	}{
		"/riverui/":            {in, http.StatusOK},
		"/riverui/jobs/7":      {in, http.StatusOK},
		"/riverui/api/states":  {in, http.StatusOK},
		"/riverui/api/jobs/7":  {in, http.StatusNotFound},
		"/riverui/api/queues":  {nil, http.StatusUnauthorized},
		"/elsewhere":           {in, http.StatusNotFound},
		"/healthz":             {nil, http.StatusOK},
		"/riverui/api/queues/": {append(in, "Host", "evil.test"), http.StatusMisdirectedRequest},
	} {
		got := do(t, http.MethodGet, server.at(path), tt.header...)
		require.Equal(t, tt.status, got.status, path)
		require.Equal(t, contentSecurityPolicy, got.header.Get("Content-Security-Policy"))
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Strict-Transport-Security": "",
			"Access-Control-Allow-Origin": "", "Server": "",
		} {
			require.Equal(t, want, got.header.Get(name), "%s %s", path, name)
		}
		require.Contains(t, got.header.Get("Permissions-Policy"), "camera=()")
		if path != "/riverui/jobs/7" { // River UI's own page, which holds nothing: its file server takes it away
			require.Equal(t, "no-store", got.header.Get("Cache-Control"), path)
		}
	}
	require.Contains(t, contentSecurityPolicy, "default-src 'none'; script-src 'self';")
}

func TestMethods(t *testing.T) {
	t.Parallel()

	writing, readOnly := start(t), start(t, func(cfg *Config) { cfg.ReadOnly = true })
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, server := range []*Server{writing, readOnly} {
			require.Equal(t, http.StatusOK, do(t, method, server.at("/riverui/")).status)
			require.Equal(t, http.StatusOK, do(t, method, server.at("/riverui/api/states")).status)
		}
	}
	for method, path := range map[string]string{
		http.MethodPost: "/riverui/api/jobs/retry", http.MethodPut: "/riverui/api/queues/webhooks/pause", http.MethodPatch: "/riverui/api/queues/webhooks",
	} {
		got := do(t, method, readOnly.at(path), "X-HTTP-Method-Override", http.MethodGet)
		require.Equal(t, http.StatusForbidden, got.status, method)
		require.Equal(t, "these pages are read-only (serve --read-only): change things with the commands\n", got.body)
		got = do(t, method, writing.at(path))
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, got.status, "%s gets through: %s", method, got.body)
	}
	for _, method := range []string{http.MethodDelete, http.MethodOptions, http.MethodTrace, "PROPFIND", "get"} {
		for _, server := range []*Server{writing, readOnly} {
			got := do(t, method, server.at("/riverui/api/jobs/retry"))
			require.Equal(t, http.StatusMethodNotAllowed, got.status, method)
			require.Equal(t, "GET, HEAD, POST, PUT, PATCH", got.header.Get("Allow"))
		}
	}
}
