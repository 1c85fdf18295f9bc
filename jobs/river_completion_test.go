package jobs

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// ending is how a job is said to have ended.
type ending struct {
	before   string // its row's state by then, and metadata
	metadata string
	is       rivertype.JobState
	attempt  *int
	failure  string
	later    time.Duration // until it is tried again
	output   string        // empty: there is none
}

func TestJobsEndAsRiverWouldEndThem(t *testing.T) {
	t.Parallel()
	output := `{"output": {"outcome": "delivered"}}`
	endings := []ending{
		{before: "running", metadata: `{}`, is: rivertype.JobStateCompleted, output: output},
		{before: "running", metadata: `{"trigger": "replay", "output": {"outcome": "failed", "error": "x"}}`, is: rivertype.JobStateCompleted, output: output},
		{before: "running", metadata: `{"cancel_attempted_at": "2026-01-01T00:00:00Z"}`, is: rivertype.JobStateCompleted, output: output},
		{before: "running", metadata: `{}`, is: rivertype.JobStateCompleted},
		{before: "available", metadata: `{}`, is: rivertype.JobStateCompleted, output: output},
		{before: "cancelled", metadata: `{}`, is: rivertype.JobStateCompleted, output: output},
		{before: "completed", metadata: `{"x": 1}`, is: rivertype.JobStateCompleted, output: output},
		{before: "gone", is: rivertype.JobStateCompleted, output: output},
		{before: "running", metadata: `{}`, is: rivertype.JobStateRetryable, failure: `{"error": "no"}`, later: time.Minute, output: output},
		{before: "running", metadata: `{"cancel_attempted_at": "2026-01-01T00:00:00Z"}`, is: rivertype.JobStateRetryable, failure: `{"error": "no"}`, later: time.Minute},
		{before: "running", metadata: `{}`, is: rivertype.JobStateScheduled, attempt: new(0), later: time.Minute, output: `{"snoozes": 1}`},
		{before: "running", metadata: `{}`, is: rivertype.JobStateDiscarded, failure: `{"error": "no"}`},
	}
	now := time.Now().Truncate(time.Microsecond)
	rivers, theirRows := endJobs(t, now, endings, func(pool *pgxpool.Pool) riverdriver.Driver[pgx.Tx] { return riverpgxv5.New(pool) })
	ours, rows := endJobs(t, now, endings, func(pool *pgxpool.Pool) riverdriver.Driver[pgx.Tx] {
		return &driver{Driver: riverpgxv5.New(pool), pool: pool}
	})
	require.Equal(t, theirRows, rows)
	require.Equal(t, rivers, ours)
	require.Len(t, ours, len(endings)-1, "one is gone")
	require.Equal(t, rivertype.JobStateCompleted, ours[1])
}

// endJobs puts on record by a driver how jobs ended, numbered from 1, and returns their states as it says, and their rows.
func endJobs(
	t *testing.T, now time.Time, endings []ending, by func(*pgxpool.Pool) riverdriver.Driver[pgx.Tx],
) (states map[int64]rivertype.JobState, rows []string) {
	t.Helper()
	pool := testdb.New(t)
	params := &riverdriver.JobSetStateIfRunningManyParams{Now: &now}
	for i, e := range endings {
		id := int64(i + 1)
		if e.before != "gone" {
			_, err := pool.Exec(t.Context(), `
				insert into river_job (id, kind, max_attempts, attempt, args, metadata, state, scheduled_at, created_at, attempted_at, finalized_at)
				values ($1, 'webhook_delivery', 6, 1, jsonb_build_object('delivery_id', $1::bigint), $2, $3::text::river_job_state, $4, $4, $4,
				        case when $3 in ('completed', 'cancelled') then $4::timestamptz end)`, id, e.metadata, e.before, now.Add(-time.Minute))
			require.NoError(t, err)
		}
		var finalizedAt, scheduledAt *time.Time
		if slices.Contains([]rivertype.JobState{rivertype.JobStateCompleted, rivertype.JobStateDiscarded}, e.is) {
			finalizedAt = &now
		}
		if e.later > 0 {
			scheduledAt = new(now.Add(e.later))
		}
		params.ID = append(params.ID, id)
		params.State = append(params.State, e.is)
		params.Attempt = append(params.Attempt, e.attempt)
		params.FinalizedAt = append(params.FinalizedAt, finalizedAt)
		params.ScheduledAt = append(params.ScheduledAt, scheduledAt)
		params.ErrData = append(params.ErrData, raw(e.failure))
		params.MetadataDoMerge = append(params.MetadataDoMerge, e.output != "")
		params.MetadataUpdates = append(params.MetadataUpdates, raw(e.output))
	}
	ended, err := by(pool).GetExecutor().JobSetStateIfRunningMany(t.Context(), params)
	require.NoError(t, err)
	states = map[int64]rivertype.JobState{}
	for _, job := range ended {
		states[job.ID] = job.State
	}
	rows, err = collect(t.Context(), pool, pgx.RowTo[string], `
		select format('%s %s %s %s %s %s %s', id, state, attempt, errors::text, metadata, finalized_at, scheduled_at) from river_job order by id`)
	require.NoError(t, err)
	return states, rows
}

// raw is a JSON text; nil for none.
func raw(text string) []byte {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
