package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/epicvoice/webhook-worker/jobs"
)

// streamer is a contestant with a way to enqueue.
type streamer struct {
	contestant

	// commit commits an event for one partner. Nil: all wait before the workers start.
	commit func(context.Context, *pgxpool.Pool) error
}

// streamers are a bare worker with a backlog, which the others are compared with, and all contestants with their ways
// to enqueue.
func (c *streamCommand) streamers(s *stage) ([]streamer, error) {
	bare, inGo, err := c.ways(s)
	if err != nil {
		return nil, err
	}
	body := payloadOf(c.Body)
	inSQL := func(ctx context.Context, clients *pgxpool.Pool) error {
		tag, err := clients.Exec(ctx, `select enqueue_webhook_event($1, 'call.completed', $2::json)`, benchUser(0), body)
		return errors.Join(err, exactly(1, int(tag.RowsAffected())))
	}
	all := []streamer{{contestant: contestant{name: "bare, backlog", bare: s.bare, start: func(string) (*process, error) {
		return s.startBare(s.bare.dsn, fmt.Sprint("--concurrent=", c.Concurrent))
	}}}}
	for _, contestant := range c.contestants(s) {
		if contestant.bare != nil {
			all = append(all, streamer{contestant, bare})
			continue
		}
		all = append(all, streamer{contestant, inGo})
		contestant.name += ", SQL"
		all = append(all, streamer{contestant, inSQL})
	}
	return all, nil
}

// ways are how Go enqueues for a bare worker, and for the product.
func (c *streamCommand) ways(s *stage) (bare, product func(context.Context, *pgxpool.Pool) error, err error) {
	client, err := river.NewClient(riverpgxv5.New(s.bare.pool), &river.Config{FetchCooldown: bareCooldown}) // it notifies no more often
	if err != nil {
		return nil, nil, fmt.Errorf("making a River client: %w", err)
	}
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return nil, nil, err
	}
	body := payloadOf(c.Body)
	bare = func(ctx context.Context, clients *pgxpool.Pool) error {
		return pgx.BeginFunc(ctx, clients, func(tx pgx.Tx) error {
			_, err := client.InsertTx(ctx, tx, bareArgs{ID: uuid.NewString(), URL: s.url, Body: body}, nil)
			return err
		})
	}
	product = func(ctx context.Context, clients *pgxpool.Pool) error {
		return pgx.BeginFunc(ctx, clients, func(tx pgx.Tx) error {
			deliveries, err := enqueuer.EnqueueTx(ctx, tx, &jobs.Event{UserID: benchUser(0), Type: "call.completed", Payload: json.RawMessage(body)})
			return errors.Join(err, exactly(1, len(deliveries)))
		})
	}
	return bare, product, nil
}
