package jobs_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// What is held back for a partner that takes nothing any more ends, and nothing stays behind.
func TestHeldDeliveriesOfOnesThatAreGone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		goes func(t *testing.T, b *testBundle)
		why  string
	}{
		"deleted": {func(t *testing.T, b *testBundle) {
			t.Helper()
			_, err := b.store.Delete(t.Context(), user, "acme")
			require.NoError(t, err)
		}, "the partner was deleted"},
		"disabled": {func(t *testing.T, b *testBundle) {
			t.Helper()
			_, err := b.store.Disable(t.Context(), user, "acme", "unpaid")
			require.NoError(t, err)
		}, "the partner is disabled: unpaid"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			e := newEndpoint(t, status(http.StatusOK))
			acme := b.partner(t, user, "acme", e.URL, "*")
			b.circuit(t, acme, time.Hour)
			const many = 300
			b.enqueueMany(t, user, many)
			// One waits for its retry, and comes due where it is held.
			b.exec(t, `update river_job set state = 'retryable', attempt = 1, scheduled_at = now() + interval '2 s' where id = (select max(id) from river_job)`)
			b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures = 20 })
			b.awaitHeld(t, acme, many)
			test.goes(t, b)
			b.awaitStatus(t, acme, jobs.StatusCancelled, many)
			require.Zero(t, b.count(t, `river_job where queue like 'webhooks-held-%' and state <> 'cancelled'`))
			require.Equal(t, many, b.count(t, `webhook_delivery_log where outcome = 'cancelled' and error = $1`, test.why))
			require.Empty(t, e.received())
		})
	}
}

// Whatever brought a delivery into a queue of its own, it does not stay there.
func TestStrayHeldDeliveriesGo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	b.run(t, nil)
	b.enqueueMany(t, user, 1)
	e.requireEachOnce(t, 1)
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `select enqueue_webhook_event($1, 'call.completed', '{}') from generate_series(1, 50)`, user)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `update river_job set queue = 'webhooks-held-' || (args->>'partner_id') where kind = 'webhook_delivery' and state = 'available'`)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `insert into river_job (kind, queue, max_attempts, args) values ('another', 'webhooks-held-x', 1, '{}'), ('another', 'zzz', 1, '{}')`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	e.requireEachOnce(t, 51)
	require.Equal(t, 2, b.count(t, `river_job where kind = 'another' and state = 'available' and queue in ('webhooks-held-x', 'zzz')`), "others' queues are theirs")
}

func TestHeldDeliveryIsCancelledByHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.circuit(t, acme, time.Hour)
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures = 20 })
	first, second := b.enqueue(t, completed("e1"))[0], b.enqueue(t, completed("e2"))[0]
	b.awaitHeld(t, acme, 2)
	before, err := b.operator(t).Cancel(t.Context(), user, first.ID, "me", true)
	require.NoError(t, err)
	require.Equal(t, jobs.StatusPending, before.Status)
	require.Equal(t, jobs.StatusCancelled, b.get(t, first).Status)
	require.Equal(t, "cancelled by hand", *b.attempts(t, first)[0].Error)
	b.exec(t, `update webhook_partner_health set probe_at = now()`)
	b.await(t, second, jobs.StatusDelivered)
	e.requireEachOnce(t, 1)
	require.Equal(t, jobs.StatusCancelled, b.get(t, first).Status)
	require.Equal(t, jobs.Replayed, b.replay(t, first.ID))
	b.await(t, first, jobs.StatusDelivered)
}

// Retries of a partner that is left alone wait with the rest when they come due.
func TestRetriesAreHeldBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.enqueueMany(t, user, 5)
	b.exec(t, `update river_job set state = 'retryable', attempt = 1, scheduled_at = now() + interval '1 hour'`)
	b.circuit(t, acme, time.Hour)
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures = 20 })
	b.awaitHeld(t, acme, 5)
	require.Equal(t, 5, b.held(t, acme, "state = 'retryable' and scheduled_at > now() + interval '59 min' and attempt = 1"), "each keeps its time")
	b.exec(t, `update webhook_partner_health set probe_at = now()`)
	b.enqueueMany(t, user, 1)
	e.requireEachOnce(t, 1)
	require.Eventually(t, func() bool { return b.health(t, acme) == nil }, waitFor, look)
	require.Equal(t, 5, b.held(t, acme, "state = 'retryable'"), "they are not due")
	b.exec(t, `update river_job set state = 'available', scheduled_at = now() where state = 'retryable'`)
	e.requireEachOnce(t, 6)
}

