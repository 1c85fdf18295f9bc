package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/epicvoice/webhook-worker/partners"
)

// Why a delivery is not let through now.
var (
	errPartnerBusy = errors.New("as many requests to the partner are under way as PARTNER_MAX_IN_FLIGHT or its own bound allows")
	errUserBusy    = errors.New("as many requests to partners of the user are under way as USER_MAX_IN_FLIGHT allows")
	errCircuitOpen = errors.New("the partner's circuit is open: it fails")
	errSlowedDown  = errors.New("the partner asked to be left alone for a while")
	errRateLimit   = errors.New("the partner's rate limit is reached")
)

// isRefusal says whether an error is one of them.
func isRefusal(err error) bool {
	return errors.Is(err, errPartnerBusy) || errors.Is(err, errUserBusy) || errors.Is(err, errCircuitOpen) ||
		errors.Is(err, errSlowedDown) || errors.Is(err, errRateLimit)
}

// refusalCounts is how long a partner counts as held back after a delivery to it was refused.
const refusalCounts = 5 * time.Second

// gateConfig is what a gate needs.
type gateConfig struct {
	partnerLimit    int              // requests to one partner under way at once
	userLimit       int              // and to all partners of one user
	most            int              // deliveries under way at once, which is how many can wait for a turn
	circuitFailures int              // in a row, that open a circuit; 0: none opens
	maxDelay        time.Duration    // the longest that a partner may ask for
	now             func() time.Time // the database's clock: circuits are shared
	urgent          func()           // called when the database should hear of a change
	// claimProbe says whether this process may try a partner whose circuit is open.
	claimProbe func(ctx context.Context, partner uuid.UUID) (bool, error)
}

// gate decides which deliveries may be made now, so that a partner that is slow or fails, or a user with many of
// them, leaves room for the others. It is shared by all that a process has under way.
type gate struct {
	gateConfig

	mu     sync.Mutex
	lanes  map[uuid.UUID]*lane
	users  map[string]*userRoom
	health map[uuid.UUID]*Health // as the database said last; nil for those that do not fail
	began  time.Time             // when the first request of all began

	refusals chan struct{} // receives when a partner is refused that was not before
}

// lane is what a process knows of one partner.
type lane struct {
	room

	partner  uuid.UUID
	user     *userRoom
	line     []*waiter
	refused  time.Time // when a delivery was refused last
	why      error     // and why
	probing  bool      // a probe is asked for, or under way
	probeLet time.Time // when a probe that was held back was let go
	opening  time.Time // since when this process has seen enough to open the circuit, and the database does not say so

	seen   streak // what the database has not been told
	sent   streak // what it is being told
	slowed int    // how often in a row it has asked to be left alone

	askedUntil time.Time // until when, where it said so itself
}

// userRoom is the room of a user, with those of its lanes where deliveries wait.
type userRoom struct {
	room

	id    string
	lines []*lane
}

// waiter is a delivery that waits for its turn.
type waiter struct {
	turn   chan error // receives once, nil: it is under way; buffered
	why    error      // why it waits
	anyway bool       // it goes even if its partner fails meanwhile
}

// pass is the right to make one request.
type pass struct {
	gate  *gate
	lane  *lane
	probe bool

	posting bool
	began   time.Time // when the request began
}

func newGate(cfg gateConfig) *gate {
	return &gate{gateConfig: cfg, lanes: map[uuid.UUID]*lane{}, users: map[string]*userRoom{}, refusals: make(chan struct{}, 1)}
}

// enter lets a delivery through, at once or when it has waited for its turn for patience at most; else its error
// says why not. One that has been held back for too long is let through whether its partner fails or not.
func (g *gate) enter(ctx context.Context, partner *partners.Partner, heldTooLong bool) (*pass, error) {
	g.mu.Lock()
	l := g.laneOf(partner.UserID, partner.ID, partner.MaxInFlight)
	l.came()
	l.user.came()
	if err := g.refusal(l); err != nil && !heldTooLong {
		if !errors.Is(err, errCircuitOpen) || !g.mayProbe(l) {
			g.refuse(l, err)
			g.mu.Unlock()
			return nil, err
		}
		l.probing = true
		now := time.Now()
		l.take(now)
		g.mu.Unlock()
		return g.probe(ctx, l)
	}
	waiting, err := g.admit(l, heldTooLong)
	g.mu.Unlock()
	if waiting == nil {
		if err != nil {
			return nil, err
		}
		return &pass{gate: g, lane: l}, nil
	}
	return g.await(ctx, l, waiting)
}

// admit takes a place for a delivery, or in the line for one. g.mu is held.
func (g *gate) admit(l *lane, anyway bool) (*waiter, error) {
	now := time.Now()
	if len(l.line) == 0 && !l.full() && !l.user.full() {
		l.take(now)
		return nil, nil //nolint:nilnil // it has its place
	}
	if !l.tight().worthWaiting(now) {
		g.refuse(l, l.busy())
		return nil, l.busy()
	}
	waiting := &waiter{turn: make(chan error, 1), why: l.busy(), anyway: anyway}
	if len(l.line) == 0 {
		l.user.lines = append(l.user.lines, l)
	}
	l.line = append(l.line, waiting)
	l.waiting++
	l.user.waiting++
	return waiting, nil
}

