package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	var alive, ready string // why not
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reason := map[string]string{"/healthz": alive, "/readyz": ready}[r.URL.Path]; reason != "" {
			http.Error(w, reason, http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	terminal := &terminal{environ: []string{"WORKER_HEALTH_ADDR=" + address}}

	require.Equal(t, "ready\n", terminal.ok(t, "health").stdout)
	ready = "the database does not answer"
	got := terminal.run(t, "health", "--json")
	require.Equal(t, exitFailure, got.status)
	require.Equal(t, "webhook-worker: health: alive, and not ready: the database does not answer\n", got.stderr)
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &answer))
	require.Equal(t, map[string]any{"address": address, "alive": true, "ready": false, "reason": ready}, answer)
	alive = "the worker is stuck: …"
	got = terminal.run(t, "health")
	require.Equal(t, exitFailure, got.status)
	require.Equal(t, "webhook-worker: health: the worker is stuck: …\n", got.stderr)

	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	got = terminal.run(t, "health", "--addr", strings.TrimPrefix(other.URL, "http://"))
	require.Equal(t, exitFailure, got.status)
	require.Equal(t, "webhook-worker: health: /healthz answers 404 Not Found, which is no worker's answer\n", got.stderr)
	got = terminal.run(t, "health", "--addr", "unix:/nowhere/%i")
	require.Equal(t, exitFailure, got.status)
	require.Equal(t, "webhook-worker: health: no answer: no such file or directory\n", got.stderr)

	for says, args := range map[string][]string{
		"--addr=nonsense is not valid: it must be HOST:PORT": {"--addr", "nonsense"},
		`instance "blue" is no number`:                       {"--addr", "127.0.0.1:1+%i", "--instance", "blue"},
		"it must not be empty":                               {"--addr", ""},
	} {
		got = terminal.run(t, append([]string{"health"}, args...)...)
		require.Equal(t, exitUsage, got.status, args)
		require.Contains(t, got.stderr, says)
	}
	terminal.environ = nil
	got = terminal.run(t, "health")
	require.Equal(t, exitUsage, got.status)
	require.Contains(t, got.stderr, "WORKER_HEALTH_ADDR is not set")
}

func TestVersionCompletionAndManualPage(t *testing.T) {
	t.Parallel()
	terminal := &terminal{}
	var built map[string]any
	terminal.json(t, &built, "version")
	require.Equal(t, version, built["version"])
	require.Contains(t, built["go"], "go1.")
	require.Contains(t, terminal.ok(t, "version").stdout, "webhook-worker "+version+"\ncommit ")

	for _, shell := range []string{"bash", "zsh", "fish"} {
		require.Contains(t, terminal.ok(t, "completion", shell).stdout, "# "+shell+" completion for webhook-worker")
	}
	require.Equal(t, exitUsage, terminal.run(t, "completion", "csh").status)

	page := terminal.ok(t, "man").stdout
	for _, part := range []string{`deliveries list`, `--dry-run`, `RETRY_MAX_ATTEMPTS`, `.SH EXIT STATUS`} {
		require.Contains(t, page, part)
	}
	require.Equal(t, page, terminal.ok(t, "man").stdout)
}

// A shell asks the program itself.
func TestCompletion(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"webhook-worker deli":                   "deliveries\n",
		"webhook-worker deliveries ":            "cancel\nlist\nshow\n",
		"webhook-worker deliveries list --stat": "--status\n",
		"webhook-worker completion ":            "bash\nfish\nzsh\n",
	} {
		process, _ := (&terminal{environ: []string{"COMP_LINE=" + line}}).startProcess(t)
		require.Eventually(t, func() bool { return process.stdout.String() != "" }, waitFor, look, line)
		require.Zero(t, process.stop(), process.stderr)
		got := strings.Split(strings.TrimSpace(process.stdout.String()), "\n")
		for word := range strings.FieldsSeq(want) {
			require.Contains(t, got, word, line)
		}
	}
}
