package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river/riverdriver"
)

const (
	// pulseTimeout is longer than a turn of any loop takes, with all that it waits for.
	pulseTimeout = time.Minute
	// fetchMargin is how much later than twice its poll interval a worker that has a place free may fetch, and how long a
	// fetch may take until the queue counts as out of reach.
	fetchMargin = 5 * time.Second
)

// ErrPaused is why a worker whose queue is paused takes no deliveries.
var ErrPaused = errors.New("the queue is paused: River UI resumes it")

var (
	errNotFetched = errors.New("the worker is starting: it has not looked into the queue yet")
	errQueueSlow  = errors.New("the queue does not answer: something may hold a lock on river_job")
	errQueueFails = errors.New("the queue can't be read: the worker's log says why")
)

// Alive is nil while the runner makes progress or is idle, and else says what has stopped turning. A database that is
// away, slow or locked does not count: a new process would wait for it too.
func (r *Runner) Alive() error {
	for _, loop := range []struct {
		name  string
		pulse *pulse
	}{
		{"holding the worker's locks", &r.liveness.pulse},
		{"looking whether the database answers", &r.pools.pulse},
		{"opening sessions", &r.sessions},
		{"looking for due deliveries", &r.dueLooks},
	} {
		if silence := loop.pulse.silence(); silence > pulseTimeout {
			return fmt.Errorf("the worker is stuck: %s has stopped for %s", loop.name, silence.Round(time.Second))
		}
	}
	if fetches := r.fetches.Load(); fetches != nil {
		return fetches.stuck(r.cfg, r.inFlight, r.pools)
	}
	return nil
}

// pulse is the sign of life of a loop that turns by itself, whatever the database and partners do.
type pulse struct {
	last atomic.Pointer[time.Time] // nil: the loop has not begun, or has ended
}

func (p *pulse) beat() {
	now := time.Now()
	p.last.Store(&now)
}

func (p *pulse) end() { p.last.Store(nil) }

// silence is how long ago the loop turned.
func (p *pulse) silence() time.Duration {
	if last := p.last.Load(); last != nil {
		return time.Since(*last)
	}
	return 0
}

// fetches is what is seen of a session's fetching.
type fetches struct {
	mu     sync.Mutex
	opened time.Time // when the session began
	asked  time.Time // since when the database is asked; zero: it is not
	done   time.Time // when it last answered, with an error or without; zero: never
	once   bool      // whether it ever did without
	failed bool      // whether the last answer was an error
}

// watch sees a fetch.
func (f *fetches) watch(fetch func() (*riverdriver.JobGetAvailableResult, error)) (*riverdriver.JobGetAvailableResult, error) {
	f.mu.Lock()
	f.asked = time.Now()
	f.mu.Unlock()
	result, err := fetch()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.done, f.failed = time.Time{}, time.Now(), err != nil
	f.once = f.once || err == nil
	return result, err
}

// late says why what is due may not be fetched; nil: it is.
func (f *fetches) late(pools *poolWatch) error {
	if paused, _ := pools.paused(); paused {
		return ErrPaused
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.asked.IsZero() && time.Since(f.asked) > fetchMargin:
		return errQueueSlow
	case f.failed:
		return errQueueFails
	case !f.once:
		return errNotFetched
	}
	return nil
}

// stuck says that nothing was fetched for too long although the queue is not paused, that the database was not asked and
// that no delivery has ended that would have made a place free.
func (f *fetches) stuck(cfg *RunnerConfig, inFlight *inFlight, pools *poolWatch) error {
	paused, seenPaused := pools.paused()
	f.mu.Lock()
	asking, turned := !f.asked.IsZero(), latest(latest(f.opened, f.done), seenPaused)
	f.mu.Unlock()
	if paused || asking {
		return nil
	}
	underWay, lastEnded := inFlight.progress()
	if silence := time.Since(turned); silence > 2*cfg.PollInterval+fetchMargin {
		if underWay > 0 && time.Since(latest(turned, lastEnded)) <= cfg.Timeout+timeoutMargin+fetchMargin {
			return nil // it may have no place free
		}
		return fmt.Errorf("the worker is stuck: it has not looked into the queue for %s, and has %d deliveries under way that do not end",
			silence.Round(time.Second), underWay)
	}
	return nil
}

// watchedExecutor is an executor whose fetches are seen.
type watchedExecutor struct {
	riverdriver.Executor

	fetches *fetches
}

// JobGetAvailable fetches jobs.
func (e *watchedExecutor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	fetch := func() (*riverdriver.JobGetAvailableResult, error) { return e.Executor.JobGetAvailable(ctx, params) }
	if params.Queue != Queue {
		return fetch()
	}
	return e.fetches.watch(fetch)
}
