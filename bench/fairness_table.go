package main

import (
	"fmt"
	"time"
)

// columns are the percentiles that are printed; the last is the longest latency.
var columns = []float64{50, 99, 99.9, 100} //nolint:gochecknoglobals // a constant

// String is a run in one line.
func (r *fairnessRun) String() string {
	return fmt.Sprintf("%d offered, %d arrived in time, %d later, %d lost, %d requests beside; p50 %s ms, p99 %s ms; events up to %s behind",
		r.offered, r.inTime, r.offered-r.inTime-r.lost, r.lost, r.extra,
		r.all.percentile(50), r.all.percentile(99), r.behind.Round(time.Millisecond))
}

// compare compares the scenarios, round by round, with the first of them.
func (c *fairnessCommand) compare(scenarios []*scenario) *report {
	whole := &table{columns: []string{"", "p50", "p99", "p99.9", "max", "of alone", "in time", "lost", "hanging", "failing", "worker", "PostgreSQL", "behind"}}
	later := &table{columns: []string{fmt.Sprint("without ", c.Skip), "p50", "p99", "p99.9", "max", "of alone"}}
	tail := panel{title: "p99 at healthy partners", unit: "ms"}
	for _, scenario := range scenarios {
		of := func(format string, value func(*fairnessRun) float64) string {
			return fmt.Sprintf(format, median(each(scenario.runs, value)))
		}
		cells := compareLatencies(scenario, scenarios[0], func(run *fairnessRun) *latencies { return &run.all })
		whole.add(append(cells,
			of("%.1f%%", func(run *fairnessRun) float64 { return 100 * float64(run.inTime) / float64(run.offered) }),
			of("%.0f", func(run *fairnessRun) float64 { return float64(run.lost) }),
			of("%.0f", func(run *fairnessRun) float64 { return float64(run.hanging) }),
			of("%.0f", func(run *fairnessRun) float64 { return float64(run.failing) }),
			of("%.2f", func(run *fairnessRun) float64 { return run.worker.Seconds() }),
			of("%.2f", func(run *fairnessRun) float64 { return run.server.Seconds() }),
			of("%.0f", func(run *fairnessRun) float64 { return milliseconds(run.behind) }))...)
		later.add(compareLatencies(scenario, scenarios[0], func(run *fairnessRun) *latencies { return &run.later })...)
		tail.bars = append(tail.bars, plotBar{
			label: scenario.name, own: true,
			values: each(scenario.runs, func(run *fairnessRun) float64 { return run.all.percentile(99).value }),
		})
	}
	tables := []*table{whole}
	if c.Skip < c.Duration {
		tables = append(tables, later)
	}
	size := fmt.Sprintf("%d events/s for %d healthy partners over %s, medians of %s", c.Rate, c.Healthy, c.Duration, plural(c.Rounds, "round"))
	return &report{
		name:   "fairness",
		tables: tables,
		note: fmt.Sprintf(`%s.
p50 to max: milliseconds from commit to arrival at healthy partners; > where lost ones are among them.
of alone: p99 beside that of the first scenario. in time: share that arrived within %s. lost: not within %s more.
hanging, failing: requests that such partners got. worker, PostgreSQL: CPU seconds. behind: milliseconds that an
event was enqueued later than planned, at most.`, size, c.Duration, c.Grace),
		plot: &plot{title: "What bad partners cost healthy ones", subtitle: size, panels: []panel{tail}},
	}
}

// compareLatencies gives a scenario's name and percentiles, and its p99 beside that of the first scenario.
func compareLatencies(scenario, first *scenario, of func(*fairnessRun) *latencies) []string {
	cells := []string{scenario.name}
	for _, p := range columns {
		figures := make([]figure, len(scenario.runs))
		for i := range scenario.runs {
			figures[i] = of(&scenario.runs[i]).percentile(p)
		}
		cells = append(cells, medianOf(figures).String())
	}
	ratios := make([]figure, len(scenario.runs))
	for i := range scenario.runs {
		own, beside := of(&scenario.runs[i]).percentile(99), of(&first.runs[i]).percentile(99)
		ratios[i] = figure{value: own.value / beside.value, atLeast: own.atLeast}
	}
	return append(cells, medianOf(ratios).String())
}
