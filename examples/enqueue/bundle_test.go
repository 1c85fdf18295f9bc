//go:build examples

package enqueue_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
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

const (
	// patience is how long a condition may take that takes a second as a rule, on a busy machine.
	patience = 30 * time.Second
	look     = 20 * time.Millisecond

	user = "user_123" // whose calls the examples end
)

// build builds the program that the README runs.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "webhook-worker")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/webhook-worker").CombinedOutput()
	require.NoError(t, err, string(output))
	return program
}

// bundle is an application's database, a partner, and a worker that delivers to it.
type bundle struct {
	pool     *pgxpool.Pool
	roleURL  string // for the application's role
	receiver *receiver
}

// setup prepares everything that an example needs; without a program there are no partner and no worker.
func setup(t *testing.T, program string) *bundle {
	t.Helper()
	b := &bundle{pool: testdb.New(t), receiver: &receiver{received: map[string]request{}}}
	b.exec(t, "create table calls (id text primary key, status text not null)")
	b.createRole(t)
	if program == "" {
		return b
	}

	server := httptest.NewServer(b.receiver)
	t.Cleanup(server.Close)
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	environment := append(os.Environ(), "DATABASE_URL="+testdb.URL(b.pool),
		"WEBHOOK_ENCRYPTION_KEY="+base64.StdEncoding.EncodeToString(key),
		"WEBHOOK_ALLOW_HTTP=true", "WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8", "LOG_LEVEL=INFO", "LOG_FORMAT=text")

	add := exec.CommandContext(t.Context(), program, "partner", "add",
		"--user", user, "--name", "Acme Corp", "--slug", "acme-corp", "--url", server.URL, "--event", "call.*")
	add.Env = environment
	output, err := add.CombinedOutput()
	require.NoError(t, err, string(output))
	startWorker(t, program, environment)
	return b
}

// createRole makes the application's login role as the README says. Roles belong to the cluster, so that it has
// a name that no other test has.
func (b *bundle) createRole(t *testing.T) {
	t.Helper()
	name, password := "webhook_example_"+strings.ToLower(rand.Text()), rand.Text()
	role := pgx.Identifier{name}.Sanitize()
	b.exec(t, "create role "+role+" login password '"+password+"'")
	t.Cleanup(func() {
		_, err := b.pool.Exec(context.WithoutCancel(t.Context()), "drop owned by "+role+"; drop role "+role)
		require.NoError(t, err)
	})
	b.exec(t, "grant insert on calls to "+role)
	b.exec(t, "grant webhook_app to "+role)
	b.exec(t, "insert into webhook_role_users values ($1, $2)", name, user)

	address, err := url.Parse(testdb.URL(b.pool))
	require.NoError(t, err)
	require.Equal(t, "postgres", address.Scheme, "the examples' drivers want a URL")
	address.User = url.UserPassword(name, password)
	b.roleURL = address.String()
}

// startWorker starts `webhook-worker work`, and ends it with the test.
func startWorker(t *testing.T, program string, environment []string) {
	t.Helper()
	var output buffer
	worker := exec.Command(program, "work")
	worker.Env = environment
	worker.Stdout, worker.Stderr = &output, &output
	require.NoError(t, worker.Start())
	t.Cleanup(func() {
		_ = worker.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(patience, func() { _ = worker.Process.Kill() })
		defer timer.Stop()
		if err := worker.Wait(); err != nil || t.Failed() {
			t.Errorf("the worker: %v\n%s", err, output.String())
		}
	})
	require.Eventually(t, func() bool { return strings.Contains(output.String(), `msg="worker started"`) }, patience, look)
}

// run runs an example as the application's role.
func (b *bundle) run(t *testing.T, argv []string) (string, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	example := exec.CommandContext(ctx, argv[0], argv[1:]...)
	example.Env = append(os.Environ(), "DATABASE_URL="+b.roleURL)
	example.Stdout, example.Stderr = &stdout, &stderr
	err := example.Run()
	return stdout.String(), stderr.String(), err
}

func (b *bundle) exec(t *testing.T, statement string, arguments ...any) {
	t.Helper()
	_, err := b.pool.Exec(t.Context(), statement, arguments...)
	require.NoError(t, err)
}

// receiver is the partner's server.
type receiver struct {
	mu       sync.Mutex
	received map[string]request // by delivery id
}

type request struct {
	at   time.Time
	body string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received[req.Header.Get("Webhook-Id")] = request{at: at, body: string(body)}
	w.WriteHeader(http.StatusNoContent)
}

// await waits for the deliveries and returns them.
func (r *receiver) await(t *testing.T, ids []string) map[string]request {
	t.Helper()
	found := map[string]request{}
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, id := range ids {
			if received, ok := r.received[id]; ok {
				found[id] = received
			}
		}
		return len(found) == len(ids)
	}, patience, look)
	return found
}

// buffer may be read while a process writes to it.
type buffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
