package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
)

type sendCommand struct {
	Event       sendEventCommand       `cmd:"" default:"withargs" help:"Enqueue any event (the default)."`
	CallOutcome sendCallOutcomeCommand `cmd:"" help:"Enqueue the outcome of a call, as an application does when a call ends."`
}

// payloadFlags say where a payload comes from.
type payloadFlags struct {
	Data  string `xor:"payload" placeholder:"JSON" help:"The payload itself."`
	File  string `xor:"payload" placeholder:"FILE" help:"File that holds the payload; - for stdin."`
	Stdin string `arg:"" optional:"" name:"-" help:"- to read the payload from stdin."`
	JSON  bool   `name:"json" help:"Print a JSON array."`
}

// payload reads the payload; nil if none was given.
func (p *payloadFlags) payload(a *app) (json.RawMessage, error) {
	if p.Stdin != "" && p.Stdin != "-" {
		return nil, usagef("%q is no command and no payload: - reads the payload from stdin", p.Stdin)
	}
	if p.Stdin != "" && (p.Data != "" || p.File != "") {
		return nil, usagef("the payload is given twice: by - and by a flag")
	}
	switch {
	case p.Data != "":
		return json.RawMessage(p.Data), nil
	case p.File != "":
		return a.read(p.File)
	case p.Stdin != "":
		return a.read("-")
	}
	return nil, nil
}

type sendEventCommand struct {
	payloadFlags

	User  string `required:"" help:"User whose event it is."`
	Event string `required:"" help:"Event type, such as call.completed."`
	ID    given  `name:"id" placeholder:"ID" help:"Your own id of the event; the same id again enqueues nothing. One is made if it is left out."`
}

// Run enqueues an event.
func (c *sendEventCommand) Run(a *app) error {
	payload, err := c.payload(a)
	if err != nil {
		return err
	}
	if payload == nil {
		return usagef("no payload: give it with --data, --file or -")
	}
	return enqueue(a, c.JSON, func(enqueuer *jobs.Enqueuer, tx pgx.Tx) ([]jobs.Delivery, error) {
		return enqueuer.EnqueueTx(a.ctx, tx, &jobs.Event{ID: string(c.ID), UserID: c.User, Type: c.Event, Payload: payload})
	})
}

type sendCallOutcomeCommand struct {
	payloadFlags

	User string `required:"" help:"User whose call it was."`
	Call string `required:"" help:"Id of the call."`
}

// Run enqueues a call's outcome; without a payload, that of a completed call.
func (c *sendCallOutcomeCommand) Run(a *app) error {
	outcome, err := c.payload(a)
	if err != nil {
		return err
	}
	if outcome == nil {
		if outcome, err = completedCall(c.Call, time.Now()); err != nil {
			return err
		}
	}
	return enqueue(a, c.JSON, func(enqueuer *jobs.Enqueuer, tx pgx.Tx) ([]jobs.Delivery, error) {
		return enqueuer.EnqueueCallOutcomeTx(a.ctx, tx, c.User, c.Call, outcome)
	})
}

// completedCall is the outcome of a call as the voice platform writes it.
func completedCall(callID string, now time.Time) (json.RawMessage, error) {
	outcome, err := json.Marshal(struct {
		CallID    string `json:"call_id"`
		RoomName  string `json:"room_name"`
		EventType string `json:"event_type"`
		Timestamp string `json:"timestamp"`
		Duration  int    `json:"duration"` // seconds
		Status    string `json:"status"`
	}{callID, "room-" + callID, "call.completed", now.UTC().Format(time.RFC3339Nano), 42, "completed"})
	if err != nil {
		return nil, fmt.Errorf("making an outcome: %w", err)
	}
	return outcome, nil
}

// enqueue runs add in a transaction and prints the deliveries.
func enqueue(a *app, asJSON bool, add func(enqueuer *jobs.Enqueuer, tx pgx.Tx) ([]jobs.Delivery, error)) error {
	return a.withPool(func(_ *config.Config, pool *pgxpool.Pool) error {
		enqueuer, err := jobs.NewEnqueuer(nil)
		if err != nil {
			return err
		}
		var deliveries []jobs.Delivery
		err = pgx.BeginFunc(a.ctx, pool, func(tx pgx.Tx) error {
			deliveries, err = add(enqueuer, tx)
			return err
		})
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(deliveries)
		}
		if len(deliveries) == 0 {
			a.say("stored; no partner of this user is subscribed to it")
			return nil
		}
		rows := make([][]string, len(deliveries))
		for i, delivery := range deliveries {
			rows[i] = []string{delivery.ID.String(), delivery.PartnerSlug, strconv.FormatInt(delivery.JobID, 10)}
		}
		return printTable(a.stdout, []string{"DELIVERY", "PARTNER", "JOB"}, rows)
	})
}
