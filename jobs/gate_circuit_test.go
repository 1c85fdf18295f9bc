package jobs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/partners"
)

func TestCircuitOpens(t *testing.T) {
	t.Parallel()
	acme, ids := aPartner("anna", 1, 0), deliveryIDs(5)
	tests := map[string]struct {
		threshold int
		known     []Health
		see       []uuid.UUID // that fail; the nil id: one is delivered
		open      bool
	}{
		"nothing seen":                      {4, nil, nil, false},
		"one too few":                       {4, nil, ids[:3], false},
		"as many as it takes":               {4, nil, ids[:4], true},
		"of two deliveries":                 {4, nil, []uuid.UUID{ids[0], ids[1], ids[0], ids[1], ids[0], ids[1]}, false},
		"of a third at last":                {4, nil, []uuid.UUID{ids[0], ids[1], ids[0], ids[1], ids[2]}, true},
		"one delivered between":             {4, nil, []uuid.UUID{ids[0], ids[1], ids[2], {}, ids[3]}, false},
		"one delivered after":               {4, nil, []uuid.UUID{ids[0], ids[1], ids[2], ids[3], {}}, false},
		"off":                               {0, []Health{openedHealth(acme, 0)}, ids, false},
		"known":                             {4, []Health{openedHealth(acme, time.Hour)}, nil, true},
		"another's":                         {4, []Health{openedHealth(aPartner("anna", 2, 0), time.Hour)}, nil, false},
		"known to fail":                     {4, []Health{healthOf(acme, 3, ids[:2]...)}, nil, false},
		"known to fail, and the last ones":  {4, []Health{healthOf(acme, 3, ids[:2]...)}, ids[2:3], true},
		"known to fail, the same delivery":  {4, []Health{healthOf(acme, 3, ids[:2]...)}, ids[:1], false},
		"known to be open, and delivered":   {4, []Health{openedHealth(acme, time.Hour)}, []uuid.UUID{{}}, false},
		"known, delivered, and fails again": {4, []Health{openedHealth(acme, time.Hour)}, []uuid.UUID{{}, ids[0], ids[1], ids[2]}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(cfg *gateConfig) { cfg.circuitFailures = test.threshold }, func(b *gateBundle) {
				t := b.t
				b.learn(test.known)
				for _, id := range test.see {
					verdict := wentWrong("500")
					if id == (uuid.UUID{}) {
						verdict = wellDone()
					}
					b.observe(acme, id, verdict)
				}
				all, alone := b.heldBack()
				if !test.open {
					b.in(t, acme)
					require.NotContains(t, all, acme.ID)
					return
				}
				b.refused(t, acme, errCircuitOpen, 0)
				require.Equal(t, []uuid.UUID{acme.ID}, all)
				require.Equal(t, all, alone)
				pass, err := b.enter(t.Context(), acme, true)
				require.NoError(t, err, "what was held for too long goes")
				pass.leave()
				b.requireEmpty(t)
			})
		})
	}
}

func TestCircuitTellsTheDatabaseSoon(t *testing.T) {
	t.Parallel()
	acme, ids := aPartner("anna", 1, 0), deliveryIDs(5)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		b.fails(acme, ids[:3]...)
		b.observe(acme, ids[0], &Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindInternal})
		require.Zero(t, b.urgent)
		b.fails(acme, ids[3])
		require.Equal(t, 1, b.urgent, "it opens")
		b.learn([]Health{openedHealth(acme, time.Hour)})
		b.observe(acme, ids[0], wellDone())
		require.Equal(t, 2, b.urgent, "it closes")
		b.learn(nil)
		b.observe(acme, ids[0], wellDone())
		require.Equal(t, 2, b.urgent)
	})
}

