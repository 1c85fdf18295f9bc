package jobs

import (
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
)

const (
	// Kind is the River job kind of deliveries.
	Kind = "webhook_delivery"
	// Queue is the River queue of deliveries.
	Queue = "webhooks"

	// argsVersion is written into new jobs, so that a later worker can read older ones.
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

// InsertOpts puts deliveries into their own queue.
func (DeliveryArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{Queue: Queue} }

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

// deliveryMetadata is our part of a job's metadata.
type deliveryMetadata struct {
	Trigger Trigger `json:"trigger,omitempty"` // empty: TriggerSchedule
}
