package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/partners"
)

// peak is the most that were counted at once.
type peak struct{ now, most atomic.Int64 }

func (p *peak) enter() {
	now := p.now.Add(1)
	for most := p.most.Load(); now > most && !p.most.CompareAndSwap(most, now); most = p.most.Load() {
	}
}

func (p *peak) leave() { p.now.Add(-1) }

func TestGateKeepsItsBounds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(cfg *gateConfig) { cfg.partnerLimit, cfg.userLimit = 3, 7 }, func(b *gateBundle) {
		t := b.t
		const each = 60
		type target struct {
			*partners.Partner

			limit int64
			peak
		}
		var (
			targets []*target
			users   [3]peak
			group   sync.WaitGroup
			done    atomic.Int64
			gaveUp  atomic.Int64
		)
		for i := range 12 {
			own := []int{0, 0, 1, 5}[i%4]
			limit := int64(own)
			if own == 0 {
				limit = 3
			}
			targets = append(targets, &target{Partner: aPartner(fmt.Sprint("user-", i%3), byte(i), own), limit: limit})
		}
		for i, to := range targets {
			for n := range each {
				group.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					impatient := n%5 == 0
					if impatient {
						time.AfterFunc(time.Duration(n)*time.Millisecond, cancel)
					}
					for {
						pass, err := b.enter(ctx, to.Partner, n%7 == 0)
						switch {
						case isRefusal(err):
							time.Sleep(time.Duration(10+n) * time.Millisecond)
							continue
						case err != nil:
							gaveUp.Add(1)
							return
						}
						pass.start()
						to.enter()
						users[i%3].enter()
						time.Sleep(time.Duration(1+n%9) * time.Millisecond)
						users[i%3].leave()
						to.leave()
						pass.leave()
						done.Add(1)
						return
					}
				})
			}
		}
		group.Wait()
		require.EqualValues(t, 12*each, done.Load()+gaveUp.Load(), "everyone gets in, unless he gave up")
		require.Positive(t, gaveUp.Load())
		require.GreaterOrEqual(t, done.Load(), int64(12*each*4/5))
		for _, to := range targets {
			require.LessOrEqual(t, to.most.Load(), to.limit)
			require.Positive(t, to.most.Load())
		}
		for i := range users {
			require.EqualValues(t, 7, users[i].most.Load(), "the bound is kept and used")
		}
		b.requireEmpty(t)
	})
}

func TestGateRefusesWhatHangs(t *testing.T) {
	t.Parallel()
	acme, beta, other := aPartner("anna", 1, 0), aPartner("anna", 2, 0), aPartner("bert", 3, 0)
	own := aPartner("anna", 4, 1)
	tests := map[string]struct {
		inside  []*partners.Partner
		enters  *partners.Partner
		refused error
	}{
		"a place left":            {[]*partners.Partner{acme}, acme, nil},
		"partner's bound":         {[]*partners.Partner{acme, acme}, acme, errPartnerBusy},
		"its own bound":           {[]*partners.Partner{own}, own, errPartnerBusy},
		"user's bound":            {[]*partners.Partner{acme, acme, beta}, beta, errUserBusy},
		"user's, of a third":      {[]*partners.Partner{acme, acme, beta}, own, errUserBusy},
		"both":                    {[]*partners.Partner{acme, acme, beta}, acme, errPartnerBusy},
		"another user's is his":   {[]*partners.Partner{acme, acme, beta}, other, nil},
		"another partner's is it": {[]*partners.Partner{acme, acme}, beta, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(b *gateBundle) {
				t := b.t
				for _, partner := range test.inside {
					b.in(t, partner)
				}
				if test.refused == nil {
					b.in(t, test.enters).leave()
					require.Empty(t, b.refusals)
					return
				}
				b.refused(t, test.enters, test.refused, coldPatience)
				require.Len(t, b.refusals, 1, "the holder is woken")
				b.refused(t, test.enters, test.refused, 0)
				all, alone := b.heldBack()
				require.Contains(t, all, test.enters.ID)
				require.Empty(t, alone)
			})
		})
	}
}

func TestGateLetsInWhoWaits(t *testing.T) {
	t.Parallel()
	acme, beta := aPartner("anna", 1, 0), aPartner("anna", 2, 0)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		first, second := b.in(t, acme), b.in(t, acme)
		b.in(t, beta)
		third := b.arrive(t.Context(), acme, false)  // the partner is full
		fourth := b.arrive(t.Context(), beta, false) // the user is
		time.Sleep(10 * time.Millisecond)
		first.leave()
		got := <-third
		require.NoError(t, got.err)
		require.Equal(t, time.Now(), got.at)
		synctest.Wait()
		require.Empty(t, fourth)
		second.leave()
		got2 := <-fourth
		require.NoError(t, got2.err)

		// It waits longer where requests end.
		fifth := b.arrive(t.Context(), acme, false)
		time.Sleep(300 * time.Millisecond)
		got.pass.leave()
		require.NoError(t, (<-fifth).err)
	})
}

