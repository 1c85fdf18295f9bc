package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// driver is River's driver, which in a crowd fetches only what overtakes, finds old jobs by an index, rescues
// nothing at first, and is seen to fetch.
type driver struct {
	riverdriver.Driver[pgx.Tx]

	pool    *pgxpool.Pool
	crowd   *crowd
	fetches *fetches
	opened  time.Time
}

// GetExecutor returns the executor of River's statements.
func (d *driver) GetExecutor() riverdriver.Executor {
	return &watchedExecutor{&executor{d.Driver.GetExecutor(), d.pool, d.crowd, d.opened}, d.fetches}
}

type executor struct {
	riverdriver.Executor

	pool   *pgxpool.Pool
	crowd  *crowd
	opened time.Time
}

// firstStatement counts what may be fetched of a priority, up to $3. The order makes it go by the fetching index: without,
// PostgreSQL may read the table from its start, for there seems to be plenty.
const firstStatement = `
	select count(*)
	  from (select from river_job
	         where state = 'available' and queue = $1 and priority = $2 and scheduled_at <= now()
	         order by scheduled_at
	         limit $3) as first`

// JobGetAvailable fetches jobs. River's order puts what overtakes first: where as many are fetched as there are of it,
// nothing else is.
func (e *executor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	if params.Queue != Queue || !e.crowd.narrows() {
		return e.Executor.JobGetAvailable(ctx, params)
	}
	var first int
	if err := e.pool.QueryRow(ctx, firstStatement, Queue, priorityFirst, params.MaxToLock).Scan(&first); err != nil {
		return nil, fmt.Errorf("looking for deliveries that overtake: %w", err)
	}
	bounded := *params
	bounded.MaxToLock = e.crowd.fetchLimit(params.MaxToLock, first)
	if bounded.MaxToLock == 0 {
		return &riverdriver.JobGetAvailableResult{}, nil
	}
	return e.Executor.JobGetAvailable(ctx, &bounded)
}

// removeOldJobs removes jobs, of all kinds as River does, that were finalized before a time of their state, at most $7.
// River's own statement asks for the oldest ids of all states at once. PostgreSQL, which takes state and time for unrelated,
// expects many of them and reads the whole table for the few that there are.
const removeOldJobs = `
	delete from river_job
	 where id = any (array(
	       (select id from river_job where $1 and state = 'cancelled' and finalized_at < $2 order by finalized_at limit $7)
	        union all
	       (select id from river_job where $3 and state = 'completed' and finalized_at < $4 order by finalized_at limit $7)
	        union all
	       (select id from river_job where $5 and state = 'discarded' and finalized_at < $6 order by finalized_at limit $7)
	        limit $7))
	   and state in ('cancelled', 'completed', 'discarded') and finalized_at is not null -- River UI may have retried it meanwhile`

// JobDeleteBefore removes old jobs, and says how many.
func (e *executor) JobDeleteBefore(ctx context.Context, params *riverdriver.JobDeleteBeforeParams) (int, error) {
	tag, err := e.pool.Exec(ctx, removeOldJobs,
		params.CancelledDoDelete, params.CancelledFinalizedAtHorizon,
		params.CompletedDoDelete, params.CompletedFinalizedAtHorizon,
		params.DiscardedDoDelete, params.DiscardedFinalizedAtHorizon, params.Max)
	if err != nil {
		return 0, fmt.Errorf("removing old jobs: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// JobGetStuck finds jobs to rescue, which costs each a try. Where nobody has worked for long, all that dead workers left
// would be among them at once; the reclaimer gives it back without.
func (e *executor) JobGetStuck(ctx context.Context, params *riverdriver.JobGetStuckParams) ([]*rivertype.JobRow, error) {
	if time.Since(e.opened) < rescueMargin {
		return nil, nil
	}
	return e.Executor.JobGetStuck(ctx, params)
}
