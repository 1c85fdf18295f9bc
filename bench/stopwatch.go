package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// arrivalTimeout is when a delivery counts as lost.
const arrivalTimeout = 30 * time.Second

// stopwatch times deliveries from their commit to their arrival. It is the receiver.
type stopwatch struct {
	mu      sync.Mutex
	started map[string]time.Time // by webhook-id; what has arrived is not in it
	took    latencies
	arrived chan struct{} // closed when something arrives
}

// start notes that deliveries are being committed.
func (w *stopwatch) start(ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started == nil {
		w.started = map[string]time.Time{}
	}
	now := time.Now()
	for _, id := range ids {
		w.started[id] = now
	}
}

func (w *stopwatch) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	now := time.Now()
	id := r.Header.Get("webhook-id")
	w.mu.Lock()
	defer w.mu.Unlock()
	if start, waited := w.started[id]; waited {
		w.took.add(now.Sub(start), false)
		delete(w.started, id)
	}
	if len(w.started) == 0 && w.arrived != nil {
		close(w.arrived)
		w.arrived = nil
	}
}

// wait waits until nothing is under way.
func (w *stopwatch) wait(ctx context.Context) error {
	w.mu.Lock()
	waiting := len(w.started)
	if waiting > 0 && w.arrived == nil {
		w.arrived = make(chan struct{})
	}
	arrived := w.arrived
	w.mu.Unlock()
	if waiting == 0 {
		return nil
	}
	select {
	case <-arrived:
		return nil
	case <-time.After(arrivalTimeout):
		return fmt.Errorf("%d deliveries did not arrive within %s", waiting, arrivalTimeout) //nolint:err113 // for a person
	case <-ctx.Done():
		return fmt.Errorf("measuring: %w", ctx.Err())
	}
}

// reset returns what was measured, and begins anew.
func (w *stopwatch) reset() latencies {
	w.mu.Lock()
	defer w.mu.Unlock()
	took := w.took
	w.took = latencies{}
	return took
}
