package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
)

// gatherer reads what concurrent deliveries ask for with few statements: what is asked while one runs is the
// next one's, once even if many ask for it, and nothing waits for company.
type gatherer[Key comparable, Value any] struct {
	// read reads the values of up to most keys; those that do not exist are missing from what it returns.
	read func(context.Context, []Key) (map[Key]Value, error)
	most int

	mu      sync.Mutex
	reading bool
	waiting map[Key]*gathered[Value]
}

// gathered is what one key's askers wait for.
type gathered[Value any] struct {
	done  chan struct{} // closed when the rest is set
	value Value
	found bool
	err   error
}

// ask asks for the value of a key, as of some time from now on.
func (g *gatherer[Key, Value]) ask(key Key) *gathered[Value] {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer, asked := g.waiting[key]
	if !asked {
		answer = &gathered[Value]{done: make(chan struct{})}
		if g.waiting == nil {
			g.waiting = map[Key]*gathered[Value]{}
		}
		g.waiting[key] = answer
	}
	if !g.reading {
		g.reading = true
		go g.run()
	}
	return answer
}

// wait returns the value that was asked for, and whether there is one.
func (a *gathered[Value]) wait(ctx context.Context) (value Value, found bool, err error) {
	select {
	case <-a.done:
		return a.value, a.found, a.err
	case <-ctx.Done():
		return value, false, fmt.Errorf("reading from the database: %w", ctx.Err())
	}
}

// run reads until nobody waits.
func (g *gatherer[Key, Value]) run() {
	for {
		batch := g.next()
		if batch == nil {
			return
		}
		g.answer(batch)
	}
}

// next takes those that wait, as many as one statement may read; nil, and the reading is over, if there are none.
func (g *gatherer[Key, Value]) next() map[Key]*gathered[Value] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.reading = false
		return nil
	}
	if len(g.waiting) <= g.most {
		batch := g.waiting
		g.waiting = nil
		return batch
	}
	batch := make(map[Key]*gathered[Value], g.most)
	for key, answer := range g.waiting {
		if len(batch) == g.most {
			break
		}
		batch[key] = answer
		delete(g.waiting, key)
	}
	return batch
}

// answer reads a batch and tells those who wait. If what is stored for one key can't be read, that is told only to
// those who asked for it.
func (g *gatherer[Key, Value]) answer(batch map[Key]*gathered[Value]) {
	keys := make([]Key, 0, len(batch))
	for key := range batch {
		keys = append(keys, key)
	}
	ctx, cancel := context.WithTimeout(context.Background(), prepareTimeout)
	defer cancel()
	values, err := g.read(ctx, keys)
	if unreadable := (pgx.ScanArgError{}); len(keys) > 1 && (isRowError(err) || errors.As(err, &unreadable)) {
		for key, answer := range batch {
			g.answer(map[Key]*gathered[Value]{key: answer})
		}
		return
	}
	for key, answer := range batch {
		answer.value, answer.found = values[key]
		answer.err = err
		close(answer.done)
	}
}
