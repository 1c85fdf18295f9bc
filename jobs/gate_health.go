package jobs

import (
	"errors"
	"time"

	"github.com/google/uuid"
)

// report hands out what the database has not been told: who has recovered, and who has failed since.
func (g *gate) report() (recovered []uuid.UUID, failed []failure) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lanes {
		l.sent, l.seen = l.seen, streak{}
		if l.sent.delivered {
			recovered = append(recovered, l.partner)
		}
		if l.sent.failures > 0 {
			failed = append(failed, failure{
				PartnerID: l.partner, First: l.sent.first, Last: l.sent.last, Failures: l.sent.failures, Deliveries: l.sent.deliveries,
				Error: l.sent.err, SlowedUntil: notZero(l.sent.slowedUntil),
			})
		}
	}
	return recovered, failed
}

// unreport takes back what was handed out, since the database could not be told.
func (g *gate) unreport() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lanes {
		l.sent.merge(&l.seen)
		l.seen, l.sent = l.sent, streak{}
	}
}

// learn takes what the database says of all partners, after it was told. Lanes of which there is nothing left to know
// are forgotten.
func (g *gate) learn(all []Health) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.health = make(map[uuid.UUID]*Health, len(all))
	for i := range all {
		g.health[all[i].PartnerID] = &all[i]
	}
	now := time.Now()
	busy := make(map[string]bool, len(g.users))
	for id, l := range g.lanes {
		l.sent = streak{}
		if l.idle(now) && !l.seen.delivered && l.seen.failures == 0 && !l.probing &&
			now.Sub(l.refused) > refusalCounts && g.health[id] == nil {
			delete(g.lanes, id)
			continue
		}
		busy[l.user.id] = true
	}
	for id := range g.users {
		if !busy[id] {
			delete(g.users, id)
		}
	}
}

func notZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// heldBack lists the partners to whom nothing, or not everything, may go now; and those of them that are left alone
// for a time.
func (g *gate) heldBack() (all, alone []uuid.UUID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for id, l := range g.lanes {
		switch {
		case g.refusal(l) != nil:
			all, alone = append(all, id), append(alone, id)
		case l.stalls(now), l.user.stalls(now), g.refusedLately(l, now):
			all = append(all, id)
		}
	}
	for id, health := range g.health {
		if _, known := g.lanes[id]; !known && g.refusal(&lane{partner: health.PartnerID}) != nil {
			all, alone = append(all, id), append(alone, id)
		}
	}
	return all, alone
}

// refusedLately says whether a delivery was refused lately, and others would be again. g.mu is held.
func (g *gate) refusedLately(l *lane, now time.Time) bool {
	if now.Sub(l.refused) >= refusalCounts {
		return false
	}
	forRoom := errors.Is(l.why, errPartnerBusy) || errors.Is(l.why, errUserBusy)
	return !forRoom || !g.swift(l, now)
}

// areSwift says whether this process knows of each of some partners that its deliveries would get their turns, however
// many come.
func (g *gate) areSwift(partners []uuid.UUID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for _, partner := range partners {
		l := g.lanes[partner]
		if l == nil || g.refusal(l) != nil || l.user.stalls(now) || g.refusedLately(l, now) || !g.swift(l, now) {
			return false
		}
	}
	return true
}

// refuse notes that a delivery was not let through for a reason of others.
func (p *pass) refuse() {
	p.leave()
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.refuse(p.lane, errRateLimit)
}

// let says how many of the deliveries that were held back for a partner may go now, at most as many as wanted, and
// counts on it that they do. Of a partner that is left alone they are probes, and those that were held for too long.
func (g *gate) let(held *heldQueue, wanted int, within time.Duration) (count int, alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.laneOf(held.UserID, held.PartnerID, held.MaxInFlight)
	now := time.Now()
	count = max(0, min(wanted, l.spare(now, within), l.user.spare(now, within)))
	return count, g.refusal(l) != nil
}

// mayLetProbe says whether a probe may go to a partner whose circuit is open. The one that was let go last may not have
// asked for its right yet, or all workers not know that it has it.
func (g *gate) mayLetProbe(held *heldQueue) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.laneOf(held.UserID, held.PartnerID, held.MaxInFlight)
	if time.Since(l.probeLet) < healthInterval || !g.mayProbe(l) {
		return false
	}
	l.probeLet = time.Now()
	return true
}

// went notes that deliveries which were held back are on their way.
func (g *gate) went(partner uuid.UUID, count int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.lanes[partner]; l != nil {
		now := time.Now()
		l.let(now, count)
		l.user.let(now, count)
	}
}
