package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// silence is how long a receiver waits for the next request: what has not come by then does not come.
const silence = 30 * time.Second

// arrivals counts requests and remembers when the first and the last of them came.
type arrivals struct {
	seen        atomic.Int64
	wanted      int64
	first, last time.Time
	done        chan struct{}
}

func newArrivals() *arrivals { return &arrivals{done: make(chan struct{})} }

// expect begins a run of wanted requests.
func (a *arrivals) expect(wanted int64) {
	a.seen.Store(0)
	a.wanted = wanted
	a.done = make(chan struct{})
}

func (a *arrivals) ServeHTTP(http.ResponseWriter, *http.Request) {
	switch a.seen.Add(1) {
	case 1:
		a.first = time.Now()
	case a.wanted:
		a.last = time.Now()
		close(a.done)
	}
}

// wait waits for the last of them.
func (a *arrivals) wait(ctx context.Context) error {
	ticker := time.NewTicker(silence)
	defer ticker.Stop()
	for seen := int64(-1); ; seen = a.seen.Load() {
		select {
		case <-a.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("waiting for deliveries: %w", ctx.Err())
		case <-ticker.C:
			if seen == a.seen.Load() {
				return fmt.Errorf("%d of %d deliveries came, and for %s no more", seen, a.wanted, silence) //nolint:err113 // for a person
			}
		}
	}
}