func TestPartnerThatFailsForLongIsDisabled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, ops := newSwitched(t, http.StatusInternalServerError), newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "call.*", "partner.*")
	b.partner(t, user, "ops", ops.URL, "partner.*")
	b.partner(t, "somebody else", "acme", e.URL, "call.*")
	b.run(t, func(cfg *jobs.RunnerConfig) {
		cfg.CircuitFailures, cfg.DisableAfter = 5, time.Hour
		cfg.Schedule.BaseDelay = time.Minute
	})
	const many = 30
	b.enqueueMany(t, user, many)
	require.Eventually(t, func() bool {
		health := b.health(t, acme)
		return health != nil && health.OpenedAt != nil
	}, waitFor, look)
	partner, err := b.store.Get(t.Context(), user, "acme")
	require.NoError(t, err)
	require.True(t, partner.Enabled, "it has not failed for long")
	b.exec(t, `update webhook_partner_health set failing_since = '2026-01-02 03:04:05 UTC', probe_at = now()`)

	require.Eventually(t, func() bool {
		partner, err = b.store.Get(t.Context(), user, "acme")
		return err == nil && !partner.Enabled
	}, waitFor, look)
	require.Equal(t, "every try has failed since 2026-01-02 03:04 UTC; the last one: the partner answered 500 Internal Server Error", *partner.DisabledReason)
	require.Nil(t, b.health(t, acme))
	other, err := b.store.Get(t.Context(), "somebody else", "acme")
	require.NoError(t, err)
	require.True(t, other.Enabled)
	require.Eventually(t, func() bool { return len(ops.received()) == 2 }, waitFor, look)
	require.Equal(t, []string{partners.EventPartnerFailing, partners.EventPartnerDisabled}, ops.types())
	require.Contains(t, ops.received()[1].body, `"disabled_reason":"every try has failed since 2026-01-02 03:04 UTC`)

	// What waits for its retry is made due, for this test.
	require.Eventually(t, func() bool {
		b.exec(t, `update river_job set state = 'available', scheduled_at = now() where state in ('retryable', 'scheduled') or state = 'available' and scheduled_at > now()`)
		return b.count(t, `webhook_delivery_queue where partner_id = $1 and status = 'cancelled'`, acme.ID.String()) == many
	}, waitFor, 100*time.Millisecond)
	tried := len(e.received())
	require.Less(t, tried, many)

	e.working.Store(true)
	_, err = b.store.Enable(t.Context(), user, "acme")
	require.NoError(t, err)
	b.replayAll(t, jobs.Replay{Filter: jobs.Filter{UserID: user, Status: jobs.StatusCancelled}})
	b.awaitStatus(t, acme, jobs.StatusDelivered, many)
	require.Len(t, e.received(), tried+many)
	require.Len(t, b.told(t), 2)
}

// A partner that takes some of its deliveries is not disabled, however long others fail.
func TestPartnerThatTakesSomeIsNotDisabled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("webhook-event-type"), "completed") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	acme := b.lone(t, "acme", e.URL, "*")
	b.failing(t, acme, b.enqueue(t, completed("old"))[0].ID) // for five minutes
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.DisableAfter = time.Minute })
	require.Eventually(t, func() bool { return b.health(t, acme) == nil }, waitFor, look)
	failing := completed("")
	failing.Type = "call.failed"
	b.await(t, b.enqueue(t, failing)[0], jobs.StatusDeadLetter)
	require.Eventually(t, func() bool { return b.health(t, acme) != nil }, waitFor, look)
	b.await(t, b.enqueue(t, failing)[0], jobs.StatusDeadLetter)
	require.Eventually(t, func() bool { return b.health(t, acme).Failures == 2 }, waitFor, look)
	partner, err := b.store.Get(t.Context(), user, "acme")
	require.NoError(t, err)
	require.True(t, partner.Enabled)
}
