package jobs_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// What a partner asks for goes for all its deliveries, also for those that wait for a turn already.
func TestRetryAfterHoldsAllDeliveries(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			first := make(chan struct{}, 1)
			first <- struct{}{}
			e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
				select {
				case <-first:
					time.Sleep(50 * time.Millisecond) // so that others come
					w.Header().Set("Retry-After", "2")
					w.WriteHeader(code)
				default:
				}
			})
			well := newEndpoint(t, status(http.StatusOK))
			acme := b.partner(t, user, "acme", e.URL, "*")
			b.partner(t, user, "well", well.URL, "*")
			b.enqueueMany(t, user, 15)
			b.run(t, func(cfg *jobs.RunnerConfig) { cfg.MaxConcurrent, cfg.PartnerInFlight = 40, 1 })
			well.requireEachOnce(t, 15)
			require.Eventually(t, func() bool { return b.health(t, acme) != nil }, waitFor, look)
			require.Len(t, e.received(), 1)
			b.awaitStatus(t, acme, jobs.StatusDelivered, 15)
			requests := e.received()
			require.Len(t, requests, 16)
			require.GreaterOrEqual(t, requests[1].at.Sub(requests[0].at), 2*time.Second, "nothing is tried early")
			require.Equal(t, 14, b.count(t, `webhook_delivery_queue where partner_id = $1 and attempt_count = 1`, acme.ID.String()))
		})
	}
}

// A partner that fails gets few requests, until it takes them again; and then it gets all, each once.
func TestCircuit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, ops := newSwitched(t, http.StatusInternalServerError), newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "call.*", "partner.*")
	b.partner(t, user, "ops", ops.URL, "partner.*")
	const many = 60
	b.enqueueMany(t, user, many)
	change := func(name string) func(*jobs.RunnerConfig) {
		return func(cfg *jobs.RunnerConfig) {
			cfg.Name += name
			cfg.CircuitFailures, cfg.PartnerInFlight = 20, 3
			cfg.Schedule.BaseDelay = 3 * time.Second // so that who failed waits with the others
		}
	}
	var one, two *jobs.Runner
	b.runAs(t, change("one"), func(r *jobs.Runner) { one = r })
	b.runAs(t, change("two"), func(r *jobs.Runner) { two = r })
	var health *jobs.Health
	require.Eventually(t, func() bool { // until then what is held may be so for other tries that are under way
		health = b.health(t, acme)
		return health != nil && health.OpenedAt != nil
	}, waitFor, look)
	require.Eventually(t, func() bool { return one.KnowsOpen(acme.ID) && two.KnowsOpen(acme.ID) }, waitFor, look, "they tell each other")
	b.awaitHeld(t, acme, many)
	tried := len(e.received())
	require.GreaterOrEqual(t, tried, 20)
	// Each worker by itself stops at 20, and with what it has under way.
	require.Less(t, tried, 2*(20+3))
	require.Equal(t, many-tried, b.held(t, acme, "attempt = 0"))
	require.GreaterOrEqual(t, health.Failures, 20)
	require.Len(t, health.FailedDeliveries, 3)
	require.Equal(t, "the partner answered 500 Internal Server Error", health.LastError)

	// A worker that starts meanwhile knows it, and what comes new waits too.
	b.run(t, change("three"))
	b.enqueueMany(t, user, 10)
	b.awaitHeld(t, acme, many+10)

	e.working.Store(true)
	b.awaitStatus(t, acme, jobs.StatusDelivered, many+10)
	const failures = `(select %s from webhook_delivery_log where partner_id = $1 and outcome = 'failed') as failure`
	failed := b.count(t, fmt.Sprintf(failures, "delivery_id"), acme.ID.String())
	require.Contains(t, []int{tried, tried + 1}, failed, "nothing has gone but, if it was time for it by then, a probe")
	require.Len(t, e.received(), many+10+failed)
	require.Len(t, e.ids(), many+10)
	for _, request := range e.received()[failed:] {
		require.False(t, request.at.Before(*health.ProbeAt), "nothing goes before the probe")
	}
	require.Eventually(t, func() bool { return b.health(t, acme) == nil }, waitFor, look)
	require.Zero(t, b.held(t, acme, "true"))
	require.Equal(t, many+10-b.count(t, fmt.Sprintf(failures, "distinct delivery_id"), acme.ID.String()),
		b.count(t, `webhook_delivery_queue where partner_id = $1 and attempt_count = 1`, acme.ID.String()), "waiting uses no try")
	require.Eventually(t, func() bool { return len(ops.received()) == 2 }, waitFor, look)
	require.Equal(t, []string{partners.EventPartnerFailing, partners.EventPartnerRecovered}, ops.types(), "it is told once")
	require.Len(t, b.told(t), 2)
}

