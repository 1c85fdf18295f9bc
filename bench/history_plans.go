package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// statements is what a pool was told while something was recorded.
type statements struct {
	mu        sync.Mutex
	recording bool
	all       []pgx.TraceQueryStartData
}

// TraceQueryStart is called for every statement.
func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recording {
		s.all = append(s.all, data)
	}
	return ctx
}

// TraceQueryEnd is the other half of the interface.
func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// record returns what is said while something runs.
func (s *statements) record(run func() error) ([]pgx.TraceQueryStartData, error) {
	s.mu.Lock()
	s.recording, s.all = true, nil
	s.mu.Unlock()
	err := run()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recording = false
	return s.all, err
}

var (
	readsRows    = regexp.MustCompile(`(?i)^\s*(?:select|with)\b`)
	localSetting = regexp.MustCompile(`(?i)\bset local [^;]+`)
	callsNothing = regexp.MustCompile(`(?i)^\s*select\s.*\sfrom\s+(get_webhook_\w+)\(([^)]*)\)\s*$`)
)

// errDone ends a transaction that was only to be looked at.
var errDone = errors.New("done")

// explain writes the plan of every statement of a query, with the settings that the query made.
func (d *historyDatabases) explain(ctx context.Context, to io.Writer, query historyQuery) error {
	if to == nil {
		return nil
	}
	said, err := d.said.record(func() error { _, err := query.run(ctx); return err })
	if err != nil {
		return err
	}
	settings := map[string]bool{}
	for _, statement := range said {
		for _, setting := range localSetting.FindAllString(statement.SQL, -1) {
			settings[setting] = true
		}
	}
	for _, statement := range said {
		if !readsRows.MatchString(statement.SQL) {
			continue
		}
		err := pgx.BeginFunc(ctx, d.history, func(tx pgx.Tx) error {
			for setting := range settings {
				if _, err := tx.Exec(ctx, setting); err != nil {
					return err
				}
			}
			if err := explainStatement(ctx, tx, to, query.name, statement.SQL, statement.Args); err != nil {
				return err
			}
			return errDone
		})
		if !errors.Is(err, errDone) {
			return err
		}
	}
	return nil
}

// explainStatement writes the plan of a statement or, if all it does is to call a function, of that one's body.
func explainStatement(ctx context.Context, tx pgx.Tx, to io.Writer, name, sql string, args []any) error {
	if call := callsNothing.FindStringSubmatch(sql); call != nil {
		var parameters int
		err := tx.QueryRow(ctx, `
			select prosrc, pronargs, (select count(set_config(split_part(setting, '=', 1), split_part(setting, '=', 2), true)) from unnest(proconfig) as setting)
			  from pg_proc
			 where oid = to_regproc($1)`, call[1]).Scan(&sql, &parameters, nil)
		if err != nil {
			return fmt.Errorf("reading function %s: %w", call[1], err)
		}
		given := strings.Split(call[2], ",")
		for i := range parameters { // they are all texts
			value := "null"
			if i < len(given) && given[i] != "" {
				value = given[i]
			}
			sql = strings.ReplaceAll(sql, fmt.Sprintf("$%d", i+1), value+"::text")
		}
	}
	rows, err := tx.Query(ctx, "explain (analyze, buffers) "+sql, args...)
	if err != nil {
		return err
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(to, "== %s\n%s\n\n%s\n\n", name, strings.TrimSpace(sql), strings.Join(plan, "\n"))
	return err
}
