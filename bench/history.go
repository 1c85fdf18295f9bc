package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

type historyCommand struct {
	historySize

	Queries string `default:"jobs/testdata/operator_queries.md" type:"existingfile" help:"Markdown with SQL queries to time, besides those of the product."`
	Runs    int    `default:"5" help:"Runs of each query that count, after one that does not."`
	Events  int    `default:"1000" help:"Events to enqueue at a time."`
	Rounds  int    `default:"5" help:"Rounds of enqueueing; each visits both databases."`
	Explain string `help:"File that gets the plan of each query; - is standard output." placeholder:"FILE"`
}

// Run fills a database and prints how long each query takes on it, and what its size costs enqueueing.
func (c *historyCommand) Run(ctx context.Context) (err error) {
	start := time.Now()
	databases, err := newHistoryDatabases(ctx, &c.historySize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, databases.Close()) }()
	if err := c.printSize(ctx, databases, time.Since(start)); err != nil {
		return err
	}
	if err := c.timeQueries(ctx, databases); err != nil {
		return err
	}
	return c.timeEnqueueing(ctx, databases)
}

func (c *historyCommand) printSize(ctx context.Context, databases *historyDatabases, took time.Duration) error {
	var jobs, events, attempts, partitions, megabytes int
	err := databases.history.QueryRow(ctx, `
		select (select count(*) from river_job), (select count(*) from webhook_events), (select count(*) from webhook_delivery_log),
		       (select count(*) from webhook_delivery_log_partitions), pg_database_size(current_database()) / 1000000`).
		Scan(&jobs, &events, &attempts, &partitions, &megabytes)
	if err != nil {
		return fmt.Errorf("counting: %w", err)
	}
	_, err = fmt.Fprintf(os.Stdout, "%d jobs, %d events, %d attempts in %d partitions, %d MB, made in %s\n\n",
		jobs, events, attempts, partitions, megabytes, took.Round(time.Second))
	return err
}

// timeQueries runs each query and prints a table.
func (c *historyCommand) timeQueries(ctx context.Context, databases *historyDatabases) (err error) {
	queries, err := historyQueries(ctx, databases.history, c.Queries)
	if err != nil {
		return err
	}
	plans, closePlans, err := c.plans()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closePlans()) }()

	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer func() { err = errors.Join(err, table.Flush()) }()
	_, _ = fmt.Fprintln(table, "median ms\tworst ms\trows\t  query") // errors come with Flush
	for _, query := range queries {
		times := make([]time.Duration, 0, c.Runs)
		var rows int
		for i := range 1 + c.Runs {
			start := time.Now()
			if rows, err = query.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", query.name, err)
			}
			if i > 0 {
				times = append(times, time.Since(start))
			}
		}
		slices.Sort(times)
		_, _ = fmt.Fprintf(table, "%.1f\t%.1f\t%d\t  %s\n", milliseconds(times[len(times)/2]), milliseconds(times[len(times)-1]), rows, query.name)
		if err := databases.explain(ctx, plans, query); err != nil {
			return fmt.Errorf("explaining %s: %w", query.name, err)
		}
	}
	return nil
}

// plans opens where plans go to.
func (c *historyCommand) plans() (io.Writer, func() error, error) {
	switch c.Explain {
	case "":
		return nil, func() error { return nil }, nil
	case "-":
		return os.Stdout, func() error { return nil }, nil
	}
	file, err := os.Create(c.Explain)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the file of plans: %w", err)
	}
	return file, file.Close, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
