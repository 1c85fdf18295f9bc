package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What partners do is said by the paths of their URLs.
const (
	healthyPath = "healthy"
	hangingPath = "hanging"
	failingPath = "failing"
)

// fairnessReceiver is all partners. It keeps when deliveries to healthy ones were committed, and when they
// arrived.
type fairnessReceiver struct {
	hang    time.Duration
	hanging atomic.Int64 // requests to hanging partners
	failing atomic.Int64 // requests to failing partners

	mu        sync.Mutex
	delivered map[string]*delivered // to healthy partners, by webhook-id; guarded by mu
	missing   int                   // of them those that have not arrived; guarded by mu
	extra     int                   // requests beside the first of each; guarded by mu
}

// delivered is a delivery to a healthy partner.
type delivered struct {
	asked   time.Time // when the commit was asked for
	arrived time.Time // zero: not yet
}

func newFairnessReceiver(hang time.Duration) *fairnessReceiver { return &fairnessReceiver{hang: hang} }

// reset begins a run.
func (r *fairnessReceiver) reset() {
	r.hanging.Store(0)
	r.failing.Store(0)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delivered, r.missing, r.extra = map[string]*delivered{}, 0, 0
}

// expect says that a delivery to a healthy partner is about to be committed.
func (r *fairnessReceiver) expect(id string, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delivered[id] = &delivered{asked: asked}
	r.missing++
}

func (r *fairnessReceiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	now := time.Now()
	_, _ = io.Copy(io.Discard, request.Body) // only after it the server sees that a client has gone
	switch request.URL.Path {
	case "/" + hangingPath:
		r.hanging.Add(1)
		_ = sleepUntil(request.Context(), now.Add(r.hang))
	case "/" + failingPath:
		r.failing.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	default:
		r.arrive(request.Header.Get("webhook-id"), now)
	}
}

func (r *fairnessReceiver) arrive(id string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delivery := r.delivered[id]
	if delivery == nil || !delivery.arrived.IsZero() {
		r.extra++
		return
	}
	delivery.arrived = at
	r.missing--
}

// wait waits until all deliveries have arrived, but not longer than until a time.
func (r *fairnessReceiver) wait(ctx context.Context, until time.Time) error {
	for time.Now().Before(until) && r.waiting() > 0 {
		if err := sleepUntil(ctx, time.Now().Add(10*time.Millisecond)); err != nil {
			return fmt.Errorf("waiting for deliveries: %w", err)
		}
	}
	return nil
}

// waiting is how many deliveries have not arrived.
func (r *fairnessReceiver) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.missing
}

// sum adds to a run what became of its deliveries: events were offered until end, and what had not arrived by
// the deadline is lost. Of those committed since later it makes percentiles of their own.
func (r *fairnessReceiver) sum(run *fairnessRun, end, deadline, later time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run.offered, run.extra = len(r.delivered), r.extra
	for _, delivery := range r.delivered {
		lost := delivery.arrived.IsZero() || delivery.arrived.After(deadline)
		took := delivery.arrived.Sub(delivery.asked)
		if lost {
			run.lost++
			took = deadline.Sub(delivery.asked)
		} else if !delivery.arrived.After(end) {
			run.inTime++
		}
		run.all.add(took, lost)
		if !delivery.asked.Before(later) {
			run.later.add(took, lost)
		}
	}
}
