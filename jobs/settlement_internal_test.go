package jobs

import (
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// A step may take long. Meanwhile workers write to the settings, another one settles nothing, and what an operator sets counts.
func TestSettlementHoldsUpNobody(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	worker := &settlementWorker{pool: pool, logger: slog.New(slog.DiscardHandler), logged: true, after: time.Minute, keep: -1}
	_, err := pool.Exec(t.Context(), `
		update webhook_settings set log_settled_until = '-infinity';
		insert into webhook_delivery_log (attempt_id, delivery_id, job_id, attempt, trigger, outcome, client_id, started_at)
		values (gen_random_uuid(), gen_random_uuid(), 7, 1, 'schedule', 'sending', 'dead-worker', now() - interval '30 minutes')`)
	require.NoError(t, err)
	busy, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = busy.Exec(t.Context(), `select from webhook_delivery_log for update`)
	require.NoError(t, err)

	stepped := make(chan error, 1)
	go func() {
		_, err := worker.step(t.Context())
		stepped <- err
	}()
	require.Eventually(t, func() bool {
		return rowsOf(t, pool, `pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == 1
	}, time.Minute, time.Millisecond)

	more, err := worker.step(t.Context())
	require.NoError(t, err)
	require.False(t, more, "another one is at it")
	var set time.Time
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `set local lock_timeout = '1s'`)
		require.NoError(t, err)
		return tx.QueryRow(t.Context(), `update webhook_settings set log_settled_until = now() - interval '1 hour' returning log_settled_until`).Scan(&set)
	}))

	require.NoError(t, busy.Rollback(t.Context()))
	require.NoError(t, <-stepped)
	require.Equal(t, 1, rowsOf(t, pool, `webhook_delivery_log where outcome = 'lost'`))
	var settled time.Time
	require.NoError(t, pool.QueryRow(t.Context(), `select log_settled_until from webhook_settings`).Scan(&settled))
	require.True(t, set.Equal(settled), "what was set counts")
}
