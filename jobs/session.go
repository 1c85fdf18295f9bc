package jobs

import (
	"cmp"
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
	runner  *Runner
	client  *river.Client[pgx.Tx]
	fetches *fetches

	abort          context.CancelFunc // cancels what is under way
	stopReclaiming context.CancelFunc
	reclaiming     sync.WaitGroup
}

// faultInterval is how often a session asks whether its database is away.
const faultInterval = 50 * time.Millisecond

// open shows that a new client lives, and starts it. It gives up when ctx ends.
func (r *Runner) open(ctx context.Context) (*session, error) {
	id := newClientID(r.cfg.Name, time.Now())
	if err := r.liveness.add(ctx, id); err != nil {
		return nil, fmt.Errorf("taking the worker's lock: %w", err)
	}
	s, err := r.start(ctx, id)
	if err != nil {
		r.liveness.remove(ctx, id)
		return nil, err
	}
	r.fetches.Store(s.fetches)
	return s, nil
}

// start starts the client of an id whose lock is held.
func (r *Runner) start(ctx context.Context, id string) (*session, error) {
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var seen bool
	if err := r.cfg.Pool.QueryRow(bounded, `select `+holdsClientLock("$1"), id).Scan(&seen); err != nil {
		return nil, fmt.Errorf("looking for the worker's lock: %w", err)
	}
	if !seen {
		return nil, errElsewhere
	}
	fetches := &fetches{opened: time.Now()}
	client, err := r.newClient(bounded, id, fetches)
	if err != nil {
		return nil, err
	}
	s := &session{runner: r, client: client, fetches: fetches}
	lasting := context.WithoutCancel(ctx)
	var clientCtx, reclaimCtx context.Context
	clientCtx, s.abort = context.WithCancel(lasting)
	inTime := context.AfterFunc(bounded, s.abort)
	if err := client.Start(clientCtx); err != nil {
		s.abort()
		return nil, fmt.Errorf("starting River: %w", err)
	}
	if !inTime() {
		return nil, errors.Join(fmt.Errorf("starting River: %w", bounded.Err()), s.halt(lasting))
	}
	reclaimer := &reclaimer{
		pool: r.cfg.RiverPool, logger: r.cfg.Logger, schedule: r.cfg.Schedule, logged: r.log != nil,
		liveness: r.liveness, inFlight: r.inFlight, metrics: r.metrics,
	}
	reclaimCtx, s.stopReclaiming = context.WithCancel(lasting)
	s.reclaiming.Go(func() { reclaimer.run(reclaimCtx) })
	return s, nil
}

// fault says what keeps the worker from taking deliveries; nil: nothing.
func (r *Runner) fault() error { return cmp.Or(r.liveness.fault(), r.pools.fault()) }

// serve keeps a session open until ctx ends, and returns the last one, nil if the database is away just then,
// and those before it that still finish; drain ends their waiting.
func (r *Runner) serve(ctx, drain context.Context, current *session) (*session, *sync.WaitGroup) {
	earlier := &sync.WaitGroup{}
	defer r.sessions.end()
	defer r.fetches.Store(nil)
	for {
		err := r.awaitFault(ctx)
		if err == nil {
			return current, earlier
		}
		r.ready.set(unready(err))
		r.fetches.Store(nil)
		r.cfg.Logger.WarnContext(ctx, "database away: nothing is fetched until it answers", slog.String("error", err.Error()))
		away := time.Now()
		suspended := current
		suspended.suspend(ctx)
		if timeout := net.Error(nil); errors.As(r.liveness.fault(), &timeout) && timeout.Timeout() && r.cfg.Disconnect != nil {
			r.cfg.Disconnect() // the others hear nothing either
		}
		current = r.reopen(ctx)
		earlier.Go(func() { _ = suspended.stop(drain, suspended.patience()) })
		if current == nil {
			return nil, earlier
		}
		r.cfg.Logger.InfoContext(ctx, "database back",
			slog.String("client_id", current.client.ID()), slog.Duration("away", time.Since(away).Round(time.Millisecond)))
	}
}

// awaitFault waits for what keeps the worker from taking deliveries; nil if ctx ends first.
func (r *Runner) awaitFault(ctx context.Context) error {
	for {
		r.sessions.beat()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(faultInterval):
		}
		if err := r.fault(); err != nil {
			return err
		}
	}
}

// reopen tries until it has a new session; nil if ctx ends first.
func (r *Runner) reopen(ctx context.Context) *session {
	wait := firstReconnect
	said, begun := "", time.Now()
	for ctx.Err() == nil {
		r.sessions.beat()
		err := r.fault()
		if err == nil {
			// Connections from before may lead to a server that takes no writes any more.
			r.cfg.Pool.Reset()
			r.cfg.RiverPool.Reset()
			var next *session
			if next, err = r.open(ctx); err == nil {
				r.ready.set(nil)
				return next
			}
		}
		r.ready.set(unready(err))
		if text := err.Error(); text != said && time.Since(begun) > quietFor {
			r.cfg.Logger.WarnContext(ctx, "database still away", slog.String("error", text))
			said = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxReconnect)
	}
	return nil
}

// suspend ends the session's fetching and its looking for dead workers. What it has under way goes on, and
// River writes the ends when the database takes them.
func (s *session) suspend(ctx context.Context) {
	s.stopReclaiming()
	go func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.patience())
		defer cancel()
		_ = s.client.Queues().Remove(bounded, Queue) // stop does it in any case
	}()
}

// patience is how long a delivery may be under way, and its end on its way to the database.
func (s *session) patience() time.Duration {
	return s.runner.cfg.Timeout + timeoutMargin + cancelTimeout
}

// stop drains the session for the time given, until ctx ends at the latest, cancels what is left, and says that its
// client lives no more: what River could not write is settled like a dead worker's.
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
	defer s.abort()
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
