package jobs

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestDueWatcherLooksNeitherTooOftenNorTooSeldom(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	watcher := &dueWatcher{pool: pool, logger: slog.New(slog.DiscardHandler)}
	wait, err := watcher.look(t.Context())
	require.NoError(t, err)
	require.Equal(t, dueInterval, wait)
	for name, test := range map[string]struct {
		due         string // when deliveries are due, from n of 1 to 20000
		least, most time.Duration
	}{
		"one each millisecond": {"clock_timestamp() + n * interval '1 millisecond'", dueLeast, dueLeast},
		"in an hour":           {"now() + interval '1 hour'", dueInterval, dueInterval},
	} {
		_, err := pool.Exec(t.Context(), `
			with gone as (delete from river_job)
			insert into river_job (args, kind, max_attempts, queue, state, scheduled_at)
			select '{}', 'webhook_delivery', 6, 'webhooks', 'available', `+test.due+` from generate_series(1, 20000) as n`)
		require.NoError(t, err)
		wait, err := watcher.look(t.Context())
		require.NoError(t, err)
		require.GreaterOrEqual(t, wait, test.least, name)
		require.LessOrEqual(t, wait, test.most, name)
	}
}

// Transactions that notify hold each other up at any rate where the disk is slow: then the worker looks by itself.
func TestDueWatcherSeesThatEnqueuersWaitForEachOther(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	var ended, waiting int
	watcher := &dueWatcher{
		pool: pool, logger: slog.New(slog.DiscardHandler), ended: func() int { return ended },
		queued: func(context.Context) (int, error) { return waiting, nil },
	}
	says := func() bool {
		_, err := pool.Exec(t.Context(), `update webhook_settings set watched_until = '-infinity'`)
		require.NoError(t, err)
		watcher.measuredAt, watcher.saidAt = time.Now().Add(-time.Second), time.Time{}
		ended += queueRate + 1
		require.NoError(t, watcher.sayBusy(t.Context()))
		var watched bool
		require.NoError(t, pool.QueryRow(t.Context(), `select watched_until > now() from webhook_settings`).Scan(&watched))
		return watched
	}
	require.False(t, says(), "nobody waits")
	waiting = queueMost
	require.True(t, says())
	waiting = 0
	require.True(t, says(), "they would again if they were to notify")
	watcher.queuedAt = time.Now().Add(-queueLasts)
	require.False(t, says(), "that was long ago")
}

func TestDueWatcherDoesNotWaitForTheSettings(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	watcher := &dueWatcher{pool: pool, logger: slog.New(slog.DiscardHandler), ended: func() int { return 10 * busyRate }, measuredAt: time.Now().Add(-time.Second)}
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `update webhook_settings set updated_at = now()`)
	require.NoError(t, err)
	require.NoError(t, watcher.sayBusy(t.Context()))
	require.Zero(t, watcher.saidAt)
	require.NoError(t, tx.Rollback(t.Context()))
	watcher.before, watcher.measuredAt = 0, time.Now().Add(-time.Second)
	require.NoError(t, watcher.sayBusy(t.Context()))
	require.NotZero(t, watcher.saidAt)
}

func TestQueuedToNotify(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	var enqueuers sync.WaitGroup
	for range 2 * queueMost {
		conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
		require.NoError(t, err)
		enqueuers.Go(func() {
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for ctx.Err() == nil {
				_, _ = conn.Exec(ctx, `select webhook_wake_workers()`)
			}
		})
	}
	require.Eventually(t, func() bool {
		queued, err := queuedToNotify(pool)(ctx)
		return err == nil && queued >= queueMost
	}, time.Minute, time.Millisecond)
	cancel()
	enqueuers.Wait()
}
