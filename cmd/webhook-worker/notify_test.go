package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// manager is systemd's end of sd_notify(3): a socket that datagrams come to.
type manager struct {
	*net.UnixConn

	path string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify-") //nolint:usetesting // t.TempDir() is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &manager{conn, path}
}

// next is the next datagram that has a part, and those before it.
func (m *manager) next(t *testing.T, part string, within time.Duration) (before []string, found string) {
	t.Helper()
	require.NoError(t, m.SetReadDeadline(time.Now().Add(within)))
	buffer := make([]byte, 4096)
	for {
		n, err := m.Read(buffer)
		require.NoError(t, err, "no %q after %q", part, before)
		if found = string(buffer[:n]); strings.Contains(found, part) {
			return before, found
		}
		before = append(before, found)
	}
}

// silent says whether nothing comes for a time.
func (m *manager) silent(t *testing.T, during time.Duration) bool {
	t.Helper()
	require.NoError(t, m.SetReadDeadline(time.Now().Add(during)))
	_, err := m.Read(make([]byte, 4096))
	return err != nil
}

// drain reads what has come.
func (m *manager) drain(t *testing.T) {
	t.Helper()
	for !m.silent(t, 10*time.Millisecond) {
	}
}

func TestWorkTellsSystemd(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	systemd := newManager(t)
	envFile := filepath.Join(t.TempDir(), "webhook-worker.env")
	require.NoError(t, os.WriteFile(envFile, []byte("LOG_LEVEL=WARNING\n"), 0o600))
	socket := filepath.Join(filepath.Dir(systemd.path), "health")
	terminal = terminal.with("NOTIFY_SOCKET="+systemd.path, "WATCHDOG_USEC=300000", "WORKER_ENV_FILE="+envFile, "WORKER_HEALTH_ADDR=unix:"+socket)

	// River can't fetch while somebody has this lock.
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `lock table river_job in exclusive mode`)
	require.NoError(t, err)
	schema, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = schema.Exec(t.Context(), `lock table river_migration in access exclusive mode`)
	require.NoError(t, err)
	worker, process := terminal.startProcess(t, "work")
	require.Eventually(t, func() bool {
		var waiting bool
		err := pool.QueryRow(t.Context(), `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`).Scan(&waiting)
		return err == nil && waiting
	}, waitFor, look)
	require.NoError(t, process.Signal(syscall.SIGHUP)) // it is kept
	require.NoError(t, schema.Rollback(t.Context()))
	before, _ := systemd.next(t, "it has not looked into the queue yet", waitFor)
	require.NotContains(t, strings.Join(before, "\n"), "READY=1")
	require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "log_level=WARNING before=INFO") }, waitFor, look)
	health := terminal.run(t, "health")
	require.Equal(t, 1, health.status)
	require.Equal(t, "webhook-worker: health: alive, and not ready: the worker is starting: it has not looked into the queue yet\n", health.stderr)
	require.NoError(t, tx.Rollback(t.Context()))
	before, ready := systemd.next(t, "READY=1", waitFor)
	require.Contains(t, ready, "STATUS=Takes deliveries")
	require.NotContains(t, strings.Join(before, "\n"), "WATCHDOG=1")
	require.NotContains(t, strings.Join(before, "\n"), "RELOADING=1", "nor is its end told, which is READY=1")
	require.Equal(t, "ready\n", terminal.ok(t, "health").stdout)

	systemd.next(t, "WATCHDOG=1", waitFor)
	systemd.next(t, "WATCHDOG=1", waitFor)
	require.NoError(t, process.Signal(syscall.SIGSTOP))
	systemd.drain(t)
	require.True(t, systemd.silent(t, 400*time.Millisecond), "a process that is stopped feeds no watchdog")
	require.NoError(t, process.Signal(syscall.SIGCONT))
	systemd.next(t, "WATCHDOG=1", waitFor)

	for level, seen := range map[string]string{"DEBUG": "log_level=DEBUG", "nonsense": "log level not read again"} {
		require.NoError(t, os.WriteFile(envFile, []byte("OTHER=$x\nLOG_LEVEL='"+level+"'\n"), 0o600))
		require.NoError(t, process.Signal(syscall.SIGHUP))
		systemd.next(t, "RELOADING=1\nMONOTONIC_USEC=", waitFor)
		systemd.next(t, "READY=1", waitFor)
		require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), seen) }, waitFor, look)
	}

	stopped := make(chan int, 1)
	go func() { stopped <- worker.stop() }()
	_, stopping := systemd.next(t, "STOPPING=1", waitFor)
	require.Contains(t, stopping, "EXTEND_TIMEOUT_USEC=80000000", "SHUTDOWN_TIMEOUT and what may be added")
	require.Eventually(t, func() bool {
		systemd.drain(t) // who tells waits for somebody who reads
		return len(stopped) == 1
	}, waitFor, look)
	require.Zero(t, <-stopped)
}

// A worker that can't write its log can do nothing more: its deliveries wait for that line.
func TestWatchdogIsNotFedByAStuckWorker(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	e := newEndpoint(t, http.StatusOK)
	terminal.addPartner(t, "u", "acme", e.URL)
	systemd := newManager(t)

	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = reader.Close() })
	_, err = unix.FcntlInt(writer.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	require.NoError(t, err)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "work")
	cmd.Env = append(slices.Clone(terminal.environ), asProgram+"=1", "NOTIFY_SOCKET="+systemd.path, "WATCHDOG_USEC=300000",
		"MAX_CONCURRENT_DELIVERIES=4", "WORKER_TIMEOUT=1", "HTTP_TIMEOUT=1", "WORKER_POLL_INTERVAL=0.1")
	cmd.Stderr = writer
	require.NoError(t, cmd.Start())
	require.NoError(t, writer.Close())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	systemd.next(t, "READY=1", waitFor)
	systemd.next(t, "WATCHDOG=1", waitFor)
	for i := range 60 { // more lines than the pipe takes
		terminal.ok(t, "send", "--user", "u", "--event", "call.completed", "--id", strconv.Itoa(i), "--data", "{}")
	}
	deadline := time.Now().Add(2 * time.Minute)
	for !systemd.silent(t, 2*time.Second) {
		require.True(t, time.Now().Before(deadline), "it is still fed")
	}
	require.NoError(t, cmd.Process.Signal(syscall.Signal(0)), "it runs")
}
