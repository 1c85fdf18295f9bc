package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

const (
	settlementInterval = 5 * time.Minute
	settlementTimeout  = 10 * time.Minute
	// settlementStep is how much of the log is compared with its jobs in one transaction.
	settlementStep = 6 * time.Hour
)

// settlementArgs are the River arguments of the periodic job that makes the attempt log agree with the jobs:
// a worker that died left attempts open, and River ends jobs by itself, such as the one that killed its
// worker at its last try, or one that an operator cancels in River UI.
type settlementArgs struct{}

// Kind is the job kind that River finds the worker by.
func (settlementArgs) Kind() string { return "webhook_settlement" }

// InsertOpts keeps the job off the deliveries' queue, and from queueing up when no worker runs.
func (settlementArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       maintenanceQueue,
		MaxAttempts: 1,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}},
	}
}

func settlementSchedule() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(settlementInterval),
		func() (river.JobArgs, *river.InsertOpts) { return settlementArgs{}, nil },
		&river.PeriodicJobOpts{RunOnStart: true})
}

// settlementWorker makes the attempt log agree with the jobs.
type settlementWorker struct {
	river.WorkerDefaults[settlementArgs]

	pool   *pgxpool.Pool
	logger *slog.Logger
	logged bool          // attempts are recorded
	after  time.Duration // an attempt is over by then, or its worker is gone
	keep   time.Duration // how long attempts are kept; negative: for ever
}

// Timeout is River's bound on one run.
func (w *settlementWorker) Timeout(*river.Job[settlementArgs]) time.Duration {
	return settlementTimeout
}

// Work goes through the log from where the last run came to until now, less the time that an attempt may
// take. Each part of the log is looked at once.
func (w *settlementWorker) Work(ctx context.Context, _ *river.Job[settlementArgs]) error {
	for {
		more, err := w.step(ctx)
		if err != nil {
			w.logger.ErrorContext(ctx, "attempts not settled", slog.String("error", err.Error()))
		}
		if err != nil || !more {
			return err
		}
	}
}

