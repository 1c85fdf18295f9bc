package jobs

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// What the database could not be told is told the next time, with what came meanwhile.
func TestUnreportKeepsCounts(t *testing.T) {
	t.Parallel()
	acme, beta, ids := aPartner("anna", 1, 0), aPartner("anna", 2, 0), deliveryIDs(5)
	inBubble(t, func(cfg *gateConfig) { cfg.circuitFailures = 100 }, func(b *gateBundle) {
		t := b.t
		begun := time.Now()
		b.fails(acme, ids[0], ids[1])
		recovered, failed := b.report()
		require.Empty(t, recovered)
		require.Equal(t, []failure{{PartnerID: acme.ID, First: begun, Last: begun, Failures: 2, Deliveries: ids[:2], Error: "500"}}, failed)
		time.Sleep(time.Second)
		b.fails(acme, ids[1], ids[2], ids[3])
		b.observe(beta, ids[4], toldToSlow(time.Minute))
		b.unreport()

		recovered, failed = b.report()
		require.Empty(t, recovered)
		require.ElementsMatch(t, []failure{
			{PartnerID: acme.ID, First: begun, Last: time.Now(), Failures: 5, Deliveries: ids[:3], Error: "500"},
			{
				PartnerID: beta.ID, First: time.Now(), Last: time.Now(), Failures: 1, Deliveries: ids[4:], Error: "slow down",
				SlowedUntil: new(time.Now().Add(time.Minute)),
			},
		}, failed)
		b.learn([]Health{healthOf(acme, 5, ids[:3]...), healthOf(beta, 1, ids[4])})
		recovered, failed = b.report()
		require.Empty(t, recovered)
		require.Empty(t, failed, "it is told once")
	})
}

func TestReportInOrder(t *testing.T) {
	t.Parallel()
	acme, ids := aPartner("anna", 1, 0), deliveryIDs(5)
	recovery := []any{acme.ID}
	tests := map[string]struct {
		known     bool
		before    string // what is seen before a report that fails, and after it: d for a delivered try, f for one that failed
		after     string
		recovered []any
		failures  int
	}{
		"failed":                            {false, "ff", "", nil, 2},
		"failed, and failed":                {false, "ff", "f", nil, 3},
		"failed, then delivered":            {false, "ff", "d", recovery, 0},
		"failed and delivered before it":    {false, "fd", "", nil, 0},
		"of one that fails":                 {true, "ff", "", nil, 2},
		"of one that fails, delivered":      {true, "d", "", recovery, 0},
		"of one that fails, delivered last": {true, "ff", "fd", recovery, 0},
		"delivered first":                   {true, "df", "f", recovery, 2},
		"delivered between":                 {true, "f", "dff", recovery, 2},
		"delivered again":                   {true, "df", "df", recovery, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(cfg *gateConfig) { cfg.circuitFailures = 100 }, func(b *gateBundle) {
				t := b.t
				if test.known {
					b.learn([]Health{healthOf(acme, 3, ids[0])})
				}
				see := func(what string) {
					for _, one := range what {
						if one == 'd' {
							b.observe(acme, ids[1], wellDone())
						} else {
							b.fails(acme, ids[2])
						}
					}
				}
				see(test.before)
				b.report()
				see(test.after)
				b.unreport()
				recovered, failed := b.report()
				require.Len(t, recovered, len(test.recovered))
				if test.failures == 0 {
					require.Empty(t, failed)
					return
				}
				require.Len(t, failed, 1)
				require.Equal(t, test.failures, failed[0].Failures)
			})
		})
	}
}