// Who stops waiting leaves no trace.
func TestGateWaitIsGivenUp(t *testing.T) {
	t.Parallel()
	acme := aPartner("anna", 1, 1)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		inside := b.in(t, acme)
		ctx, cancel := context.WithCancelCause(t.Context())
		given := b.arrive(ctx, acme, false)
		patient := b.arrive(t.Context(), acme, false)
		time.Sleep(time.Millisecond)
		cancel(errors.New("cancelled by hand"))
		got := <-given
		require.ErrorIs(t, got.err, context.Canceled)
		require.False(t, isRefusal(got.err), "it is nobody's fault")
		require.Len(t, b.lanes[acme.ID].line, 1)
		inside.leave()
		got = <-patient
		require.NoError(t, got.err)
		got.pass.leave()
		b.requireEmpty(t)
	})
}

// A turn that comes in the moment in which patience ends is not lost, and is not had twice.
func TestGateTurnAtTheLastMoment(t *testing.T) {
	t.Parallel()
	acme := aPartner("anna", 1, 1)
	for range 20 { // which of both comes first is open
		inBubble(t, nil, func(b *gateBundle) {
			t := b.t
			inside := b.in(t, acme)
			time.AfterFunc(coldPatience, inside.leave)
			ctx, cancel := context.WithTimeout(t.Context(), coldPatience)
			defer cancel()
			one, two := b.arrive(t.Context(), acme, false), b.arrive(ctx, acme, false)
			for _, done := range []<-chan arrival{one, two} {
				if got := <-done; got.err == nil {
					got.pass.leave()
				}
			}
			synctest.Wait()
			b.requireEmpty(t)
		})
	}
}

func TestGateForgetsTheIdle(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		acme, beta, slow, busy, failing := aPartner("anna", 1, 0), aPartner("anna", 2, 0), aPartner("bert", 3, 1), aPartner("carl", 4, 0), aPartner("dora", 5, 0)
		b.in(t, acme).leave()
		b.in(t, beta).leave()
		held := b.in(t, slow)
		b.refused(t, slow, errPartnerBusy, coldPatience)
		b.in(t, busy)
		b.in(t, failing).leave()
		b.fails(failing, deliveryIDs(1)...)
		require.Len(t, b.lanes, 5)
		b.learn(nil)
		require.Len(t, b.lanes, 5, "all that was just now")
		held.leave()
		time.Sleep(10*paceWindow + refusalCounts + time.Second)
		b.learn(nil)
		require.Len(t, b.lanes, 2)
		require.Contains(t, b.lanes, busy.ID)
		require.Contains(t, b.lanes, failing.ID, "the database has not been told")
		require.Len(t, b.users, 2)
		b.report()
		b.learn([]Health{healthOf(failing, 1, deliveryIDs(1)...)})
		require.Contains(t, b.lanes, failing.ID, "it fails")
		b.learn(nil)
		require.Len(t, b.lanes, 1)
		require.Len(t, b.users, 1)
	})
}

func TestGateCountsWhatWasLetGo(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		acme := aPartner("anna", 1, 0)
		held := &heldQueue{PartnerID: acme.ID, UserID: acme.UserID, Enabled: true}
		beta := &heldQueue{PartnerID: aPartner("anna", 2, 0).ID, UserID: "anna", Enabled: true, MaxInFlight: new(9)}
		let := func(of *heldQueue) int {
			count, alone := b.let(of, 10, 0)
			require.False(t, alone)
			return count
		}
		require.Equal(t, 2, let(held), "the partner's bound")
		require.Equal(t, 3, let(beta), "the user's")
		b.went(held.PartnerID, 2)
		require.Zero(t, let(held))
		require.Equal(t, 1, let(beta))
		b.in(t, acme)
		require.Zero(t, let(held), "one is in, the other on its way")
		require.Equal(t, 1, let(beta))
		time.Sleep(1100 * time.Millisecond)
		require.Equal(t, 1, let(held), "it went to another worker")
		require.Equal(t, 2, let(beta))
		b.went(aPartner("nobody", 9, 0).ID, 1)

		b.learn([]Health{openedHealth(acme, time.Second)})
		_, alone := b.let(held, 10, 0)
		require.True(t, alone)
	})
}

// A user's partners take turns where his bound is what they wait for.
func TestGateIsFairToAUsersPartners(t *testing.T) {
	t.Parallel()
	acme, beta := aPartner("anna", 1, 3), aPartner("anna", 2, 3)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		inside := []*pass{b.in(t, acme), b.in(t, acme), b.in(t, acme)}
		var many []<-chan arrival
		for range 20 {
			many = append(many, b.arrive(t.Context(), acme, false))
		}
		few := b.arrive(t.Context(), beta, false)
		for range 4 {
			time.Sleep(10 * time.Millisecond)
			inside[0].leave()
			inside = inside[1:]
			synctest.Wait()
			for at := 0; at < len(many); at++ {
				select {
				case got := <-many[at]:
					require.NoError(t, got.err)
					inside = append(inside, got.pass)
					many = append(many[:at], many[at+1:]...)
				default:
				}
			}
			if len(few) == 1 {
				return
			}
		}
		require.Fail(t, "the other partner never got its turn")
	})
}
