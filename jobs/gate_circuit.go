package jobs

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/epicvoice/webhook-worker/partners"
)

// unconfirmed is how long a circuit is open for a process alone, since it has seen enough: if the database can't be told in
// that time nobody could close it.
const unconfirmed = 5 * time.Second

// refusal says why nothing is to go to a partner now; nil: it may. g.mu is held.
func (g *gate) refusal(l *lane) error {
	now := g.now()
	open, slowedUntil := g.condition(l)
	switch {
	case open:
		return errCircuitOpen
	case now.Before(slowedUntil):
		return errSlowedDown
	}
	return nil
}

// condition puts together what the database said of a partner and what this process has seen since. g.mu is held.
func (g *gate) condition(l *lane) (open bool, slowedUntil time.Time) {
	known := streak{}
	slowedUntil = latest(l.sent.slowedUntil, l.seen.slowedUntil)
	if health := g.health[l.partner]; health != nil && !l.sent.delivered && !l.seen.delivered {
		known = streak{failures: health.Failures, deliveries: health.FailedDeliveries}
		open = health.OpenedAt != nil
		if health.SlowedUntil != nil {
			slowedUntil = latest(slowedUntil, *health.SlowedUntil)
		}
	}
	if l.sent.failures > 0 || l.seen.failures > 0 {
		known.deliveries = slices.Clone(known.deliveries)
		known.merge(&l.sent)
		known.merge(&l.seen)
	}
	if known.failures < g.circuitFailures || len(known.deliveries) < circuitDeliveries {
		l.opening = time.Time{}
	} else if !open {
		if l.opening.IsZero() {
			l.opening = time.Now()
		}
		open = time.Since(l.opening) < unconfirmed
	}
	return open && g.circuitFailures > 0, slowedUntil
}

// observe learns from the verdict on a try.
func (g *gate) observe(partner *partners.Partner, delivery uuid.UUID, verdict *Verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.laneOf(partner.UserID, partner.ID, partner.MaxInFlight)
	if !tells(verdict) {
		return
	}
	now := g.now()
	_, slowedUntil := g.condition(l)
	if verdict.Outcome == OutcomeDelivered {
		if now.Before(l.askedUntil) && now.Before(slowedUntil) {
			return // this answers a request from before
		}
		l.slowed = 0
		known := g.health[l.partner] != nil || l.sent.failures > 0
		l.seen = streak{delivered: known}
		if known {
			g.urgent()
		}
		return
	}
	l.seen.add(now, delivery, verdict)
	if verdict.SlowDown {
		until := now.Add(min(verdict.RetryAfter, g.maxDelay))
		l.askedUntil = latest(l.askedUntil, until)
		if !now.Before(slowedUntil) { // else this answers a request from before
			until = latest(until, now.Add(min(firstSlow<<min(l.slowed, maxSlowings), maxSlow)))
			l.slowed++
		}
		l.seen.slowedUntil = latest(l.seen.slowedUntil, until)
	}
	if open, _ := g.condition(l); open {
		g.urgent()
	}
}

// mayProbe says whether a partner whose circuit is open may be due for a try, not before it wants one, and whether there
// is room for it. g.mu is held.
func (g *gate) mayProbe(l *lane) bool {
	health, now := g.health[l.partner], g.now()
	if health == nil || health.ProbeAt == nil || now.Before(*health.ProbeAt) {
		return false
	}
	_, slowedUntil := g.condition(l)
	return !now.Before(slowedUntil) && !l.probing && !l.full() && !l.user.full()
}

// probe asks for the right to try a partner whose circuit is open: one try of all workers at a time. Its place is taken.
func (g *gate) probe(ctx context.Context, l *lane) (*pass, error) {
	granted, err := g.claimProbe(ctx, l.partner)
	if err == nil && granted {
		return &pass{gate: g, lane: l, probe: true}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l.probing = false
	l.inFlight--
	l.user.inFlight--
	g.callNext(l.user)
	g.refuse(l, errCircuitOpen)
	if err == nil {
		err = errCircuitOpen
	}
	return nil, err
}
