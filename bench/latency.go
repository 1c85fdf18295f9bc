package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/errgroup"

	"github.com/epicvoice/webhook-worker/jobs"
)

type latencyCommand struct {
	Events   int           `default:"1000" help:"Events to time on an idle system, one after another."`
	Pause    time.Duration `default:"20ms" help:"Between the arrival of one event and the next event."`
	Rate     int           `default:"1500" help:"Deliveries a second under load."`
	Partners int           `default:"10" help:"Partners that each event goes to under load."`
	Duration time.Duration `default:"10s" help:"How long there is load; 0: none."`
	Skip     time.Duration `default:"2s" help:"How much of the load's start is not counted: connections are opened, statements are prepared and planned."`
	Clients  int           `default:"16" help:"Connections that commit events under load."`
	Rounds   int           `default:"3" help:"Rounds; each runs all contestants, one after the other."`

	contestantFlags
	reportFlags
}

// Validate refuses a load of which nothing would be counted.
func (c *latencyCommand) Validate() error {
	if c.Duration > 0 && c.Skip >= c.Duration {
		return fmt.Errorf("--skip %s must be less than --duration %s", c.Skip, c.Duration) //nolint:err113 // for a person
	}
	return nil
}

// warmUp events are sent first and not counted: connections are opened, statements are prepared.
const warmUp = 50

// oneType is the type of events that go to one partner, manyType that of those that go to all.
const oneType, manyType = "call.completed", "call.analyzed"

// Run prints how long deliveries take from their commit to the partner, when there is nothing else to do and under load.
func (c *latencyCommand) Run(ctx context.Context) (err error) {
	watch := &stopwatch{}
	s, err := newStage(ctx, watch.ServeHTTP, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := errors.Join(s.addPartners(ctx, s.url, 1, 1, "*"), s.addPartners(ctx, s.url, 1, c.Partners-1, manyType)); err != nil {
		return err
	}
	contestants := c.contestants(s)
	idle, loaded := make([][]latencies, len(contestants)), make([][]latencies, len(contestants))
	for round := range c.Rounds {
		for i, contestant := range contestants {
			_, _ = fmt.Fprintf(os.Stderr, "round %d: %s\n", round+1, contestant.name)
			run, err := c.time(ctx, s, watch, &contestant)
			if err != nil {
				return fmt.Errorf("%s: %w", contestant.name, err)
			}
			idle[i], loaded[i] = append(idle[i], run[0]), append(loaded[i], run[1])
		}
	}
	return c.publish(ctx, s.pool, c.compare(contestants, idle, loaded))
}

// time runs one contestant, idle and under load.
func (c *latencyCommand) time(ctx context.Context, s *stage, watch *stopwatch, contestant *contestant) ([2]latencies, error) {
	var took [2]latencies
	if err := errors.Join(s.clear(ctx), s.tidy(ctx)); err != nil {
		return took, err
	}
	enqueue, err := c.enqueuerOf(s, contestant)
	if err != nil {
		return took, err
	}
	worker, err := contestant.start("1")
	if err != nil {
		return took, err
	}
	if took[0], err = c.timeIdle(ctx, watch, enqueue); err != nil {
		return took, err
	}
	if took[1], err = c.timeLoaded(ctx, watch, enqueue); err != nil {
		return took, err
	}
	return took, worker.stop()
}

// enqueueing commits an event of a type, and tells watch when the commit begins.
type enqueueing func(ctx context.Context, watch *stopwatch, eventType string) error

// enqueuerOf gives what a contestant's events are enqueued by.
func (c *latencyCommand) enqueuerOf(s *stage, contestant *contestant) (enqueueing, error) {
	body := payloadOf(512)
	if contestant.bare != nil {
		client, err := river.NewClient(riverpgxv5.New(contestant.bare.pool), &river.Config{FetchCooldown: bareCooldown}) // it notifies no more often
		if err != nil {
			return nil, fmt.Errorf("making a River client: %w", err)
		}
		return func(ctx context.Context, watch *stopwatch, eventType string) error {
			return pgx.BeginFunc(ctx, contestant.bare.pool, func(tx pgx.Tx) error {
				ids := make([]string, 1)
				if eventType == manyType {
					ids = make([]string, c.Partners)
				}
				params := make([]river.InsertManyParams, len(ids))
				for i := range ids {
					ids[i] = uuid.NewString()
					params[i].Args = bareArgs{ID: ids[i], URL: s.url, Body: body}
				}
				if _, err := client.InsertManyTx(ctx, tx, params); err != nil {
					return fmt.Errorf("enqueueing: %w", err)
				}
				watch.start(ids...)
				return nil
			})
		}, nil
	}
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, watch *stopwatch, eventType string) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			deliveries, err := enqueuer.EnqueueTx(ctx, tx, &jobs.Event{UserID: benchUser(0), Type: eventType, Payload: []byte(body)})
			if err != nil {
				return err
			}
			ids := make([]string, len(deliveries))
			for i := range deliveries {
				ids[i] = deliveries[i].ID.String()
			}
			watch.start(ids...)
			return nil
		})
	}, nil
}

