package devpg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlainUser(t *testing.T) {
	t.Parallel()

	cmd := helper(t, "start-and-stop")
	home := asPlainUser(t, cmd)
	cmd.Env = append(cmd.Env, "HOME="+home)

	dir, err := output(t, cmd)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(home, ".local/share/webhook-worker/dev"), dir)
	require.DirExists(t, filepath.Join(dir, "pgdata"))
}

func TestPlainUserWithoutDirectory(t *testing.T) {
	t.Parallel()

	t.Run("no home", func(t *testing.T) {
		t.Parallel()

		cmd := helper(t, "start-and-stop")
		asPlainUser(t, cmd)

		_, err := output(t, cmd)
		require.EqualError(t, err, "choosing a directory for PostgreSQL's data: neither XDG_DATA_HOME nor HOME is set")
	})

	t.Run("unwritable home", func(t *testing.T) {
		t.Parallel()

		cmd := helper(t, "start-and-stop")
		home := filepath.Join(asPlainUser(t, cmd), "home")
		require.NoError(t, os.Mkdir(home, 0o555))

		cmd.Env = append(cmd.Env, "HOME="+home)

		_, err := output(t, cmd)
		require.EqualError(t, err, "creating PostgreSQL's data directory: mkdir "+home+"/.local: permission denied")
	})

	t.Run("XDG_DATA_HOME", func(t *testing.T) {
		t.Parallel()

		cmd := helper(t, "default-data-dir", "XDG_DATA_HOME=/x")
		asPlainUser(t, cmd)

		dir, err := output(t, cmd)
		require.NoError(t, err)
		require.Equal(t, "/x/webhook-worker/dev", dir)
	})
}

// Root's server runs as somebody who must be able to reach the data.
func TestDirectoryOfRoot(t *testing.T) {
	t.Parallel()

	private := filepath.Join(newDir(t), "private")
	require.NoError(t, os.Mkdir(private, 0o700))

	server, err := Start(t.Context(), &Config{DataDir: filepath.Join(private, "data"), Parameters: fast()})
	if os.Geteuid() != 0 {
		require.NoError(t, err)
		require.NoError(t, server.Stop())

		return
	}

	requireOneLine(t, err)
	require.True(t, strings.HasSuffix(err.Error(), "who runs PostgreSQL, cannot enter "+private+": choose another data directory"), err)
}

func TestServerIsUnprivileged(t *testing.T) {
	t.Parallel()

	server := start(t, &Config{DataDir: newDir(t)})
	require.NotZero(t, server.dir.account.uid)
	require.Equal(t, os.Geteuid() == 0, server.dir.account.other)

	// The same account goes on, even if another would be chosen today.
	other := &account{name: "another", uid: server.dir.account.uid + 1, other: true}
	require.Equal(t, server.dir.account.uid, other.owning(server.dir.pgdata()).uid)
}
