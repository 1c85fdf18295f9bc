package jobs_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// switched is an endpoint that answers with a status until it is made to work.
type switched struct {
	*endpoint

	working atomic.Bool
}

func newSwitched(t *testing.T, code int) *switched {
	t.Helper()
	s := &switched{}
	s.endpoint = newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		if !s.working.Load() {
			w.WriteHeader(code)
		}
	})
	return s
}

// hanging is an endpoint that holds its answers until it is released, and counts what it holds.
type hanging struct {
	*endpoint

	mu        sync.Mutex
	now, most int
	release   func()
}

func newHanging(t *testing.T) *hanging {
	t.Helper()
	h := &hanging{}
	released := make(chan struct{})
	h.release = sync.OnceFunc(func() { close(released) })
	h.endpoint = newEndpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		h.add(1)
		defer h.add(-1)
		select {
		case <-released:
			time.Sleep(2 * time.Millisecond) // what comes at once is there at once
		case <-r.Context().Done():
		}
	})
	t.Cleanup(h.release)
	return h
}

func (h *hanging) add(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now += n
	h.most = max(h.most, h.now)
}

// peak is the most that it held at once.
func (h *hanging) peak() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.most
}

// ids are how often each delivery arrived.
func (e *endpoint) ids() map[string]int {
	ids := map[string]int{}
	for _, request := range e.received() {
		ids[request.header.Get("webhook-id")]++
	}
	return ids
}

// requireEachOnce waits until as many deliveries have arrived, and checks that none did twice.
func (e *endpoint) requireEachOnce(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(e.received()) >= n }, waitFor, look)
	require.Len(t, e.ids(), n)
	require.Len(t, e.received(), n)
}

// enqueueMany enqueues as many events of a user in one statement.
func (b *testBundle) enqueueMany(t *testing.T, userID string, n int) {
	t.Helper()
	b.exec(t, `select enqueue_webhook_event($1, 'call.completed', '{"call_id":"c1"}') from generate_series(1, $2)`, userID, n)
}

// held counts a partner's deliveries that are held back, of those that a condition is true of.
func (b *testBundle) held(t *testing.T, partner *partners.Partner, condition string) int {
	t.Helper()
	return b.count(t, `river_job where queue = 'webhooks-held-' || $1::text and state in ('available', 'scheduled', 'retryable') and `+condition, partner.ID.String())
}

// awaitHeld waits until as many are held back.
func (b *testBundle) awaitHeld(t *testing.T, partner *partners.Partner, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return b.held(t, partner, "true") == n }, waitFor, look)
}

// awaitStatus waits until as many deliveries of a partner have a status.
func (b *testBundle) awaitStatus(t *testing.T, partner *partners.Partner, status jobs.Status, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		return b.count(t, `webhook_delivery_queue where partner_id = $1 and status = $2`, partner.ID.String(), string(status)) == n
	}, waitFor, look)
}

// circuit opens a partner's circuit, with the next probe in the time given.
func (b *testBundle) circuit(t *testing.T, partner *partners.Partner, probeIn time.Duration) {
	t.Helper()
	b.exec(t, `
		insert into webhook_partner_health (partner_id, user_id, failing_since, last_failed_at, failures, failed_deliveries, last_error, opened_at, probe_at)
		values ($1, $2, now(), now(), 20, array[gen_random_uuid(), gen_random_uuid(), gen_random_uuid()], 'it fails', now(), now() + $3 * interval '1 s')`,
		partner.ID.String(), partner.UserID, probeIn.Seconds())
}

// health is a partner's; nil: it is well.
func (b *testBundle) health(t *testing.T, partner *partners.Partner) *jobs.Health {
	t.Helper()
	health, _, err := jobs.HealthOf(t.Context(), b.pool, partner.ID)
	require.NoError(t, err)
	return health
}

// limit gives a partner of user bounds of its own; 0: none.
func (b *testBundle) limit(t *testing.T, userID, slug string, maxInFlight, rate int) {
	t.Helper()
	changes := &partners.Changes{}
	if maxInFlight > 0 {
		changes.MaxInFlight = &partners.Override{Value: &maxInFlight}
	}
	if rate > 0 {
		changes.RateLimit = &partners.Override{Value: &rate}
	}
	_, err := b.store.Update(t.Context(), userID, slug, changes)
	require.NoError(t, err)
}
