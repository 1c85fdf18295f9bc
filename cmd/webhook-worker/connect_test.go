package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// poolerFor forwards to a database's server as a connection pooler does: clients are told of another process
// than the one that serves them.
func poolerFor(t *testing.T, host string) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", host)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			}()
			go func() {
				_, _ = io.Copy(&anotherProcess{client}, server)
				_ = client.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// anotherProcess changes the process id in PostgreSQL's BackendKeyData.
type anotherProcess struct{ io.Writer }

func (w *anotherProcess) Write(p []byte) (int, error) {
	changed := bytes.Clone(p)
	if at := bytes.Index(changed, []byte{'K', 0, 0, 0, 12}); at >= 0 && at+8 < len(changed) {
		changed[at+8] ^= 1
	}
	_, err := w.Writer.Write(changed)
	return len(p), err
}

func TestWorkBehindAPooler(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	server := pool.Config().ConnConfig
	direct := testdb.URL(pool)
	host := net.JoinHostPort(server.Host, strconv.Itoa(int(server.Port)))
	pooled := strings.Replace(direct, host, poolerFor(t, host), 1)
	require.NotEqual(t, direct, pooled)

	terminal = terminal.with("DATABASE_URL=" + pooled)
	got := terminal.run(t, "work")
	require.Equal(t, 1, got.status)
	require.Contains(t, got.stderr, "set DATABASE_DIRECT_URL to a connection string that goes around it")

	worker := terminal.with("DATABASE_DIRECT_URL="+direct).start(t, "work")
	require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "worker started") }, waitFor, look)
	require.Zero(t, worker.stop())

	got = terminal.with("DATABASE_DIRECT_URL="+testdb.URL(testdb.New(t))).run(t, "work")
	require.Equal(t, 1, got.status)
	require.Contains(t, got.stderr, "DATABASE_DIRECT_URL must reach the same database as DATABASE_URL")
}

func TestWorkSaysWhetherItIsReady(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	socket := t.TempDir() + "/%i.sock"
	worker := terminal.with("WORKER_HEALTH_ADDR=unix:"+socket).start(t, "work", "--instance", "w7")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.Replace(socket, "%i", "w7", 1))
	}}}
	defer client.CloseIdleConnections()
	status := func(path string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://worker"+path, nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		if err != nil {
			return 0
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode
	}
	require.Eventually(t, func() bool { return status("/readyz") == http.StatusOK }, waitFor, look)
	require.Equal(t, http.StatusOK, status("/healthz"))
	require.Zero(t, worker.stop())
	require.Zero(t, status("/healthz"))
}

// What hangs in the network ends when the connections are broken.
func TestSocketsBreakAll(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	a := &app{ctx: t.Context(), sockets: &sockets{}}
	opened, err := a.connectTo("DATABASE_URL", config.DatabaseURL(testdb.URL(pool)), 2)
	require.NoError(t, err)
	defer opened.Close()
	failed := make(chan error, 1)
	go func() {
		_, err := opened.Exec(t.Context(), `select pg_sleep(60)`)
		failed <- err
	}()
	require.Eventually(t, func() bool {
		var sleeping bool
		err := pool.QueryRow(t.Context(), `select exists (select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep')`).Scan(&sleeping)
		return err == nil && sleeping
	}, waitFor, look)
	start := time.Now()
	a.sockets.breakAll()
	require.Error(t, <-failed)
	require.Less(t, time.Since(start), 30*time.Second)
	require.NoError(t, opened.Ping(t.Context()), "new connections take their place")
}
