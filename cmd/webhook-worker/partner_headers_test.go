package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartnerHeaders(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	terminal.stdin = "Bearer leaky-token\n"
	added := terminal.addPartner(t, "u", "acme", "https://acme.example/", "--header", "x-env=prod=eu", "--secret-header", "Authorization=-")
	redacted := map[string]any{"X-Env": "prod=eu", "Authorization": "[redacted]"}
	require.Equal(t, redacted, added["request_headers"])
	terminal.stdin = ""

	show := func(flags ...string) (shown map[string]any) {
		terminal.json(t, &shown, append([]string{"partner", "show", "--user", "u", "acme"}, flags...)...)
		return shown
	}
	require.Equal(t, redacted, show()["request_headers"])
	require.Equal(t, map[string]any{"X-Env": "prod=eu", "Authorization": "Bearer leaky-token"}, show("--reveal")["request_headers"])
	var list []map[string]any
	terminal.json(t, &list, "partner", "list", "--user", "u")
	require.Equal(t, redacted, list[0]["request_headers"])

	human := terminal.ok(t, "partner", "show", "--user", "u", "acme").stdout
	require.Regexp(t, `(?m)^header +Authorization: \[redacted\]\nheader +X-Env: prod=eu$`, human)
	require.Regexp(t, `(?m)^header +Authorization: Bearer leaky-token$`, terminal.ok(t, "partner", "show", "--user", "u", "acme", "--reveal").stdout)

	for _, step := range []struct {
		flags []string
		want  map[string]any
	}{
		{[]string{"--header", "X-Team=voice"}, map[string]any{"X-Team": "voice", "Authorization": "Bearer leaky-token"}},
		{[]string{"--secret-header", "authorization", "--secret-header", "X-Key=k"}, map[string]any{"X-Team": "voice", "Authorization": "Bearer leaky-token", "X-Key": "k"}},
		{[]string{"--no-headers", "--secret-header", "X-Key"}, map[string]any{"X-Key": "k"}},
		{[]string{"--header", "X-Key=shown"}, map[string]any{"X-Key": "shown"}},
		{[]string{"--name", "Acme"}, map[string]any{"X-Key": "shown"}},
		{[]string{"--no-headers"}, map[string]any{}},
	} {
		terminal.ok(t, append([]string{"partner", "update", "--user", "u", "acme"}, step.flags...)...)
		require.Equal(t, step.want, show("--reveal")["request_headers"], step.flags)
	}
}

// A gateway lets through only what has its key, and repeats what it gets.
func TestPartnerTestSendsItsHeaders(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "leaky-key" || r.Header.Get("X-Env") != "prod" {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, "key "+r.Header.Get("X-Api-Key"))
	}))
	t.Cleanup(gateway.Close)
	terminal.stdin = "leaky-key"
	terminal.addPartner(t, "u", "acme", gateway.URL, "--header", "X-Env=prod", "--secret-header", "X-Api-Key=-")
	worker := terminal.with("LOG_LEVEL=DEBUG").start(t, "work", "--debug")
	tested := terminal.ok(t, "partner", "test", "--user", "u", "acme")
	require.Contains(t, tested.stderr, "the partner answered 200")

	terminal.stdin = "another-leaky-key"
	terminal.ok(t, "partner", "update", "--user", "u", "acme", "--secret-header", "X-Api-Key=-")
	refused := terminal.run(t, "partner", "test", "--user", "u", "acme")
	require.Contains(t, refused.stderr, "the partner answered 403")
	require.Zero(t, worker.stop())

	var list []map[string]any
	terminal.json(t, &list, "deliveries", "list")
	require.Len(t, list, 2)
	shown := terminal.ok(t, "deliveries", "show", list[0]["id"].(string)).stdout + terminal.ok(t, "deliveries", "show", list[1]["id"].(string)).stdout
	require.Equal(t, 2, strings.Count(shown, "key [redacted]"))
	var rows string
	require.NoError(t, pool.QueryRow(t.Context(), `
		select (select string_agg(l::text, ' ') from webhook_delivery_log l) || (select string_agg(j::text, ' ') from river_job j)`).Scan(&rows))
	require.NotContains(t, rows+shown+tested.stderr+refused.stderr+worker.stderr.String(), "leaky")
}
