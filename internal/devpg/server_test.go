package devpg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// newDir returns a directory that the account which runs the server can enter.
// What t.TempDir returns is root's alone.
func newDir(t *testing.T) string {
	t.Helper()

	acct, err := serverAccount()
	require.NoError(t, err)

	dir, err := os.MkdirTemp(temporaryRoot("", acct), "devpg-test-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))

	return dir
}

func fast() map[string]string { return map[string]string{"fsync": "off", "shared_buffers": "16MB"} }

// start starts a server that is stopped at the test's end if not before.
func start(t *testing.T, cfg *Config) *Server {
	t.Helper()

	if cfg.Parameters == nil {
		cfg.Parameters = fast()
	}

	server, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })

	return server
}

// query returns the text of a single value.
func query(t *testing.T, server *Server, sql string) string {
	t.Helper()

	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)

	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()

	var value string

	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&value))

	return value
}

// execute runs a statement.
func execute(t *testing.T, server *Server, sql string) {
	t.Helper()

	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)

	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
}

// requireGone waits until no process has this id, or only one that its new
// parent hasn't waited for.
func requireGone(t *testing.T, pid int) {
	t.Helper()

	require.Eventually(t, func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err == nil && strings.Contains(string(stat), ") Z ") {
			return true
		}

		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}, 15*time.Second, 20*time.Millisecond, "process %d is still there", pid)
}

func requireOneLine(t *testing.T, err error) {
	t.Helper()

	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
}
