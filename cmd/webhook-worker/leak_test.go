package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoSecretShows does all that there is to do, at debug level, and looks for every secret in every place that
// somebody can read.
func TestNoSecretShows(t *testing.T) {
	t.Parallel()
	w := newLeakWorld(t)
	w.must(t, "migrate up")
	w.must(t, "migrate status")
	w.addPartners(t)
	w.must(t, "keys list")
	w.must(t, "keys rotate")
	hashed := w.call(t, call{command: "keys hash-password", stdin: w.hide("hashed password", awkward("hashed")) + "\n"})
	require.Zero(t, hashed.status, hashed.stderr)
	serve, _ := w.background(t, "serve --addr 127.0.0.1:0")
	text, _ := w.background(t, "work --debug --instance text", "LOG_FORMAT=text")
	health := filepath.Join(t.TempDir(), "%i.sock")
	work, worker := w.background(t, "work --debug --instance json", "LOG_FORMAT=json", "WORKER_HEALTH_ADDR=unix:"+health)

	w.must(t, `send --user u --event call.completed --data {"call_id":"c1"}`)
	w.must(t, "send call-outcome --user u --call c2 --json")
	for _, slug := range []string{"ok", "failing", "moved", "insecure", "slow"} {
		w.call(t, call{command: "partner test --json --user u " + slug})
	}
	w.ended(t)
	w.lookAround(t)
	w.pages(t, serve)
	w.must(t, "replay --status dead_letter --user u")
	w.must(t, `send --user u --event call.completed --data {"call_id":"c3"}`)

	// The stacks of all goroutines, while it works.
	require.Eventually(t, func() bool {
		return countRows(t, w.pool, `webhook_delivery_log where outcome = 'sending'`) > 0
	}, waitFor, look)
	require.NoError(t, worker.Signal(syscall.SIGQUIT))
	_, err := worker.Wait()
	require.NoError(t, err)
	work.stop()
	require.Regexp(t, "(?m)^goroutine 1 ", work.stderr.String())
	w.saw("a worker's log as JSON, and its stacks", work.stderr.String()+work.stdout.String())
	w.ended(t)

	text.stop()
	require.Contains(t, text.stderr.String(), "level=DEBUG")
	w.saw("a worker's log as text", text.stderr.String()+text.stdout.String())

	w.throughProxy(t)
	w.mistakes(t)
	w.sawDatabase(t)
	w.must(t, "partner delete --user u closed")
	w.must(t, "user delete u")
	serve.stop()
	w.saw("the pages' log", serve.stderr.String()+serve.stdout.String())
	w.sawDatabase(t)
	w.sawLog(t)

	for _, leak := range w.leaks() {
		t.Errorf("%s shows in %s: %s", leak.canary, leak.place, leak.form)
	}
	require.Greater(t, len(w.canaries), 15)
	w.requireMeantShown(t)
}

// background starts a command that runs until it is stopped.
func (w *leakWorld) background(t *testing.T, command string, environ ...string) (*background, *os.Process) {
	t.Helper()
	started, process := w.with(environ...).startProcess(t, strings.Fields(command)...)
	require.Eventually(t, func() bool {
		said := started.stderr.String()
		return strings.Contains(said, "worker started") || strings.Contains(said, "River UI is on")
	}, waitFor, look, command)
	w.sawCommandLine(t, process)
	return started, process
}

