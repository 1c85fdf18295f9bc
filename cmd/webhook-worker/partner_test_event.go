package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

type partnerTestCommand struct {
	onePartner

	Wait config.Duration `default:"40s" help:"How long to wait for a worker and the partner's answer."`
	JSON bool            `name:"json" help:"Print the delivery as a JSON object."`
}

// testEventType is the type of the event that `partner test` sends.
const testEventType = "webhook.test"

// Run sends a test event through the queue, as every other event goes, and reports the first try.
func (c *partnerTestCommand) Run(a *app) error {
	return a.withStore(func(store *partners.Store, pool *pgxpool.Pool) error {
		partner, err := store.Get(a.ctx, c.User, c.Slug)
		if err != nil {
			return err
		}
		if !partner.Enabled {
			return fmt.Errorf("partner %s is disabled (%s): enable it first", partner.Slug, or(partner.DisabledReason))
		}
		if partner.PausedAt != nil {
			return fmt.Errorf("partner %s is paused: resume it first", partner.Slug)
		}
		if _, err := store.Unseal(partner, time.Now()); err != nil { // a worker would wait for the key
			return err
		}
		delivery, err := enqueueTest(a.ctx, pool, partner)
		if err != nil {
			return err
		}
		state, err := c.await(a.ctx, pool, delivery)
		if err != nil {
			return err
		}
		if c.JSON {
			if err := a.printJSON(state); err != nil {
				return err
			}
		}
		switch state.Status {
		case jobs.StatusDelivered:
			a.say("delivered %s: the partner answered %d", state.ID, *state.LastResponseStatus)
			return nil
		case jobs.StatusPending, jobs.StatusProcessing:
			return fmt.Errorf("delivery %s is still %s after %s: is a worker running?", state.ID, state.Status, c.Wait)
		default:
			return fmt.Errorf("delivery %s failed: %s", state.ID, or(state.LastError))
		}
	})
}

func enqueueTest(ctx context.Context, pool *pgxpool.Pool, partner *partners.Partner) (*jobs.Delivery, error) {
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(map[string]string{
		"event_type": testEventType,
		"message":    "This is a test of your webhook endpoint.",
		"timestamp":  time.Now().UTC().Format(time.RFC3339),
	})
	if err != nil {
		return nil, fmt.Errorf("making the test event: %w", err)
	}
	var delivery *jobs.Delivery
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		event := &jobs.Event{UserID: partner.UserID, Type: testEventType, Payload: payload}
		delivery, err = enqueuer.EnqueueTestTx(ctx, tx, event, partner.ID)
		return err
	})
	return delivery, err
}

// await returns the state of a delivery when its first try has ended, or when the time is up.
func (c *partnerTestCommand) await(ctx context.Context, pool *pgxpool.Pool, delivery *jobs.Delivery) (*jobs.DeliveryState, error) {
	deliveries, err := jobs.NewDeliveries(ctx, pool)
	if err != nil {
		return nil, err
	}
	const look = 100 * time.Millisecond
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	deadline := time.After(c.Wait.Std())
	for {
		state, err := deliveries.Get(ctx, "", delivery.ID)
		if err != nil {
			return nil, err
		}
		if state.Status != jobs.StatusPending && state.Status != jobs.StatusProcessing {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for delivery %s: %w", delivery.ID, ctx.Err())
		case <-deadline:
			return state, nil
		case <-ticker.C:
		}
	}
}
