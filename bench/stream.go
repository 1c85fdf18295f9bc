package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

type streamCommand struct {
	Events  int `default:"15000" help:"Events of one run, each for one partner and committed on its own while workers run."`
	Clients int `default:"100" help:"Connections that commit events at once."`
	Body    int `default:"512" help:"Bytes of an event's payload."`
	Workers int `default:"1" help:"Worker processes."`
	Rounds  int `default:"3" help:"Rounds; each runs all contestants, one after the other."`

	contestantFlags
	reportFlags
}

// Run commits events while workers deliver them, and prints how the rates compare with that of a bare worker that
// has a backlog.
func (c *streamCommand) Run(ctx context.Context) (err error) {
	counter := newArrivals()
	// PostgreSQL takes 100 connections by default, which are too few for the clients and the workers.
	s, err := newStage(ctx, counter.ServeHTTP, map[string]string{"max_connections": strconv.Itoa(c.Clients + 100)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.addPartners(ctx, s.url, 1, 1, "*"); err != nil {
		return err
	}
	c.narrow("bare", "tuned")
	streamers, err := c.streamers(s)
	if err != nil {
		return err
	}
	backlog := &throughputCommand{Deliveries: c.Events, Partners: 1, Users: 1, Body: c.Body, Workers: c.Workers}
	runs := make([][]drained, len(streamers))
	for round := range c.Rounds {
		for i, streamer := range streamers {
			measure := func() (*drained, error) { return c.stream(ctx, s, counter, &streamer) }
			if streamer.commit == nil {
				measure = func() (*drained, error) { return backlog.drain(ctx, s, counter, &streamer.contestant) }
			}
			run, err := measure()
			if err != nil {
				return fmt.Errorf("%s: %w", streamer.name, err)
			}
			runs[i] = append(runs[i], *run)
			_, _ = fmt.Fprintf(os.Stderr, "round %d: %s: %.0f deliveries/s\n", round+1, streamer.name, run.rate)
		}
	}
	return c.publish(ctx, s.pool, c.compare(streamers, runs))
}

// stream starts workers, then commits events, and waits for all deliveries.
func (c *streamCommand) stream(ctx context.Context, s *stage, counter *arrivals, streamer *streamer) (*drained, error) {
	if err := errors.Join(s.clear(ctx), s.tidy(ctx)); err != nil {
		return nil, err
	}
	clients, err := c.connect(ctx, cmp.Or(streamer.bare, &s.database))
	if err != nil {
		return nil, err
	}
	defer clients.Close()
	workers := make([]*process, c.Workers)
	for i := range workers {
		if workers[i], err = streamer.start(strconv.Itoa(i + 1)); err != nil {
			return nil, err
		}
	}
	if _, err := c.offer(ctx, clients, streamer, counter, warmUp+c.Clients); err != nil {
		return nil, err
	}
	start, err := c.offer(ctx, clients, streamer, counter, c.Events)
	if err != nil {
		return nil, err
	}
	for _, worker := range workers {
		if err := worker.stop(); err != nil {
			return nil, err
		}
	}
	return &drained{rate: float64(c.Events) / counter.last.Sub(start).Seconds()}, nil
}

// connect opens the clients' connections to a database.
func (c *streamCommand) connect(ctx context.Context, to *database) (*pgxpool.Pool, error) {
	config := to.pool.Config()
	config.MaxConns, config.MinConns = int32(c.Clients), int32(c.Clients) //nolint:gosec // a number of connections
	clients, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return clients, nil
}

// offer commits events, all clients at once, and waits for their arrival. It returns when the first was begun.
func (c *streamCommand) offer(ctx context.Context, clients *pgxpool.Pool, streamer *streamer, counter *arrivals, events int) (time.Time, error) {
	counter.expect(int64(events))
	var next atomic.Int64
	start := time.Now()
	group, running := errgroup.WithContext(ctx)
	for range c.Clients {
		group.Go(func() error {
			for next.Add(1) <= int64(events) {
				if err := streamer.commit(running, clients); err != nil {
					return fmt.Errorf("enqueueing: %w", err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return start, err
	}
	return start, counter.wait(ctx)
}

// compare compares the contestants, round by round, with the bare worker that has a backlog.
func (c *streamCommand) compare(streamers []streamer, runs [][]drained) *report {
	compared := &table{columns: []string{"", "deliveries/s", "range", "of " + streamers[0].name, "range"}}
	bars := make([]plotBar, len(streamers))
	for i, streamer := range streamers {
		rates, ratios := each(runs[i], rateOf), ratiosOf(runs[i], runs[0], rateOf)
		compared.add(streamer.name, fmt.Sprintf("%.0f", median(rates)), rangeOf("%.0f", rates), fmt.Sprintf("%.2f", median(ratios)), rangeOf("%.2f", ratios))
		bars[i] = plotBar{label: streamer.name, values: rates, note: fmt.Sprintf("%.2f of %s", median(ratios), streamers[0].name), own: streamer.bare == nil}
	}
	size := fmt.Sprintf("%d events of %d bytes, committed one by one over %d connections, medians and ranges of %s", c.Events, c.Body, c.Clients, plural(c.Rounds, "round"))
	return &report{
		name:   "stream",
		tables: []*table{compared},
		note: size + `.
From the first commit to the last arrival, while a worker runs. bare, backlog: a bare River worker that finds as many jobs waiting. bare: InsertTx. SQL: enqueue_webhook_event, a statement of its own; else EnqueueTx.`,
		plot: &plot{title: "Enqueueing and delivering at once", subtitle: size, panels: []panel{{title: "from commit to arrival", unit: "deliveries a second", bars: bars}}},
	}
}
