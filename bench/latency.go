package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

type latencyCommand struct {
	Events int           `default:"1000" help:"Events to time."`
	Pause  time.Duration `default:"20ms" help:"Between the arrival of one event and the next event."`
}

// warmUp events are sent first and not counted: connections are opened, statements are prepared.
const warmUp = 50

// arrivalTimeout is when an event counts as lost.
const arrivalTimeout = 30 * time.Second

// Run sends one event after another, each when the one before has arrived, and prints percentiles.
func (c *latencyCommand) Run(ctx context.Context) (err error) {
	arrived := make(chan time.Time, 1)
	s, err := newStage(ctx, func(http.ResponseWriter, *http.Request) { arrived <- time.Now() })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, _, err := s.store.Create(ctx, benchUser, &partners.Params{
		Name: "Receiver", Slug: "receiver", URL: s.url, EnabledEvents: []string{"*"},
	}); err != nil {
		return err
	}
	if _, err := s.startWorker("1"); err != nil {
		return err
	}
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return err
	}

	latencies := make([]time.Duration, 0, c.Events)
	for i := range warmUp + c.Events {
		committed, err := enqueueOne(ctx, s, enqueuer)
		if err != nil {
			return err
		}
		select {
		case at := <-arrived:
			if i >= warmUp {
				latencies = append(latencies, at.Sub(committed))
			}
		case <-time.After(arrivalTimeout):
			return fmt.Errorf("event %d did not arrive within %s", i, arrivalTimeout) //nolint:err113 // for a person
		case <-ctx.Done():
			return fmt.Errorf("measuring: %w", ctx.Err())
		}
		time.Sleep(c.Pause)
	}
	slices.Sort(latencies)
	_, err = fmt.Fprintf(os.Stdout, "commit to arrival, idle, %d events: p50 %s  p90 %s  p99 %s  max %s\n", len(latencies),
		percentile(latencies, 50), percentile(latencies, 90), percentile(latencies, 99), percentile(latencies, 100))
	return err
}

// enqueueOne enqueues an event in a transaction of its own and returns when its commit was asked for: the
// commit's own time counts as latency.
func enqueueOne(ctx context.Context, s *stage, enqueuer *jobs.Enqueuer) (time.Time, error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("beginning: %w", err)
	}
	defer func(tx pgx.Tx) { _ = tx.Rollback(ctx) }(tx)
	event := &jobs.Event{UserID: benchUser, Type: "call.completed", Payload: json.RawMessage(payload)}
	if _, err := enqueuer.EnqueueTx(ctx, tx, event); err != nil {
		return time.Time{}, err
	}
	start := time.Now()
	if err := tx.Commit(ctx); err != nil {
		return time.Time{}, fmt.Errorf("committing: %w", err)
	}
	return start, nil
}

// payload is about half a kilobyte, as a call's outcome is.
const payload = `{"call_id":"call-0123456789","room_name":"room-0123456789","event_type":"call.completed",` +
	`"timestamp":"2026-01-31T15:04:05.000000Z","duration":184,"status":"completed","summary":"The caller asked to move the ` +
	`appointment of Tuesday to Thursday afternoon. The agent found a free slot at half past three, confirmed it and sent a ` +
	`text message. The caller had no further questions and thanked the agent.","sentiment":"positive","agent":"reception-2",` +
	`"language":"en-GB","cost_cents":37}`

// percentile is the value that p percent of sorted values do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	index := max((len(sorted)*p+99)/100-1, 0)
	return sorted[index].Round(10 * time.Microsecond)
}
