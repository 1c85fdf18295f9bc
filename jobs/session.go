package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

// A session is one River client, from when the database answers until it stops answering or the process
// stops. River's own loops wait for up to a minute after a failure, so that a new client, which begins at
// once, takes over when the database is back, while the one before it finishes what it has under way.
type session struct {
	runner *Runner
	client *river.Client[pgx.Tx]

	stopReclaiming context.CancelFunc
	reclaiming     sync.WaitGroup
}

// quietFor is for how long nothing more is said of a database that is away, or back.
const quietFor = 10 * time.Second

// Why a runner is not ready.
var (
	errStarting = errors.New("the worker is starting")
	errStopping = errors.New("the worker is stopping")
	errSilent   = errors.New("the database does not answer")
)

// errElsewhere is what two connection strings to different databases lead to.
var errElsewhere = errors.New("the worker's lock is not seen by its other connections: DATABASE_DIRECT_URL must reach the same database as DATABASE_URL")

// readiness is whether a runner takes deliveries.
type readiness struct {
	mu   sync.Mutex
	err  error     // nil: it does
	back time.Time // when the database came back the last time
}

func (r *readiness) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if isAway(r.err) && err == nil {
		r.back = time.Now()
	}
	r.err = err
}

// away says whether the database is, or has just come back: the session before then still speaks of it.
func (r *readiness) away() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return isAway(r.err) || time.Since(r.back) < quietFor
}

func isAway(err error) bool { return errors.Is(err, errSilent) || errors.Is(err, errReadOnly) }

// unready is what to tell others about why the database is of no use. The log has the details.
func unready(err error) error {
	if errors.Is(err, errReadOnly) {
		return errReadOnly
	}
	return errSilent
}

func (r *readiness) get() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// firstGrace is for how long a process that has just started takes nobody for dead: locks are free only if
// the server itself has just started.
func firstGrace(uptime time.Duration) time.Duration { return max(0, startGrace-uptime) }

// laterGrace is the same for one whose connection broke: whatever broke it may have broken everybody's.
func laterGrace(time.Duration) time.Duration { return reconnectGrace }

// open connects, shows that a new client lives, and starts it.
func (r *Runner) open(ctx context.Context, grace func(uptime time.Duration) time.Duration) (*session, error) {
	uptime, err := r.liveness.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting for the worker's lock: %w", err)
	}
	id := newClientID(r.cfg.Name, time.Now())
	session, err := r.start(ctx, id, time.Now().Add(grace(uptime)))
	if err != nil {
		r.liveness.remove(ctx, id)
		r.liveness.disconnect(ctx)
		return nil, err
	}
	r.ready.set(nil)
	return session, nil
}

func (r *Runner) start(ctx context.Context, id string, trusted time.Time) (*session, error) {
	if err := r.liveness.add(ctx, id); err != nil {
		return nil, fmt.Errorf("taking the worker's lock: %w", err)
	}
	var seen bool
	if err := r.cfg.Pool.QueryRow(ctx, `select `+holdsClientLock("$1"), id).Scan(&seen); err != nil {
		return nil, fmt.Errorf("looking for the worker's lock: %w", err)
	}
	if !seen {
		return nil, errElsewhere
	}
	client, err := r.newClient(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := client.Start(ctx); err != nil {
		return nil, fmt.Errorf("starting River: %w", err)
	}
	s := &session{runner: r, client: client}
	reclaimer := &reclaimer{
		pool: r.cfg.RiverPool, logger: r.cfg.Logger, schedule: r.cfg.Schedule, logged: r.log != nil,
		liveness: r.liveness, inFlight: r.inFlight,
	}
	var reclaimCtx context.Context
	reclaimCtx, s.stopReclaiming = context.WithCancel(ctx)
	s.reclaiming.Go(func() { reclaimer.run(reclaimCtx, trusted) })
	return s, nil
}

// serve keeps a session open until ctx ends, and returns the last one, nil if the database is away just then,
// and those before it that still finish; drain ends their waiting.
func (r *Runner) serve(ctx, drain context.Context, current *session) (*session, *sync.WaitGroup) {
	earlier := &sync.WaitGroup{}
	for {
		err := r.liveness.hold(ctx)
		if err == nil {
			return current, earlier
		}
		r.ready.set(unready(err))
		r.cfg.Logger.WarnContext(ctx, "database away: nothing is fetched until it answers", slog.String("error", err.Error()))
		away := time.Now()
		current.suspend(ctx)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() && r.cfg.Disconnect != nil {
			r.cfg.Disconnect() // the others hear nothing either
		}
		suspended := current
		current = r.reopen(ctx)
		earlier.Go(func() { suspended.retire(drain) })
		if current == nil {
			return nil, earlier
		}
		r.cfg.Logger.InfoContext(ctx, "database back",
			slog.String("client_id", current.client.ID()), slog.Duration("away", time.Since(away).Round(time.Millisecond)))
	}
}

// reopen tries until it has a new session; nil if ctx ends first.
func (r *Runner) reopen(ctx context.Context) *session {
	wait := firstReconnect
	said, begun := "", time.Now()
	for {
		next, err := r.open(context.WithoutCancel(ctx), laterGrace)
		if err == nil {
			return next
		}
		r.ready.set(unready(err))
		if text := err.Error(); text != said && time.Since(begun) > quietFor {
			r.cfg.Logger.WarnContext(ctx, "database still away", slog.String("error", text))
			said = text
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, maxReconnect)
	}
}

// suspend ends the session's fetching and its looking for dead workers. What it has under way goes on, and
// River writes the ends when the database takes them.
func (s *session) suspend(ctx context.Context) {
	s.stopReclaiming()
	go func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.patience())
		defer cancel()
		_ = s.client.Queues().Remove(bounded, Queue) // retire stops it in any case
	}()
}

// patience is how long a delivery may be under way, and its end on its way to the database.
func (s *session) patience() time.Duration {
	return s.runner.cfg.Timeout + timeoutMargin + cancelTimeout
}

// retire lets a suspended session finish, until ctx ends at the latest, and then says that its client lives no
// more: what River could not write is settled like a dead worker's.
func (s *session) retire(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	err := s.client.Stop(bounded)
	if err != nil {
		err = s.halt(ctx)
	}
	s.end(ctx, err)
}

// stop drains the session for the time given, and then cancels what is left.
func (s *session) stop(ctx context.Context, timeout time.Duration) error {
	s.stopReclaiming()
	drain, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	if s.client.Stop(drain) != nil {
		err = s.halt(ctx)
	}
	s.end(ctx, err)
	return err
}

// halt cancels what is under way, and gives it back.
func (s *session) halt(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	if err := s.client.StopAndCancel(bounded); err != nil {
		return fmt.Errorf("stopping River: %w", err)
	}
	return nil
}

// end frees the client's lock, once the attempt log is written: others judge by it.
func (s *session) end(ctx context.Context, err error) {
	s.stopReclaiming()
	s.reclaiming.Wait()
	if err != nil {
		return // it may still work: its lock goes with the process
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	if s.runner.log != nil {
		s.runner.log.Flushed(bounded)
	}
	s.runner.liveness.remove(bounded, s.client.ID())
}
