package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"
)

// settling is how long a worker has to come to rest before it is looked at.
const settling = time.Second

// heldRun is what a worker used while deliveries were under way.
type heldRun struct {
	memory     int64 // bytes
	goroutines int
}

// hold has so many deliveries under way at once, and looks at what the worker uses for it.
func (c *sizesCommand) hold(ctx context.Context, s *stage, holder *holder, count int) (*heldRun, error) {
	if err := s.clear(ctx); err != nil {
		return nil, err
	}
	if err := s.enqueue(ctx, 1, (count+c.Partners-1)/c.Partners, payloadOf(c.Bodies[0])); err != nil {
		return nil, err
	}
	holder.reset()
	defer holder.release()
	socket := filepath.Join(s.dir, "health")
	// All of them are to be under way, although they are one user's.
	worker, err := s.startWorker("1", fmt.Sprint("MAX_CONCURRENT_DELIVERIES=", max(count, 1)), fmt.Sprint("PARTNER_MAX_IN_FLIGHT=", max(count, 1)),
		fmt.Sprint("USER_MAX_IN_FLIGHT=", max(count, 1)), "WORKER_HEALTH_ADDR=unix:"+socket)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := waitReady(bounded, socket); err != nil {
		return nil, err
	}
	for holder.held.Load() < int64(count) {
		if err := sleepUntil(bounded, time.Now().Add(10*time.Millisecond)); err != nil {
			return nil, fmt.Errorf("waiting for deliveries, of which %d came: %w", holder.held.Load(), err)
		}
	}
	if err := sleepUntil(ctx, time.Now().Add(settling)); err != nil {
		return nil, err
	}
	run := &heldRun{}
	if run.memory, _, err = worker.memory(); err != nil {
		return nil, err
	}
	run.goroutines, err = worker.goroutines()
	return run, err
}

// holder is a receiver that keeps its answers back.
type holder struct {
	held     atomic.Int64
	released chan struct{}
}

func newHolder() *holder { return &holder{} }

// reset begins a run.
func (h *holder) reset() {
	h.held.Store(0)
	h.released = make(chan struct{})
}

// release lets all answers go.
func (h *holder) release() { close(h.released) }

func (h *holder) ServeHTTP(_ http.ResponseWriter, request *http.Request) {
	released := h.released
	_, _ = io.Copy(io.Discard, request.Body) // only after it the server sees that a client has gone
	h.held.Add(1)
	select {
	case <-released:
	case <-request.Context().Done():
	}
}

// switchedReceiver is one receiver after another at the same address.
type switchedReceiver struct{ current atomic.Pointer[http.Handler] }

// use makes a handler the receiver.
func (s *switchedReceiver) use(handler http.Handler) { s.current.Store(&handler) }

func (s *switchedReceiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	(*s.current.Load()).ServeHTTP(w, request)
}
