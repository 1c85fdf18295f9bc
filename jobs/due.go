package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// wakeWorkers is an SQL expression that notifies the workers when its transaction commits. The payload is
// River's own, to the letter: PostgreSQL sends what is said twice in a transaction once.
const wakeWorkers = `(select pg_notify(river_schema || '.river_insert', '{"queue": "` + Queue + `"}')::text from webhook_settings)`

// wake notifies the workers.
func wake(ctx context.Context, db execer) error {
	if _, err := db.Exec(ctx, `select `+wakeWorkers); err != nil {
		return fmt.Errorf("waking the workers: %w", err)
	}
	return nil
}

// A worker looks for deliveries that have come due at least every dueInterval, and at most every dueLeast.
const (
	dueInterval = time.Second
	dueLeast    = 50 * time.Millisecond
)

// A worker that makes busyRate deliveries a second or more looks every busyInterval, and says so for busyLasts at a time:
// whoever enqueues need not wake it then. Transactions that notify commit one after another, which bounds how many can: where
// the disk is slow, to fewer than busyRate. So a worker that sees queueMost of them waiting for each other does the same for
// queueLasts, if it makes queueRate deliveries a second: each then waits for up to busyInterval, and no commit for another.
const (
	busyRate     = 500
	queueRate    = 20
	queueMost    = 3
	queueLasts   = time.Minute
	busyInterval = 20 * time.Millisecond
	busyMeasured = 200 * time.Millisecond // how often it is looked at
	busyLasts    = 5 * time.Second
	busySaid     = time.Second // how often it is said
)

// dueWatcher wakes the workers when a delivery comes due. River itself notifies when jobs are inserted,
// but not for a retry that is due within five seconds, nor for jobs that it makes available ahead of their
// time, so that those would wait for the poll.
type dueWatcher struct {
	pool   *pgxpool.Pool
	logger *slog.Logger
	ended  func() int                         // deliveries that have ended since the start
	queued func(context.Context) (int, error) // transactions that wait for others to notify
	pulse  *pulse

	before     int       // ended when it was measured last
	measuredAt time.Time // when that was
	saidAt     time.Time // when it was last said that this worker looks all the time
	queuedAt   time.Time // when transactions were last seen that waited for others to notify
}

// run watches until ctx ends.
func (w *dueWatcher) run(ctx context.Context) {
	failure := complaint{logger: w.logger, text: "due deliveries not looked for"}
	unsaid := complaint{logger: w.logger, text: "not looked whether enqueueing is held up by notifying"}
	defer w.pulse.end()
	for {
		w.pulse.beat()
		wait, err := w.look(ctx)
		if err == nil {
			unsaid.about(ctx, w.sayBusy(ctx))
		}
		if time.Since(w.saidAt) < busyLasts+dueInterval { // who has begun to enqueue may count on it for longer
			wait = busyInterval
		}
		if err != nil {
			wait = dueInterval
		}
		failure.about(ctx, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// sayBusy says in the database that this worker looks all the time, if it makes so many deliveries that waking it would hold
// up those who enqueue.
func (w *dueWatcher) sayBusy(ctx context.Context) error {
	now := time.Now()
	took := now.Sub(w.measuredAt)
	if took < busyMeasured {
		return nil
	}
	ended := w.ended()
	rate := float64(ended-w.before) / took.Seconds()
	w.before, w.measuredAt = ended, now
	if rate < queueRate || now.Sub(w.saidAt) < busySaid {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if rate < busyRate && now.Sub(w.queuedAt) >= queueLasts {
		queued, err := w.queued(bounded)
		if err != nil || queued < queueMost {
			return err
		}
		w.queuedAt = now
	}
	var said bool
	if err := w.pool.QueryRow(bounded, sayStatement, busyLasts.Seconds(), (busyLasts - busySaid).Seconds()).Scan(&said); err != nil {
		return fmt.Errorf("saying that due deliveries are looked for: %w", err)
	}
	if said {
		w.saidAt = now
	}
	return nil
}

// sayStatement says for $1 seconds that workers look all the time, unless that is said for $2 seconds anyway, and returns whether it is
// said. Where somebody has the settings locked it is not, and tried again later: looking for deliveries must not wait for that.
const sayStatement = `
	with unsaid as (
	    select from webhook_settings where watched_until < now() + $2 * interval '1 second' for no key update skip locked
	), said as (
	    update webhook_settings set watched_until = now() + $1 * interval '1 second' where exists (select from unsaid) returning true
	)
	select exists (select from said) or exists (select from webhook_settings where watched_until >= now() + $2 * interval '1 second')`

// queuedToNotify counts the transactions of the whole cluster that wait until others that notify have committed: PostgreSQL takes
// a lock for that which is of no database (PreCommit_Notify in its async.c).
func queuedToNotify(pool *pgxpool.Pool) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		var queued int
		if err := pool.QueryRow(ctx, `
			select count(*)
			  from pg_locks
			 where locktype = 'object' and database = 0 and classid = 'pg_database'::regclass and objid = 0 and not granted`).Scan(&queued); err != nil {
			return 0, fmt.Errorf("counting transactions that wait to notify: %w", err)
		}
		return queued, nil
	}
}

// dueStatement notifies if a delivery is due, and returns in how many seconds the next one is, $2 at most.
// Naming all priorities, and the order, makes the fetching index find the first of each without reading the others.
const dueStatement = `
	with next as (
	    select (select j.scheduled_at
	              from river_job j
	             where j.state = 'available' and j.queue = $1 and j.priority = p.priority and j.scheduled_at > now()
	             order by j.scheduled_at
	             limit 1) as coming,
	           (select j.scheduled_at
	              from river_job j
	             where j.state = 'available' and j.queue = $1 and j.priority = p.priority and j.scheduled_at <= now()
	             order by j.scheduled_at
	             limit 1) as due
	      from generate_series(1, 4) as p (priority)
	)
	select coalesce(extract(epoch from min(coming) - now()), $2)::double precision,
	       case when min(due) is not null then ` + wakeWorkers + ` end
	  from next`

// look notifies the workers if a delivery is due, and returns how long to wait until the next look: until
// the next delivery is due, if that is within dueInterval.
func (w *dueWatcher) look(ctx context.Context) (time.Duration, error) {
	bounded, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var seconds float64
	err := w.pool.QueryRow(bounded, dueStatement, Queue, dueInterval.Seconds()).Scan(&seconds, nil)
	if err != nil {
		return 0, fmt.Errorf("looking for due deliveries: %w", err)
	}
	// A millisecond later, so that the clock's rounding does not make the look come too early.
	wait := time.Duration(seconds*float64(time.Second)) + time.Millisecond
	return min(max(wait, dueLeast), dueInterval), nil
}
