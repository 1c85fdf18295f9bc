package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/devpg"
)

// leakWorld is a PostgreSQL server that logs every statement with its parameters, processes that use it, and
// all that any of them showed.
type leakWorld struct {
	*terminal

	server   *devpg.Server
	pool     *pgxpool.Pool
	canaries []canary

	mu    sync.Mutex
	shown []shownText
}

// shownText is a text that somebody can read, and where.
type shownText struct {
	place string
	text  string
	meant []string // names of the canaries that it is meant to show
}

// leak is a canary in a place where it must not be.
type leak struct{ canary, place, form string }

func newLeakWorld(t *testing.T) *leakWorld {
	t.Helper()
	server, err := devpg.Start(t.Context(), &devpg.Config{Parameters: map[string]string{
		"fsync": "off", "log_statement": "all", "log_connections": "on", "log_min_messages": "debug1", "log_min_error_statement": "debug1",
		"log_error_verbosity": "verbose", "log_parameter_max_length_on_error": "-1", "log_min_duration_statement": "0",
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	address := server.URL("postgres")
	pool, err := pgxpool.New(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	w := &leakWorld{server: server, pool: pool}
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	password, _ := parsed.User.Password()
	key, uiPassword := w.hide("encryption key", newKey()), w.hide("page password", awkward("page password"))
	w.hide("database password", password)
	w.terminal = &terminal{environ: []string{
		"DATABASE_URL=" + address, "DATABASE_DIRECT_URL=" + address, "WEBHOOK_ENCRYPTION_KEY=" + key,
		"WEBHOOK_ENCRYPTION_KEYS_OLD=" + w.hide("old encryption key", newKey()),
		"WEBHOOK_UI_USER=ada", "WEBHOOK_UI_PASSWORD=" + uiPassword,
		"WEBHOOK_ALLOW_HTTP=true", "WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8", "HTTP_TIMEOUT=1", "WORKER_POLL_INTERVAL=0.5",
		"RETRY_BASE_DELAY=0.2", "RETRY_MAX_DELAY=0.2", "RETRY_MAX_ATTEMPTS=1", "LOG_LEVEL=DEBUG", "SHUTDOWN_TIMEOUT=5",
	}}
	return w
}

// awkward is a secret text that every way of writing it escapes in its own way.
func awkward(name string) string { return name + ` "'\+/=&<%ü ` + newKey()[:16] }

// hide makes a text a canary, which must show nowhere but where it is meant to, and returns it.
func (w *leakWorld) hide(name, text string) string {
	w.canaries = append(w.canaries, newCanary(name, text))
	return text
}

// canary is the one of a name.
func (w *leakWorld) canary(name string) *canary {
	i := slices.IndexFunc(w.canaries, func(c canary) bool { return c.name == name })
	return &w.canaries[i]
}

// saw keeps what somebody can read.
func (w *leakWorld) saw(place, text string, meant ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = append(w.shown, shownText{place, text, meant})
}

// leaks looks for all canaries in all that was shown.
func (w *leakWorld) leaks() []leak {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []leak
	for _, shown := range w.shown {
		for _, canary := range w.canaries {
			if form := canary.in(shown.text); form != "" && !slices.Contains(shown.meant, canary.name) {
				found = append(found, leak{canary.name, shown.place, form})
			}
		}
	}
	return found
}

// call is a command that runs to its end.
type call struct {
	command string
	stdin   string
	environ []string // beside the world's
	meant   []string // names of the canaries that its stdout is meant to show
}

// call runs a command as a process, and keeps what it showed.
func (w *leakWorld) call(t *testing.T, c call) result {
	t.Helper()
	from := &terminal{environ: append(slices.Clone(w.environ), c.environ...), stdin: c.stdin}
	process, started := from.startProcess(t, strings.Fields(c.command)...)
	w.sawCommandLine(t, started)
	state, err := started.Wait()
	require.NoError(t, err)
	process.stop() // all that it wrote is here then
	w.saw("stdout of "+c.command, process.stdout.String(), c.meant...)
	w.saw("stderr of "+c.command, process.stderr.String())
	return result{state.ExitCode(), process.stdout.String(), process.stderr.String()}
}

// must runs a command that must succeed and shows no secret.
func (w *leakWorld) must(t *testing.T, command string) result {
	t.Helper()
	got := w.call(t, call{command: command})
	require.Zero(t, got.status, "%s: %s", command, got.stderr)
	return got
}

// sawCommandLine keeps what the list of processes shows of one.
func (w *leakWorld) sawCommandLine(t *testing.T, process *os.Process) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return // the list is no file there
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", process.Pid))
	require.NoError(t, err)
	w.saw("command line", strings.ReplaceAll(string(line), "\x00", " "))
}

// get keeps what a page answers.
func (w *leakWorld) get(t *testing.T, page, user, password string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page, http.NoBody)
	require.NoError(t, err)
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	w.saw("page "+page, fmt.Sprint(answer.Status, answer.Header, string(body)))
	return string(body)
}

// sawDatabase keeps every row of every table, and the statements that sessions run.
func (w *leakWorld) sawDatabase(t *testing.T) {
	t.Helper()
	tables, err := collectText(t.Context(), w.pool, `
		select format('%I.%I', n.nspname, c.relname)
		  from pg_class c join pg_namespace n on n.oid = c.relnamespace
		 where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')`)
	require.NoError(t, err)
	require.Contains(t, tables, "public.webhook_events")
	require.Greater(t, len(tables), 8)
	for _, table := range tables {
		// As a row, and as JSON: they write bytes and texts in different ways.
		rows, err := collectText(t.Context(), w.pool, `select t::text || ' ' || to_jsonb(t)::text from `+table+` t`)
		require.NoError(t, err)
		w.saw("table "+table, strings.Join(rows, "\n"))
	}
	activity, err := collectText(t.Context(), w.pool, `select a::text from pg_stat_activity a`)
	require.NoError(t, err)
	w.saw("pg_stat_activity", strings.Join(activity, "\n"))
}

// sawLog keeps the server's log.
func (w *leakWorld) sawLog(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(w.server.DataDir(), "postgres.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "insert into partner_webhooks", "the log has the statements")
	require.Contains(t, string(log), "parameters: $1 = ", "and their parameters")
	w.saw("PostgreSQL's log", string(log))
}

func collectText(ctx context.Context, pool *pgxpool.Pool, sql string) ([]string, error) {
	rows, err := pool.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
