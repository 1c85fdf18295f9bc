package systemd

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// READY=1 at the end of a reload would start what has not started, and undo STOPPING=1.
func TestReloadIsToldOnlyBetweenReadyAndStopping(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify-") //nolint:usetesting // t.TempDir() is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	// told is what comes until a part does.
	told := func(part string) string {
		require.NoError(t, socket.SetReadDeadline(time.Now().Add(30*time.Second)))
		var all strings.Builder
		for buffer := make([]byte, 4096); !strings.Contains(all.String(), part); {
			n, err := socket.Read(buffer)
			require.NoError(t, err, "no %q in %q", part, all.String())
			all.Write(append(buffer[:n:n], '\n'))
		}
		return all.String()
	}

	var ready atomic.Bool
	n, err := StartNotifier(t.Context(), &NotifierConfig{
		Logger: slog.New(slog.DiscardHandler),
		Ready: func() error {
			if !ready.Load() {
				return errors.New("not yet")
			}
			return nil
		},
		Alive:  func() error { return nil },
		Status: func() string { return "status" },
	})
	require.NoError(t, err)
	t.Cleanup(n.Close)
	reloads := 0
	reload := func() { n.Reload(t.Context(), func() { reloads++ }) }

	told("STATUS=status")
	reload()
	ready.Store(true)
	require.NotContains(t, told("READY=1"), "RELOADING=1")
	reload()
	require.Contains(t, told("READY=1"), "RELOADING=1\nMONOTONIC_USEC=")
	n.Stopping(t.Context())
	told("STOPPING=1")
	reload()
	n.Stopping(t.Context())
	require.NotContains(t, told("STOPPING=1"), "READY=1")
	require.Equal(t, 3, reloads)
}