// timeIdle sends one event after another, each when the one before has arrived.
func (c *latencyCommand) timeIdle(ctx context.Context, watch *stopwatch, enqueue enqueueing) (latencies, error) {
	for i := range warmUp + c.Events {
		if i == warmUp {
			watch.reset()
		}
		if err := enqueue(ctx, watch, oneType); err != nil {
			return latencies{}, err
		}
		if err := watch.wait(ctx); err != nil {
			return latencies{}, err
		}
		time.Sleep(c.Pause)
	}
	return watch.reset(), nil
}

// timeLoaded sends events at a steady rate, whether those before have arrived or not.
func (c *latencyCommand) timeLoaded(ctx context.Context, watch *stopwatch, enqueue enqueueing) (latencies, error) {
	group, running := errgroup.WithContext(ctx)
	start := time.Now()
	skip := time.AfterFunc(c.Skip, func() { watch.reset() })
	defer skip.Stop()
	interval := time.Duration(c.Clients) * time.Duration(c.Partners) * time.Second / time.Duration(c.Rate)
	for client := range c.Clients {
		group.Go(func() error {
			begin := start.Add(interval * time.Duration(client) / time.Duration(c.Clients))
			for i := 0; time.Since(start) < c.Duration; i++ {
				time.Sleep(time.Until(begin.Add(interval * time.Duration(i))))
				if err := enqueue(running, watch, manyType); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return latencies{}, err
	}
	err := watch.wait(ctx)
	return watch.reset(), err
}

// compare makes a table of percentiles of each situation.
func (c *latencyCommand) compare(contestants []contestant, idle, loaded [][]latencies) *report {
	r := &report{
		name: "latency",
		note: fmt.Sprintf(`Milliseconds from the commit to the arrival; medians of %s.
idle: one event to one partner after another. %d/s: deliveries at a steady rate, each event to %d partners, over %s
without the first %s.`, plural(c.Rounds, "round"), c.Rate, c.Partners, c.Duration, c.Skip),
		plot: &plot{title: "From the commit to the arrival", subtitle: "medians and ranges of " + plural(c.Rounds, "round")},
	}
	situations := []struct {
		title string
		runs  [][]latencies
	}{{"idle", idle}, {fmt.Sprint(c.Rate, "/s"), loaded}}
	for _, situation := range situations {
		t := &table{columns: []string{situation.title + ", ms", "p50", "p90", "p99", "p99.9", "max", "deliveries"}}
		for i, contestant := range contestants {
			cells := []string{contestant.name}
			for _, p := range []float64{50, 90, 99, 99.9, 100} {
				cells = append(cells, medianOf(percentiles(situation.runs[i], p)).String())
			}
			t.add(append(cells, fmt.Sprintf("%.0f", median(each(situation.runs[i], func(run *latencies) float64 { return float64(len(run.took)) }))))...)
		}
		r.tables = append(r.tables, t)
		for _, p := range []float64{50, 99} {
			panel := panel{title: fmt.Sprintf("%s, p%.0f", situation.title, p), unit: "ms"}
			for i, contestant := range contestants {
				values := each(percentiles(situation.runs[i], p), func(f *figure) float64 { return f.value })
				panel.bars = append(panel.bars, plotBar{label: contestant.name, values: values, own: contestant.bare == nil})
			}
			r.plot.panels = append(r.plot.panels, panel)
		}
	}
	return r
}

// percentiles is one percentile of many runs.
func percentiles(runs []latencies, p float64) []figure {
	figures := make([]figure, len(runs))
	for round := range runs {
		figures[round] = runs[round].percentile(p)
	}
	return figures
}
