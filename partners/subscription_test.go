package partners

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPatternsFor(t *testing.T) {
	t.Parallel()

	for eventType, want := range map[string][]string{
		"call":                {"call", "*"},
		"call.completed":      {"call.completed", "*", "call.*"},
		"call.completed.late": {"call.completed.late", "*", "call.*", "call.completed.*"},
		"partner.disabled":    {"partner.disabled", "partner.*"},
		"partner.disabled.x":  {"partner.disabled.x", "*", "partner.*", "partner.disabled.*"},
	} {
		require.Equal(t, want, PatternsFor(eventType))
	}
}

// overlaps is what SQL's && says of enabled_events and PatternsFor.
func overlaps(enabledEvents []string, eventType string) bool {
	return slices.ContainsFunc(PatternsFor(eventType), func(pattern string) bool {
		return slices.Contains(enabledEvents, pattern)
	})
}

func TestPatternsForSubscriptions(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		enabledEvents []string
		eventType     string
		want          bool
	}{
		{nil, "call", false},
		{[]string{"*"}, "call.completed", true},
		{[]string{"call.completed"}, "call.completed", true},
		{[]string{"call.completed"}, "call.completed.late", false},
		{[]string{"call.completed"}, "call", false},
		{[]string{"call.*"}, "call.completed", true},
		{[]string{"call.*"}, "call.completed.late", true},
		{[]string{"call.*"}, "call", false},
		{[]string{"call.*"}, "caller.left", false},
		{[]string{"call.completed.*"}, "call.completed", false},
		{[]string{"booking.*", "call.completed"}, "call.completed", true},
		{[]string{"Call.completed"}, "call.completed", false},
		{[]string{"*"}, "partner.failing", false},
		{[]string{"*", "partner.failing"}, "partner.failing", true},
		{[]string{"*", "delivery.*"}, "delivery.exhausted", true},
		{[]string{"*", "delivery.*"}, "partner.recovered", false},
		{[]string{"*"}, "delivery.completed", true},
		// Not patterns: validation refuses them, and SQL would not take them for any.
		{[]string{"call*", "cal*", "c*"}, "call.completed", false},
		{[]string{""}, "call", false},
	} {
		require.Equal(t, tt.want, overlaps(tt.enabledEvents, tt.eventType), "%v %s", tt.enabledEvents, tt.eventType)
	}
}

func TestPatternsForAgreesWithTheMeaningOfPatterns(t *testing.T) {
	t.Parallel()

	random := rand.New(rand.NewPCG(1, 2))
	name := func() string {
		parts := make([]string, 1+random.IntN(4))
		for i := range parts {
			parts[i] = []string{"a", "b", "ab", "call", "_"}[random.IntN(5)]
		}
		return strings.Join(parts, ".")
	}
	subscribed := 0
	for range 20_000 {
		patterns := make([]string, random.IntN(4))
		for i := range patterns {
			patterns[i] = name() + []string{"", "", ".*", "*", "."}[random.IntN(5)]
			if random.IntN(20) == 0 {
				patterns[i] = "*"
			}
		}
		eventType := name()
		overlap := overlaps(patterns, eventType)
		require.Equal(t, overlap, slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, eventType) }),
			"%v %s", patterns, eventType)
		if overlap {
			subscribed++
		}
	}
	require.Greater(t, subscribed, 1000)
	require.Less(t, subscribed, 19_000)
}

// matches is the rule in the words of the table's comment.
func matches(pattern, eventType string) bool {
	if stem, ok := strings.CutSuffix(pattern, ".*"); ok {
		return strings.HasPrefix(eventType, stem+".")
	}
	return pattern == "*" || pattern == eventType
}
