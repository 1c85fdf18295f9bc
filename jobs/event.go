package jobs

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/epicvoice/webhook-worker/partners"
)

// maxEventID is the longest event id, in characters; a call id has a little less room.
const maxEventID = 255

// ErrEventConflict is returned when an event id is used again with another type or payload.
var ErrEventConflict = errors.New("an event of this id exists with another type or payload")

// OnConflict says what to do about an event id that exists with another type or payload.
type OnConflict int

// The ways to resolve a conflict.
const (
	OnConflictError OnConflict = iota // return [ErrEventConflict]
	OnConflictFirst                   // let the first one win
)

// Event is something that happened to a user and that its partners want to know.
type Event struct {
	// ID is the application's own id of the event, unique within its user, at most 255 characters. Enqueueing
	// the same ID again creates nothing. Empty: one is made.
	ID string
	// UserID is the tenant whose event it is.
	UserID string
	// Type is dot-separated, such as call.completed. Those of operational events ([partners.IsOperational]) are reserved.
	Type string
	// Payload is a JSON object of at most 256 KiB. Partners receive its bytes as they are.
	Payload json.RawMessage
	// OnConflict says what to do if ID exists with another type or payload.
	OnConflict OnConflict
}

// Delivery is one event on its way to one partner.
type Delivery struct {
	ID          uuid.UUID `json:"id"` // the webhook-id that the partner sees
	PartnerID   uuid.UUID `json:"partner_id"`
	PartnerSlug string    `json:"partner_slug"` // empty if the partner has been deleted since
	JobID       int64     `json:"job_id"`       // River's; 0 if the job of a repeated event has been removed since
}

func (e *Event) validate() error {
	checks := []error{
		partners.ValidateText("user_id", e.UserID, partners.MaxUserID),
		partners.ValidateText("event_id", e.ID, maxEventID),
		partners.ValidateEventType(e.Type),
		partners.ValidatePayload(e.Payload),
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// callOutcomeEvent makes the event of a call's outcome. Its type is the outcome's event_type, and its id
// is made of that and the call's id, so that a handler which runs twice enqueues once.
func callOutcomeEvent(userID, callID string, outcome json.RawMessage) (*Event, error) {
	if err := partners.ValidateText("call_id", callID, maxEventID-partners.MaxEventType-1); err != nil {
		return nil, err
	}
	if err := partners.ValidatePayload(outcome); err != nil {
		return nil, err
	}
	// A map, because a struct's field would match names in any case.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(outcome, &members); err != nil {
		return nil, fmt.Errorf("reading the outcome: %w", err)
	}
	var eventType string
	if err := json.Unmarshal(members["event_type"], &eventType); err != nil {
		return nil, &partners.ValidationError{Field: "event_type", Reason: "must be in the outcome, as text such as call.completed"}
	}
	if err := partners.ValidateEventType(eventType); err != nil {
		return nil, err
	}
	return &Event{
		ID:         callID + ":" + eventType,
		UserID:     userID,
		Type:       eventType,
		Payload:    outcome,
		OnConflict: OnConflictFirst,
	}, nil
}
