package jobs_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

func TestRunnerIsAliveWhileItWaits(t *testing.T) {
	t.Parallel()
	// So little patience with its fetching shows what it counts as a reason not to fetch.
	impatient := func(cfg *jobs.RunnerConfig) {
		cfg.PollInterval, cfg.MaxConcurrent = 100*time.Millisecond, 1
		cfg.Sender = partners.NewSender(&partners.SenderConfig{Guard: newGuard(), Timeout: 30 * time.Second, MaxIdle: 1})
		t.Cleanup(cfg.Sender.Close)
	}
	full, paused := setup(t), setup(t)
	e, arrived, answer := newHoldingEndpoint(t)
	full.partner(t, user, "acme", e.URL, "*")
	whoseOnlyPlaceIsTaken := full.runReady(t, impatient)
	full.enqueueMany(t, user, 2)
	<-arrived
	whoseQueueIsPaused := paused.runReady(t, impatient)
	paused.exec(t, `update river_queue set paused_at = now() where name = 'webhooks'`)
	paused.exec(t, `select pg_notify(river_schema || '.river_control', '{"action": "pause", "queue": "webhooks"}') from webhook_settings`)
	require.Eventually(t, func() bool { return whoseQueueIsPaused.Ready() != nil }, waitFor, look)
	require.ErrorIs(t, whoseQueueIsPaused.Ready(), jobs.ErrPaused)

	require.Never(t, func() bool {
		return whoseOnlyPlaceIsTaken.Alive() != nil || whoseOnlyPlaceIsTaken.Ready() != nil || whoseQueueIsPaused.Alive() != nil
	}, 6*time.Second, 50*time.Millisecond)
	close(answer)
	e.requireEachOnce(t, 2)
}

func TestRunnerWhoseQueueIsLockedIsAliveAndNotReady(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.runReady(t, func(cfg *jobs.RunnerConfig) { cfg.PollInterval = 100 * time.Millisecond })
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `lock table river_job in exclusive mode`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.Ready() != nil }, waitFor, look)
	require.ErrorContains(t, r.Ready(), "something may hold a lock on river_job")
	require.NoError(t, r.Alive(), "a new process would wait too")
	require.NoError(t, tx.Rollback(t.Context()))
	require.Eventually(t, func() bool { return r.Ready() == nil }, waitFor, look)
}

func TestRunnerThatHasStoppedTurningIsNotAlive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.runReady(t, nil)
	require.NoError(t, r.Alive())
	release := r.Seize() // as a goroutine does that never comes back
	require.Eventually(t, func() bool { return r.Silence() > 2*time.Second }, waitFor, look)
	r.LetPass(time.Minute)
	require.ErrorContains(t, r.Alive(), "the worker is stuck: holding the worker's locks has stopped for 1m")
	release()
	require.Eventually(t, func() bool { return r.Alive() == nil }, waitFor, look)
}