// A dead partner's deliveries end, though nothing ever comes through to it.
func TestHeldDeliveriesEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusInternalServerError))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.retries(t, "acme", 1)
	const many = 40
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures, cfg.CircuitMaxHold = 5, time.Second })
	b.enqueueMany(t, user, many)
	b.awaitStatus(t, acme, jobs.StatusDeadLetter, many)
	require.Len(t, e.received(), 2*many)
	require.Equal(t, many, b.count(t, `webhook_delivery_queue where attempt_count = 2`))
	require.NotNil(t, b.health(t, acme).OpenedAt)
	require.NotZero(t, b.count(t, `river_job where metadata ? 'held_too_long'`))
}

// Who mends a partner does not wait for a probe.
func TestHealthIsForgottenWithAChange(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, b *testBundle, url string){
		"url": func(t *testing.T, b *testBundle, url string) {
			t.Helper()
			_, err := b.store.Update(t.Context(), user, "acme", &partners.Changes{URL: &url})
			require.NoError(t, err)
		},
		"disabled and enabled": func(t *testing.T, b *testBundle, _ string) {
			t.Helper()
			_, err := b.store.Disable(t.Context(), user, "acme", "a moment")
			require.NoError(t, err)
			_, err = b.store.Enable(t.Context(), user, "acme")
			require.NoError(t, err)
		},
	}
	for name, mend := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			e := newEndpoint(t, status(http.StatusOK))
			acme := b.partner(t, user, "acme", e.URL, "*")
			b.circuit(t, acme, time.Hour)
			b.enqueueMany(t, user, 10)
			b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures = 20 })
			b.awaitHeld(t, acme, 10)
			require.Empty(t, e.received())
			_, err := b.store.Update(t.Context(), user, "acme", &partners.Changes{Name: new("Acme Inc.")})
			require.NoError(t, err)
			require.NotNil(t, b.health(t, acme), "its name has nothing to do with it")
			mend(t, b, e.URL+"/new")
			require.Nil(t, b.health(t, acme))
			e.requireEachOnce(t, 10)
			b.awaitStatus(t, acme, jobs.StatusDelivered, 10)
		})
	}
}

// A test of a partner is there to see whether it works again.
func TestPartnerTestPassesAnOpenCircuit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.circuit(t, acme, time.Hour)
	stop := b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures = 20 })
	b.enqueueMany(t, user, 5)
	b.awaitHeld(t, acme, 5)
	require.NoError(t, stop())

	// However soon a worker comes to it: the holder looks first here.
	var test *jobs.Delivery
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) (err error) {
		test, err = b.enqueuer.EnqueueTestTx(t.Context(), tx, &jobs.Event{UserID: user, Type: "webhook.test", Payload: []byte(`{}`)}, acme.ID)
		return err
	}))
	b.exec(t, `insert into river_queue (name, updated_at, paused_at) values ('webhooks', now(), now()) on conflict (name) do update set paused_at = now()`)
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures = 20 })
	b.enqueueMany(t, user, 1)
	b.awaitHeld(t, acme, 6)
	require.Equal(t, 1, b.count(t, `river_job where queue = 'webhooks' and id = $1`, test.JobID), "it is not held back")
	require.Empty(t, e.received())
	b.exec(t, `update river_queue set paused_at = null`)
	b.exec(t, `select pg_notify(river_schema || '.river_control', '{"action": "resume", "queue": "webhooks"}') from webhook_settings`)
	b.await(t, *test, jobs.StatusDelivered)
	require.Equal(t, test.ID.String(), e.received()[0].header.Get("webhook-id"))
	e.requireEachOnce(t, 7) // what it showed counts for the others
	require.Eventually(t, func() bool { return b.health(t, acme) == nil }, waitFor, look)
}

// A worker that starts asks which circuits are open before it sends anything.
func TestWorkerKnowsCircuitsBeforeItSends(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.circuit(t, acme, time.Hour)
	b.enqueueMany(t, user, 5)
	lock, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = lock.Exec(t.Context(), `lock table webhook_partner_health`)
	require.NoError(t, err)
	time.AfterFunc(time.Second, func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) })
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures = 20 })
	b.awaitHeld(t, acme, 5)
	require.Empty(t, e.received())
}
