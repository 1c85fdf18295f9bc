package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

type throughputCommand struct {
	Deliveries int   `default:"20000" help:"Deliveries of one round, waiting before the worker starts."`
	Partners   int   `default:"10" help:"Partners that each event goes to."`
	Rounds     int   `default:"3" help:"Rounds; each runs all batch sizes, one after the other."`
	BatchSizes []int `default:"200" help:"Values of WORKER_BATCH_SIZE to compare."`
	Concurrent int   `default:"100" help:"MAX_CONCURRENT_DELIVERIES."`
}

// Run drains a backlog with one worker for each batch size in turn, and prints deliveries a second, from
// the first arrival to the last.
func (c *throughputCommand) Run(ctx context.Context) (err error) {
	counter := newArrivals()
	s, err := newStage(ctx, counter.ServeHTTP)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for i := range c.Partners {
		slug := "partner-" + strconv.Itoa(i)
		if _, _, err := s.store.Create(ctx, benchUser, &partners.Params{
			Name: slug, Slug: slug, URL: s.url, EnabledEvents: []string{"*"},
		}); err != nil {
			return err
		}
	}
	for round := range c.Rounds {
		for _, size := range c.BatchSizes {
			rate, err := c.drain(ctx, s, counter, size)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(os.Stdout, "round %d  WORKER_BATCH_SIZE=%-5d %6.0f deliveries/s\n", round+1, size, rate); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain fills the queue, starts a worker, and returns the deliveries a second that arrived.
func (c *throughputCommand) drain(ctx context.Context, s *stage, counter *arrivals, batchSize int) (float64, error) {
	events := max(c.Deliveries/c.Partners, 1)
	if err := fill(ctx, s, events); err != nil {
		return 0, err
	}
	counter.expect(int64(events * c.Partners))
	stop, err := s.startWorker("1",
		"WORKER_BATCH_SIZE="+strconv.Itoa(batchSize), "MAX_CONCURRENT_DELIVERIES="+strconv.Itoa(c.Concurrent))
	if err != nil {
		return 0, err
	}
	select {
	case <-counter.done:
	case <-ctx.Done():
		return 0, errors.Join(ctx.Err(), stop())
	}
	return float64(counter.wanted) / counter.last.Sub(counter.first).Seconds(), stop()
}

// fill enqueues events, many in a transaction, and tidies the tables up as a server does in time.
func fill(ctx context.Context, s *stage, events int) error {
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return err
	}
	const perTransaction = 100
	for start := 0; start < events; start += perTransaction {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			for range min(perTransaction, events-start) {
				event := &jobs.Event{UserID: benchUser, Type: "call.completed", Payload: []byte(payload)}
				if _, err := enqueuer.EnqueueTx(ctx, tx, event); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("filling the queue: %w", err)
		}
	}
	if _, err := s.pool.Exec(ctx, `vacuum analyze`); err != nil {
		return fmt.Errorf("tidying up: %w", err)
	}
	return nil
}

// arrivals counts requests and remembers when the first and the last of them came.
type arrivals struct {
	seen        atomic.Int64
	wanted      int64
	first, last time.Time
	done        chan struct{}
}

func newArrivals() *arrivals { return &arrivals{done: make(chan struct{})} }

// expect begins a round of wanted requests.
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
