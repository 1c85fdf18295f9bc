package jobs

import (
	"time"

	"github.com/google/uuid"

	"github.com/epicvoice/webhook-worker/partners"
)

// Attempt is one row of webhook_delivery_log: one POST, or the end of a delivery without one.
type Attempt struct {
	ID              uuid.UUID           `json:"attempt_id"`
	DeliveryID      uuid.UUID           `json:"delivery_id"`
	JobID           int64               `json:"job_id"`
	UserID          string              `json:"user_id"`
	PartnerID       uuid.UUID           `json:"partner_id"`
	EventID         string              `json:"event_id"`
	EventType       string              `json:"event_type"`
	Number          int                 `json:"attempt"`
	Trigger         Trigger             `json:"trigger"`
	Outcome         Outcome             `json:"outcome"`
	ResponseStatus  *int                `json:"response_status"`
	ResponseHeaders map[string]string   `json:"response_headers"`
	ResponseBody    *string             `json:"response_body"`
	ErrorKind       *partners.ErrorKind `json:"error_kind"`
	Error           *string             `json:"error"`
	URL             *string             `json:"url"`
	DurationMS      *float64            `json:"duration_ms"` // milliseconds
	ClientID        string              `json:"client_id"`
	StartedAt       time.Time           `json:"started_at"`
}

// finish writes the verdict, and the response if there was a POST, into the attempt.
func (a *Attempt) finish(verdict *Verdict, response *partners.Response) {
	a.Outcome = verdict.Outcome
	a.ErrorKind = optional(verdict.ErrorKind)
	a.Error = optional(partners.SafeText([]byte(verdict.Error), maxErrorText))
	if response == nil {
		return
	}
	a.ResponseStatus = optional(response.Status)
	a.ResponseHeaders = response.Headers
	if response.Status != 0 {
		a.ResponseBody = &response.Body
	}
	a.DurationMS = new(float64(response.Duration) / float64(time.Millisecond))
}

// maxErrorText bounds the words of an error, in bytes: River keeps them on the job's row too.
const maxErrorText = 1 << 10

// optional is nil for the zero value, which the database keeps as null.
func optional[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}