// lookAround runs what only looks.
func (w *leakWorld) lookAround(t *testing.T) {
	t.Helper()
	var ids []string
	rows, err := w.pool.Query(t.Context(), `select id::text from webhook_delivery_queue`)
	require.NoError(t, err)
	for rows.Next() {
		var id string
		require.NoError(t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(t, rows.Err())
	require.Greater(t, len(ids), 20)
	for _, id := range ids[:12] {
		w.must(t, "deliveries show --json "+id)
	}
	for _, command := range []string{
		"deliveries list", "deliveries list --json", "deliveries show " + ids[0], "stats", "stats --json", "doctor", "doctor --json", "config", "config --json",
		"partner list --user u", "partner list --user u --json", "partner show --user u failing", "partner show --user u ok --json",
		"partner update --user u ok --name Other", "partner disable --user u garbage", "partner enable --user u garbage",
		"partner pause --user u ok", "partner resume --user u ok", "replay --missing --since 1h --dry-run", "keys generate",
	} {
		w.must(t, command)
	}
	for slug, secrets := range map[string][]string{
		"ok": {"secret of ok", "second secret of ok"}, "failing": {"secret of failing", "second secret of failing"}, "moved": {"second secret of moved"},
	} {
		revealed := append([]string{"header of " + slug}, secrets...)
		w.call(t, call{command: "partner show --reveal --user u " + slug, meant: revealed})
		w.call(t, call{command: "partner show --reveal --json --user u " + slug, meant: revealed})
	}
	w.sawDatabase(t)
}

// pagesOf is the address of River UI.
func pagesOf(serve *background) string {
	_, rest, _ := strings.Cut(serve.stderr.String(), "River UI is on ")
	address, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(address)
}

// pages reads what River UI shows, and its API.
func (w *leakWorld) pages(t *testing.T, serve *background) {
	t.Helper()
	base := pagesOf(serve)
	parsed, err := url.Parse(base)
	require.NoError(t, err)
	password := w.canary("page password").text
	root := parsed.Scheme + "://" + parsed.Host
	for _, page := range []string{base, base + "api/queues", base + "api/states", base + "api/features", base + "api/jobs?state=nonsense", root + "/healthz", root + "/readyz", root + "/"} {
		w.get(t, page, "ada", password)
	}
	for _, state := range []string{"completed", "discarded", "cancelled", "retryable", "available"} {
		list := w.get(t, base+"api/jobs?limit=100&state="+state, "ada", password)
		if state == "discarded" {
			require.Contains(t, list, `"webhook_delivery"`)
		}
	}
	var job string
	require.NoError(t, w.pool.QueryRow(t.Context(), `select id::text from river_job where state = 'discarded' limit 1`).Scan(&job))
	require.Contains(t, w.get(t, base+"api/jobs/"+job, "ada", password), "errors")
	require.Contains(t, w.get(t, base, "ada", "wrong"), "user and password, please")
}

// throughProxy delivers through a proxy that wants a password and does not answer.
func (w *leakWorld) throughProxy(t *testing.T) {
	t.Helper()
	proxy := url.UserPassword("proxy", w.hide("password of the proxy", awkward("proxy"))).String()
	worker, _ := w.background(t, "work --debug --instance proxied", "WEBHOOK_PROXY_URL=http://"+proxy+"@127.0.0.1:1")
	w.call(t, call{command: "config", environ: []string{"WEBHOOK_PROXY_URL=http://" + proxy + "@127.0.0.1:1"}})
	w.must(t, `send --user u --event call.completed --data {"call_id":"c4"}`)
	require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "the outbound proxy failed") }, waitFor, look)
	worker.stop()
	w.saw("the log of a worker behind a proxy", worker.stderr.String()+worker.stdout.String())
}

// mistakes are errors that know a secret.
func (w *leakWorld) mistakes(t *testing.T) {
	t.Helper()
	address, err := url.Parse(w.server.URL("postgres"))
	require.NoError(t, err)
	otherKey, badKey := w.hide("another encryption key", newKey()), w.hide("bad encryption key", "!"+newKey())
	wrongPassword := w.hide("wrong password", awkward("wrong password"))
	badSecret := w.hide("bad secret", "whsec_!"+newKey())
	badProxy := "http://proxy:" + w.hide("password of a bad proxy", url.PathEscape(awkward("proxy"))) + "@127.0.0.1:port"
	address.User = url.UserPassword("postgres", wrongPassword)
	unparsable := "postgres://postgres:" + wrongPassword + "@127.0.0.1:port/db"

	for _, c := range []call{
		{command: "partner show --reveal --user u ok", environ: []string{"WEBHOOK_ENCRYPTION_KEY=" + otherKey}},
		{command: "partner add --user u --name n --slug n --url https://example.com --event *", environ: []string{"WEBHOOK_ENCRYPTION_KEY=" + otherKey}},
		{command: "work", environ: []string{"WEBHOOK_ENCRYPTION_KEY=" + otherKey}},
		{command: "config", environ: []string{"WEBHOOK_ENCRYPTION_KEY=" + badKey}},
		{command: "stats", environ: []string{"DATABASE_URL=" + address.String()}},
		{command: "work", environ: []string{"DATABASE_DIRECT_URL=" + address.String()}},
		{command: "stats", environ: []string{"DATABASE_URL=" + unparsable}},
		{command: "stats", environ: []string{"DATABASE_URL=" + strings.ReplaceAll(unparsable, "postgres://", "host=x pasword=")}},
		{command: "config", environ: []string{"WEBHOOK_UI_USER="}},
		{command: "config", environ: []string{"WEBHOOK_PROXY_URL=" + badProxy}},
		{command: "serve --addr 0.0.0.0:0", environ: []string{"WEBHOOK_UI_USER=", "WEBHOOK_UI_PASSWORD="}},
		{command: "partner rotate-secret --user u ok --secret -", stdin: badSecret},
		{command: "partner rotate-secret --user u nobody --secret -", stdin: w.hide("nobody's secret", awkward("nobody's"))},
		{command: "receive --secret - --addr 127.0.0.1:0", stdin: badSecret},
	} {
		got := w.call(t, c)
		require.NotZero(t, got.status, "%s: %s", c.command, got.stderr)
		require.NotEmpty(t, got.stderr)
	}
}

// requireMeantShown checks that what is looked for is what was used: where it is meant to show it does.
func (w *leakWorld) requireMeantShown(t *testing.T) {
	t.Helper()
	for _, shown := range w.shown {
		for _, name := range shown.meant {
			require.NotEmpty(t, w.canary(name).in(shown.text), "%s does not show %s", shown.place, name)
		}
	}
}
