package partners

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
)

// Partner is an endpoint of a user that receives its events. It never holds a secret in the clear.
type Partner struct {
	ID                  uuid.UUID       `json:"id"`
	UserID              string          `json:"user_id"`
	Name                string          `json:"partner_name"`
	Slug                string          `json:"partner_slug"`
	URL                 string          `json:"url"`
	EnabledEvents       []string        `json:"enabled_events"`
	CustomPayloadFields json.RawMessage `json:"custom_payload_fields"`
	RequestHeaders      RequestHeaders  `json:"request_headers"`
	MaxRetries          *int            `json:"max_retries"`   // nil: as configured for all
	RateLimit           *int            `json:"rate_limit"`    // requests a second, of all workers together; nil: no limit
	MaxInFlight         *int            `json:"max_in_flight"` // requests under way at once, of each worker; nil: as configured for all
	Enabled             bool            `json:"enabled"`
	DisabledReason      *string         `json:"disabled_reason"`
	PausedAt            *time.Time      `json:"paused_at"` // nil: its deliveries are sent
	CreatedAt           time.Time       `json:"created_at"`
	UpdatedAt           time.Time       `json:"updated_at"`

	sealed sealed
}

// Params are what the owner of a partner decides about it.
type Params struct {
	Name                string
	Slug                string
	URL                 string
	EnabledEvents       []string
	CustomPayloadFields json.RawMessage // a JSON object; nil for none
	Headers             Headers
	MaxRetries          *int   // retries after the first try, 0 to 100; nil: as configured for all
	RateLimit           *int   // requests a second, of all workers together, 1 to 10,000; nil: no limit
	MaxInFlight         *int   // requests under way at once, of each worker process, 1 to 10,000; nil: as configured for all
	Secret              Secret // empty: one is generated
}

// Override is a number of a partner's own; nil: as configured for all, or no limit.
type Override struct{ Value *int }

// Changes are new values for some fields of a partner; nil leaves a field as it is. Of the headers, plain and
// secret ones are a field each: a name that is new in one goes from the other, and a secret header without a
// value keeps the one that it has.
type Changes struct {
	Name                *string
	URL                 *string
	EnabledEvents       []string
	CustomPayloadFields json.RawMessage
	Headers             Headers
	MaxRetries          *Override
	RateLimit           *Override
	MaxInFlight         *Override
}

// Errors that callers tell apart.
var (
	// ErrNotFound: no such partner, or it is another user's.
	ErrNotFound = errors.New("partner not found")
	// ErrSlugTaken: the user has a partner of that slug already.
	ErrSlugTaken = errors.New("slug is taken by another partner of this user")
	// ErrNoKey: the store was made without an encryption key, and what was asked for needs one.
	ErrNoKey = errors.New("no encryption key")
	// ErrWrongKey: the secrets were sealed with another key than those at hand.
	ErrWrongKey = errors.New("no encryption key at hand opens this partner's secrets")
	// ErrDamaged: the key that sealed the secrets is at hand, but they were changed since, or are another partner's.
	ErrDamaged = errors.New("this partner's secrets are damaged")
	// ErrNewer: a later version of this program sealed the secrets, in a form that this one does not know.
	ErrNewer = errors.New("a newer webhook-worker sealed this partner's secrets: update this one")
)
