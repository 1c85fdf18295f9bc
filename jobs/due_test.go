package jobs

import (
	"log/slog"
	"testing"
	"time"

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
