package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// asProgram, if it is in the environment, makes this test binary the program itself.
const asProgram = "WEBHOOK_WORKER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testdb.Main(m)
}

const (
	waitFor = 30 * time.Second
	look    = 10 * time.Millisecond
)

// terminal calls the program as a shell does, with an environment of its own.
type terminal struct {
	environ []string
	stdin   string
}

// result is what a call left.
type result struct {
	status int
	stdout string
	stderr string
}

// newTerminal has a migrated database, a key, and leave to post to loopback.
func newTerminal(t *testing.T) (*terminal, *pgxpool.Pool) {
	t.Helper()
	pool := testdb.New(t)
	return &terminal{environ: []string{
		"DATABASE_URL=" + testdb.URL(pool),
		"WEBHOOK_ENCRYPTION_KEY=" + newKey(),
		"WEBHOOK_ALLOW_HTTP=true",
		"WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8",
	}}, pool
}

// with is the terminal with more variables.
func (c *terminal) with(environ ...string) *terminal {
	return &terminal{environ: append(append([]string(nil), c.environ...), environ...), stdin: c.stdin}
}

// run runs a command to its end.
func (c *terminal) run(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), args, c.environ, strings.NewReader(c.stdin), &stdout, &stderr)
	return result{status, stdout.String(), stderr.String()}
}

// ok runs a command that must succeed.
func (c *terminal) ok(t *testing.T, args ...string) result {
	t.Helper()
	got := c.run(t, args...)
	require.Zero(t, got.status, "%v: %s", args, got.stderr)
	return got
}

// json runs a command that must succeed and print one JSON document.
func (c *terminal) json(t *testing.T, into any, args ...string) {
	t.Helper()
	got := c.ok(t, append(args, "--json")...)
	require.NoError(t, json.Unmarshal([]byte(got.stdout), into), got.stdout)
}

// background is a command that runs until it is told to stop.
type background struct {
	stop   func() int // ends it, and gives its status
	stdout *output
	stderr *output
}

// start starts a command; the test's end stops it.
func (c *terminal) start(t *testing.T, args ...string) *background {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	b := &background{stdout: &output{}, stderr: &output{}}
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, c.environ, strings.NewReader(c.stdin), b.stdout, b.stderr) }()
	b.stop = sync.OnceValue(func() int {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		b.stop()
		t.Logf("%v: %s", args, b.stderr)
	})
	return b
}

// startProcess is start for what only a process of its own can show: its death, and ends that leave its
// goroutines behind.
func (c *terminal) startProcess(t *testing.T, args ...string) (*background, *os.Process) {
	t.Helper()
	b := &background{stdout: &output{}, stderr: &output{}}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], args...)
	cmd.Env = append(append([]string(nil), c.environ...), asProgram+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.stdin), b.stdout, b.stderr
	require.NoError(t, cmd.Start())
	b.stop = sync.OnceValue(func() int {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode()
	})
	t.Cleanup(func() {
		b.stop()
		t.Logf("%v: %s", args, b.stderr)
	})
	return b, cmd.Process
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

// endpoint is a partner's server that counts and keeps bodies.
type endpoint struct {
	*httptest.Server

	mu     sync.Mutex
	bodies []string
}

func newEndpoint(t *testing.T, status int) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		e.bodies = append(e.bodies, string(body))
		e.mu.Unlock()
		w.WriteHeader(status)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) received() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.bodies...)
}

// addPartner adds a partner and returns what `partner add --json` prints.
func (c *terminal) addPartner(t *testing.T, user, slug, url string, flags ...string) map[string]any {
	t.Helper()
	var partner map[string]any
	c.json(t, &partner, append([]string{
		"partner", "add", "--user", user, "--name", slug, "--slug", slug, "--url", url, "--event", "call.*",
	}, flags...)...)
	return partner
}
