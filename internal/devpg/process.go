package devpg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

var errExited = errors.New("PostgreSQL exited")

// process is a child of the program.
type process struct {
	pid  int
	done chan struct{}
	err  error // of the wait; to be read once done is closed
}

// startProcess starts cmd as acct, in a process group of its own, so that a
// terminal's Ctrl-C reaches the program alone, which drains before it stops its
// server. Where the system can, deathSignal is sent to the child when the
// program dies.
func startProcess(cmd *exec.Cmd, acct *account, deathSignal syscall.Signal) (*process, error) {
	cmd.SysProcAttr = sysProcAttr(deathSignal)
	cmd.SysProcAttr.Setpgid = true
	cmd.Env = childEnvironment()

	if acct.other {
		// No Groups: the child has none but its own, and so not root's.
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: acct.uid, Gid: acct.gid}
	}

	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)

	go func() {
		defer close(p.done)

		// Linux sends the death signal at the end of the thread that forked, not
		// of the program, so this thread must stay for as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()

		if err := cmd.Start(); err != nil {
			p.err = err
			started <- err

			return
		}

		p.pid = cmd.Process.Pid
		started <- nil

		p.err = cmd.Wait()
	}()

	if err := <-started; err != nil {
		return nil, fmt.Errorf("running %s as %s: %w", filepath.Base(cmd.Path), acct, err)
	}

	return p, nil
}

// childEnvironment holds what programs need to be found and nothing else: PG…
// variables would change the server, and the program's own variables carry
// secrets that another account must not see.
func childEnvironment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}

	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}

	return env
}

// exitError says how the process ended. It may be called once done is closed.
func (p *process) exitError() error {
	if p.err == nil {
		return fmt.Errorf("%w with status 0", errExited)
	}

	return fmt.Errorf("%w: %w", errExited, p.err)
}

// stop ends a server, the gentle way first, and returns once it is gone. Being
// gone is what matters, so only a server that had to be killed is an error: its
// children may outlive it for a moment, and the next start must recover.
func (p *process) stop() error {
	for _, step := range []struct {
		signal  syscall.Signal
		timeout time.Duration
	}{
		{syscall.SIGINT, fastTimeout},  // fast shutdown: connections end, a checkpoint is written
		{syscall.SIGQUIT, quitTimeout}, // immediate shutdown: the next start recovers
	} {
		if p.signal(step.signal, step.timeout) {
			return nil
		}
	}

	// Postmaster only: its children notice and end by themselves, and a signal
	// to the group would miss them, since each has a session of its own.
	p.signal(syscall.SIGKILL, quitTimeout)

	return fmt.Errorf("it did not stop within %s and was killed", fastTimeout+quitTimeout)
}

// signal sends a signal and reports whether the process ended within timeout.
func (p *process) signal(signal syscall.Signal, timeout time.Duration) bool {
	select {
	case <-p.done: // its id may belong to another process by now
		return true
	default:
	}

	_ = syscall.Kill(p.pid, signal) // gone already: done says so

	timer := time.NewTimer(timeout)
	defer timer.Stop()

	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// waitReady waits until the server answers a query, which it refuses to while
// it recovers. A server that ended meanwhile is errExited.
func (s *Server) waitReady(ctx context.Context) error {
	for {
		err := ping(ctx, s.URL("postgres"))

		select {
		case <-s.process.done:
			// Even if something answered: then another server has the port.
			return s.process.exitError()
		default:
		}

		if err == nil {
			return nil
		}

		if pauseErr := pause(ctx, 10*time.Millisecond); pauseErr != nil {
			return fmt.Errorf("waiting for PostgreSQL: %w (last: %w)", pauseErr, err)
		}
	}
}

func ping(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}

	if _, err := conn.Exec(ctx, "select 1"); err != nil {
		return errors.Join(fmt.Errorf("querying: %w", err), conn.Close(ctx))
	}

	if err := conn.Close(ctx); err != nil {
		return fmt.Errorf("closing the connection: %w", err)
	}

	return nil
}

// freePort returns a port of 127.0.0.1 that nobody listened on a moment ago.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig

	listener, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("choosing a port: %w", err)
	}

	address, ok := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil || !ok {
		return 0, fmt.Errorf("choosing a port: %w", errors.Join(err, syscall.EAFNOSUPPORT))
	}

	return address.Port, nil
}

// pause waits for d, or for the end of ctx, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()

	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
