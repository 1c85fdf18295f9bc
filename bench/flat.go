package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

type flatCommand struct {
	Deliveries int  `default:"30000" help:"Deliveries of one run; the rate is that of the first so many arrivals."`
	Partners   int  `default:"100" help:"Partners that each event goes to."`
	Backlog    int  `default:"1000000" help:"Deliveries that wait in the database with a backlog."`
	Completed  int  `default:"1000000" help:"Delivered jobs in the database with a history."`
	Dead       int  `default:"500000" help:"Dead letters in it."`
	Attempts   int  `default:"3000000" help:"Attempts in it; fewer than those of its deliveries, six of a dead letter, are raised to them."`
	Retries    int  `default:"1000000" help:"Deliveries that wait for a retry in an hour, in the database with retries."`
	Due        int  `default:"10000" help:"Retries that come due at once, to see how long they take."`
	Expired    int  `default:"50000" help:"Delivered jobs that are to be removed at the same time."`
	Bare       bool `default:"true" negatable:"" help:"Try a bare River worker too, on a backlog and on finished jobs."`
	Concurrent int  `default:"500" help:"POSTs at once."`
	Rounds     int  `default:"3" help:"Rounds; each visits all databases, one after the other."`

	reportFlags
}

// Run fills databases, and prints how fast each is drained beside an empty one.
func (c *flatCommand) Run(ctx context.Context) (err error) {
	counter := newArrivals()
	s, err := newStage(ctx, counter.ServeHTTP, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	start := time.Now()
	rooms, err := c.rooms(ctx, s)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(os.Stderr, "%d databases filled in %s\n", len(rooms), time.Since(start).Round(time.Second))
	for round := range c.Rounds {
		for _, room := range rooms {
			run, err := c.drain(ctx, counter, room)
			if err != nil {
				return fmt.Errorf("%s: %w", room.name, err)
			}
			room.runs = append(room.runs, *run)
			_, _ = fmt.Fprintf(os.Stderr, "round %d: %s: %.0f deliveries/s\n", round+1, room.name, run.rate)
			if !room.kept {
				continue
			}
			kept, err := c.keep(ctx, counter, room)
			if err != nil {
				return fmt.Errorf("%s: %w", room.name, err)
			}
			room.upkeeps = append(room.upkeeps, *kept)
			_, _ = fmt.Fprintf(os.Stderr, "round %d: %s: retries took %s, removals %s\n", round+1, room.name, kept.retried.Round(time.Millisecond), kept.removed.Round(time.Millisecond))
		}
	}
	return c.publish(ctx, s.pool, c.compare(rooms))
}

// drain adds deliveries to a database, starts a worker, and times as many arrivals, whether of those or of older ones.
func (c *flatCommand) drain(ctx context.Context, counter *arrivals, room *flatRoom) (*drained, error) {
	if err := errors.Join(room.clear(ctx), room.enqueue(ctx, c.Deliveries), tidy(ctx, room.pool)); err != nil {
		return nil, err
	}
	counter.expect(int64(c.Deliveries))
	worker, err := room.start()
	if err != nil {
		return nil, err
	}
	if err := counter.wait(ctx); err != nil {
		return nil, err
	}
	return &drained{rate: float64(c.Deliveries) / counter.last.Sub(counter.first).Seconds()}, worker.stop()
}

// upkeep is how long a worker took, from its start, for what its leader does beside delivering.
type upkeep struct {
	retried time.Duration // until all retries had arrived that were due
	removed time.Duration // until all jobs were gone that had expired
}

func retriedOf(run *upkeep) float64 { return run.retried.Seconds() }
func removedOf(run *upkeep) float64 { return run.removed.Seconds() }

// keep makes retries due and jobs expired, starts a worker, and waits until it has done with both.
func (c *flatCommand) keep(ctx context.Context, counter *arrivals, room *flatRoom) (*upkeep, error) {
	err := errors.Join(
		room.clear(ctx),
		fillDeliveries(ctx, room.pool, "retryable", -time.Second, c.Due/c.Partners),
		fillDeliveries(ctx, room.pool, "completed", -expiredSince, c.Expired/c.Partners),
		tidy(ctx, room.pool))
	if err != nil {
		return nil, err
	}
	counter.expect(int64(c.Due / c.Partners * c.Partners))
	start := time.Now()
	worker, err := room.start()
	if err != nil {
		return nil, err
	}
	kept := &upkeep{}
	if kept.removed, err = untilRemoved(ctx, room, start); err != nil {
		return nil, err
	}
	if err := counter.wait(ctx); err != nil {
		return nil, err
	}
	kept.retried = counter.last.Sub(start)
	return kept, worker.stop()
}

// compare compares the databases, round by round, with the empty one of the same kind of worker.
func (c *flatCommand) compare(rooms []*flatRoom) *report {
	rates := &table{columns: []string{"", "holds", "deliveries/s", "range", "of empty", "range"}}
	upkeeps := &table{columns: []string{"", "retries due, s", "range", "expired jobs, s", "range"}}
	panels := []panel{{title: "webhook-worker", unit: "deliveries a second"}, {title: "bare River", unit: "deliveries a second"}}
	var empty *flatRoom
	for _, room := range rooms {
		shown := &panels[0]
		if room.bare {
			shown = &panels[1]
		}
		if len(shown.bars) == 0 {
			empty = room // the first of its kind
		}
		figures, ratios := each(room.runs, rateOf), ratiosOf(room.runs, empty.runs, rateOf)
		rates.add(room.name, room.holds, fmt.Sprintf("%.0f", median(figures)), rangeOf("%.0f", figures), fmt.Sprintf("%.2f", median(ratios)), rangeOf("%.2f", ratios))
		shown.bars = append(shown.bars, plotBar{label: room.name, values: figures, note: fmt.Sprintf("%.2f of empty", median(ratios)), own: !room.bare})
		if room.kept {
			retried, removed := each(room.upkeeps, retriedOf), each(room.upkeeps, removedOf)
			upkeeps.add(room.name, fmt.Sprintf("%.1f", median(retried)), rangeOf("%.1f", retried), fmt.Sprintf("%.1f", median(removed)), rangeOf("%.1f", removed))
		}
	}
	if !c.Bare {
		panels = panels[:1]
	}
	size := fmt.Sprintf("the first %d arrivals, medians and ranges of %s", c.Deliveries, plural(c.Rounds, "round"))
	return &report{
		name:   "flat",
		tables: []*table{rates, upkeeps},
		note: fmt.Sprintf(`Rates: %s; each database gets as many deliveries more before each run.
Seconds: from the start of a worker until %d retries that were due had arrived, and until %d delivered jobs were gone that were older than RETENTION_COMPLETED.`, size, c.Due, c.Expired),
		plot: &plot{title: "Throughput by what else the database holds", subtitle: size, panels: panels, oneScale: true},
	}
}
