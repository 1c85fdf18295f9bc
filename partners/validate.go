package partners

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits, in characters unless said otherwise. The database's constraints hold most of them too.
const (
	MaxUserID       = 255
	MaxEventType    = 128
	maxName         = 200
	maxSlug         = 63
	maxURL          = 2048
	maxEvents       = 100
	maxFieldsBytes  = 16 << 10
	maxRetriesLimit = 100
	// maxRate and maxInFlightLimit are the highest rate_limit and max_in_flight.
	maxRate, maxInFlightLimit = 10_000, 10_000
)

// ValidationError says which value was refused and why.
type ValidationError struct {
	Field  string // as the tables name it
	Value  string // what was given, cut short; empty if it is secret or long
	Reason string
}

func (e *ValidationError) Error() string {
	if e.Value == "" {
		return e.Field + " " + e.Reason
	}
	return fmt.Sprintf("%s %q %s", e.Field, e.Value, e.Reason)
}

func invalid(field, value, format string, args ...any) error {
	const shown = 80
	if utf8.RuneCountInString(value) > shown {
		value = string([]rune(value)[:shown]) + "…"
	}
	return &ValidationError{Field: field, Value: value, Reason: fmt.Sprintf(format, args...)}
}

var (
	slugPattern      = regexp.MustCompile(`^[a-z0-9]+(?:[-_][a-z0-9]+)*$`)
	eventTypePattern = regexp.MustCompile(`^[a-zA-Z0-9_]+(?:\.[a-zA-Z0-9_]+)*$`)
)

// ValidateText refuses text that is empty, too long, or holds characters that can't be shown.
func ValidateText(field, value string, maxChars int) error {
	switch {
	case value == "":
		return invalid(field, value, "must not be empty")
	case !utf8.ValidString(value):
		return invalid(field, "", "must be valid UTF-8")
	case utf8.RuneCountInString(value) > maxChars:
		return invalid(field, value, "must have at most %d characters", maxChars)
	case strings.ContainsFunc(value, unicode.IsControl):
		return invalid(field, value, "must not contain control characters")
	}
	return nil
}

// ValidateEventType accepts names of dot-separated parts of letters, digits and underscores, such as
// call.completed, that may be enqueued: those of operational events are reserved.
func ValidateEventType(eventType string) error {
	switch {
	case !eventTypePattern.MatchString(eventType):
		return invalid("event_type", eventType, "must be parts of letters, digits and underscores with dots between, such as call.completed")
	case len(eventType) > MaxEventType:
		return invalid("event_type", eventType, "must have at most %d characters", MaxEventType)
	case IsOperational(eventType):
		return invalid("event_type", eventType, "is reserved for what webhook-worker itself tells")
	}
	return nil
}

func validateSlug(slug string) error {
	if !slugPattern.MatchString(slug) || len(slug) > maxSlug {
		return invalid("partner_slug", slug, "must be lower-case letters and digits with single hyphens or underscores between, at most %d characters, such as acme-corp", maxSlug)
	}
	return nil
}

// validateURL accepts absolute https URLs, and http ones if the guard allows them, that may lead where they lead.
func (g *Guard) validateURL(text string) error {
	if err := ValidateText("url", text, maxURL); err != nil {
		if refused, ok := errors.AsType[*ValidationError](err); ok && refused.Value != "" {
			return invalid("url", redactURL(text), "%s", refused.Reason)
		}
		return err
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil, parsed.Opaque != "", parsed.Hostname() == "":
		return invalid("url", redactURL(text), "must be an absolute URL such as https://example.com/webhooks")
	case !strings.HasPrefix(text, "https://") && !strings.HasPrefix(text, "http://"):
		return invalid("url", redactURL(text), "must begin with https://")
	case parsed.Scheme == "http" && !g.cfg.AllowHTTP:
		return invalid("url", redactURL(text), "must begin with https:// (WEBHOOK_ALLOW_HTTP=true allows http)")
	case parsed.User != nil:
		return invalid("url", redactURL(text), "must not contain a user name or password")
	case strings.Contains(text, "#"):
		return invalid("url", redactURL(text), "must not contain a fragment (#)")
	case strings.ContainsFunc(text, unicode.IsSpace):
		return invalid("url", redactURL(text), "must not contain spaces")
	}
	if err := g.checkTarget(parsed); err != nil {
		return invalid("url", redactURL(text), "%s", err)
	}
	return nil
}

// redactURL keeps a password that should not have been in a URL out of messages.
func redactURL(text string) string {
	if parsed, err := url.Parse(text); err == nil && parsed.Opaque == "" {
		return parsed.Redacted()
	}
	if at := strings.LastIndex(text, "@"); at >= 0 {
		return "…" + text[at:]
	}
	return text
}

func validateEnabledEvents(patterns []string) error {
	if len(patterns) == 0 {
		return invalid("enabled_events", "", `must name at least one event type, such as call.completed, call.* or *`)
	}
	if len(patterns) > maxEvents {
		return invalid("enabled_events", "", "must have at most %d entries", maxEvents)
	}
	for _, pattern := range patterns {
		name := strings.TrimSuffix(pattern, ".*")
		if pattern == "*" || (eventTypePattern.MatchString(name) && len(pattern) <= MaxEventType) {
			continue
		}
		return invalid("enabled_events", pattern, "must be an event type such as call.completed, a pattern such as call.*, or *")
	}
	return nil
}

func validateFields(fields json.RawMessage) error {
	const field = "custom_payload_fields"
	if len(fields) > maxFieldsBytes {
		return invalid(field, "", "must have at most %d bytes, and has %d", maxFieldsBytes, len(fields))
	}
	if err := validateObject(fields); err != nil {
		return invalid(field, "", "%s", err)
	}
	return nil
}

// validateNumbers checks the numbers that a partner may have of its own.
func validateNumbers(maxRetries, rateLimit, maxInFlight *int) error {
	for _, number := range []struct {
		name      string
		value     *int
		low, high int
	}{
		{"max_retries", maxRetries, 0, maxRetriesLimit},
		{"rate_limit", rateLimit, 1, maxRate},
		{"max_in_flight", maxInFlight, 1, maxInFlightLimit},
	} {
		if number.value != nil && (*number.value < number.low || *number.value > number.high) {
			return invalid(number.name, strconv.Itoa(*number.value), "must be between %d and %d", number.low, number.high)
		}
	}
	return nil
}

// value is the number, nil if there is none.
func (o *Override) value() *int {
	if o == nil {
		return nil
	}
	return o.Value
}

func (p *Params) validate(userID string, guard *Guard) error {
	checks := []error{
		ValidateText("user_id", userID, MaxUserID),
		ValidateText("partner_name", p.Name, maxName),
		validateSlug(p.Slug),
		guard.validateURL(p.URL),
		validateEnabledEvents(p.EnabledEvents),
		validateFields(p.CustomPayloadFields),
		validateNumbers(p.MaxRetries, p.RateLimit, p.MaxInFlight),
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}
