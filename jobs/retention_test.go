package jobs_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

func TestRunnerRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	for name, forEver := range map[string]bool{"older than it is kept": false, "for ever": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.enqueue(t, completed("old"))
			b.partner(t, user, "acme", nowhere, "*")
			needed := b.enqueue(t, completed("old, but a dead letter needs it"))[0]
			b.exec(t, `update river_job set state = 'discarded', finalized_at = now() where id = $1`, needed.JobID)
			b.exec(t, `update webhook_events set created_at = now() - interval '2 hours'`)
			b.enqueue(t, completed("young"))
			b.exec(t, `
				insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
				select gen_random_uuid(), 1, 1, 'schedule', 'delivered', 'c', now() - interval '2 hours' from generate_series(1, 12000)
				union all
				select gen_random_uuid(), 1, 1, 'schedule', 'failed', 'c', now() - interval '1 minute'`)

			keep := time.Hour
			if forEver {
				keep = -1
			}
			b.run(t, func(cfg *jobs.RunnerConfig) {
				cfg.Retention = jobs.Retention{Completed: time.Hour, DeadLetters: time.Hour, Cancelled: time.Hour, Events: keep, Attempts: keep}
				cfg.Sender = b.sender
			})
			require.Eventually(t, func() bool {
				return b.count(t, "river_job where kind = 'webhook_retention' and state = 'completed'") == 1
			}, waitFor, look)
			if forEver {
				require.Equal(t, 3, b.count(t, "webhook_events"))
				require.Equal(t, 12000, b.count(t, "webhook_delivery_log where outcome = 'delivered'"))
				return
			}
			require.Equal(t, 2, b.count(t, "webhook_events where event_id <> 'old'"))
			require.Zero(t, b.count(t, "webhook_events where event_id = 'old'"))
			require.Zero(t, b.count(t, "webhook_delivery_log where outcome = 'delivered' and started_at < now() - interval '1 hour'"))
			require.Equal(t, 1, b.count(t, "webhook_delivery_log where outcome = 'failed' and job_id = 1"))
		})
	}
}
