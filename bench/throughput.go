package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

type throughputCommand struct {
	Deliveries int `default:"30000" help:"Deliveries of one run, waiting before the workers start."`
	Partners   int `default:"100" help:"Partners in all."`
	Users      int `default:"1" help:"Users that the partners are spread over; an event goes to all partners of its user."`
	Body       int `default:"512" help:"Bytes of an event's payload."`
	Workers    int `default:"1" help:"Worker processes."`
	Rounds     int `default:"5" help:"Rounds; each runs all contestants, one after the other."`

	contestantFlags
	reportFlags

	started func() error // called when the queue is filled, before the workers start; may be nil
}

// drained is what one run showed.
type drained struct {
	rate     float64       // deliveries a second, from the first arrival to the last
	worker   time.Duration // CPU time of the worker processes
	server   time.Duration // of PostgreSQL
	receiver time.Duration // of this process
	memory   int64         // bytes, the most that a worker had
}

func rateOf(run *drained) float64 { return run.rate }

// Run drains a backlog with each contestant in turn, and prints how they compare.
func (c *throughputCommand) Run(ctx context.Context) (err error) {
	counter := newArrivals()
	s, err := newStage(ctx, counter.ServeHTTP, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.addPartners(ctx, s.url, c.Users, c.Partners, "*"); err != nil {
		return err
	}
	contestants := c.contestants(s)
	runs := make([][]drained, len(contestants))
	for round := range c.Rounds {
		for i, contestant := range contestants {
			run, err := c.drain(ctx, s, counter, &contestant)
			if err != nil {
				return fmt.Errorf("%s: %w", contestant.name, err)
			}
			runs[i] = append(runs[i], *run)
			_, _ = fmt.Fprintf(os.Stderr, "round %d: %s: %.0f deliveries/s\n", round+1, contestant.name, run.rate)
		}
	}
	return c.publish(ctx, s.pool, c.compare(contestants, runs))
}

// drain fills the queue, starts workers, and waits for all deliveries.
func (c *throughputCommand) drain(ctx context.Context, s *stage, counter *arrivals, contestant *contestant) (*drained, error) {
	body := payloadOf(c.Body)
	events := max(c.Deliveries*c.Users/c.Partners, 1)
	deliveries := events * c.Partners / c.Users
	if err := s.clear(ctx); err != nil {
		return nil, err
	}
	fill := func() error { return s.enqueue(ctx, c.Users, events, body) }
	if contestant.bare != nil {
		fill = func() error { return fillBare(ctx, contestant.bare.pool, s.url, body, deliveries) }
	}
	if err := fill(); err != nil {
		return nil, err
	}
	if err := s.tidy(ctx); err != nil {
		return nil, err
	}

	if c.started != nil {
		if err := c.started(); err != nil {
			return nil, err
		}
	}
	counter.expect(int64(deliveries))
	before, err := s.cpu()
	if err != nil {
		return nil, err
	}
	workers := make([]*process, c.Workers)
	for i := range workers {
		if workers[i], err = contestant.start(strconv.Itoa(i + 1)); err != nil {
			return nil, err
		}
	}
	if err := counter.wait(ctx); err != nil {
		return nil, err
	}
	run := &drained{rate: float64(counter.wanted) / counter.last.Sub(counter.first).Seconds()}
	after, err := s.cpu()
	if err != nil {
		return nil, err
	}
	run.server, run.receiver = after.server-before.server, after.own-before.own
	for _, worker := range workers {
		used, err := treeCPU(worker.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		run.worker += used
		_, most, err := worker.memory()
		if err != nil {
			return nil, err
		}
		run.memory = max(run.memory, most)
		if err := worker.stop(); err != nil {
			return nil, err
		}
	}
	return run, nil
}

// compare compares the contestants, round by round, with the first of them and with the baselines.
func (c *throughputCommand) compare(contestants []contestant, runs [][]drained) *report {
	perThousand := func(runs []drained, of func(*drained) time.Duration) string {
		return fmt.Sprintf("%.0f", median(each(runs, func(run *drained) float64 { return milliseconds(of(run)) * 1000 / float64(c.Deliveries) })))
	}
	compared := &table{columns: []string{"", "deliveries/s", "range"}}
	var beside []int
	for i, contestant := range contestants {
		if i == 0 || contestant.baseline {
			beside = append(beside, i)
			compared.columns = append(compared.columns, "of "+contestant.name, "range")
		}
	}
	compared.columns = append(compared.columns, "worker", "PostgreSQL", "receiver", "MiB")
	bars := make([]plotBar, len(contestants))
	for i, contestant := range contestants {
		rates := each(runs[i], rateOf)
		row := []string{contestant.name, fmt.Sprintf("%.0f", median(rates)), rangeOf("%.0f", rates)}
		var notes []string
		for _, other := range beside {
			ratios := ratiosOf(runs[i], runs[other], rateOf)
			row = append(row, fmt.Sprintf("%.2f", median(ratios)), rangeOf("%.2f", ratios))
			if other != i {
				notes = append(notes, fmt.Sprintf("%.2f of %s", median(ratios), contestants[other].name))
			}
		}
		memory := median(each(runs[i], func(run *drained) float64 { return float64(run.memory) }))
		compared.add(append(row,
			perThousand(runs[i], func(run *drained) time.Duration { return run.worker }),
			perThousand(runs[i], func(run *drained) time.Duration { return run.server }),
			perThousand(runs[i], func(run *drained) time.Duration { return run.receiver }),
			mebibytes(memory))...)
		bars[i] = plotBar{label: contestant.name, values: rates, note: strings.Join(notes, ", "), own: contestant.bare == nil}
	}
	size := fmt.Sprintf("%d deliveries of %d bytes to %d partners, %s, medians and ranges of %s", c.Deliveries, c.Body, c.Partners, plural(c.Workers, "worker"), plural(c.Rounds, "round"))
	return &report{
		name:   "throughput",
		tables: []*table{compared},
		note: size + `.
worker, PostgreSQL, receiver: CPU milliseconds for 1,000 deliveries, with the start. MiB: the most that a worker had in memory.`,
		plot: &plot{title: "Throughput from a backlog", subtitle: size, panels: []panel{{title: "deliveries", unit: "a second", bars: bars}}},
	}
}
