package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWorkDelivers(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	good, bad := newEndpoint(t, http.StatusOK), newEndpoint(t, http.StatusInternalServerError)
	terminal.addPartner(t, "u", "good", good.URL, "--field", "brand=AcmeVoice")
	terminal.addPartner(t, "u", "bad", bad.URL, "--max-retries", "1")
	worker := terminal.with("RETRY_BASE_DELAY=50ms", "LOG_FORMAT=json").start(t, "work", "--instance", "7", "--debug")

	const payload = `{"zebra":1,"alpha":2.50,"big":12345678901234567890}`
	terminal.ok(t, "send", "--user", "u", "--event", "call.completed", "--data", payload)
	list := func(status string) (found []map[string]any) {
		terminal.json(t, &found, "deliveries", "list", "--status", status)
		return found
	}
	require.Eventually(t, func() bool { return len(list("delivered")) == 1 && len(list("dead_letter")) == 1 }, waitFor, look)
	require.Equal(t, []string{`{"zebra":1,"alpha":2.50,"big":12345678901234567890,"brand":"AcmeVoice"}`}, good.received())
	require.Len(t, bad.received(), 2)

	human := terminal.ok(t, "deliveries", "show", list("dead_letter")[0]["id"].(string)).stdout
	require.Contains(t, human, "2 of 2")
	require.Equal(t, 2, strings.Count(human, "http_status"))

	require.Zero(t, worker.stop())
	terminal.ok(t, "doctor")
	for line := range strings.Lines(worker.stderr.String()) {
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		require.Equal(t, "7", entry["instance"])
	}
	require.Contains(t, worker.stderr.String(), `"msg":"worker stopped"`)
	require.NotContains(t, worker.stderr.String(), "whsec_")
	var settings int
	require.NoError(t, pool.QueryRow(t.Context(), `select retry_max_attempts from webhook_settings`).Scan(&settings))
	require.Equal(t, 5, settings)
}

func TestPartnerTest(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	good, bad := newEndpoint(t, http.StatusNoContent), newEndpoint(t, http.StatusTeapot)
	terminal.addPartner(t, "u", "good", good.URL)
	terminal.addPartner(t, "u", "bad", bad.URL)

	idle := terminal.run(t, "partner", "test", "--user", "u", "good", "--wait", "1ms")
	require.Equal(t, 1, idle.status)
	require.Contains(t, idle.stderr, "is a worker running?")

	terminal.start(t, "work")
	require.Contains(t, terminal.ok(t, "partner", "test", "--user", "u", "good").stderr, "the partner answered 204")
	failed := terminal.run(t, "partner", "test", "--user", "u", "bad")
	require.Equal(t, 1, failed.status)
	require.Contains(t, failed.stderr, "the partner answered 418")
	var list []map[string]any
	terminal.json(t, &list, "deliveries", "list", "--event", "webhook.test", "--partner", "good", "--status", "delivered")
	require.NotEmpty(t, list)

	terminal.ok(t, "partner", "pause", "--user", "u", "good")
	paused := terminal.run(t, "partner", "test", "--user", "u", "good")
	require.Equal(t, 1, paused.status)
	require.Contains(t, paused.stderr, "is paused: resume it first")

	terminal.ok(t, "partner", "disable", "--user", "u", "good")
	off := terminal.run(t, "partner", "test", "--user", "u", "good")
	require.Equal(t, 1, off.status)
	require.Contains(t, off.stderr, "is disabled (disabled by hand)")
}

func TestReceiveVerifiesWhatWorkSends(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	receiver := terminal.start(t, "receive", "--addr", "127.0.0.1:0", "--secret", "a raw secret, 24 bytes or more", "--json")
	url := regexp.MustCompile(`http://\S+`)
	require.Eventually(t, func() bool { return url.MatchString(receiver.stderr.String()) }, waitFor, look)
	terminal.addPartner(t, "u", "acme", url.FindString(receiver.stderr.String()), "--secret", "a raw secret, 24 bytes or more")
	terminal.start(t, "work")
	terminal.ok(t, "send", "call-outcome", "--user", "u", "--call", "c1")
	require.Eventually(t, func() bool { return strings.Contains(receiver.stdout.String(), `"signature":"verified"`) }, waitFor, look)
	require.Zero(t, receiver.stop())
}

func TestServePages(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	serve := terminal.start(t, "serve", "--addr", "127.0.0.1:0")
	url := regexp.MustCompile(`http://\S+`)
	require.Eventually(t, func() bool { return url.MatchString(serve.stderr.String()) }, waitFor, look)
	response, err := http.Get(url.FindString(serve.stderr.String()))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	http.DefaultClient.CloseIdleConnections()
	require.Zero(t, serve.stop())
}

func TestDevStartsEverything(t *testing.T) {
	t.Parallel()
	// t.TempDir() is closed to the account that PostgreSQL runs as when the tests run as root.
	dir, err := os.MkdirTemp("", "webhook-worker-dev-") //nolint:usetesting // as said
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	terminal := &terminal{environ: os.Environ()}
	terminal.environ = append(terminal.environ, "DATABASE_URL=", "WEBHOOK_ENCRYPTION_KEY=")
	for round := range 2 {
		// In the second round the environment of the first is still set, as in a terminal that read its file.
		dev := terminal.start(t, "dev", "--data-dir", dir, "--addr", "127.0.0.1:0", "--every", "100ms")
		require.Eventually(t, func() bool {
			return strings.Contains(dev.stdout.String(), "signature verified, answered 200")
		}, 2*time.Minute, look, "round %d: %s", round, dev.stderr)
		require.Contains(t, dev.stdout.String(), `"brand":"AcmeVoice"}`)
		page := regexp.MustCompile(`River UI +(http://\S+)`).FindStringSubmatch(dev.stdout.String())
		require.Len(t, page, 2, fmt.Sprint(dev.stdout))

		// What it prints to try works with the environment that it writes.
		environ, err := os.ReadFile(dir + "/env")
		require.NoError(t, err)
		other := &terminalFromFile{}
		other.read(string(environ))
		require.Eventually(t, func() bool {
			return strings.Contains(other.ok(t, "deliveries", "list", "--user", "demo").stdout, "delivered")
		}, waitFor, look)
		require.Zero(t, dev.stop(), dev.stderr)
		terminal.environ = append(terminal.environ, other.environ...)
	}
}

func TestDevEndsWithItsPostgreSQL(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "webhook-worker-dev-") //nolint:usetesting // as above
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	terminal := &terminal{environ: append(os.Environ(), "DATABASE_URL=", "WEBHOOK_ENCRYPTION_KEY=", "SHUTDOWN_TIMEOUT=1")}
	dev, _ := terminal.startProcess(t, "dev", "--data-dir", dir, "--addr", "127.0.0.1:0", "--every", "100ms")
	require.Eventually(t, func() bool { return strings.Contains(dev.stdout.String(), "answered 200") }, 2*time.Minute, look, dev.stderr)

	content, err := os.ReadFile(dir + "/pgdata/postmaster.pid")
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.Fields(string(content))[0])
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		return strings.Contains(dev.stderr.String(), "the private PostgreSQL ended")
	}, 2*time.Minute, look)
	require.Equal(t, 1, dev.stop())
}

// terminalFromFile is a terminal after `. env`.
type terminalFromFile struct{ terminal }

func (f *terminalFromFile) read(file string) {
	for line := range strings.Lines(file) {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		f.environ = append(f.environ, name+"="+strings.Trim(value, "'"))
	}
}