func TestProbe(t *testing.T) {
	t.Parallel()
	acme := aPartner("anna", 1, 0)
	held := &heldQueue{PartnerID: acme.ID, UserID: acme.UserID, Enabled: true}
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		b.learn([]Health{openedHealth(acme, 5*time.Second)})
		b.refused(t, acme, errCircuitOpen, 0)
		require.False(t, b.mayLetProbe(held))
		require.Zero(t, b.asked.Load(), "it is not due")
		time.Sleep(5 * time.Second)
		require.True(t, b.mayLetProbe(held))
		b.refused(t, acme, errCircuitOpen, 0)
		require.EqualValues(t, 1, b.asked.Load(), "another worker has it")

		b.fail = errors.New("the database is away")
		_, err := b.enter(t.Context(), acme, false)
		require.ErrorIs(t, err, b.fail)
		require.False(t, isRefusal(err))
		b.requireEmpty(t)

		b.fail, b.grant = nil, true
		probe := b.in(t, acme)
		require.False(t, b.mayLetProbe(held))
		b.refused(t, acme, errCircuitOpen, 0)
		require.EqualValues(t, 3, b.asked.Load(), "one at a time")
		b.observe(acme, uuid.New(), wellDone())
		probe.leave()
		b.requireEmpty(t)
		b.in(t, acme)
		require.EqualValues(t, 3, b.asked.Load())
	})
}

func TestSlowDown(t *testing.T) {
	t.Parallel()
	acme, beta := aPartner("anna", 1, 0), aPartner("anna", 2, 0)
	tests := map[string]struct {
		verdicts []*Verdict
		wait     time.Duration
	}{
		"without a time":        {[]*Verdict{toldToSlow(0)}, time.Second},
		"for a time":            {[]*Verdict{toldToSlow(20 * time.Second)}, 20 * time.Second},
		"for a moment":          {[]*Verdict{toldToSlow(time.Millisecond)}, time.Second},
		"for longer than is us": {[]*Verdict{toldToSlow(24 * time.Hour)}, time.Hour},
		"answers of one moment": {[]*Verdict{toldToSlow(0), toldToSlow(0), toldToSlow(0)}, time.Second},
		"the longest counts":    {[]*Verdict{toldToSlow(20 * time.Second), toldToSlow(5 * time.Second)}, 20 * time.Second},
		"longer later":          {[]*Verdict{toldToSlow(5 * time.Second), toldToSlow(20 * time.Second)}, 20 * time.Second},
		"another failure":       {[]*Verdict{toldToSlow(5 * time.Second), wentWrong("500")}, 5 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(b *gateBundle) {
				t := b.t
				for i, verdict := range test.verdicts {
					b.observe(acme, deliveryIDs(3)[i], verdict)
				}
				b.in(t, beta).leave()
				time.Sleep(test.wait - 1)
				b.refused(t, acme, errSlowedDown, 0)
				all, alone := b.heldBack()
				require.Equal(t, []uuid.UUID{acme.ID}, all)
				require.Equal(t, all, alone)
				time.Sleep(time.Nanosecond)
				b.in(t, acme).leave()
			})
		})
	}
}

func TestSlowDownGrows(t *testing.T) {
	t.Parallel()
	acme := aPartner("anna", 1, 0)
	inBubble(t, func(cfg *gateConfig) { cfg.circuitFailures = 0 }, func(b *gateBundle) {
		t := b.t
		for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30, 30} {
			wait := time.Duration(seconds) * time.Second
			b.observe(acme, uuid.New(), toldToSlow(0))
			time.Sleep(wait - 1)
			b.refused(t, acme, errSlowedDown, 0)
			time.Sleep(time.Nanosecond)
			b.in(t, acme).leave()
		}
		b.observe(acme, uuid.New(), wellDone())
		b.observe(acme, uuid.New(), toldToSlow(0))
		time.Sleep(time.Second)
		b.in(t, acme).leave()
	})
}

// Who was held for too long, or is a test, waits for a turn like others, and is not refused when it comes.
func TestHeldTooLongPassesWhenItsTurnComes(t *testing.T) {
	t.Parallel()
	acme, ids := aPartner("anna", 1, 1), deliveryIDs(4)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		inside := b.in(t, acme)
		usual, tooLong := b.arrive(t.Context(), acme, false), b.arrive(t.Context(), acme, true)
		b.fails(acme, ids...)
		inside.leave()
		require.ErrorIs(t, (<-usual).err, errCircuitOpen)
		got := <-tooLong
		require.NoError(t, got.err)
		got.pass.leave()
		b.requireEmpty(t)
	})
}

