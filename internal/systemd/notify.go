// Package systemd tells systemd how a process is, by the protocol of sd_notify(3), and writes to its journal. Where there
// is no systemd it does nothing.
package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// startInterval is how often a process that starts is asked whether it is ready, statusInterval how often one that runs
	// is asked how it is, unless the watchdog asks for more.
	startInterval  = 50 * time.Millisecond
	statusInterval = 5 * time.Second
)

// NotifierConfig is what a Notifier needs.
type NotifierConfig struct {
	Logger *slog.Logger
	Ready  func() error  // why the process has not started
	Alive  func() error  // why only a restart helps
	Status func() string // a line for `systemctl status`
	// StopTimeout is how long the process may take from [Notifier.Stopping] to its end; 0: TimeoutStopSec says.
	StopTimeout time.Duration
}

// A Notifier tells systemd when the process is ready, at intervals that it is alive, and that it stops.
type Notifier struct {
	cfg      *NotifierConfig
	watchdog time.Duration // systemd's patience; 0: it does not ask

	stop    context.CancelFunc
	running sync.WaitGroup
	said    string // the last status

	mu       sync.Mutex // of what follows, and of telling it
	ready    bool       // it was said
	stopping bool       // it was said
}

// StartNotifier begins to tell; nothing where NOTIFY_SOCKET is not set. Its error says that WATCHDOG_USEC is no number.
func StartNotifier(ctx context.Context, cfg *NotifierConfig) (*Notifier, error) {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("reading what systemd's watchdog wants: %w", err)
	}
	n := &Notifier{cfg: cfg, watchdog: watchdog}
	ctx, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	n.running.Go(func() { n.run(ctx) })
	return n, nil
}

// run tells until ctx ends.
func (n *Notifier) run(ctx context.Context) {
	for n.cfg.Ready() != nil {
		n.tell(ctx, n.status())
		if !sleep(ctx, startInterval) {
			return
		}
	}
	n.tellReady(ctx)
	interval := statusInterval
	if n.watchdog > 0 {
		interval = min(interval, n.watchdog/3)
	}
	stuck := false
	for {
		status, err := n.status(), n.cfg.Alive()
		switch {
		case err == nil && n.watchdog > 0:
			n.tell(ctx, daemon.SdNotifyWatchdog+"\n"+status)
		case err == nil || stuck:
			n.tell(ctx, status)
		default:
			n.tell(ctx, status)
			n.cfg.Logger.ErrorContext(ctx, "systemd's watchdog is told nothing any more", slog.String("error", err.Error()))
		}
		stuck = err != nil
		if !sleep(ctx, interval) {
			return
		}
	}
}

// tellReady says that the process has started, unless it stops already.
func (n *Notifier) tellReady(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping {
		return
	}
	n.ready = true
	n.tell(ctx, daemon.SdNotifyReady+"\n"+n.status())
}

// status is a line for `systemctl status`, empty if it has not changed.
func (n *Notifier) status() string {
	status := "STATUS=" + oneLine(n.cfg.Status())
	if status == n.said {
		return ""
	}
	n.said = status
	return status
}

// Stopping says that the process stops, and how long it may take: systemd kills it after that time and TimeoutStopSec at
// the earliest. The watchdog is fed on.
func (n *Notifier) Stopping(ctx context.Context) {
	state := daemon.SdNotifyStopping
	if n.cfg.StopTimeout > 0 {
		state += fmt.Sprintf("\nEXTEND_TIMEOUT_USEC=%d", n.cfg.StopTimeout.Microseconds())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopping = true
	n.tell(ctx, state)
}

// Reload says that the process reads its configuration anew while it does. Before the process is ready, and when it stops,
// it says nothing: its end is told as READY=1, which would be taken for more.
func (n *Notifier) Reload(ctx context.Context, reload func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready || n.stopping {
		reload()
		return
	}
	n.tell(ctx, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
	reload()
	n.tell(ctx, daemon.SdNotifyReady)
}

// Close stops telling.
func (n *Notifier) Close() {
	n.stop()
	n.running.Wait()
}

func (n *Notifier) tell(ctx context.Context, state string) {
	if state = strings.Trim(state, "\n"); state == "" {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.cfg.Logger.WarnContext(ctx, "systemd was not told", slog.String("error", err.Error()))
	}
}

// oneLine keeps a text from ending its assignment.
func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
