package jobs

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
)

const (
	// Kind is the River job kind of deliveries.
	Kind = "webhook_delivery"
	// Queue is the River queue of deliveries.
	Queue = "webhooks"

	// argsVersion is written into new jobs, so that a later worker can read older ones, and an earlier one leaves them
	// to that: see newerArgs.
	argsVersion = 1
)

// DeliveryArgs are the River arguments of one delivery: one event to one partner. They hold ids only,
// since River UI and logs show arguments.
type DeliveryArgs struct {
	Version    int       `json:"version"`
	DeliveryID uuid.UUID `json:"delivery_id"` // the webhook-id, the same over retries and replays
	UserID     string    `json:"user_id"`
	PartnerID  uuid.UUID `json:"partner_id"`
	EventID    string    `json:"event_id"`
	EventType  string    `json:"event_type"`

	// retryAfter carries what the partner asked for from Work to NextRetry: River hands both the same job.
	retryAfter time.Duration
}

// Kind is the job kind that River finds the worker by.
func (DeliveryArgs) Kind() string { return Kind }

// River's priorities of deliveries. A delivery is usual, unless partners that are held back crowd the queue when it is
// enqueued: see webhook_delivery_priority.
const (
	priorityFirst = 1 // overtakes
	priorityUsual = 2
	priorityLast  = 3 // crowds
)

// InsertOpts puts deliveries into their own queue.
func (DeliveryArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: Queue, Priority: priorityUsual}
}

// Trigger says why an attempt is made; webhook_delivery_log.trigger takes no other.
type Trigger string

// The triggers.
const (
	TriggerSchedule Trigger = "schedule" // enqueued by an application
	TriggerReplay   Trigger = "replay"   // a delivery that had ended, anew
	TriggerRecover  Trigger = "recover"  // a stored event to a partner that had not got it
	TriggerManual   Trigger = "manual"   // by an operator's hand
	TriggerTest     Trigger = "test"     // `partner test`
)

// known says whether t is one of them.
func (t Trigger) known() bool {
	switch t {
	case TriggerSchedule, TriggerReplay, TriggerRecover, TriggerManual, TriggerTest:
		return true
	}
	return false
}

// deliveryMetadata is what of a job's metadata concerns us.
type deliveryMetadata struct {
	Trigger Trigger `json:"trigger,omitempty"` // any but the known: TriggerSchedule
	Snoozes int     `json:"snoozes,omitempty"` // how often it was put off: River counts

	// The trace context of whoever enqueued, as W3C writes it.
	TraceParent string `json:"traceparent,omitempty"`
	TraceState  string `json:"tracestate,omitempty"`

	HeldTooLong bool `json:"held_too_long,omitempty"` // it waited for its partner as long as CIRCUIT_MAX_HOLD allows
}

// metadataOf reads a job's metadata; what can't be read counts as not set.
func metadataOf(job *river.Job[DeliveryArgs]) deliveryMetadata {
	var metadata deliveryMetadata
	_ = json.Unmarshal(job.Metadata, &metadata)
	return metadata
}
