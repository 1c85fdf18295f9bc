package jobs

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestOldJobsAreRemovedAsRiverWould(t *testing.T) {
	t.Parallel()
	now := time.Now()
	all := riverdriver.JobDeleteBeforeParams{
		CancelledDoDelete: true, CancelledFinalizedAtHorizon: now.Add(-3 * time.Hour),
		CompletedDoDelete: true, CompletedFinalizedAtHorizon: now.Add(-time.Hour),
		DiscardedDoDelete: true, DiscardedFinalizedAtHorizon: now.Add(-2 * time.Hour),
		Max: 100,
	}
	none := all
	none.CancelledDoDelete, none.CompletedDoDelete, none.DiscardedDoDelete = false, false, false
	dead := none
	dead.DiscardedDoDelete = true
	few := all
	few.Max = 5
	for name, tt := range map[string]struct {
		params  riverdriver.JobDeleteBeforeParams
		removed int
	}{
		"all states": {all, 4 + 8 + 6},
		"none":       {none, 0},
		"dead ones":  {dead, 6},
		"a batch":    {few, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rivers, leftByRiver := removeOldJobsBy(t, now, &tt.params, func(pool *pgxpool.Pool) riverdriver.Driver[pgx.Tx] { return riverpgxv5.New(pool) })
			ours, left := removeOldJobsBy(t, now, &tt.params, func(pool *pgxpool.Pool) riverdriver.Driver[pgx.Tx] {
				return &driver{Driver: riverpgxv5.New(pool), pool: pool}
			})
			require.Equal(t, tt.removed, ours)
			require.Equal(t, rivers, ours)
			if tt.params.Max > tt.removed { // else others may go first
				require.Equal(t, leftByRiver, left)
			}
		})
	}
}

// removeOldJobsBy removes jobs by a driver, and says how many and which are left.
func removeOldJobsBy(
	t *testing.T, now time.Time, params *riverdriver.JobDeleteBeforeParams, by func(*pgxpool.Pool) riverdriver.Driver[pgx.Tx],
) (removed int, left []int64) {
	t.Helper()
	pool := testdb.New(t)
	_, err := pool.Exec(t.Context(), `
		insert into river_job (kind, max_attempts, args, state, finalized_at)
		select case when n % 2 = 0 then 'webhook_delivery' else 'other' end, 1, jsonb_build_object('delivery_id', gen_random_uuid()),
		       state::river_job_state, case when ended then $1::timestamptz - n * interval '30 min' - interval '1 s' end
		  from generate_series(0, 9) as n
		 cross join (values ('completed', true), ('cancelled', true), ('discarded', true), ('available', false), ('retryable', false)) as s (state, ended)`, now)
	require.NoError(t, err)
	removed, err = by(pool).GetExecutor().JobDeleteBefore(t.Context(), params)
	require.NoError(t, err)
	rows, err := pool.Query(t.Context(), `select id from river_job order by id`)
	require.NoError(t, err)
	left, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	require.NoError(t, err)
	return removed, left
}

// Where little of much is old, only that is read.
func TestOldJobsAreFoundByTheirTime(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	_, err := pool.Exec(t.Context(), `
		insert into river_job (kind, max_attempts, args, state, finalized_at)
		select 'webhook_delivery', 6, jsonb_build_object('delivery_id', n), case when n % 3 = 0 then 'discarded' else 'completed' end::river_job_state,
		       now() - case when n % 3 = 0 then interval '89 days' * n / 30000 else interval '23 hours' * n / 30000 end
		  from generate_series(1, 30000) as n`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `analyze river_job`)
	require.NoError(t, err)
	day := 24 * time.Hour
	plan := planOf(t, pool, "explain (analyze, timing off, costs off) "+removeOldJobs,
		true, time.Now().Add(-90*day), true, time.Now().Add(-day), true, time.Now().Add(-90*day), 10000)
	require.Equal(t, 3, strings.Count(plan, "river_job_state_and_finalized_at_index"), plan)
	require.NotContains(t, plan, "Rows Removed by Filter", plan)
}
