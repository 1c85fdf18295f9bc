package jobs

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func newRetention(t *testing.T, keep time.Duration) (*retentionWorker, *pgxpool.Pool) {
	t.Helper()
	pool := testdb.New(t)
	return &retentionWorker{pool: pool, logger: slog.New(slog.DiscardHandler), retention: Retention{Events: -1, Attempts: keep}}, pool
}

// fillLog puts attempts of an age on record.
func fillLog(t *testing.T, pool *pgxpool.Pool, n int, age string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `
		insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
		select gen_random_uuid(), 1, 1, 'schedule', 'delivered', 'c', now() - $2::text::interval from generate_series(1, $1)`, n, age)
	require.NoError(t, err)
}

func rowsOf(t *testing.T, pool *pgxpool.Pool, table string) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n))
	return n
}

// What nobody could move to a partition of its own is removed from the default one.
func TestRetentionOfTheDefaultPartition(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]time.Duration{"short": time.Hour, "long": 90 * 24 * time.Hour, "for ever": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, pool := newRetention(t, keep)
			fillLog(t, pool, 2*retentionBatch+1, "100 days")
			fillLog(t, pool, 10, "-60 days")
			require.Equal(t, 2*retentionBatch+11, rowsOf(t, pool, "webhook_delivery_log_default"))
			removed, err := w.removeAttempts(t.Context())
			require.NoError(t, err)
			if keep < 0 {
				require.Zero(t, removed)
				require.Equal(t, 2*retentionBatch+11, rowsOf(t, pool, "webhook_delivery_log_default"))
				return
			}
			require.EqualValues(t, 2*retentionBatch+1, removed)
			require.Equal(t, 10, rowsOf(t, pool, "webhook_delivery_log_default"))
		})
	}
}

// The partition of the time before there were weeks has no beginning: its old rows go one by one, and in the
// end it goes itself.
func TestRetentionOfTheFirstPartition(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ends    string
		rows    string
		removed int
		dropped int
		left    int
	}{
		"it is young still": {`date_trunc('week', now(), 'UTC')`, "80 days", 100, 0, 10},
		"it is old":         {`now() - interval '95 days'`, "96 days", 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, pool := newRetention(t, 90*24*time.Hour)
			fillLog(t, pool, 100, "100 days")
			fillLog(t, pool, 10, test.rows)
			_, err := pool.Exec(t.Context(), `
				do $$
				begin
				    alter table webhook_delivery_log detach partition webhook_delivery_log_default;
				    alter table webhook_delivery_log_default rename to webhook_delivery_log_first;
				    create table webhook_delivery_log_default partition of webhook_delivery_log default;
				    execute format('alter table webhook_delivery_log attach partition webhook_delivery_log_first for values from (minvalue) to (%L)', `+test.ends+`);
				end
				$$`)
			require.NoError(t, err)
			made, err := w.makePartitions(t.Context())
			require.NoError(t, err)
			require.Zero(t, made)
			dropped, err := w.dropPartitions(t.Context())
			require.NoError(t, err)
			require.Equal(t, test.dropped, dropped)
			removed, err := w.removeAttempts(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, test.removed, removed)
			require.Equal(t, test.left, rowsOf(t, pool, "webhook_delivery_log"))
			require.Equal(t, 5-test.dropped, rowsOf(t, pool, "webhook_delivery_log_partitions"))
		})
	}
}

// Somebody reads the log for long: a try ends after a second, and the pause after it with the worker.
func TestChangePartitionsGivesUpSoon(t *testing.T) {
	t.Parallel()
	w, pool := newRetention(t, time.Hour)
	reader, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = reader.Exec(t.Context(), `lock table webhook_delivery_log in access share mode`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := w.changePartitions(ctx, `select webhook_drop_log_partitions('infinity')`)
		done <- err
	}()
	waiting := func() bool {
		return rowsOf(t, pool, `pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == 1
	}
	require.Eventually(t, waiting, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return !waiting() }, 5*time.Second, time.Millisecond)
	require.Empty(t, done)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NoError(t, reader.Rollback(t.Context()))

	_, err = w.changePartitions(t.Context(), `select 1 / 0`)
	require.ErrorContains(t, err, "division by zero", "at once")
	dropped, err := w.changePartitions(t.Context(), `select webhook_drop_log_partitions('infinity')`)
	require.NoError(t, err)
	require.Equal(t, 3, dropped)
}
