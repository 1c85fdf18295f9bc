//go:build faults

package faults

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

const (
	user      = "user_1"
	eventType = "call.completed"

	// enqueueTimeout bounds one transaction of the load.
	enqueueTimeout = 45 * time.Second
	// enqueuers is how many transactions of the load run at once at most.
	enqueuers = 4
	// rollBackEvery is how often a transaction is rolled back on purpose.
	rollBackEvery = 8
)

// fate is what became of a transaction that stored an event.
type fate int

const (
	rolledBack fate = iota
	committed
	unknown // the commit had no answer
)

// ledger is what the harness itself knows about events.
type ledger struct {
	mu     sync.Mutex
	count  int
	fates  map[string]fate
	events map[string][]planned // by event: its deliveries
	ids    map[string][]string  // by event: their ids, in the same order
}

func newLedger() *ledger {
	return &ledger{fates: map[string]fate{}, events: map[string][]planned{}, ids: map[string][]string{}}
}

func (l *ledger) record(event string, became fate, ids []string, plans []planned) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fates[event] = became
	l.ids[event], l.events[event] = ids, plans
}

// number counts transactions.
func (l *ledger) number() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	return l.count
}

// committed are the ids of all deliveries whose event was committed for certain.
func (l *ledger) committed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for event, became := range l.fates {
		if became == committed {
			all = append(all, l.ids[event]...)
		}
	}
	return all
}

// idOf is the id of an event's delivery to a path.
func (l *ledger) idOf(event, path string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, plan := range l.events[event] {
		if plan.path == path {
			return l.ids[event][i]
		}
	}
	return ""
}

// enqueue stores so many events, each in a transaction of its own that commits, and returns their ids.
func (w *world) enqueue(t *testing.T, events int) []string {
	t.Helper()
	var names []string
	for range events {
		name := uuid.NewString()
		require.Equal(t, committed, w.transact(t.Context(), name, w.ledger.number(), false))
		names = append(names, name)
	}
	return names
}

// load stores events at a steady rate until stop, which waits for those under way. Some transactions are
// rolled back on purpose; those that a fault makes fail are not repeated.
func (w *world) load(t *testing.T, perSecond int) (stop func()) {
	t.Helper()
	// What is under way at the end of the test must not be cut, or its fate would be unknown.
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	var running sync.WaitGroup
	for range enqueuers {
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				number := w.ledger.number()
				w.transact(context.WithoutCancel(ctx), uuid.NewString(), number, number%rollBackEvery == 0)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		ticker.Stop()
	})
	t.Cleanup(stop)
	return stop
}

// transact stores one event, in Go or in SQL by turns, commits or rolls back, and records what became of it.
func (w *world) transact(ctx context.Context, event string, number int, rollBack bool) fate {
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	payload := fmt.Appendf(nil, `{"event": %q, "number": %d, "pad": %q}`, event, number, w.pad)
	became, ids := rolledBack, []string(nil)
	defer func() { w.ledger.record(event, became, ids, w.plan(event, payload, len(ids))) }()

	tx, err := w.pool.Begin(ctx)
	if err != nil {
		return became
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if number%2 == 0 {
		ids, err = w.enqueueInGo(ctx, tx, event, payload)
	} else {
		ids, err = enqueueInSQL(ctx, tx, event, payload)
	}
	if err != nil || rollBack {
		return became
	}
	switch err := tx.Commit(ctx); {
	case err == nil:
		became = committed
	case !errors.Is(err, pgx.ErrTxCommitRollback):
		became = unknown
	}
	return became
}

func (w *world) enqueueInGo(ctx context.Context, tx pgx.Tx, event string, payload []byte) ([]string, error) {
	deliveries, err := w.enqueuer.EnqueueTx(ctx, tx, &jobs.Event{ID: event, UserID: user, Type: eventType, Payload: payload})
	var ids []string
	for _, delivery := range deliveries {
		ids = append(ids, delivery.ID.String())
	}
	return ids, err
}

func enqueueInSQL(ctx context.Context, tx pgx.Tx, event string, payload []byte) ([]string, error) {
	rows, err := tx.Query(ctx, `select enqueue_webhook_event($1, $2, $3::text::json, $4)::text`, user, eventType, string(payload), event)
	if err != nil {
		return nil, fmt.Errorf("enqueueing: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// plan is where an event's deliveries must arrive, in the order of the partners' slugs.
func (w *world) plan(event string, payload []byte, deliveries int) []planned {
	sum := sha256.Sum256(payload)
	var plans []planned
	for _, slug := range w.subscribed[:min(deliveries, len(w.subscribed))] {
		plans = append(plans, planned{event: event, path: "/" + slug, hash: hex.EncodeToString(sum[:])})
	}
	return plans
}