// While the database is being told of failures, they count; and so does what comes after them.
func TestWhatIsBeingToldCounts(t *testing.T) {
	t.Parallel()
	acme, ids := aPartner("anna", 1, 0), deliveryIDs(5)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		b.fails(acme, ids[:2]...)
		b.report()
		b.fails(acme, ids[2])
		b.in(t, acme).leave()
		b.fails(acme, ids[3])
		b.refused(t, acme, errCircuitOpen, 0)
		b.learn([]Health{healthOf(acme, 2, ids[:2]...)})
		b.refused(t, acme, errCircuitOpen, 0)

		// A delivery of which the database is being told closes the circuit that it still says to be open.
		b.report()
		b.learn([]Health{openedHealth(acme, time.Hour)})
		b.observe(acme, ids[0], wellDone())
		b.report()
		b.in(t, acme).leave()
		b.learn([]Health{openedHealth(acme, time.Hour)})
		b.refused(t, acme, errCircuitOpen, 0) // another worker has seen failures after it
		b.learn(nil)
		b.in(t, acme).leave()
	})
}

func TestHeldBack(t *testing.T) {
	t.Parallel()
	acme, beta, gamma, delta := aPartner("anna", 1, 0), aPartner("bert", 2, 0), aPartner("carl", 3, 0), aPartner("carl", 4, 0)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		all, alone := b.heldBack()
		require.Empty(t, all)
		require.Empty(t, alone)
		b.learn([]Health{openedHealth(acme, time.Hour)}) // nothing was to be sent to it here
		b.observe(beta, deliveryIDs(1)[0], toldToSlow(time.Minute))
		b.in(t, gamma)
		b.in(t, gamma)
		b.in(t, delta)
		all, alone = b.heldBack()
		require.ElementsMatch(t, []any{acme.ID, beta.ID}, []any{all[0], all[1]})
		require.Len(t, all, 2)
		require.ElementsMatch(t, all, alone)
		time.Sleep(coldPatience)
		all, alone = b.heldBack()
		require.Len(t, all, 4, "both stall: one is full, and so is the user")
		require.Len(t, alone, 2)

		// Who was refused counts as held back for a while.
		pass := b.in(t, aPartner("dora", 5, 0))
		pass.refuse()
		all, alone = b.heldBack()
		require.Contains(t, all, aPartner("dora", 5, 0).ID)
		require.Len(t, alone, 2)
		time.Sleep(refusalCounts)
		all, _ = b.heldBack()
		require.NotContains(t, all, aPartner("dora", 5, 0).ID)
	})
}

// One that was refused since nothing of it had ended yet is not held back once it is seen that it is quick.
func TestHeldBackNoMoreThanItMustBe(t *testing.T) {
	t.Parallel()
	acme, beta := aPartner("anna", 1, 0), aPartner("anna", 2, 0)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		first, second := b.in(t, acme), b.in(t, acme)
		b.refused(t, acme, errPartnerBusy, coldPatience)
		all, _ := b.heldBack()
		require.Equal(t, []uuid.UUID{acme.ID}, all)
		require.False(t, b.areSwift(all))

		first.leave()
		second.leave()
		all, _ = b.heldBack()
		require.Equal(t, []uuid.UUID{acme.ID}, all, "two in half a second are not enough for ten that may come")
		for range 3 {
			b.in(t, acme).leave()
		}
		all, _ = b.heldBack()
		require.Empty(t, all)
		require.True(t, b.areSwift([]uuid.UUID{acme.ID}))
		require.False(t, b.areSwift([]uuid.UUID{acme.ID, beta.ID}), "nothing is known of the other")

		stays := b.in(t, beta) // another of the user, who is quick on the whole
		b.refuse(b.lanes[beta.ID], errPartnerBusy)
		all, _ = b.heldBack()
		require.Equal(t, []uuid.UUID{beta.ID}, all, "nothing of its own has ended")
		require.False(t, b.areSwift(all))
		stays.leave()

		b.fails(acme, deliveryIDs(4)...)
		require.False(t, b.areSwift([]uuid.UUID{acme.ID}), "its circuit is open")
		b.observe(acme, deliveryIDs(1)[0], wellDone())
		time.Sleep(refusalCounts - coldPatience - time.Second)
		all, _ = b.heldBack()
		require.Contains(t, all, acme.ID, "it is not quick any more, and was refused lately")
	})
}
