package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/migrations"
	"github.com/epicvoice/webhook-worker/partners"
)

// database is one that the product works on, or a bare worker.
type database struct {
	pool  *pgxpool.Pool
	store *partners.Store
	dsn   string // a worker's DATABASE_URL
}

// newDatabase creates a database of the product, which has the stage's keys.
func (s *stage) newDatabase(ctx context.Context, name string) (*database, error) {
	pool, err := s.openDatabase(ctx, s.postgres, name, nil)
	if err != nil {
		return nil, err
	}
	guard := partners.NewGuard(&partners.GuardConfig{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	return &database{
		pool:  pool,
		store: partners.NewStore(&partners.StoreConfig{Pool: pool, Keyring: s.keyring, Guard: guard}),
		dsn:   s.postgres.URL(name),
	}, nil
}

// newBareDatabase creates a database for a bare worker. River's tables are as River makes them, in a schema of their own that
// is looked into first; of the product's it needs the log.
func (s *stage) newBareDatabase(ctx context.Context, name string) (*database, error) {
	made, err := s.newDatabase(ctx, name)
	if err != nil {
		return nil, err
	}
	const schema = "bare"
	for _, statement := range []string{`create schema ` + schema, `alter database ` + pgx.Identifier{name}.Sanitize() + ` set search_path = ` + schema + `, public`} {
		if _, err := made.pool.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("making a schema for a bare worker: %w", err)
		}
	}
	made.pool.Reset() // connections from now on have the search path
	migrator, err := rivermigrate.New(riverpgxv5.New(made.pool), &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("making River's migrator: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("migrating River's tables: %w", err)
	}
	return made, nil
}

// newLeanDatabase creates a database for a bare worker too. River's tables are as the product has them: its own deliveries
// have no entry in the index of other programs' kinds, so that a bare job has none either.
func (s *stage) newLeanDatabase(ctx context.Context, name string) (*database, error) {
	made, err := s.newDatabase(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := made.pool.Exec(ctx, `drop index river_job_other_kind_idx`); err != nil {
		return nil, fmt.Errorf("making a database for a bare worker: %w", err)
	}
	return made, nil
}

// addPartners adds partners of users in turn, which get the events of a type.
func (d *database) addPartners(ctx context.Context, url string, users, count int, eventType string) error {
	for i := range count {
		if err := d.addPartner(ctx, benchUser(i%users), uuid.NewString(), url, eventType); err != nil {
			return err
		}
	}
	return nil
}

// addPartner adds a partner that gets the events of a type.
func (d *database) addPartner(ctx context.Context, user, name, url, eventType string) error {
	_, _, err := d.store.Create(ctx, user, &partners.Params{Name: name, Slug: name, URL: url, EnabledEvents: []string{eventType}})
	return err
}

// benchUser is one of the users.
func benchUser(number int) string { return fmt.Sprint("user-", number) }

// enqueue enqueues events of users in turn, many in a transaction.
func (d *database) enqueue(ctx context.Context, users, events int, body string) error {
	return d.enqueueEvents(ctx, events, func(i int) *jobs.Event {
		return &jobs.Event{UserID: benchUser(i % users), Type: "call.completed", Payload: []byte(body)}
	})
}

// enqueueEvents enqueues events by their numbers, many in a transaction.
func (d *database) enqueueEvents(ctx context.Context, events int, event func(number int) *jobs.Event) error {
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return err
	}
	const perTransaction = 100
	for start := 0; start < events; start += perTransaction {
		err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
			for i := start; i < min(start+perTransaction, events); i++ {
				if _, err := enqueuer.EnqueueTx(ctx, tx, event(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("filling the queue: %w", err)
		}
	}
	return nil
}

// empty removes all events, deliveries and attempts, and what a crowd among them left behind, which decides on the priority
// of those that are enqueued next.
func empty(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, `truncate river_job, webhook_events, webhook_delivery_log, webhook_crowd`); err != nil {
		return fmt.Errorf("emptying the tables: %w", err)
	}
	return nil
}

// tidy does what a server does in time.
func tidy(ctx context.Context, pool *pgxpool.Pool) error {
	for _, statement := range []string{`vacuum analyze`, `checkpoint`} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return fmt.Errorf("tidying up: %w", err)
		}
	}
	return nil
}

// openDatabase creates a database, migrates it and connects to it.
func (c *closers) openDatabase(ctx context.Context, server *devpg.Server, name string, tracer pgx.QueryTracer) (*pgxpool.Pool, error) {
	admin, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	_, err = admin.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize())
	if err = errors.Join(err, admin.Close(ctx)); err != nil {
		return nil, fmt.Errorf("creating a database: %w", err)
	}
	config, err := pgxpool.ParseConfig(server.URL(name))
	if err != nil {
		return nil, fmt.Errorf("reading the database's URL: %w", err)
	}
	config.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	*c = append(*c, func() error { pool.Close(); return nil })
	return pool, migrations.Up(ctx, pool, slog.New(slog.DiscardHandler))
}
