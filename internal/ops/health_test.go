package ops

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/config"
)

func TestHealthTakesOverASocketAndNothingElse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.sock")
	at := config.HealthAddr("unix:" + filepath.Join(filepath.Dir(path), "%i.sock"))
	// A killed process leaves its socket.
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	unix, ok := listener.(*net.UnixListener)
	require.True(t, ok)
	unix.SetUnlinkOnClose(false)
	require.NoError(t, listener.Close())
	health, err := NewHealth(t.Context(), &HealthConfig{Addr: at, Instance: "a"})
	require.NoError(t, err)
	defer health.Close()
	_, err = NewHealth(t.Context(), &HealthConfig{Addr: at, Instance: "a"})
	require.ErrorContains(t, err, "another worker answers", "a living one keeps its own")
	file := filepath.Join(t.TempDir(), "notes")
	require.NoError(t, os.WriteFile(file, []byte("keep me"), 0o600))
	_, err = NewHealth(t.Context(), &HealthConfig{Addr: config.HealthAddr("unix:" + file)})
	require.ErrorContains(t, err, "WORKER_HEALTH_ADDR")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "keep me", string(content))

	nowhere, err := NewHealth(t.Context(), &HealthConfig{})
	require.NoError(t, err)
	nowhere.Close()
}
