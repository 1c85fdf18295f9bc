package jobs_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

func TestEraseUser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	slow := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		w.WriteHeader(http.StatusOK)
	})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	b.partner(t, user, "fast", newEndpoint(t, status(http.StatusOK)).URL, "*")
	b.partner(t, user, "slow", slow.URL, "*")
	b.partner(t, "other", "fast", newEndpoint(t, status(http.StatusOK)).URL, "*")
	b.exec(t, `insert into webhook_role_users values ('app', $1), ('app', 'other')`, user)
	b.run(t, nil)
	b.enqueue(t, completed("e1"))
	b.enqueue(t, &jobs.Event{ID: "e1", UserID: "other", Type: "call.completed", Payload: []byte(`{}`)})
	<-arrived
	require.Eventually(t, func() bool { return b.count(t, "webhook_delivery_queue where status = 'delivered'") == 2 }, waitFor, look)

	deliveries := b.operator(t)
	counted, err := deliveries.CountUser(t.Context(), user)
	require.NoError(t, err)
	require.Equal(t, &jobs.Erasure{Partners: 2, Deliveries: 2, Events: 1, Attempts: 2}, counted)

	// An application's transaction that has enqueued, and sees the partners still.
	open, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = b.enqueuer.EnqueueTx(t.Context(), open, completed("e2"))
	require.NoError(t, err)

	erased, waited := make(chan *jobs.Erasure, 1), make(chan string, 2)
	go func() {
		erasure, err := deliveries.EraseUser(t.Context(), user, func(what string) { waited <- what })
		if err != nil {
			t.Error(err)
		}
		erased <- erasure
	}()
	require.Equal(t, "transactions that are open", <-waited)
	require.NoError(t, open.Commit(t.Context()))
	require.Equal(t, "tries that are under way", <-waited)
	// It waits for the try that is under way, and for what that writes.
	require.Eventually(t, func() bool { return b.count(t, "river_job where args->>'user_id' = $1", user) == 1 }, waitFor, look)
	letGo()
	erasure := <-erased
	require.GreaterOrEqual(t, erasure.Attempts, int64(2)) // more if a worker took the second event's before
	erasure.Attempts = 2
	require.Equal(t, &jobs.Erasure{Partners: 2, Deliveries: 4, Events: 2, Attempts: 2}, erasure)

	for _, from := range []string{
		"partner_webhooks where user_id = $1", "webhook_events where user_id = $1", "webhook_delivery_log where user_id = $1",
		"webhook_role_users where user_id = $1", `webhook_delivery_queue where "userId" = $1`,
	} {
		require.Zero(t, b.count(t, from, user), from)
		require.Equal(t, 1, b.count(t, from, "other"), from)
	}
	again, err := deliveries.EraseUser(t.Context(), user, func(string) {})
	require.NoError(t, err)
	require.Equal(t, &jobs.Erasure{}, again)
}

// A job whose worker died is given back under another id, also while its erasure waits for it.
func TestEraseUserWhoseJobIsGivenBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	b.enqueue(t, completed("e1"))
	b.exec(t, `update river_job set state = 'running', attempt = 1, attempted_at = now(), attempted_by = array['dead']`)
	erasure, err := b.operator(t).EraseUser(t.Context(), user, func(what string) {
		if what != "tries that are under way" {
			return // it may be transactions of other tests
		}
		b.exec(t, `
			with gone as (delete from river_job returning *)
			insert into river_job (kind, queue, max_attempts, args, state)
			select kind, queue, max_attempts, args, 'available' from gone`)
	})
	require.NoError(t, err)
	require.Equal(t, int64(1), erasure.Deliveries)
	require.Zero(t, b.count(t, "river_job where kind = 'webhook_delivery'"))
}
