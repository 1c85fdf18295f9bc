package jobs_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// exampleDatabase is a database with one partner of user_123, acme-corp, that is subscribed to call.*, and
// with a table of the application's own.
func exampleDatabase(ctx context.Context) (*pgxpool.Pool, func() error) {
	pool, closeDatabase, err := testdb.Open(ctx)
	if err != nil {
		log.Panic(err)
	}
	key := make([]byte, partners.KeySize)
	_, _ = rand.Read(key)
	keyring, err := partners.NewKeyring(key)
	if err != nil {
		log.Panic(err)
	}
	store := partners.NewStore(&partners.StoreConfig{Pool: pool, Keyring: keyring})
	if _, _, err := store.Create(ctx, "user_123", &partners.Params{
		Name: "Acme Corp", Slug: "acme-corp", URL: "https://acme.example/webhooks", EnabledEvents: []string{"call.*"},
	}); err != nil {
		log.Panic(err)
	}
	if _, err := pool.Exec(ctx, `create table calls (id text primary key, outcome json)`); err != nil {
		log.Panic(err)
	}
	return pool, closeDatabase
}

// endCall stores a call's outcome and enqueues its event in one transaction: both happen, or neither does.
func endCall(
	ctx context.Context, pool *pgxpool.Pool, enqueuer *jobs.Enqueuer, userID, callID string, outcome json.RawMessage,
) ([]jobs.Delivery, error) {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after the commit

	if _, err := tx.Exec(ctx, `
		insert into calls (id, outcome) values ($1, $2)
		on conflict (id) do update set outcome = excluded.outcome`, callID, string(outcome)); err != nil {
		return nil, err
	}
	deliveries, err := enqueuer.EnqueueCallOutcomeTx(ctx, tx, userID, callID, outcome)
	if err != nil {
		return nil, err
	}
	return deliveries, tx.Commit(ctx)
}

// An application enqueues an event in the transaction that stores what happened.
func ExampleEnqueuer_EnqueueTx() {
	ctx := context.Background()
	pool, closeDatabase := exampleDatabase(ctx)
	defer func() { _ = closeDatabase() }()

	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		log.Panic(err)
	}

	var deliveries []jobs.Delivery
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `insert into calls (id) values ('call_1')`); err != nil {
			return err
		}
		deliveries, err = enqueuer.EnqueueTx(ctx, tx, &jobs.Event{
			ID:      "call_1-started",
			UserID:  "user_123",
			Type:    "call.started",
			Payload: json.RawMessage(`{"call_id":"call_1"}`),
		})
		return err
	})
	if err != nil {
		log.Panic(err)
	}
	for _, delivery := range deliveries {
		fmt.Println("to", delivery.PartnerSlug)
	}
	// Output: to acme-corp
}

// An application that runs River itself enqueues a call's outcome with its own client.
func ExampleEnqueuer_EnqueueCallOutcomeTx() {
	ctx := context.Background()
	pool, closeDatabase := exampleDatabase(ctx)
	defer func() { _ = closeDatabase() }()

	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		log.Panic(err)
	}
	enqueuer, err := jobs.NewEnqueuer(&jobs.EnqueuerConfig{Client: client})
	if err != nil {
		log.Panic(err)
	}

	// The handler runs twice, as handlers do; the partner gets one delivery.
	for duration := range 2 {
		outcome := fmt.Sprintf(`{"call_id":"call_2","event_type":"call.completed","duration":%d}`, duration)
		deliveries, err := endCall(ctx, pool, enqueuer, "user_123", "call_2", json.RawMessage(outcome))
		if err != nil {
			log.Panic(err)
		}
		fmt.Println(len(deliveries), "delivery to", deliveries[0].PartnerSlug)
	}
	var enqueued int
	if err := pool.QueryRow(ctx, `select count(*) from river_job where kind = $1`, jobs.Kind).Scan(&enqueued); err != nil {
		log.Panic(err)
	}
	fmt.Println(enqueued, "job")
	// Output:
	// 1 delivery to acme-corp
	// 1 delivery to acme-corp
	// 1 job
}

// replayCancelled delivers what was cancelled for a partner, and says how much that was.
func replayCancelled(ctx context.Context, pool *pgxpool.Pool, userID, slug string) (int, error) {
	deliveries, err := jobs.NewDeliveries(ctx, pool)
	if err != nil {
		return 0, err
	}
	replayed := 0
	err = deliveries.Replay(ctx, &jobs.Replay{
		Filter: jobs.Filter{UserID: userID, PartnerSlug: slug, Status: jobs.StatusCancelled},
		Rate:   50, // a second
		Report: func(results []jobs.ReplayResult) {
			for _, result := range results {
				if result == jobs.Replayed {
					replayed++
				}
			}
		},
	})
	return replayed, err
}

// An operator's page lists a user's deliveries, cancels one and replays it.
func ExampleDeliveries() {
	ctx := context.Background()
	pool, closeDatabase := exampleDatabase(ctx)
	defer func() { _ = closeDatabase() }()
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		log.Panic(err)
	}
	outcome := json.RawMessage(`{"call_id":"call_3","event_type":"call.completed"}`)
	if _, err := endCall(ctx, pool, enqueuer, "user_123", "call_3", outcome); err != nil {
		log.Panic(err)
	}

	deliveries, err := jobs.NewDeliveries(ctx, pool)
	if err != nil {
		log.Panic(err)
	}
	list, err := deliveries.List(ctx, &jobs.Filter{UserID: "user_123", Status: jobs.StatusPending}, &jobs.Page{Limit: 10})
	if err != nil {
		log.Panic(err)
	}
	for _, delivery := range list {
		fmt.Println(delivery.EventID, delivery.Status)
		if _, err := deliveries.Cancel(ctx, delivery.UserID, uuid.MustParse(delivery.ID), "support", true); err != nil {
			log.Panic(err)
		}
	}
	replayed, err := replayCancelled(ctx, pool, "user_123", "acme-corp")
	fmt.Println(replayed, "replayed", err)
	// Output:
	// call_3:call.completed pending
	// 1 replayed <nil>
}

// The same id with another payload is told apart from every other failure.
func ExampleErrEventConflict() {
	ctx := context.Background()
	pool, closeDatabase := exampleDatabase(ctx)
	defer func() { _ = closeDatabase() }()
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		log.Panic(err)
	}

	for _, payload := range []string{`{"seats":1}`, `{"seats":2}`} {
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := enqueuer.EnqueueTx(ctx, tx, &jobs.Event{
				ID: "plan-1", UserID: "user_123", Type: "plan.changed", Payload: json.RawMessage(payload),
			})
			return err
		})
		fmt.Println(errors.Is(err, jobs.ErrEventConflict))
	}
	// Output:
	// false
	// true
}
