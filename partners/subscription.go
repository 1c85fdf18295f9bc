package partners

// The types of operational events: what webhook-worker itself tells the user's other partners about one of them.
// Nobody else may enqueue them.
const (
	EventPartnerDisabled   = "partner.disabled"
	EventDeliveryExhausted = "delivery.exhausted"
	EventPartnerFailing    = "partner.failing"
	EventPartnerRecovered  = "partner.recovered"
)

// IsOperational says whether eventType is one of an operational event.
func IsOperational(eventType string) bool {
	switch eventType {
	case EventPartnerDisabled, EventDeliveryExhausted, EventPartnerFailing, EventPartnerRecovered:
		return true
	}
	return false
}

// PatternsFor lists every entry of enabled_events that subscribes to eventType: the type itself, "*", and
// for a type a.b.c "a.*" and "a.b.*". A partner is subscribed if it has one of them, so that SQL can ask
// with the array overlap operator (&&). "*" does not stand for operational events: who takes everything that
// happens does not ask for what is told of other partners.
func PatternsFor(eventType string) []string {
	patterns := []string{eventType}
	if !IsOperational(eventType) {
		patterns = append(patterns, "*")
	}
	for i, c := range eventType {
		if c == '.' {
			patterns = append(patterns, eventType[:i]+".*")
		}
	}
	return patterns
}
