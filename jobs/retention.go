package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

const (
	retentionInterval = time.Hour
	// retentionBatch rows go in one statement, so that no transaction is long.
	retentionBatch = 5000
	// retentionTimeout bounds one run; what it leaves the next one takes.
	retentionTimeout = 30 * time.Minute
	// exactRetention is the longest time that attempts are kept to the hour. Longer ones go with their week,
	// by dropping its partition, which costs nothing and comes up to a week late.
	exactRetention = 4 * 7 * 24 * time.Hour
)

// Retention is how long things are kept; a negative time means for ever.
type Retention struct {
	Completed   time.Duration // delivered jobs
	DeadLetters time.Duration
	Cancelled   time.Duration
	Events      time.Duration // longer if a job needs them
	Attempts    time.Duration // rows of webhook_delivery_log; up to a week longer
}

// retentionArgs are the River arguments of the periodic job that removes old events and attempts, and makes
// room for new attempts. River's cleaner removes old jobs, by removeOldJobs.
type retentionArgs struct{}

// Kind is the job kind that River finds the worker by.
func (retentionArgs) Kind() string { return "webhook_retention" }

// InsertOpts keeps the job off the deliveries' queue. One try: the next hour brings another.
func (retentionArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: maintenanceQueue, MaxAttempts: 1}
}

func retentionSchedule() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(retentionInterval),
		func() (river.JobArgs, *river.InsertOpts) { return retentionArgs{}, nil },
		&river.PeriodicJobOpts{RunOnStart: true})
}

// retentionWorker removes events and attempts that are older than they are kept.
type retentionWorker struct {
	river.WorkerDefaults[retentionArgs]

	pool      *pgxpool.Pool
	logger    *slog.Logger
	retention Retention
}

// Timeout is River's bound on one run.
func (w *retentionWorker) Timeout(*river.Job[retentionArgs]) time.Duration { return retentionTimeout }

// Work makes the log's next partitions and removes what is too old. What fails keeps nothing else from
// being done.
func (w *retentionWorker) Work(ctx context.Context, _ *river.Job[retentionArgs]) error {
	made, makeErr := w.makePartitions(ctx)
	dropped, dropErr := w.dropPartitions(ctx)
	attempts, attemptsErr := w.removeAttempts(ctx)
	events, eventsErr := w.removeEvents(ctx)
	w.logger.DebugContext(ctx, "old rows removed",
		slog.Int("partitions_made", made), slog.Int("partitions_dropped", dropped),
		slog.Int64("attempts", attempts), slog.Int64("events", events))
	err := errors.Join(makeErr, dropErr, attemptsErr, eventsErr)
	if err != nil {
		w.logger.ErrorContext(ctx, "old rows not removed", slog.String("error", err.Error()))
	}
	return err
}

// Old events are locked before it is looked whether jobs need them: a replay that takes one at this moment
// either holds it, and it is skipped, or has committed, and its job is seen by the second statement.
const (
	lockOldEvents = `
		select created_at, user_id, event_id
		  from webhook_events
		 where created_at < now() - $1::interval and (created_at, user_id, event_id) > ($2, $3, $4)
		 order by created_at, user_id, event_id
		 limit $5
		   for update skip locked`
	removeOldEvents = `
		delete from webhook_events e
		 using unnest($1::text[], $2::text[]) as old (user_id, event_id)
		 where e.user_id = old.user_id and e.event_id = old.event_id
		   and not exists (
		       select
		         from unnest(e.delivery_ids) as d (id)
		         join river_job j on j.kind = 'webhook_delivery' and j.args->>'delivery_id' = d.id::text)`
)

// oldEvent is an event that is older than it is kept.
type oldEvent struct {
	CreatedAt time.Time
	UserID    string
	EventID   string
}

// removeEvents removes old events that no job needs, whatever the job's state: a dead letter needs its
// payload.
func (w *retentionWorker) removeEvents(ctx context.Context) (int64, error) {
	if w.retention.Events < 0 {
		return 0, nil
	}
	var (
		removed int64
		last    oldEvent
	)
	for {
		var batch []oldEvent
		err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
			var err error
			batch, err = collect(ctx, tx, pgx.RowToStructByPos[oldEvent], lockOldEvents,
				w.retention.Events, last.CreatedAt, last.UserID, last.EventID, retentionBatch)
			if err != nil || len(batch) == 0 {
				return err
			}
			users, events := make([]string, len(batch)), make([]string, len(batch))
			for i, event := range batch {
				users[i], events[i] = event.UserID, event.EventID
			}
			tag, err := tx.Exec(ctx, removeOldEvents, users, events)
			removed += tag.RowsAffected()
			return err
		})
		if err != nil {
			return removed, fmt.Errorf("removing old events: %w", err)
		}
		if len(batch) < retentionBatch {
			return removed, nil
		}
		last = batch[len(batch)-1]
	}
}

// deleteBatches repeats a statement, which deletes what the argument says, $2 rows at most, until it finds no
// full batch, and counts the rows.
func deleteBatches(ctx context.Context, pool *pgxpool.Pool, statement string, arg any) (int64, error) {
	var deleted int64
	for {
		tag, err := pool.Exec(ctx, statement, arg, retentionBatch)
		deleted += tag.RowsAffected()
		if err != nil || tag.RowsAffected() < retentionBatch {
			return deleted, err
		}
	}
}