// step settles the next part, and says whether there is more.
func (w *settlementWorker) step(ctx context.Context) (bool, error) {
	var settled pgtype.Timestamptz // an operator may set it to -infinity
	var from, to, horizon time.Time
	var closed, added int64
	err := pgx.BeginTxFunc(ctx, w.pool, pgx.TxOptions{BeginQuery: beginSettlement}, func(tx pgx.Tx) error {
		var alone bool
		if err := tx.QueryRow(ctx, `select pg_try_advisory_xact_lock(`+settlementLock+`)`).Scan(&alone); err != nil {
			return err
		}
		if !alone {
			return pgx.ErrNoRows
		}
		err := tx.QueryRow(ctx, nextPart, settlementStep, w.after).Scan(&settled, &from, &to, &horizon)
		if err != nil {
			return err
		}
		closings, err := tx.Exec(ctx, closeAbandoned, from, to)
		if err != nil {
			return err
		}
		closed = closings.RowsAffected()
		if w.logged {
			additions, err := tx.Exec(ctx, addUnrecorded, from, to, max(w.keep, 0), w.keep < 0)
			if err != nil {
				return err
			}
			added = additions.RowsAffected()
		}
		if err := tx.QueryRow(ctx, firstOpen, from, to).Scan(&to); err != nil {
			return err
		}
		said, err := tx.Exec(ctx, `update webhook_settings set log_settled_until = $1 where log_settled_until = $2`, to, settled)
		if err == nil && said.RowsAffected() == 0 {
			return errSetMeanwhile
		}
		return err
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil // it is settled, or another worker is at it
	case errors.Is(err, errSetMeanwhile):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("settling webhook_delivery_log: %w", err)
	}
	if closed+added > 0 {
		w.logger.WarnContext(ctx, "attempts settled that no worker had closed",
			slog.Int64("closed", closed), slog.Int64("added", added))
	}
	return to.After(from) && to.Before(horizon), nil
}

// errSetMeanwhile is why a step is taken back: an operator, or a worker of an earlier version, has set how far the settlement has come.
var errSetMeanwhile = errors.New("webhook_settings.log_settled_until was set meanwhile")

// beginSettlement begins a step. Compiling its statements would take longer than they do; what waits for a lock is tried again when
// the next settlement is due.
const beginSettlement = `begin; set local jit = off; set local lock_timeout = '30s'`

// settlementLock is the SQL expression of the advisory lock's key that a step holds. The row that says how far the settlement has
// come is locked for no longer than its update takes: workers write to it each second.
const settlementLock = `hashtextextended('webhook-worker settlement ' || ` + ownTables + `, 0)`

// nextPart is how far the settlement has come, from and until when to settle now, and until when in the end. There is nothing to
// settle before the first attempt and the first job that ended.
const nextPart = `
	with part as (
	    select s.log_settled_until as settled_until,
	           greatest(s.log_settled_until, coalesce(least(
	               (select min(started_at) from webhook_delivery_log),
	               (select min(finalized_at) from river_job where state = 'cancelled' and finalized_at is not null),
	               (select min(finalized_at) from river_job where state = 'completed' and finalized_at is not null),
	               (select min(finalized_at) from river_job where state = 'discarded' and finalized_at is not null)),
	               now() - $2::interval)) as begins_at,
	           now() - $2::interval as horizon
	      from webhook_settings s
	     where s.log_settled_until < now() - $2::interval
	)
	select settled_until, begins_at, least(begins_at + $1::interval, horizon), horizon from part`

// River's words for a job whose worker it lost.
const rescued = `'Stuck job rescued by JobRescuer'`

// closeAbandoned closes what a worker left open. What a job keeps of its outcome is of its last try; of an
// earlier one it keeps the error, if it was known. An attempt that may still be under way stays open.
const closeAbandoned = `
	with open as (
	    select l.started_at, l.attempt_id, j.metadata->'output' as output, own.error,
	           case when last and j.state = 'completed' then 'delivered'
	                when own.error is null or own.error = ` + rescued + ` then 'lost'
	                when last and l.attempt = j.attempt then 'output'
	                else 'failed'
	           end as verdict
	      from webhook_delivery_log l
	      left join river_job j on j.id = l.job_id and j.kind = 'webhook_delivery'
	      left join lateral (select e->>'error' as error from unnest(j.errors) as e where (e->>'attempt')::int = l.attempt limit 1) as own on true
	     cross join lateral (
	           select not exists (
	               select from webhook_delivery_log later
	                where later.delivery_id = l.delivery_id and later.job_id = l.job_id and later.started_at > l.started_at)) as whether (last)
	     where l.started_at >= $1 and l.started_at < $2
	       and l.outcome = 'sending'
	       and not coalesce(j.state = 'running' and j.attempt = l.attempt, false)
	)
	update webhook_delivery_log l
	   set outcome = case verdict when 'output' then coalesce(output->>'outcome', 'failed') else verdict end,
	       response_status = case when verdict in ('delivered', 'output') then (output->>'response_status')::smallint end,
	       error_kind = case verdict when 'output' then coalesce(output->>'error_kind', 'internal') when 'delivered' then null else 'internal' end,
	       error = case verdict
	                   when 'output' then coalesce(output->>'error', open.error)
	                   when 'failed' then left(open.error, 1024)
	                   when 'lost' then 'the worker ended before the answer was on record'
	               end
	  from open
	 where l.started_at = open.started_at and l.attempt_id = open.attempt_id
	   and l.started_at >= $1 and l.started_at < $2`

// addUnrecorded adds the attempts that a job has an error of and the log has nothing, because the worker died
// before it wrote any, or never understood the job; and the end of jobs that were cancelled in River. What a
// job says may be anything then. What the log has of a job is summed up, which PostgreSQL does for each job by the index of
// deliveries: it might read the whole log for a join.
const addUnrecorded = `
	with found as materialized (
	    select j.id, j.state, j.attempt, j.errors, j.attempted_by, j.created_at, j.finalized_at,
	           ` + deliveryID + ` as delivery_id,
	           case when j.args->>'partner_id' ~* ` + uuidPattern + ` then (j.args->>'partner_id')::uuid end as partner_id,
	           j.args->>'user_id' as user_id, j.args->>'event_id' as event_id, j.args->>'event_type' as event_type,
	           case when j.metadata->>'trigger' in ('replay', 'recover', 'manual', 'test') then j.metadata->>'trigger' else 'schedule' end as trigger
	      from river_job j
	     where j.kind = 'webhook_delivery'
	       and j.state in ('cancelled', 'completed', 'discarded')
	       and j.finalized_at >= $1 and j.finalized_at < $2
	       and (j.errors is not null or j.state = 'cancelled')
	), nameless as (
	    select job_id, ` + summedUp + `
	      from webhook_delivery_log
	     where delivery_id is null
	     group by job_id
	), ended as (
	    select found.id, state, attempt, errors, attempted_by, created_at, finalized_at, delivery_id, partner_id, user_id, event_id, event_type, trigger,
	           coalesce(log.attempts, nameless.attempts, '{}') as attempts_recorded,
	           exists (select from unnest(coalesce(log.cancelled_at, nameless.cancelled_at)) as at
	                    where at between found.finalized_at - interval '1 minute' and found.finalized_at + interval '1 minute') as cancelling_recorded
	      from found
	     cross join lateral (
	           select ` + summedUp + `
	             from webhook_delivery_log
	            where delivery_id = found.delivery_id and job_id = found.id) as log
	      left join nameless on found.delivery_id is null and nameless.job_id = found.id
	), unrecorded as (
	    select ended.id, (e->>'attempt')::smallint as attempt, ended.trigger,
	           case when e->>'error' = ` + rescued + ` then 'lost' else 'failed' end as outcome,
	           case when e->>'error' = ` + rescued + ` then 'the worker ended before the attempt was on record' else left(e->>'error', 1024) end as error,
	           (e->>'at')::timestamptz as at
	      from ended
	     cross join lateral unnest(ended.errors) as e
	     where (e->>'attempt')::smallint <> all (attempts_recorded)
	     union all
	    select ended.id, ended.attempt, 'manual', 'cancelled', 'cancelled in River', ended.finalized_at
	      from ended
	     where ended.state = 'cancelled'
	       and coalesce(ended.errors[array_upper(ended.errors, 1)]->>'error' not like 'JobCancelError%', true)
	       and not cancelling_recorded
	)
	insert into webhook_delivery_log
	       (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger,
	        outcome, error_kind, error, client_id, started_at)
	select gen_random_uuid(), ended.delivery_id, ended.id, ended.user_id, ended.partner_id, ended.event_id, ended.event_type,
	       u.attempt, u.trigger, u.outcome, 'internal', u.error,
	       coalesce(ended.attempted_by[least(u.attempt, cardinality(ended.attempted_by))], 'unknown'), u.at
	  from unrecorded u
	  join ended using (id)
	 where $4 or u.at > now() - $3::interval -- what retention has removed was on record`

// summedUp are the tries of a job that the log has, without those that a shutdown gave back, and when it says that the job was
// cancelled.
const summedUp = `array_agg(attempt) filter (where error_kind is distinct from 'shutdown') as attempts,
	           array_agg(started_at) filter (where outcome = 'cancelled') as cancelled_at`

// uuidPattern is what ids look like, in any of the forms that both PostgreSQL and a worker take; letters may be of either case.
const uuidPattern = `'^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\})$'`

// deliveryID is the delivery of job j; null if it is no UUID, which would end the statement.
const deliveryID = `case when j.args->>'delivery_id' ~* ` + uuidPattern + ` then (j.args->>'delivery_id')::uuid end`

// firstOpen is until when everything is settled.
const firstOpen = `
	select coalesce(min(started_at), $2)
	  from webhook_delivery_log
	 where started_at >= $1 and started_at < $2 and outcome = 'sending'`
