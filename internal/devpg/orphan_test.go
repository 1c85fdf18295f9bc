package devpg

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKilledProgram(t *testing.T) {
	t.Parallel()

	dir := newDir(t)

	program, pid, _ := hold(t, dir)
	require.NoError(t, syscall.Kill(pid, 0))
	require.NoError(t, program.Process.Kill())
	require.Error(t, program.Wait())

	if runtime.GOOS == "linux" { // elsewhere the next start ends the server
		requireGone(t, pid)
	}

	start(t, &Config{DataDir: dir})
	requireGone(t, pid)
}

// Right after the program's end its server is still shutting down.
func TestKilledProgramAndStartAtOnce(t *testing.T) {
	t.Parallel()

	dir := newDir(t)

	program, pid, _ := hold(t, dir)
	require.NoError(t, program.Process.Kill())
	require.Error(t, program.Wait())
	start(t, &Config{DataDir: dir})
	requireGone(t, pid)
}

func TestKilledProgramAndServer(t *testing.T) {
	t.Parallel()

	dir := newDir(t)

	program, pid, _ := hold(t, dir)
	require.NoError(t, program.Process.Signal(syscall.SIGSTOP))
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.NoError(t, program.Process.Kill())
	require.Error(t, program.Wait())
	start(t, &Config{DataDir: dir})
}

func TestOrphanIsStopped(t *testing.T) {
	t.Parallel()

	dir := newDir(t)

	orphan, err := Start(t.Context(), &Config{DataDir: dir, Parameters: fast()})
	require.NoError(t, err)
	execute(t, orphan, "create table kept as select 'here' as word")

	// What is left of a program that was killed where the system sends no signal.
	require.NoError(t, orphan.dir.lock.Close())

	server := start(t, &Config{DataDir: dir})
	<-orphan.Done()
	require.Equal(t, "here", query(t, server, "select word from kept"))
}

func TestServerStartedByHand(t *testing.T) {
	t.Parallel()

	server := start(t, &Config{DataDir: newDir(t)})
	require.NoError(t, server.Stop())

	bin, err := findBinaries(t.Context(), (&Config{}).WithDefaults(), server.dir.account, 0)
	require.NoError(t, err)

	port, err := freePort(t.Context())
	require.NoError(t, err)

	byHand, err := server.dir.run(bin.path("postgres"),
		[]string{"-D", server.dir.pgdata(), "-p", strconv.Itoa(port), "-k", ""}, syscall.SIGINT)
	require.NoError(t, err)

	defer func() { require.NoError(t, byHand.stop()) }()

	server.port = port
	server.process = byHand
	require.NoError(t, server.waitReady(t.Context()))

	_, err = Start(t.Context(), &Config{DataDir: server.DataDir()})
	requireOneLine(t, err)
	require.ErrorContains(t, err, server.DataDir()+" is in use by a server that was started by hand, process "+
		strconv.Itoa(byHand.pid))
}

func TestSecondOwner(t *testing.T) {
	t.Parallel()

	t.Run("of another program", func(t *testing.T) {
		t.Parallel()

		dir := newDir(t)
		program, _, stdin := hold(t, dir)

		_, err := Start(t.Context(), &Config{DataDir: dir})
		require.EqualError(t, err, "PostgreSQL's data directory "+dir+" is in use by process "+
			strconv.Itoa(program.Process.Pid))

		require.NoError(t, stdin.Close())
		require.NoError(t, program.Wait())
	})

	t.Run("of the same program", func(t *testing.T) {
		t.Parallel()

		server := start(t, &Config{DataDir: newDir(t)})

		_, err := Start(t.Context(), &Config{DataDir: server.DataDir()})
		require.EqualError(t, err, "PostgreSQL's data directory "+server.DataDir()+" is in use by process "+
			strconv.Itoa(os.Getpid()))
		require.Equal(t, "1", query(t, server, "select '1'"))
	})
}

func TestStalePidFile(t *testing.T) {
	t.Parallel()

	acct, err := serverAccount()
	require.NoError(t, err)

	gone := exec.CommandContext(t.Context(), "true")
	require.NoError(t, gone.Run())

	// PostgreSQL cares for processes of its own account only.
	sleep := exec.CommandContext(t.Context(), "sleep", "600")
	sleep.Dir = "/"
	alive, err := startProcess(sleep, acct, syscall.SIGKILL)
	require.NoError(t, err)
	t.Cleanup(func() { require.True(t, alive.signal(syscall.SIGKILL, time.Minute)) })

	for name, pid := range map[string]int{"of no process": gone.Process.Pid, "of another process": alive.pid} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			server := start(t, &Config{DataDir: newDir(t)})
			path := filepath.Join(server.dir.pgdata(), "postmaster.pid")
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, server.Stop())

			_, rest, _ := strings.Cut(string(content), "\n")
			require.NoError(t, os.WriteFile(path, []byte(strconv.Itoa(pid)+"\n"+rest), 0o600))
			require.NoError(t, server.dir.account.own(path))

			start(t, &Config{DataDir: server.DataDir()})
		})
	}
}

func TestAbandonedDirectories(t *testing.T) {
	t.Parallel()

	acct, err := serverAccount()
	require.NoError(t, err)

	root := newDir(t)
	newLocked := func(changed time.Time) *dataDir {
		dir := &dataDir{path: root, temporary: true, account: acct}
		require.NoError(t, dir.create())

		dir.lock, err = tryLock(filepath.Join(dir.path, "lock"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = dir.close() })
		require.NoError(t, os.Chtimes(dir.path, changed, changed))

		return dir
	}

	old := time.Now().Add(-2 * abandonedAge)
	abandoned, used, young := newLocked(old), newLocked(old), newLocked(time.Now())

	require.NoError(t, abandoned.lock.Close())
	require.NoError(t, young.lock.Close())

	removeAbandoned(t.Context(), slog.New(slog.DiscardHandler), root, acct)

	require.NoDirExists(t, abandoned.path)
	require.DirExists(t, used.path)
	require.DirExists(t, young.path)
}