// await waits for a turn.
func (g *gate) await(ctx context.Context, l *lane, waiting *waiter) (*pass, error) {
	err := waiting.why
	for start := time.Now(); ; {
		timer := time.NewTimer(coldPatience)
		select {
		case refusal := <-waiting.turn:
			timer.Stop()
			if refusal != nil {
				return nil, refusal
			}
			return &pass{gate: g, lane: l}, nil
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			err = fmt.Errorf("waiting for a turn: %w", ctx.Err())
		}
		if ctx.Err() != nil || !g.patient(l, time.Since(start)) {
			break
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slices.Index(l.line, waiting)
	if at < 0 { // its turn has just come
		if refusal := <-waiting.turn; refusal != nil {
			return nil, refusal
		}
		return &pass{gate: g, lane: l}, nil
	}
	g.dequeue(l, at)
	if ctx.Err() == nil {
		g.refuse(l, err)
	}
	return nil, err
}

// take takes a place of the partner's, and one of its user's.
func (l *lane) take(now time.Time) {
	l.enter(now)
	l.user.enter(now)
}

// tight is the room that a lane waits for.
func (l *lane) tight() *room {
	if l.full() {
		return &l.room
	}
	return &l.user.room
}

// busy says for what a lane waits.
func (l *lane) busy() error {
	if l.full() {
		return errPartnerBusy
	}
	return errUserBusy
}

// patient says whether it is worth waiting on: requests end, or the database is slow.
func (g *gate) patient(l *lane, waited time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	tight := l.tight()
	return !tight.waitsForOthers() || waited < patience && time.Since(tight.ends.at) < patience
}

// dequeue takes a waiter out of a lane's line. g.mu is held.
func (g *gate) dequeue(l *lane, at int) *waiter {
	waiting := l.line[at]
	l.line = slices.Delete(l.line, at, at+1)
	l.waiting--
	l.user.waiting--
	if len(l.line) == 0 {
		l.user.lines = slices.DeleteFunc(l.user.lines, func(other *lane) bool { return other == l })
	}
	return waiting
}

// start notes that the request begins, or waits for its partner's rate limit: it is not the database that it waits for.
func (p *pass) start() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if p.posting {
		return
	}
	p.posting, p.began = true, time.Now()
	if p.gate.began.IsZero() {
		p.gate.began = p.began
	}
	p.lane.posting++
	p.lane.user.posting++
}

// leave gives the place back, to those who wait.
func (p *pass) leave() {
	g, l := p.gate, p.lane
	g.mu.Lock()
	defer g.mu.Unlock()
	now, took := time.Now(), patience
	if p.posting {
		took = now.Sub(p.began)
		l.posting--
		l.user.posting--
	}
	l.leave(now, took)
	l.user.leave(now, took)
	if p.probe {
		l.probing = false
	}
	g.callNext(l.user)
}

// callNext lets those in who wait and for whom there is room, of a user's partners in turn. g.mu is held.
func (g *gate) callNext(user *userRoom) {
	for !user.full() {
		at := slices.IndexFunc(user.lines, func(l *lane) bool { return !l.full() })
		if at < 0 {
			return
		}
		l := user.lines[at]
		user.lines = append(slices.Delete(user.lines, at, at+1), l)
		g.call(l)
	}
}

// call gives the first who waits for a partner his turn. g.mu is held.
func (g *gate) call(l *lane) {
	waiting := g.dequeue(l, 0)
	refusal := g.refusal(l)
	if waiting.anyway {
		refusal = nil
	}
	if refusal == nil {
		now := time.Now()
		l.take(now)
	} else {
		g.refuse(l, refusal)
	}
	waiting.turn <- refusal
}

// refuse notes that a delivery was refused, and why. g.mu is held.
func (g *gate) refuse(l *lane, why error) {
	now := time.Now()
	if now.Sub(l.refused) > refusalCounts {
		select {
		case g.refusals <- struct{}{}:
		default:
		}
	}
	l.refused, l.why = now, why
}

// isNew says whether this process has not seen enough yet of how partners answer: its requests have just begun, or are on
// their way to be, as many as there may be.
func (g *gate) isNew() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.began.IsZero() || time.Since(g.began) < coldPatience {
		return true
	}
	for _, l := range g.lanes {
		if l.full() && !l.waitsForOthers() || l.user.full() && !l.user.waitsForOthers() {
			return true
		}
	}
	return false
}

// swift says whether a delivery to a partner would not be refused for those that are under way, however many come: by the
// room that they would wait for, which is the user's as long as it is far from being the partner's. g.mu is held.
func (g *gate) swift(l *lane, now time.Time) bool {
	bound := &l.user.room
	if 2*l.inFlight >= l.limit || errors.Is(l.why, errPartnerBusy) && now.Sub(l.refused) < refusalCounts {
		bound = &l.room
	}
	return bound.swift(now, g.most)
}

// laneOf finds or makes the lane of a partner. g.mu is held.
func (g *gate) laneOf(userID string, partner uuid.UUID, limit *int) *lane {
	l := g.lanes[partner]
	if l == nil {
		user := g.users[userID]
		if user == nil {
			user = &userRoom{id: userID, room: room{limit: g.userLimit}}
			g.users[userID] = user
		}
		l = &lane{partner: partner, user: user}
		g.lanes[partner] = l
	}
	l.limit = g.partnerLimit
	if limit != nil {
		l.limit = *limit
	}
	return l
}
