package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// completeStatement ends jobs that run. River's own statement reads each once more, for those that run no longer, and
// returns whole rows for subscribers, of which there are none here. The condition on the state is written so that
// PostgreSQL does not look rows up by it: its index is full of those that ran a moment ago.
const completeStatement = `
	update river_job j
	   set state = 'completed', finalized_at = c.finalized_at, metadata = j.metadata || c.metadata::jsonb
	  from unnest($1::bigint[], $2::timestamptz[], $3::text[]) as c (id, finalized_at, metadata)
	 where j.id = c.id and (j.state = 'running') is true
	returning j.id`

// JobSetStateIfRunningMany puts on record how jobs ended. Those that completed go first; with all others, and those of
// them that do not run any more, River does what it always does.
func (e *executor) JobSetStateIfRunningMany(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	completed, err := e.complete(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("completing jobs: %w", err)
	}
	rows := make([]*rivertype.JobRow, 0, len(params.ID))
	others := riverdriver.JobSetStateIfRunningManyParams{Now: params.Now, Schema: params.Schema}
	for i, id := range params.ID {
		if completed[id] {
			rows = append(rows, &rivertype.JobRow{ID: id, State: rivertype.JobStateCompleted, FinalizedAt: params.FinalizedAt[i]})
			continue
		}
		others.ID = append(others.ID, id)
		others.Attempt = append(others.Attempt, params.Attempt[i])
		others.ErrData = append(others.ErrData, params.ErrData[i])
		others.FinalizedAt = append(others.FinalizedAt, params.FinalizedAt[i])
		others.MetadataDoMerge = append(others.MetadataDoMerge, params.MetadataDoMerge[i])
		others.MetadataUpdates = append(others.MetadataUpdates, params.MetadataUpdates[i])
		others.ScheduledAt = append(others.ScheduledAt, params.ScheduledAt[i])
		others.State = append(others.State, params.State[i])
	}
	if len(others.ID) == 0 {
		return rows, nil
	}
	left, err := e.Executor.JobSetStateIfRunningMany(ctx, &others)
	return append(rows, left...), err
}

// complete ends those jobs that completed, and returns which.
func (e *executor) complete(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) (map[int64]bool, error) {
	ids, ends, metadata := make([]int64, 0, len(params.ID)), make([]time.Time, 0, len(params.ID)), make([]string, 0, len(params.ID))
	for i, id := range params.ID {
		if params.State[i] == rivertype.JobStateCompleted && params.FinalizedAt[i] != nil && params.MetadataDoMerge[i] &&
			params.Attempt[i] == nil && params.ErrData[i] == nil && params.ScheduledAt[i] == nil {
			ids, ends, metadata = append(ids, id), append(ends, *params.FinalizedAt[i]), append(metadata, string(params.MetadataUpdates[i]))
		}
	}
	if len(ids) == 0 {
		return map[int64]bool{}, nil
	}
	done, err := collect(ctx, e.pool, pgx.RowTo[int64], completeStatement, ids, ends, metadata)
	if err != nil {
		return nil, err
	}
	completed := make(map[int64]bool, len(done))
	for _, id := range done {
		completed[id] = true
	}
	return completed, nil
}
