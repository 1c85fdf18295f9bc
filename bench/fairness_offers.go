package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/epicvoice/webhook-worker/jobs"
)

// offerClients is how many events for healthy partners may be enqueued at once. They are more than the rate
// needs, so that a slow commit does not hold up the next event.
const offerClients = 8

// offers are the events for healthy partners. Each is due at a time that does not depend on the ones before
// it: what is late is made up for.
type offers struct {
	start    time.Time // the first is due
	total    int64
	rate     int // a second
	healthy  int // partners, which take turns
	body     json.RawMessage
	receiver *fairnessReceiver

	next   atomic.Int64 // number of the next event that no client has taken
	mu     sync.Mutex
	behind time.Duration // the most that an event was enqueued later than due; guarded by mu
}

// connectClients opens a connection for each client. The second result closes them.
func connectClients(ctx context.Context, s *stage) ([]*pgx.Conn, func(), error) {
	var clients []*pgx.Conn
	disconnect := func() {
		for _, client := range clients {
			_ = client.Close(context.WithoutCancel(ctx))
		}
	}
	for range offerClients {
		client, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
		if err != nil {
			disconnect()
			return nil, nil, fmt.Errorf("connecting: %w", err)
		}
		clients = append(clients, client)
	}
	return clients, disconnect, nil
}

// make enqueues events as they come due, until all have been taken.
func (o *offers) make(ctx context.Context, client *pgx.Conn) error {
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return err
	}
	for {
		number := o.next.Add(1) - 1
		if number >= o.total {
			return nil
		}
		due := o.start.Add(time.Duration(number) * time.Second / time.Duration(o.rate))
		if err := sleepUntil(ctx, due); err != nil {
			return fmt.Errorf("offering events: %w", err)
		}
		o.note(time.Since(due))
		if err := o.offer(ctx, client, enqueuer, int(number)%o.healthy); err != nil {
			return fmt.Errorf("offering event %d: %w", number, err)
		}
	}
}

// offer enqueues an event for one partner in a transaction of its own. The receiver hears of it before the
// commit, which the delivery may overtake.
func (o *offers) offer(ctx context.Context, client *pgx.Conn, enqueuer *jobs.Enqueuer, partner int) error {
	return pgx.BeginFunc(ctx, client, func(tx pgx.Tx) error {
		event := &jobs.Event{UserID: healthyUser, Type: eventType(healthyName(partner)), Payload: o.body}
		deliveries, err := enqueuer.EnqueueTx(ctx, tx, event)
		if err != nil {
			return err
		}
		if len(deliveries) != 1 {
			return errors.New("the event does not go to exactly one partner")
		}
		o.receiver.expect(deliveries[0].ID.String(), time.Now()) // what is left is the commit
		return nil
	})
}

// note keeps the most that an event was late.
func (o *offers) note(late time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.behind = max(o.behind, late)
}

// sleepUntil sleeps until a time, or until ctx ends.
func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(at)):
		return nil
	}
}
