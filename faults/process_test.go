//go:build faults

package faults

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// worker is one worker process.
type worker struct {
	instance string
	cmd      *exec.Cmd
	log      *output
	done     chan struct{} // closed when it has ended
}

// startWorker starts a process and returns once it works deliveries; the test's end kills it.
func (w *world) startWorker(t *testing.T, instance string, environ ...string) *worker {
	t.Helper()
	started := w.launch(t, instance, environ...)
	require.Eventually(t, func() bool { return started.says("worker started") || started.ended() },
		30*time.Second, 20*time.Millisecond, "worker %s does not start", instance)
	require.False(t, started.ended(), "worker %s ended at its start: %s", instance, started.log)
	return started
}

// launch starts a process and does not wait for it.
func (w *world) launch(t *testing.T, instance string, environ ...string) *worker {
	t.Helper()
	process, err := w.spawn(instance, environ...)
	require.NoError(t, err)
	return process
}

func (w *world) spawn(instance string, environ ...string) (*worker, error) {
	process := &worker{instance: instance, log: &output{}, done: make(chan struct{})}
	process.cmd = exec.CommandContext(context.Background(), shared.binary, "work", "--instance", instance)
	process.cmd.Env = append(append([]string(nil), w.environ...), environ...)
	process.cmd.Stderr = process.log
	process.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		defer close(process.done)
		// The kernel sends the death signal when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := process.cmd.Start()
		started <- err
		if err == nil {
			_ = process.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.workers = append(w.workers, process)
	return process, nil
}

// supervise keeps a worker running until the test's end: one that ends is started again after a pause, as
// systemd does.
func (w *world) supervise(t *testing.T, instance string, pause func() time.Duration, environ ...string) {
	t.Helper()
	process := w.startWorker(t, instance, environ...)
	stop := make(chan struct{})
	var supervisor sync.WaitGroup
	supervisor.Go(func() {
		for {
			select {
			case <-process.done:
			case <-stop:
				return
			}
			select {
			case <-time.After(pause()):
			case <-stop:
				return
			}
			next, err := w.spawn(instance, environ...)
			if err != nil {
				t.Errorf("starting worker %s again: %v", instance, err)
				return
			}
			process = next
		}
	})
	t.Cleanup(func() {
		close(stop)
		supervisor.Wait()
	})
}

// atOnce is the pause of a supervisor that makes none.
func atOnce() time.Duration { return 0 }

// says reports whether the process has logged text.
func (p *worker) says(text string) bool { return strings.Contains(p.log.String(), text) }

func (p *worker) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// troubles is the process's log without its lines about single attempts.
func (p *worker) troubles() string {
	var text strings.Builder
	for line := range strings.Lines(p.log.String()) {
		if !strings.Contains(line, `msg="delivery attempted"`) {
			text.WriteString(line)
		}
	}
	return text.String()
}

func (p *worker) signal(signal syscall.Signal) {
	if !p.ended() {
		_ = p.cmd.Process.Signal(signal) // it may end meanwhile
	}
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (p *worker) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// wait waits for the process to end by itself and returns its exit status, -1 for a signal's.
func (p *worker) wait(t *testing.T, bound time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(bound):
		t.Fatalf("worker %s does not end within %s", p.instance, bound)
		return 0
	}
}

// peakMemory is the most memory that the process had resident, in MiB.
func (p *worker) peakMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kib >> 10
}

// ports are the local ports of the process's connections.
func (p *worker) ports() map[string]bool {
	table, _ := os.ReadFile("/proc/net/tcp")
	portOf := map[string]string{} // inode to port
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if port, err := strconv.ParseUint(hex, 16, 16); err == nil {
			portOf[fields[9]] = strconv.FormatUint(port, 10)
		}
	}
	ports := map[string]bool{}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	for _, file := range files {
		link, _ := os.Readlink(file)
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			if port, ok := portOf[strings.TrimSuffix(inode, "]")]; ok {
				ports[port] = true
			}
		}
	}
	return ports
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

// tail is the text's last lines.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
