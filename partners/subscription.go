package partners

// PatternsFor lists every entry of enabled_events that subscribes to eventType: the type itself, "*", and
// for a type a.b.c "a.*" and "a.b.*". A partner is subscribed if it has one of them, so that SQL can ask
// with the array overlap operator (&&).
func PatternsFor(eventType string) []string {
	patterns := []string{eventType, "*"}
	for i, c := range eventType {
		if c == '.' {
			patterns = append(patterns, eventType[:i]+".*")
		}
	}
	return patterns
}
