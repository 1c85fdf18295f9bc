package jobs_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// A partner that does not answer takes what it may, and no more, and leaves the rest to others.
func TestHangingPartnerLeavesRoom(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hang, well := newHanging(t), newEndpoint(t, status(http.StatusOK))
	slow := b.partner(t, user, "slow", hang.URL, "*")
	b.partner(t, "somebody else", "well", well.URL, "*")
	const many, bound = 60, 5
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.MaxConcurrent, cfg.PartnerInFlight, cfg.UserInFlight = 10, bound, 20 })
	b.enqueueMany(t, user, many)
	require.Eventually(t, func() bool { return len(hang.received()) == bound }, waitFor, look)
	b.awaitHeld(t, slow, many-bound)
	for range 3 {
		b.enqueueMany(t, "somebody else", 10)
	}
	well.requireEachOnce(t, 30)
	require.Len(t, hang.received(), bound)
	require.Equal(t, many-bound, b.held(t, slow, "attempt = 0"))

	hang.release()
	hang.requireEachOnce(t, many)
	require.Equal(t, bound, hang.peak())
	b.awaitStatus(t, slow, jobs.StatusDelivered, many)
	require.Zero(t, b.held(t, slow, "true"))
	require.Equal(t, many, b.count(t, `webhook_delivery_queue where partner_id = $1 and attempt_count = 1`, slow.ID.String()), "waiting uses no try")
}

func TestPartnersOwnBoundCounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	few, more := newHanging(t), newHanging(t)
	b.partner(t, user, "few", few.URL, "*")
	b.partner(t, user, "more", more.URL, "*")
	b.limit(t, user, "few", 2, 0)
	b.limit(t, user, "more", 9, 0)
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.MaxConcurrent, cfg.PartnerInFlight = 30, 5 })
	b.enqueueMany(t, user, 30)
	require.Eventually(t, func() bool { return len(few.received()) == 2 && len(more.received()) == 9 }, waitFor, look)
	few.release()
	more.release()
	few.requireEachOnce(t, 30)
	more.requireEachOnce(t, 30)
	require.Equal(t, 2, few.peak())
	require.Equal(t, 9, more.peak())
}

func TestUsersBoundCountsAllHisPartners(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hang, well := newHanging(t), newEndpoint(t, status(http.StatusOK))
	const bound, each = 4, 20
	slugs := []string{"one", "two", "three"}
	for _, slug := range slugs {
		b.partner(t, user, slug, hang.URL, "*")
	}
	b.partner(t, "somebody else", "well", well.URL, "*")
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.MaxConcurrent, cfg.PartnerInFlight, cfg.UserInFlight = 10, 3, bound })
	b.enqueueMany(t, user, each)
	require.Eventually(t, func() bool { return len(hang.received()) == bound }, waitFor, look)
	b.enqueueMany(t, "somebody else", 10)
	well.requireEachOnce(t, 10)
	require.Len(t, hang.received(), bound)
	hang.release()
	hang.requireEachOnce(t, each*len(slugs))
	require.Equal(t, bound, hang.peak())
}
