//go:build faults

package faults

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sound is evidence that the oracle has nothing to say about: two events, of which one was rolled back, a
// retry and a delivery that was sent again after a crash.
func sound() *evidence {
	return &evidence{
		events: 1,
		planned: map[string]planned{
			"d1": {event: "e1", path: "/first", hash: "h1"},
			"d2": {event: "e1", path: "/second", hash: "h1"},
		},
		rolledBack: map[string]bool{"e2": true},
		arrivals: []arrival{
			{id: "d1", event: "e1", path: "/first", hash: "h1", status: 500, refused: true},
			{id: "d1", event: "e1", path: "/first", hash: "h1", status: 200},
			{id: "d2", event: "e1", path: "/second", hash: "h1", cut: true},
			{id: "d2", event: "e1", path: "/second", hash: "h1", status: 200},
		},
		attempts: map[string]logged{"d1": {delivered: 1, failed: 1}, "d2": {delivered: 1, lost: 1}},
		states:   map[string]state{"d1": {"delivered", 2}, "d2": {"delivered", 1}},
	}
}

func TestOracleAcceptsWhatIsSound(t *testing.T) {
	t.Parallel()
	got, complaints := judge(sound(), &rules{duplicates: 1, failures: true})
	require.Empty(t, complaints)
	require.Equal(t, result{events: 1, deliveries: 2, duplicates: 1}, got)
}

// Each change of sound evidence must be noticed, and nothing else with it.
func TestOracleComplains(t *testing.T) {
	t.Parallel()
	for name, scenario := range map[string]struct {
		change func(e *evidence, r *rules)
		want   []string // one part of each complaint
	}{
		"lost": {
			func(e *evidence, _ *rules) { e.arrivals = e.arrivals[:2] },
			[]string{"d2 of event e1 was lost"},
		},
		"refused and never taken": {
			func(e *evidence, _ *rules) { e.arrivals = append(e.arrivals[:1], e.arrivals[2:]...) },
			[]string{"d1 was never taken"},
		},
		"more duplicates than allowed": {
			func(_ *evidence, r *rules) { r.duplicates = 0 },
			[]string{"1 duplicates, and at most 0"},
		},
		"an arrival without a row in the log": {
			func(e *evidence, _ *rules) { e.attempts["d2"] = logged{delivered: 1} },
			[]string{"d2 arrived 2 times and has 1 rows"},
		},
		"delivered, and the log does not say so": {
			func(e *evidence, _ *rules) { e.attempts["d2"] = logged{lost: 2} },
			[]string{"d2 has no row in the log that says delivered"},
		},
		"an attempt that nobody closed": {
			func(e *evidence, _ *rules) { e.attempts["d2"] = logged{delivered: 1, open: 1} },
			[]string{"d2 has 1 attempts in the log that nobody closed"},
		},
		"rolled back and delivered": {
			func(e *evidence, _ *rules) {
				e.arrivals = append(e.arrivals, arrival{id: "d3", event: "e2", path: "/first", hash: "h2"})
			},
			[]string{"event e2 was rolled back and arrived"},
		},
		"nobody's delivery": {
			func(e *evidence, _ *rules) {
				e.arrivals = append(e.arrivals, arrival{id: "d3", event: "e3", path: "/first", hash: "h2"})
			},
			[]string{`d3 of event "e3" arrived and was never committed`},
		},
		"another partner's": {
			func(e *evidence, _ *rules) { e.arrivals[3].path = "/first" },
			[]string{"d2 arrived at /first and is for /second"},
		},
		"another body": {
			func(e *evidence, _ *rules) { e.arrivals[2].hash = "h2" },
			[]string{"d2 arrived with another body"},
		},
		"a bad signature": {
			func(e *evidence, _ *rules) { e.arrivals[3].problem = "no matching signature" },
			[]string{"d2 arrived with a bad signature"},
		},
		"a try that a crash used": {
			func(e *evidence, _ *rules) { e.states["d2"] = state{"delivered", 2} },
			[]string{"d2 used 2 tries, and 1 at most"},
		},
		"failed tries where nobody refuses": {
			func(_ *evidence, r *rules) { r.failures = false },
			[]string{"d1 has 1 failed tries, and nobody refused it"},
		},
		"a refusal that is not in the log": {
			func(e *evidence, _ *rules) {
				e.attempts["d1"] = logged{delivered: 2}
				e.states["d1"] = state{"delivered", 1}
			},
			[]string{"d1 was refused 1 times and has 0 rows"},
		},
		"still running": {
			func(e *evidence, _ *rules) { e.states["d1"] = state{"processing", 2} },
			[]string{"d1 is processing and should be delivered"},
		},
		"vanished": {
			func(e *evidence, _ *rules) { delete(e.states, "d1") },
			[]string{"d1 is nowhere and should be delivered"},
		},
		"not the end that it should have": {
			func(_ *evidence, r *rules) { r.ends = map[string]string{"d1": "dead_letter"} },
			[]string{"d1 is delivered and should be dead_letter"},
		},
		"a delivery in the queue that nobody committed": {
			func(e *evidence, _ *rules) { e.states["d3"] = state{"delivered", 1} },
			[]string{"d3 is in the queue and was never committed"},
		},
		"what doctor found": {
			func(e *evidence, _ *rules) { e.doctor = "attempt_left_open (1)" },
			[]string{"doctor: attempt_left_open (1)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r := sound(), &rules{duplicates: 1, failures: true}
			scenario.change(e, r)
			_, complaints := judge(e, r)
			require.Len(t, complaints, len(scenario.want), complaints)
			for i, part := range scenario.want {
				require.Contains(t, complaints[i], part)
			}
		})
	}
}

// What is alike is said once.
func TestOracleIsBrief(t *testing.T) {
	t.Parallel()
	e := sound()
	for id := range strings.FieldsSeq("x1 x2 x3 x4 x5") {
		e.planned[id] = planned{event: "e1", path: "/first", hash: "h1"}
	}
	got, complaints := judge(e, &rules{duplicates: 1, failures: true})
	require.Equal(t, 5, got.lost)
	require.Contains(t, complaints[0], "x1 of event e1 was lost")
	require.Contains(t, complaints[0], "and 2 more of the kind")
}

func TestReportReplacesItsTableOnly(t *testing.T) {
	t.Parallel()
	r := &report{rows: []*row{
		{scenario: "TestStopAll", result: result{events: 2, deliveries: 4, duplicates: 1}, bound: 3, recovery: "1.0 s all again"},
		{scenario: "TestReceiverBreaksTLS", bound: -1, failed: true},
	}}
	changed, err := replaceTable("before\n<!-- faults -->\nold\n<!-- /faults -->\nafter\n", r.table())
	require.NoError(t, err)
	require.Equal(t, `before
<!-- faults -->
| Scenario | Events | Deliveries | Duplicates | Allowed | Lost | Recovery |
|---|---:|---:|---:|---:|---:|---|
| Receiver breaks TLS **FAILED** | 0 | 0 | 0 | any | 0 |  |
| Stop all | 2 | 4 | 1 | 3 | 0 | 1.0 s all again |
<!-- /faults -->
after
`, changed)
	_, err = replaceTable("no markers", r.table())
	require.Error(t, err)
}
