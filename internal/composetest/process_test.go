package composetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience is how long a condition may take that takes a second as a rule, on a busy machine.
	patience = 30 * time.Second
	look     = 20 * time.Millisecond

	testVersion = "v0.0.0-composetest"
)

// build builds the program with the image's linker flags.
func build(t *testing.T) string {
	t.Helper()

	program := filepath.Join(t.TempDir(), "webhook-worker")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", linkerFlags(t, testVersion), "-o", program, "./cmd/webhook-worker")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return program
}

// output is what a process has written so far.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// process is a container's.
type process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{}
}

// start starts a process, which does not outlive the test.
func start(t *testing.T, name string, argv, environment []string) *process {
	t.Helper()

	p := &process{name: name, ended: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = environment
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.cmd.Start(), name)
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its outcome is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended, unless the test has failed
		<-p.ended
		if t.Failed() {
			t.Logf("%s:\n%s%s", name, p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

// exit waits for the end and returns the status.
func (p *process) exit(t *testing.T, within time.Duration) int {
	t.Helper()

	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		require.Failf(t, "still running", "%s after %s", p.name, within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// terminate does what `docker stop` does first.
func (p *process) terminate(t *testing.T) {
	t.Helper()

	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM), p.name)
}

// awaitLine waits until stderr has a match, and returns its group.
func (p *process) awaitLine(t *testing.T, pattern string) string {
	t.Helper()

	expression := regexp.MustCompile(pattern)
	var found []string
	require.Eventually(t, func() bool {
		found = expression.FindStringSubmatch(p.stderr.String())
		return found != nil
	}, patience, look, "%s: %s", p.name, pattern)
	return found[len(found)-1]
}
