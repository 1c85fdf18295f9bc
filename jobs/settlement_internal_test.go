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
	require.Equal(t, 1, rowsOf(t, pool, `webhook_delivery_log where outcome = 'sending'`), "the step was taken back")
	var settled time.Time
	require.NoError(t, pool.QueryRow(t.Context(), `select log_settled_until from webhook_settings`).Scan(&settled))
	require.True(t, set.Equal(settled), "what was set counts")
	_, err = worker.step(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, rowsOf(t, pool, `webhook_delivery_log where outcome = 'lost'`))
}

func TestSettlementFromTheBeginning(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	worker := &settlementWorker{pool: pool, logger: slog.New(slog.DiscardHandler), logged: true, after: time.Minute, keep: -1}
	_, err := pool.Exec(t.Context(), `
		insert into river_job (kind, queue, max_attempts, attempt, args, state, finalized_at, errors)
		select 'webhook_delivery', 'webhooks', 3, 3, jsonb_build_object('delivery_id', id), 'discarded', now() - interval '30 minutes', array[
		       '{"attempt": 1, "error": "e", "at": "2026-01-01T00:00:00Z"}', '{"attempt": 2, "error": "e", "at": "2026-01-01T00:01:00Z"}', '{"attempt": 3, "error": "e", "at": "2026-01-01T00:02:00Z"}']::jsonb[]
		  from unnest(array['6B3AB0A4-9E8C-4A5B-8F0C-0D6D1B0B0B01', '6b3ab0a49e8c4a5b8f0c0d6d1b0b0b02', '{6b3ab0a4-9e8c-4a5b-8f0c-0d6d1b0b0b03}']) as id;
		insert into webhook_delivery_log (attempt_id, delivery_id, job_id, attempt, trigger, outcome, error_kind, client_id, started_at)
		select gen_random_uuid(), (args->>'delivery_id')::uuid, j.id, n, 'schedule', case n when 1 then 'lost' else 'failed' end,
		       case n when 1 then 'shutdown' else 'http_status' end, 'worker', now() - interval '40 minutes'
		  from river_job j, generate_series(1, 2) as n;
		update webhook_settings set log_settled_until = '-infinity'`)
	require.NoError(t, err)
	for more := true; more; {
		more, err = worker.step(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, 1, rowsOf(t, pool, `webhook_settings where log_settled_until > '-infinity'`))
	require.Equal(t, 3, rowsOf(t, pool, `webhook_delivery_log where outcome = 'failed' and attempt = 1`), "the shutdown gave the try back")
	require.Equal(t, 3, rowsOf(t, pool, `webhook_delivery_log where outcome = 'failed' and attempt = 2`), "it was on record")
	require.Equal(t, 3, rowsOf(t, pool, `webhook_delivery_log where outcome = 'failed' and attempt = 3`))
}
