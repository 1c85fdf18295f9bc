package jobs

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/partners"
)

// gateBundle is a gate in a bubble, whose time is the bubble's and goes on only when all wait.
type gateBundle struct {
	*gate

	t      *testing.T // the bubble's
	urgent int        // how often the database should have heard
	asked  atomic.Int32
	grant  bool // the answer to who asks for a probe
	fail   error
}

// inBubble runs a test on a gate whose bounds are 2 for a partner, 3 for a user and 10 in all, and whose circuits open at 4
// failures.
func inBubble(t *testing.T, change func(*gateConfig), test func(b *gateBundle)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		b := &gateBundle{t: t}
		cfg := gateConfig{
			partnerLimit: 2, userLimit: 3, most: 10, circuitFailures: 4, maxDelay: time.Hour, now: time.Now,
			urgent: func() { b.urgent++ },
			claimProbe: func(context.Context, uuid.UUID) (bool, error) {
				b.asked.Add(1)
				return b.grant, b.fail
			},
		}
		if change != nil {
			change(&cfg)
		}
		b.gate = newGate(cfg)
		test(b)
	})
}

// aPartner is a partner of a user; limit 0: it has no bound of its own.
func aPartner(userID string, number byte, limit int) *partners.Partner {
	partner := &partners.Partner{UserID: userID, ID: uuid.UUID{0: number}}
	if limit > 0 {
		partner.MaxInFlight = &limit
	}
	return partner
}

// in enters and must be let through.
func (b *gateBundle) in(t *testing.T, partner *partners.Partner) *pass {
	t.Helper()
	pass, err := b.enter(t.Context(), partner, false)
	require.NoError(t, err)
	pass.start()
	return pass
}

// refused enters and must be refused, after the time given.
func (b *gateBundle) refused(t *testing.T, partner *partners.Partner, want error, after time.Duration) {
	t.Helper()
	begun := time.Now()
	pass, err := b.enter(t.Context(), partner, false)
	require.Nil(t, pass)
	require.ErrorIs(t, err, want)
	require.True(t, isRefusal(err))
	require.Equal(t, after, time.Since(begun))
}

// fails observes failures of as many deliveries in a row.
func (b *gateBundle) fails(partner *partners.Partner, deliveries ...uuid.UUID) {
	for _, id := range deliveries {
		b.observe(partner, id, wentWrong("500"))
	}
}

// arrival is what comes of an enter that may have to wait.
type arrival struct {
	pass *pass
	err  error
	at   time.Time
}

// arrive enters in the background.
func (b *gateBundle) arrive(ctx context.Context, partner *partners.Partner, heldTooLong bool) <-chan arrival {
	done := make(chan arrival, 1)
	go func() {
		pass, err := b.enter(ctx, partner, heldTooLong)
		if err == nil {
			pass.start()
		}
		done <- arrival{pass, err, time.Now()}
	}()
	synctest.Wait()
	return done
}

// requireEmpty checks that nobody has a place or waits for one.
func (b *gateBundle) requireEmpty(t *testing.T) {
	t.Helper()
	for _, l := range b.lanes {
		require.Zero(t, l.inFlight)
		require.Zero(t, l.waiting)
		require.Empty(t, l.line)
		require.Zero(t, l.posting)
		require.False(t, l.probing)
	}
	for _, user := range b.users {
		require.Zero(t, user.inFlight)
		require.Zero(t, user.waiting)
		require.Zero(t, user.posting)
		require.Empty(t, user.lines)
	}
}

// healthOf is what the database says of a partner that fails.
func healthOf(partner *partners.Partner, failures int, deliveries ...uuid.UUID) Health {
	return Health{PartnerID: partner.ID, UserID: partner.UserID, FailingSince: time.Now(), LastFailedAt: time.Now(), Failures: failures, FailedDeliveries: deliveries}
}

// openedHealth is that of one whose circuit is open.
func openedHealth(partner *partners.Partner, probeIn time.Duration) Health {
	health := healthOf(partner, 20, deliveryIDs(3)...)
	health.OpenedAt, health.ProbeAt = new(time.Now()), new(time.Now().Add(probeIn))
	return health
}
