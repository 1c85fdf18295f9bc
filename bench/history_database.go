package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/devpg"
)

// historyStatements fill a database.
//
//go:embed history.sql
var historyStatements string

// historySize is how much of everything there is.
type historySize struct {
	Completed  int `default:"1000000" help:"Delivered jobs, of the last day."`
	Dead       int `default:"200000" help:"Dead letters, of ninety days."`
	Cancelled  int `default:"10000" help:"Cancelled deliveries, of ninety days."`
	Failed     int `default:"20000" help:"Deliveries that wait for their next try."`
	Pending    int `default:"100000" help:"Deliveries that wait for their first try."`
	Processing int `default:"50" help:"Deliveries under way."`
	Attempts   int `default:"3000000" help:"Attempts of ninety days; fewer than those of the deliveries are raised to them."`
}

// historyDatabases are a database with a history, and a fresh one beside it.
type historyDatabases struct {
	history *pgxpool.Pool
	fresh   *pgxpool.Pool
	said    *statements // by the pool of the history

	closers
}

// newHistoryDatabases starts PostgreSQL and migrates both databases. The fresh one gets the partners.
func newHistoryDatabases(ctx context.Context, size *historySize) (_ *historyDatabases, err error) {
	d := &historyDatabases{said: &statements{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	server, err := devpg.Start(ctx, &devpg.Config{})
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, server.Stop)
	if d.history, err = d.openDatabase(ctx, server, "history", d.said); err != nil {
		return nil, err
	}
	if d.fresh, err = d.openDatabase(ctx, server, "fresh", nil); err != nil {
		return nil, err
	}
	if err := fillHistory(ctx, d.history, size); err != nil {
		return nil, err
	}
	return d, fillHistory(ctx, d.fresh, &historySize{})
}

// fillHistory puts a history into a migrated database, and tidies it up as a server does in time.
func fillHistory(ctx context.Context, pool *pgxpool.Pool, size *historySize) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			create temp table wanted on commit drop as
			select $1::bigint as completed, $2::bigint as dead, $3::bigint as cancelled, $4::bigint as failed,
			       $5::bigint as pending, $6::bigint as processing, $7::bigint as attempts`,
			size.Completed, size.Dead, size.Cancelled, size.Failed, size.Pending, size.Processing, size.Attempts)
		if err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, `set local work_mem = '256MB'`); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, historyStatements)
		return err
	})
	if err != nil {
		return fmt.Errorf("filling the database: %w", err)
	}
	return tidy(ctx, pool)
}