// A probe is a request like any other.
func TestProbeKeepsTheBounds(t *testing.T) {
	t.Parallel()
	own, acme, beta := aPartner("anna", 1, 1), aPartner("anna", 2, 0), aPartner("anna", 3, 0)
	tests := map[string]struct {
		inside []*partners.Partner
		probed bool
	}{
		"room":            {[]*partners.Partner{acme, acme}, true},
		"partner's bound": {[]*partners.Partner{own}, false},
		"user's bound":    {[]*partners.Partner{acme, acme, beta}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(b *gateBundle) {
				t := b.t
				b.grant = true
				for _, partner := range test.inside {
					b.in(t, partner)
				}
				b.learn([]Health{openedHealth(own, 0)})
				require.Equal(t, test.probed, b.mayLetProbe(&heldQueue{PartnerID: own.ID, UserID: own.UserID, MaxInFlight: own.MaxInFlight}))
				if test.probed {
					b.in(t, own)
				} else {
					b.refused(t, own, errCircuitOpen, 0)
					require.Zero(t, b.asked.Load())
				}
			})
		})
	}
}

// While the database is asked for a probe, its place is taken.
func TestProbeHasAPlaceWhileItIsAskedFor(t *testing.T) {
	t.Parallel()
	acme, beta := aPartner("anna", 1, 0), aPartner("anna", 2, 3)
	for _, grant := range []bool{true, false} {
		var b *gateBundle
		waiting := make(chan (<-chan arrival), 1)
		change := func(cfg *gateConfig) {
			claim := cfg.claimProbe
			cfg.userLimit = 1
			cfg.claimProbe = func(ctx context.Context, partner uuid.UUID) (bool, error) {
				waiting <- b.arrive(ctx, beta, false)
				return claim(ctx, partner)
			}
		}
		inBubble(t, change, func(bundle *gateBundle) {
			t := bundle.t
			b = bundle
			b.grant = grant
			b.learn([]Health{openedHealth(acme, 0)})
			probe, err := b.enter(t.Context(), acme, false)
			other := <-waiting
			synctest.Wait()
			if grant {
				require.NoError(t, err)
				require.Empty(t, other, "the user's place is the probe's")
				probe.leave()
			} else {
				require.ErrorIs(t, err, errCircuitOpen)
			}
			got := <-other
			require.NoError(t, got.err)
			got.pass.leave()
			b.requireEmpty(t)
		})
	}
}

// A partner that says when it wants to be tried again is not probed before, however much it fails.
func TestNoProbeBeforeThePartnersTime(t *testing.T) {
	t.Parallel()
	acme := aPartner("anna", 1, 0)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		b.grant = true
		health := openedHealth(acme, 5*time.Second)
		health.SlowedUntil = new(time.Now().Add(time.Minute))
		b.learn([]Health{health})
		time.Sleep(time.Minute - 1)
		b.refused(t, acme, errCircuitOpen, 0)
		require.Zero(t, b.asked.Load())
		time.Sleep(time.Nanosecond)
		b.in(t, acme).leave()
		require.EqualValues(t, 1, b.asked.Load())
	})
}

// What a partner asked for stays, whatever it answers to requests from before; a wait that it did not ask for does not.
func TestLateAnswerEndsNoWaitThatWasAskedFor(t *testing.T) {
	t.Parallel()
	acme, ids := aPartner("anna", 1, 0), deliveryIDs(4)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		b.observe(acme, ids[0], toldToSlow(20*time.Second))
		b.observe(acme, ids[1], wellDone())
		b.refused(t, acme, errSlowedDown, 0)
		health := healthOf(acme, 1, ids[0])
		health.SlowedUntil = new(time.Now().Add(20 * time.Second))
		recovered, failed := b.report()
		require.Empty(t, recovered)
		require.Len(t, failed, 1)
		b.learn([]Health{health})
		b.observe(acme, ids[1], wellDone())
		b.refused(t, acme, errSlowedDown, 0)

		time.Sleep(20 * time.Second)
		b.observe(acme, ids[1], wellDone())
		recovered, _ = b.report()
		require.Len(t, recovered, 1)
		b.learn(nil)

		b.observe(acme, ids[0], toldToSlow(0))
		b.refused(t, acme, errSlowedDown, 0)
		b.observe(acme, ids[1], wellDone())
		b.in(t, acme).leave()

		// A partner whose URL was changed is another.
		b.observe(acme, ids[0], toldToSlow(time.Hour))
		b.report()
		b.learn(nil)
		b.fails(acme, ids[:3]...)
		b.observe(acme, ids[0], wellDone())
		b.fails(acme, ids[3])
		b.in(t, acme).leave()
	})
}
