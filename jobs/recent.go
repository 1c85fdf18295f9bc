package jobs

import (
	"context"
	"sync"
	"time"
)

// clockError is by how much the times of two readers of the database's clock may differ.
const clockError = 50 * time.Millisecond

// recent reads values by a gatherer, and for a moment remembers them for those who ask next.
type recent[Key comparable, Value any] struct {
	gatherer gatherer[Key, Value]
	lasting  time.Duration   // how old a value may be that is used again
	room     int             // how much is remembered at most, as weigh counts
	weigh    func(Value) int // 0: it is not to be remembered
	now      func() time.Time

	mu    sync.Mutex
	since time.Time // all that is known was read after this, by this host's clock
	known map[Key]remembered[Value]
	used  int // of the room
}

// remembered is a value as it was at some time, or later.
type remembered[Value any] struct {
	value Value
	asOf  time.Time
}

// asked is a value on its way, or one that is known.
type asked[Key comparable, Value any] struct {
	recent *recent[Key, Value]
	key    Key
	since  time.Time
	asOf   time.Time
	known  Value
	answer *gathered[Value] // nil: it is known
}

// ask asks for the value of a key: as it is, or as it was less than lasting ago and later than a time.
func (r *recent[Key, Value]) ask(key Key, laterThan time.Time) asked[Key, Value] {
	asOf := r.now()
	r.mu.Lock()
	if time.Since(r.since) >= r.lasting {
		r.clear()
	}
	found, known := r.known[key]
	since := r.since
	r.mu.Unlock()
	if known && found.asOf.After(laterThan.Add(clockError)) {
		return asked[Key, Value]{known: found.value}
	}
	return asked[Key, Value]{recent: r, key: key, since: since, asOf: asOf, answer: r.gatherer.ask(key)}
}

// wait returns the value, and whether there is one.
func (a *asked[Key, Value]) wait(ctx context.Context) (Value, bool, error) {
	if a.answer == nil {
		return a.known, true, nil
	}
	value, found, err := a.answer.wait(ctx)
	if found && err == nil {
		a.recent.remember(a, value)
	}
	return value, found, err
}

// remember keeps a value that was asked for.
func (r *recent[Key, Value]) remember(asked *asked[Key, Value], value Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !asked.since.Equal(r.since) {
		return // all that was read before has been forgotten
	}
	before, known := r.known[asked.key]
	weight := r.weigh(value)
	used := r.used + weight
	if known {
		used -= r.weigh(before.value)
	}
	if weight == 0 || used > r.room || known && before.asOf.After(asked.asOf) {
		return
	}
	r.known[asked.key], r.used = remembered[Value]{value, asked.asOf}, used
}

// forget makes the next reads real ones.
func (r *recent[Key, Value]) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
}

// clear forgets all. r.mu is held.
func (r *recent[Key, Value]) clear() {
	r.since, r.known, r.used = time.Now(), map[Key]remembered[Value]{}, 0
}
