package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/jobs"
)

// enqueueWay is a way to enqueue events, each to two partners.
type enqueueWay struct {
	name           string
	perTransaction int
	enqueue        func(ctx context.Context, tx pgx.Tx, userID string) error
}

func enqueueWays() ([]enqueueWay, error) {
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return nil, err
	}
	inSQL := func(ctx context.Context, tx pgx.Tx, userID string) error {
		_, err := tx.Exec(ctx, `select enqueue_webhook_event($1, 'call.completed', $2::json)`, userID, payloadOf(512))
		return err
	}
	inGo := func(ctx context.Context, tx pgx.Tx, userID string) error {
		_, err := enqueuer.EnqueueTx(ctx, tx, &jobs.Event{UserID: userID, Type: "call.completed", Payload: json.RawMessage(payloadOf(512))})
		return err
	}
	const many = 100
	return []enqueueWay{
		{"SQL, 1 event a transaction", 1, inSQL},
		{fmt.Sprintf("SQL, %d events a transaction", many), many, inSQL},
		{"Go, 1 event a transaction", 1, inGo},
		{fmt.Sprintf("Go, %d events a transaction", many), many, inGo},
	}, nil
}

// timeEnqueueing enqueues in both databases in turn and prints events a second.
func (c *historyCommand) timeEnqueueing(ctx context.Context, databases *historyDatabases) error {
	ways, err := enqueueWays()
	if err != nil {
		return err
	}
	history, fresh := make([][]float64, len(ways)), make([][]float64, len(ways))
	for round := range 1 + c.Rounds { // the first does not count
		for i, way := range ways {
			order := []struct {
				pool  *pgxpool.Pool
				rates *[]float64
			}{{databases.history, &history[i]}, {databases.fresh, &fresh[i]}}
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, database := range order {
				rate, err := c.enqueue(ctx, database.pool, &way)
				if err != nil {
					return fmt.Errorf("%s: %w", way.name, err)
				}
				if round > 0 {
					*database.rates = append(*database.rates, rate)
				}
			}
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "\nhistory, events/s\tfresh, events/s\tratio\t  enqueueing") // errors come with Flush
	for i, way := range ways {
		full, empty := median(history[i]), median(fresh[i])
		_, _ = fmt.Fprintf(table, "%.0f\t%.0f\t%.2f\t  %s\n", full, empty, full/empty, way.name)
	}
	return table.Flush()
}

// enqueue enqueues events one after another and returns how many a second.
func (c *historyCommand) enqueue(ctx context.Context, pool *pgxpool.Pool, way *enqueueWay) (float64, error) {
	start := time.Now()
	for done := 0; done < c.Events; done += way.perTransaction {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			for i := done; i < min(done+way.perTransaction, c.Events); i++ {
				if err := way.enqueue(ctx, tx, fmt.Sprintf("user-%d", 1+i%200)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return float64(c.Events) / time.Since(start).Seconds(), nil
}
