package jobs_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// arrivals are when requests arrived, in order.
func (e *endpoint) arrivals() []time.Time {
	var at []time.Time
	for _, request := range e.received() {
		at = append(at, request.at)
	}
	slices.SortFunc(at, time.Time.Compare)
	return at
}

// busiest is the most arrivals in any second.
func busiest(at []time.Time) (most int) {
	from := 0
	for i := range at {
		for at[i].Sub(at[from]) >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// Two workers keep one limit, of the arrivals in any second.
func TestRateLimitIsSharedByWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, well := newEndpoint(t, status(http.StatusOK)), newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.partner(t, user, "well", well.URL, "*")
	const many, rate = 60, 20
	b.limit(t, user, "acme", 0, rate)
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.Name += "one" })
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.Name += "two" })
	begun := time.Now()
	b.enqueueMany(t, user, many)
	well.requireEachOnce(t, many)
	if took := time.Since(begun); took < 2*time.Second { // else this machine is too slow to tell
		require.Less(t, len(e.received()), many, "others do not wait for it")
	}
	e.requireEachOnce(t, many)
	at := e.arrivals()
	took := at[many-1].Sub(at[0])
	require.GreaterOrEqual(t, took, 2700*time.Millisecond, "59 intervals of 50 ms, less what the first may be late")
	require.Less(t, took, 6*time.Second)
	// Requests leave in their time; on their way some may be later than the next, on a busy machine by 150 ms.
	require.LessOrEqual(t, busiest(at), rate+1+3)
	b.awaitStatus(t, acme, jobs.StatusDelivered, many)
	require.Equal(t, many, b.count(t, `webhook_delivery_queue where partner_id = $1 and attempt_count = 1`, acme.ID.String()))
}

// A limit is there to be used, also where it is many times what is under way at once.
func TestRateLimitIsUsed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	const many, rate = 300, 100
	b.limit(t, user, "acme", 5, rate)
	b.enqueueMany(t, user, many)
	b.run(t, nil)
	b.awaitStatus(t, acme, jobs.StatusDelivered, many)
	at := e.arrivals()
	require.LessOrEqual(t, busiest(at), rate+1+15)
	require.Less(t, at[many-1].Sub(at[0]), 10*time.Second, "3 s at best")
	require.Greater(t, at[many-1].Sub(at[0]), 2800*time.Millisecond)
}

// A change of the limit counts at once, also for what is held back.
func TestRateLimitChanges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.limit(t, user, "acme", 0, 1)
	b.run(t, nil)
	b.enqueueMany(t, user, 100)
	require.Eventually(t, func() bool { return b.held(t, acme, "attempt = 0") > 90 }, waitFor, look)
	require.Less(t, len(e.received()), 10)
	b.exec(t, `update partner_webhooks set rate_limit = null`)
	e.requireEachOnce(t, 100)
}

// Deliveries that wait for a rate limit leave their workers to others.
func TestRateLimitLeavesRoom(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, well := newEndpoint(t, status(http.StatusOK)), newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.partner(t, "somebody else", "well", well.URL, "*")
	const many = 100
	b.limit(t, user, "acme", 1, 1)
	b.enqueueMany(t, user, many)
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.MaxConcurrent = 10 })
	require.Eventually(t, func() bool { return len(e.received()) > 0 }, waitFor, look)
	begun := time.Now()
	b.enqueueMany(t, "somebody else", 20)
	well.requireEachOnce(t, 20)
	require.Less(t, time.Since(begun), 2*time.Second)
	require.Eventually(t, func() bool { return b.held(t, acme, "attempt = 0") > many*4/5 }, waitFor, look)
	require.Less(t, len(e.received()), 10)
}
