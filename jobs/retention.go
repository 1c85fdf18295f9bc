package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

const (
	retentionInterval = time.Hour
	// retentionBatch rows go in one statement, so that no transaction is long.
	retentionBatch = 5000
	// retentionTimeout bounds one run; what it leaves the next one takes.
	retentionTimeout = 30 * time.Minute
)

// Retention is how long things are kept; a negative time means for ever.
type Retention struct {
	Completed   time.Duration // delivered jobs
	DeadLetters time.Duration
	Cancelled   time.Duration
	Events      time.Duration // longer if a job needs them
	Attempts    time.Duration // rows of webhook_delivery_log
}

// retentionArgs are the River arguments of the periodic job that removes old events and attempts. River
// itself removes old jobs.
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

// Work removes what is too old, in batches.
func (w *retentionWorker) Work(ctx context.Context, _ *river.Job[retentionArgs]) error {
	// An event stays as long as a job of it does, whatever that job's state: a dead letter needs its payload.
	events, err := w.remove(ctx, w.retention.Events, `
		delete from webhook_events
		 where (user_id, event_id) in (
		       select e.user_id, e.event_id
		         from webhook_events e
		        where e.created_at < now() - $1::interval
		          and not exists (
		              select
		                from unnest(e.delivery_ids) as d (id)
		                join river_job j on j.kind = 'webhook_delivery' and j.args->>'delivery_id' = d.id::text)
		        order by e.created_at
		        limit $2
		          for update skip locked)`)
	if err != nil {
		return fmt.Errorf("removing old events: %w", err)
	}
	attempts, err := w.remove(ctx, w.retention.Attempts, `
		delete from webhook_delivery_log
		 where (started_at, attempt_id) in (
		       select started_at, attempt_id
		         from webhook_delivery_log
		        where started_at < now() - $1::interval
		        order by started_at
		        limit $2)`)
	if err != nil {
		return fmt.Errorf("removing old attempts: %w", err)
	}
	w.logger.DebugContext(ctx, "old rows removed", slog.Int64("events", events), slog.Int64("attempts", attempts))
	return nil
}

// remove repeats a statement until it finds no full batch, and counts the rows.
func (w *retentionWorker) remove(ctx context.Context, keep time.Duration, statement string) (int64, error) {
	if keep < 0 {
		return 0, nil
	}
	var total int64
	for {
		tag, err := w.pool.Exec(ctx, statement, keep, retentionBatch)
		if err != nil {
			return total, err
		}
		total += tag.RowsAffected()
		if tag.RowsAffected() < retentionBatch {
			return total, nil
		}
	}
}
