package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a worker that runs beside the benchmark.
type process struct {
	cmd  *exec.Cmd
	log  string       // the file of its log
	stop func() error // ends it in order; once is enough
}

// startWorker starts a worker of the product. Of the settings, BINARY names another program than the one built.
func (s *stage) startWorker(instance string, settings ...string) (*process, error) {
	binary := s.binary
	for _, setting := range settings {
		if path, found := strings.CutPrefix(setting, "BINARY="); found {
			binary = path
		}
	}
	cmd := exec.Command(binary, "work", "--instance", instance) //nolint:gosec,noctx // a path of our own; stopped by its closer
	cmd.Env = append(slices.Clone(s.env), settings...)
	return s.start(cmd)
}

// startBare starts a bare worker on a database: this program once more.
func (s *stage) startBare(url string, flags ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("looking for this program: %w", err)
	}
	cmd := exec.Command(self, append([]string{"bare"}, flags...)...) //nolint:gosec,noctx // this program; stopped by its closer
	cmd.Env = append(os.Environ(), "DATABASE_URL="+url)
	return s.start(cmd)
}

// start starts a process, whose log goes to a file that is shown if it fails. The stage's Close stops it too.
func (s *stage) start(cmd *exec.Cmd) (*process, error) {
	log, err := os.Create(filepath.Join(s.dir, "worker.log"))
	if err != nil {
		return nil, fmt.Errorf("making a log file: %w", err)
	}
	cmd.Stderr = log
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		return nil, fmt.Errorf("starting a worker: %w", err)
	}
	p := &process{cmd: cmd, log: log.Name()}
	p.stop = sync.OnceValue(func() error {
		if cmd.ProcessState != nil {
			return nil // it has ended already
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping a worker: %w", err)
		}
		if err := cmd.Wait(); err != nil {
			said, _ := os.ReadFile(log.Name())
			return fmt.Errorf("worker: %w: %s", err, said[max(0, len(said)-2000):])
		}
		return nil
	})
	s.closers = append(s.closers, p.stop)
	return p, nil
}

// memory is how many bytes a process has in memory now, and the most that it has had. What the kernel says of a
// process that has ended is not that: it begins with the memory of the process that started it.
func (p *process) memory() (now, most int64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("reading a process's memory: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		kibibytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // other lines are no numbers
		switch name {
		case "VmRSS":
			now = kibibytes << 10
		case "VmHWM":
			most = kibibytes << 10
		}
	}
	return now, most, nil
}

// goroutines ends a process by SIGQUIT, upon which Go writes all goroutines to the log, and counts them.
func (p *process) goroutines() (int, error) {
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return 0, fmt.Errorf("asking a worker for its goroutines: %w", err)
	}
	_ = p.cmd.Wait() // it ends with an error
	said, err := os.ReadFile(p.log)
	if err != nil {
		return 0, fmt.Errorf("reading a worker's log: %w", err)
	}
	count := bytes.Count(said, []byte("\ngoroutine "))
	if count == 0 {
		return 0, fmt.Errorf("the worker did not write its goroutines: %s", said[max(0, len(said)-2000):]) //nolint:err113 // for a person
	}
	return count, nil
}

// waitReady waits until a worker says that it takes deliveries.
func waitReady(ctx context.Context, socket string) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://worker/readyz", http.NoBody)
		if err != nil {
			return fmt.Errorf("making a request: %w", err)
		}
		if answer, err := client.Do(request); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := sleepUntil(ctx, time.Now().Add(5*time.Millisecond)); err != nil {
			return fmt.Errorf("waiting for a worker: %w", err)
		}
	}
}
