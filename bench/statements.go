package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// statementsCommand shows where PostgreSQL's time goes. It needs PostgreSQL's own module pg_stat_statements.
type statementsCommand struct {
	Deliveries int `default:"30000" help:"Deliveries of one run, waiting before the workers start."`
	Partners   int `default:"100" help:"Partners, all of one user; an event goes to all of them."`
	Body       int `default:"512" help:"Bytes of an event's payload."`
	Most       int `default:"6" help:"Statements to show of each contestant, those that take most."`

	contestantFlags
	reportFlags
}

// statement is what one kind of statement took during a run.
type statement struct {
	Text         string
	Calls        int64
	Milliseconds float64
	Pages        int64 // looked at, in PostgreSQL's memory
	Records      int64 // of WAL
	Bytes        int64 // of WAL
}

// sumUpStatements is what ran in all databases since the last reset, the dearest first.
const sumUpStatements = `
	select query, calls, total_exec_time + total_plan_time, shared_blks_hit, wal_records, wal_bytes::bigint
	  from pg_stat_statements
	 order by 3 desc`

// Run drains a backlog with each contestant, and prints the statements that took most of PostgreSQL's time.
func (c *statementsCommand) Run(ctx context.Context) (err error) {
	counter := newArrivals()
	s, err := newStage(ctx, counter.ServeHTTP, map[string]string{
		"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on", "pg_stat_statements.max": "1000",
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.pool.Exec(ctx, `create extension pg_stat_statements`); err != nil {
		return fmt.Errorf("counting statements: %w", err)
	}
	if err := s.addPartners(ctx, s.url, 1, c.Partners, "*"); err != nil {
		return err
	}
	c.narrow("bare+log", "defaults")
	drain := &throughputCommand{Deliveries: c.Deliveries, Partners: c.Partners, Users: 1, Body: c.Body, Workers: 1}
	drain.started = func() error {
		_, err := s.pool.Exec(ctx, `select pg_stat_statements_reset()`)
		return err
	}
	compared := &table{columns: []string{"", "statement", "calls", "ms", "pages", "WAL records", "WAL bytes"}}
	for _, contestant := range c.contestants(s) {
		if _, err := drain.drain(ctx, s, counter, &contestant); err != nil {
			return fmt.Errorf("%s: %w", contestant.name, err)
		}
		all, err := collectStatements(ctx, s)
		if err != nil {
			return err
		}
		c.compare(compared, contestant.name, all)
	}
	return c.publish(ctx, s.pool, &report{
		name:   "statements",
		tables: []*table{compared},
		note: fmt.Sprintf(`A backlog of %d deliveries of %d bytes to %s, one run each. All but calls: of a delivery.
ms: time in PostgreSQL, planning and waiting included, with the worker's start. pages: looked at in PostgreSQL's memory.`,
			c.Deliveries, c.Body, plural(c.Partners, "partner")),
	})
}

func collectStatements(ctx context.Context, s *stage) ([]statement, error) {
	rows, _ := s.pool.Query(ctx, sumUpStatements) // its error comes with the rows
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[statement])
	if err != nil {
		return nil, fmt.Errorf("reading what statements took: %w", err)
	}
	return all, nil
}

// compare adds the dearest statements of a contestant, and the sum of all.
func (c *statementsCommand) compare(compared *table, name string, all []statement) {
	sum := statement{Text: "all"}
	for _, one := range all {
		sum.Calls += one.Calls
		sum.Milliseconds += one.Milliseconds
		sum.Pages += one.Pages
		sum.Records += one.Records
		sum.Bytes += one.Bytes
	}
	each := func(n float64, format string) string { return fmt.Sprintf(format, n/float64(c.Deliveries)) }
	for _, one := range append(all[:min(c.Most, len(all))], sum) {
		compared.add(name, shortened(one.Text), strconv.FormatInt(one.Calls, 10), each(one.Milliseconds, "%.3f"),
			each(float64(one.Pages), "%.1f"), each(float64(one.Records), "%.1f"), each(float64(one.Bytes), "%.0f"))
	}
}

// shortened is how a statement begins; River's have a name.
func shortened(text string) string {
	const most = 60
	if name, isRivers := strings.CutPrefix(text, "-- name: "); isRivers {
		name, _, _ = strings.Cut(name, " ")
		return "River's " + name
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
