package jobs_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// A broken proxy is no partner's fault: the delivery is put off, on record, and keeps its tries.
func TestWorkBehindABrokenProxy(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	proxy := httptest.NewServer(http.NotFoundHandler())
	at, err := partners.ParseProxyURL(proxy.URL)
	require.NoError(t, err)
	proxy.Close()
	b.sender = partners.NewSender(&partners.SenderConfig{
		Guard: newGuard(), Proxy: at, Timeout: 5 * time.Second, MaxIdle: 1, UserAgent: "webhook-worker/test",
	})
	t.Cleanup(b.sender.Close)
	b.partner(t, user, "acme", "https://example.com/", "*")
	delivery := b.enqueue(t, completed("e1"))[0]

	last := 6 // even on its last try
	job, err := b.work(t, b.store, delivery, last)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateScheduled, job.State)
	require.Equal(t, last-1, job.Attempt, "no try is used")
	require.Empty(t, job.Errors)
	require.WithinRange(t, job.ScheduledAt, time.Now().Add(4*time.Second), time.Now().Add(31*time.Second))
	require.Contains(t, string(job.Output()), "the outbound proxy failed")

	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 1)
	require.Equal(t, jobs.OutcomeFailed, attempts[0].Outcome)
	require.Equal(t, partners.KindInternal, *attempts[0].ErrorKind)
	require.Equal(t, "the outbound proxy failed: dial: connect: connection refused", *attempts[0].Error)

	// It waits longer each time, up to some minutes, whatever the count that it finds.
	for snoozes, within := range map[int][2]time.Duration{40: {79 * time.Second, 481 * time.Second}, -5: {4 * time.Second, 31 * time.Second}} {
		_, err = b.pool.Exec(t.Context(), `
			update river_job set metadata = metadata || jsonb_build_object('snoozes', $2::int), state = 'available' where id = $1`, delivery.JobID, snoozes)
		require.NoError(t, err)
		job, err = b.work(t, b.store, delivery, 1)
		require.NoError(t, err)
		require.Empty(t, job.Errors)
		require.WithinRange(t, job.ScheduledAt, time.Now().Add(within[0]), time.Now().Add(within[1]))
	}

	// But not for ever.
	_, err = b.pool.Exec(t.Context(), `update river_job set metadata = metadata || '{"snoozes": 300}', state = 'available' where id = $1`, delivery.JobID)
	require.NoError(t, err)
	job, err = b.work(t, b.store, delivery, last)
	require.Error(t, err)
	require.Equal(t, rivertype.JobStateDiscarded, job.State)
}
