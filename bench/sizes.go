package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
)

type sizesCommand struct {
	Deliveries int   `default:"20000" help:"Deliveries of one run, waiting before the workers start."`
	Partners   int   `default:"100" help:"Partners, all of one user; an event goes to all of them."`
	Bodies     []int `default:"512,8192,65536" help:"Bytes of an event's payload, with the first number of workers."`
	Workers    []int `default:"1,3" help:"Worker processes, with the first size of payload."`
	InFlight   []int `default:"0,100,500,2000" help:"Deliveries under way at which a worker's memory and goroutines are counted."`
	Rounds     int   `default:"3" help:"Rounds; each runs everything once."`

	contestantFlags
	reportFlags
}

// sizesCase is a size of payload and a number of workers.
type sizesCase struct {
	body, workers int
	runs          [][]drained // by contestant
}

func (c *sizesCase) String() string {
	return fmt.Sprintf("%d bytes, %s", c.body, plural(c.workers, "worker"))
}

// Run drains backlogs of each size, then holds deliveries under way, and prints how the cases compare.
func (c *sizesCommand) Run(ctx context.Context) (err error) {
	counter, holder := newArrivals(), newHolder()
	receivers := &switchedReceiver{}
	receivers.use(counter)
	s, err := newStage(ctx, receivers.ServeHTTP, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.addPartners(ctx, s.url, 1, c.Partners, "*"); err != nil {
		return err
	}
	c.narrow("bare", "tuned")
	contestants := c.contestants(s)
	cases := c.cases(len(contestants))
	held := make([][]heldRun, len(c.InFlight))
	for round := range c.Rounds {
		receivers.use(counter)
		for _, one := range cases {
			for i, contestant := range contestants {
				drain := &throughputCommand{Deliveries: c.Deliveries, Partners: c.Partners, Users: 1, Body: one.body, Workers: one.workers}
				run, err := drain.drain(ctx, s, counter, &contestant)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", contestant.name, one, err)
				}
				one.runs[i] = append(one.runs[i], *run)
				_, _ = fmt.Fprintf(os.Stderr, "round %d: %s: %s: %.0f deliveries/s\n", round+1, one, contestant.name, run.rate)
			}
		}
		receivers.use(holder)
		for i, count := range c.InFlight {
			run, err := c.hold(ctx, s, holder, count)
			if err != nil {
				return fmt.Errorf("%d in flight: %w", count, err)
			}
			held[i] = append(held[i], *run)
			_, _ = fmt.Fprintf(os.Stderr, "round %d: %d in flight: %d MiB, %d goroutines\n", round+1, count, run.memory>>20, run.goroutines)
		}
	}
	return c.publish(ctx, s.pool, c.compare(contestants, cases, held))
}

// cases are all sizes with one number of workers, and all numbers of workers with one size.
func (c *sizesCommand) cases(contestants int) []*sizesCase {
	var cases []*sizesCase
	for _, body := range c.Bodies {
		cases = append(cases, &sizesCase{body: body, workers: c.Workers[0]})
	}
	for _, workers := range c.Workers[1:] {
		cases = append(cases, &sizesCase{body: c.Bodies[0], workers: workers})
	}
	for _, one := range cases {
		one.runs = make([][]drained, contestants)
	}
	return cases
}

// compare makes a table of rates, and one of what is used by deliveries under way.
func (c *sizesCommand) compare(contestants []contestant, cases []*sizesCase, held [][]heldRun) *report {
	rates := &table{columns: []string{"payload, bytes", "workers", "", "deliveries/s", "range", "of " + contestants[0].name, "range", "MiB"}}
	r := &report{
		name:   "sizes",
		tables: []*table{rates},
		note: fmt.Sprintf(`%d deliveries to %d partners, medians and ranges of %s. Payloads are text that compresses well, as PostgreSQL stores it.
MiB: the most that one worker had in memory; under way: what it had while the partners kept their answers back.`, c.Deliveries, c.Partners, plural(c.Rounds, "round")),
		plot: &plot{title: "Sizes of payloads, and numbers of workers", subtitle: fmt.Sprintf("%d deliveries from a backlog, medians and ranges of %s", c.Deliveries, plural(c.Rounds, "round")), oneScale: true},
	}
	for _, one := range cases {
		panel := panel{title: one.String(), unit: "deliveries a second"}
		for i, contestant := range contestants {
			figures, ratios := each(one.runs[i], rateOf), ratiosOf(one.runs[i], one.runs[0], rateOf)
			memory := median(each(one.runs[i], func(run *drained) float64 { return float64(run.memory) }))
			rates.add(strconv.Itoa(one.body), strconv.Itoa(one.workers), contestant.name, fmt.Sprintf("%.0f", median(figures)), rangeOf("%.0f", figures),
				fmt.Sprintf("%.2f", median(ratios)), rangeOf("%.2f", ratios), mebibytes(memory))
			panel.bars = append(panel.bars, plotBar{label: contestant.name, values: figures, own: contestant.bare == nil})
		}
		r.plot.panels = append(r.plot.panels, panel)
	}
	if len(held) > 0 {
		r.tables = append(r.tables, compareHeld(c.InFlight, held))
	}
	return r
}

// compareHeld makes a table of a worker's memory and goroutines.
func compareHeld(counts []int, held [][]heldRun) *table {
	used := &table{columns: []string{"under way", "MiB", "range", "goroutines", "range"}}
	for i, count := range counts {
		memory := each(held[i], func(run *heldRun) float64 { return float64(run.memory >> 20) })
		goroutines := each(held[i], func(run *heldRun) float64 { return float64(run.goroutines) })
		used.add(strconv.Itoa(count), fmt.Sprintf("%.0f", median(memory)), rangeOf("%.0f", memory), fmt.Sprintf("%.0f", median(goroutines)),
			rangeOf("%.0f", goroutines))
	}
	return used
}
