package devpg

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// helperVariable makes the test binary a program that uses the package, and says
// which: some tests need one to kill, or one that another user runs.
const helperVariable = "DEVPG_TEST_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		if err := runHelper(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}

		os.Exit(0)
	}

	goleak.VerifyTestMain(run{m})
}

// run runs the tests with a directory of their own for temporary files.
type run struct {
	tests *testing.M
}

func (r run) Run() int {
	dir, err := os.MkdirTemp("", "devpg-test-")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o711), os.Setenv("TMPDIR", dir))
	}

	if err != nil {
		fmt.Fprintln(os.Stderr, err)

		return 1
	}

	code := r.tests.Run()

	left, err := filepath.Glob(filepath.Join(dir, temporaryPrefix+"*"))
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil || len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left behind:", left, err)

		code = 1
	}

	// embedded-postgres downloads with the default client, which keeps its
	// connections for a next time.
	http.DefaultClient.CloseIdleConnections()

	return code
}

func runHelper(name string) error {
	ctx := context.Background()

	switch name {
	case "default-data-dir":
		dir, err := DefaultDataDir()
		fmt.Fprintln(os.Stdout, dir)

		return err
	case "start-and-stop":
		return startAndStop(ctx, os.Getenv("DEVPG_TEST_DIR"))
	case "hold":
		server, err := Start(ctx, &Config{DataDir: os.Getenv("DEVPG_TEST_DIR"), Parameters: fast()})
		if err != nil {
			return err
		}

		fmt.Fprintln(os.Stdout, server.process.pid)

		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed

		return server.Stop()
	}

	return errors.New("no such helper: " + name)
}

// startAndStop starts a server on dir, asks it for its user and stops it. The
// empty dir means the default one.
func startAndStop(ctx context.Context, dir string) error {
	if dir == "" {
		var err error
		if dir, err = DefaultDataDir(); err != nil {
			return err
		}
	}

	server, err := Start(ctx, &Config{DataDir: dir, Parameters: fast()})
	if err != nil {
		return err
	}

	err = ping(ctx, server.URL("postgres"))
	fmt.Fprintln(os.Stdout, server.DataDir())

	return errors.Join(err, server.Stop())
}

// helper returns the test binary as another program, with the environment given
// and nothing else but PATH.
func helper(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()

	self, err := os.Executable()
	require.NoError(t, err)

	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = slices.Concat(env, []string{helperVariable + "=" + name, "PATH=" + os.Getenv("PATH")})

	return cmd
}

// asPlainUser makes cmd, a helper, run as an unprivileged user, and returns a
// new directory of that user. The user must be able to reach the test binary,
// which go test may have put into a directory of root's.
func asPlainUser(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()

	dir := newDir(t)
	cmd.Dir = dir

	if os.Geteuid() != 0 {
		return dir
	}

	content, err := os.ReadFile(cmd.Path)
	require.NoError(t, err)

	cmd.Path = filepath.Join(newDir(t), "helper")
	require.NoError(t, os.WriteFile(cmd.Path, content, 0o755))

	const nobody = 65534

	require.NoError(t, os.Chown(dir, nobody, nobody))

	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}

	return dir
}

// output runs a helper and returns its standard output, and its standard error
// as an error if it ends with one.
func output(t *testing.T, cmd *exec.Cmd) (string, error) {
	t.Helper()

	var stdout, stderr bytes.Buffer

	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s", strings.TrimSuffix(stderr.String(), "\n"))
	}

	return strings.TrimSpace(stdout.String()), nil
}

// hold starts a program that has a server on dir and returns it with the
// server's process id, and its standard input, whose end is the program's.
func hold(t *testing.T, dir string) (*exec.Cmd, int, io.Closer) {
	t.Helper()

	cmd := helper(t, "hold", "DEVPG_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr

	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)

	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)

	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)

	return cmd, pid, stdin
}
