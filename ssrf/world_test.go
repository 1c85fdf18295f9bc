//go:build ssrf

package ssrf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// patience is far longer than anything here takes.
const patience = 30 * time.Second

// world is a database and the environment of the processes that work on it.
type world struct {
	pool    *pgxpool.Pool
	environ []string
}

func newWorld(t *testing.T, environ ...string) *world {
	t.Helper()
	pool := testdb.New(t)
	w := &world{pool: pool}
	key, _, status := w.run(t, "keys", "generate")
	require.Zero(t, status)
	w.environ = append([]string{
		"DATABASE_URL=" + testdb.URL(pool), "WEBHOOK_ENCRYPTION_KEY=" + strings.TrimSpace(key),
		"WEBHOOK_ALLOW_HTTP=true", "RETRY_MAX_ATTEMPTS=0", "HTTP_TIMEOUT=5",
	}, environ...)
	return w
}

// run runs a command to its end and returns what it printed and its exit status.
func (w *world) run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(dir, "webhook-worker"), args...)
	command.Env = w.environ
	var out, messages bytes.Buffer
	command.Stdout, command.Stderr = &out, &messages
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), messages.String(), command.ProcessState.ExitCode()
}

func addArgs(slug, url string) []string {
	return []string{"partner", "add", "--user", "u", "--name", slug, "--slug", slug, "--url", url, "--event", slug}
}

// save adds a partner as its user does.
func (w *world) save(t *testing.T, slug, url string) {
	t.Helper()
	_, stderr, status := w.run(t, addArgs(slug, url)...)
	require.Zero(t, status, "%s: %s", url, stderr)
}

// force leads a partner elsewhere by the hand of somebody who can write to the table, past what partner add refuses.
func (w *world) force(t *testing.T, slug, url string) {
	t.Helper()
	_, err := w.pool.Exec(t.Context(), `update partner_webhooks set url = $2 where partner_slug = $1`, slug, url)
	require.NoError(t, err)
}

// work runs a worker until the test ends.
func (w *world) work(t *testing.T, environ ...string) {
	t.Helper()
	command := exec.CommandContext(context.Background(), filepath.Join(dir, "webhook-worker"), "work")
	command.Env = append(append([]string{}, w.environ...), environ...)
	log := &output{}
	command.Stderr = log
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		if t.Failed() {
			fmt.Fprintln(os.Stderr, log.String())
		}
	})
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "worker started") }, patience, 20*time.Millisecond, "%s", log)
}

// attempt is a delivery's one row in the log.
type attempt struct {
	Outcome   string
	ErrorKind *string
	Error     *string
	Status    *int
}

// send sends the partner an event and returns how it went.
func (w *world) send(t *testing.T, slug, event string) attempt {
	t.Helper()
	_, err := w.pool.Exec(t.Context(), `select enqueue_webhook_event('u', $1, '{}', $2)`, slug, event)
	require.NoError(t, err)
	var list []attempt
	require.Eventually(t, func() bool {
		rows, err := w.pool.Query(t.Context(), `
			select outcome, error_kind, error, response_status from webhook_delivery_log where event_id = $1 and outcome <> 'sending'`, event)
		require.NoError(t, err)
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[attempt])
		require.NoError(t, err)
		return len(list) > 0
	}, patience, 20*time.Millisecond)
	require.Len(t, list, 1)
	return list[0]
}

// requireBlocked wants that the guard refused, in words that tell nothing.
func requireBlocked(t *testing.T, got attempt, what string) {
	t.Helper()
	require.Equal(t, "failed", got.Outcome, what)
	require.Equal(t, "blocked", *got.ErrorKind, what)
	require.Equal(t, "this address may not be called", *got.Error, what)
}

func requireDelivered(t *testing.T, got attempt) {
	t.Helper()
	require.Equal(t, "delivered", got.Outcome, "%+v", got)
}

// output is a buffer that may be read while it is written.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(text)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}
