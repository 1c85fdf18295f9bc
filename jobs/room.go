package jobs

import (
	"math"
	"time"
)

const (
	// patience is how long a delivery waits for a turn in memory, where it has taken a place among those under way.
	patience = 2 * time.Second
	// coldPatience is how long it does so for a room of which nothing is known yet.
	coldPatience = 50 * time.Millisecond
	// paceWindow is about how far back a room's pace looks.
	paceWindow = 500 * time.Millisecond
)

// room bounds how many requests are under way: those to a partner, or those of a user.
type room struct {
	limit    int
	inFlight int       // deliveries that have a place
	posting  int       // those of them whose request is under way, or waits for a rate limit; the others wait for the database
	waiting  int       // deliveries that wait for a turn
	busyFrom time.Time // since when something is under way

	ends  fading // requests that ended
	quick fading // those of them that took less than patience

	released int       // deliveries that were let go for this room and have not come yet
	freshAt  time.Time // when they were let go
}

func (r *room) full() bool { return r.inFlight >= r.limit }

// waitsForOthers says whether it is for requests that places are taken, and not for a database that is slow.
func (r *room) waitsForOthers() bool { return 2*r.posting >= r.limit }

func (r *room) enter(now time.Time) {
	if r.inFlight == 0 {
		r.busyFrom = now
	}
	r.inFlight++
}

// leave notes that a request has ended that took the time given.
func (r *room) leave(now time.Time, took time.Duration) {
	r.inFlight--
	r.ends.add(now)
	if took < patience {
		r.quick.add(now)
	}
}

// pace is about how many requests end a second.
func (r *room) pace(now time.Time) float64 { return r.ends.pace(now) }

// swift says whether as many deliveries get their turn within patience, by requests that are quick: many that were begun
// together, and time out together, are no pace to go by.
func (r *room) swift(now time.Time, count int) bool {
	return r.quick.pace(now)*patience.Seconds() >= float64(count)
}

// worthWaiting says whether one more may expect its turn within patience, or waits for the database alone. Of a room that has just become busy
// nothing is known yet.
func (r *room) worthWaiting(now time.Time) bool {
	return !r.waitsForOthers() || now.Sub(r.busyFrom) < coldPatience || float64(r.waiting) < r.pace(now)*patience.Seconds()
}

// stalls says whether the room is full, and what is in it will be for long.
func (r *room) stalls(now time.Time) bool {
	return r.full() && r.waitsForOthers() && now.Sub(r.busyFrom) >= coldPatience && r.pace(now)*patience.Seconds() < float64(r.limit)
}

// spare is how many more deliveries the room can take within the time given.
func (r *room) spare(now time.Time, within time.Duration) int {
	if now.Sub(r.freshAt) > time.Second {
		r.released = 0 // they went to other workers
	}
	return r.limit + int(r.pace(now)*within.Seconds()) - r.inFlight - r.waiting - r.released
}

func (r *room) let(now time.Time, count int) {
	r.released += count
	r.freshAt = now
}

// came notes that a delivery has come.
func (r *room) came() { r.released = max(0, r.released-1) }

// idle says whether nothing is lost if the room is forgotten.
func (r *room) idle(now time.Time) bool {
	return r.inFlight == 0 && r.waiting == 0 && now.Sub(r.ends.at) > 10*paceWindow
}

// fading counts what happened lately; the longer ago, the less it counts.
type fading struct {
	count float64
	at    time.Time
}

func (f *fading) add(now time.Time) { f.count, f.at = f.faded(now)+1, now }

func (f *fading) faded(now time.Time) float64 {
	return f.count * math.Exp(-now.Sub(f.at).Seconds()/paceWindow.Seconds())
}

// pace is how many there are a second.
func (f *fading) pace(now time.Time) float64 { return f.faded(now) / paceWindow.Seconds() }
