package jobs_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// outcomeCase is one case of what EnqueueCallOutcomeTx and enqueue_call_outcome_webhook share. What an event
// goes through after that is in enqueueCases.
type outcomeCase struct {
	name     string
	userID   string
	callID   string
	outcome  string
	want     string // the event's type
	refused  string // the field that is refused
	sqlState string // see requireRefused
}

func (c *outcomeCase) run(t *testing.T, b *testBundle, way enqueueWay) string {
	t.Helper()
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	for _, partner := range subscribed("acme", "zeta") {
		partner.add(t, tx)
	}
	first, err := way.outcome(t.Context(), tx, c.userID, c.callID, c.outcome)
	if c.refused != "" {
		requireRefused(t, err, c.refused, c.sqlState)
		require.Empty(t, state(t, tx))
		return ""
	}
	require.NoError(t, err)
	requireStored(t, tx, &jobs.Event{
		ID: c.callID + ":" + c.want, UserID: c.userID, Type: c.want, Payload: json.RawMessage(c.outcome),
	}, first, []string{"acme 6", "zeta 6"})

	stored := state(t, tx)
	for _, again := range []string{c.outcome, `{"event_type":"` + c.want + `","timestamp":"t2"}`} {
		ids, err := way.outcome(t.Context(), tx, c.userID, c.callID, again)
		require.NoError(t, err, "a handler that runs again must not abort its transaction")
		require.Equal(t, first, ids)
		require.Equal(t, stored, state(t, tx))
	}
	return stored
}

func TestEnqueueCallOutcomeSpec(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, "pattern", "pattern", nowhere, "*") // what the cases' partners are copies of
	for _, c := range outcomeCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stored := map[string]string{}
			for _, way := range b.bothWays() {
				t.Run(way.name, func(t *testing.T) { stored[way.name] = c.run(t, b, way) })
			}
			if !t.Failed() {
				require.Equal(t, stored["go"], stored["sql"], "Go and SQL store the same")
			}
		})
	}
}

// outcomeCases are the cases of both. Where the type has escapes, it is read as any JSON parser reads it.
func outcomeCases() []outcomeCase {
	const plain = `{"event_type":"call.completed"}`
	var all []outcomeCase
	for name, outcome := range map[string]string{
		"alone": plain, "white space": " \n{ \"event_type\" :\t\"call.completed\" } \n", "last": `{"call_id":"c1","duration":1.50,"event_type":"call.completed"}`,
		"twice":                                   `{"event_type":"call.failed","event_type":"call.completed"}`,
		"twice, the first is no text":             `{"event_type":[1],"event_type":"call.completed"}`,
		"name escaped":                            `{"event\u005ftype":"call.completed"}`,
		"name escaped and not":                    `{"event_type":"call.failed","\u0065vent_type":"call.completed"}`,
		"value escaped":                           `{"event_type":"call\u002e\u0063ompleted"}`,
		"another in caps":                         `{"event_type":"call.completed","Event_Type":"call.failed","EVENT_TYPE":1}`,
		"another inside":                          `{"a":{"event_type":"call.failed"},"event_type":"call.completed","b":[{"event_type":1}]}`,
		"NUL in another":                          `{"a":"\u0000","event_type":"call.completed","\u0000":"x\u0000"}`,
		"half characters in others":               `{"a":"\ud800","b":"\udfff\uD800","\uDABC":1,"event_type":"call.completed"}`,
		"a whole character in another":            `{"a":"\ud83d\ude00","event_type":"call.completed"}`,
		"no NUL but a backslash in another":       `{"a":"\\u0000","b":"\\\u0000","c":"\\\\u0000","d":"\\\\\\ud800","event_type":"call.completed"}`,
		"backslashes at ends":                     `{"a\\":"\\","b":"\\\\","event_type":"call.completed","c":"\\\""}`,
		"braces and names in a text":              `{"a":"{\"event_type\":\"call.failed\"}","event_type":"call.completed"}`,
		"big numbers":                             `{"a":1e999999,"b":12345678901234567890123,"event_type":"call.completed"}`,
		"256 KiB":                                 `{"event_type":"call.completed",` + sized(256<<10-30, "x")[1:],
		"500 levels":                              `{"event_type":"call.completed","a":` + brackets(499) + `}`,
		"a name that goes on after NUL":           `{"event_type":"call.completed","event_type\u0000":"call.failed"}`,
		"a name that goes on after half":          `{"event_type":"call.completed","event_type\ud800":"call.failed"}`,
		"a name that goes on after a whole":       `{"event_type":"call.completed","event_type\ud83d\ude00":"call.failed"}`,
		"a name that begins with NUL":             `{"event_type":"call.completed","\u0000event_type":1}`,
		"a name that goes on after \\u0001":       `{"event_type":"call.completed","event_type\u0001":"call.failed"}`,
		"a name that goes on after a backslash":   `{"event_type":"call.completed","event_type\\":"call.failed","event_type\\u0000":1}`,
		"a name with a character of its own":      "{\"event_type\":\"call.completed\",\"event_type\ufffd\":\"call.failed\"}",
		"a name that is empty, another NUL alone": `{"event_type":"call.completed","":"call.failed","\u0000":"call.failed"}`,
	} {
		all = append(all, outcomeCase{name: "type: " + name, userID: user, callID: "c1", outcome: outcome, want: "call.completed"})
	}
	for name, outcome := range map[string]string{
		"none": `{}`, "other name": `{"type":"call.completed"}`, "in caps": `{"Event_Type":"call.completed"}`, "inside": `{"a":{"event_type":"call.completed"}}`,
		"number": `{"event_type":7}`, "null": `{"event_type":null}`, "true": `{"event_type":true}`, "array": `{"event_type":["call.completed"]}`, "object": `{"event_type":{"a":1}}`,
		"empty": `{"event_type":""}`, "space": `{"event_type":"call completed"}`, "newline": `{"event_type":"call.completed\n"}`, "129 characters": `{"event_type":"` + strings.Repeat("x", 129) + `"}`,
		"dot at the end": `{"event_type":"call."}`, "last is empty": `{"event_type":"call.completed","event_type":""}`, "last is a number": `{"event_type":"call.completed","event_type":7}`,
		"last is null":           `{"event_type":"call.completed","event_type":null}`,
		"space at the name":      `{"event_type ":"call.completed"}`,
		"NUL in the name":        `{"event\u0000_type":"call.completed"}`,
		"NUL before the name":    `{"\u0000event_type":"call.completed"}`,
		"half in the name":       `{"event_type\ud800":"call.completed"}`,
		"whole in the name":      `{"event_type\ud83d\ude00":"call.completed"}`,
		"NUL in the value":       `{"event_type":"call.\u0000completed"}`,
		"NUL after the value":    `{"event_type":"call.completed\u0000"}`,
		"NUL alone":              `{"event_type":"\u0000"}`,
		"half in the value":      `{"event_type":"call.completed\udc00"}`,
		"whole in the value":     `{"event_type":"call.\ud83d\ude00completed"}`,
		"backslash in the value": `{"event_type":"call.\\u0000completed"}`,
		"reserved":               `{"event_type":"partner.disabled"}`,
		"reserved and escaped":   `{"event_type":"delivery\u002eexhausted"}`,
		"U+0001 in the value":    `{"event_type":"call.\u0001completed"}`,
	} {
		all = append(all, outcomeCase{name: "no type: " + name, userID: user, callID: "c1", outcome: outcome, refused: "event_type"})
	}
	for name, outcome := range map[string]string{
		"array": `["event_type"]`, "text": `"event_type"`, "null": `null`, "256 KiB and a byte": `{"event_type":"call.completed",` + sized(256<<10-29, "x")[1:],
		"501 levels": `{"event_type":"call.completed","a":` + brackets(500) + `}`,
	} {
		all = append(all, outcomeCase{name: "outcome: " + name, userID: user, callID: "c1", outcome: outcome, refused: "payload"})
	}
	for name, outcome := range map[string]string{"nothing": ``, "open": `{`, "two": plain + plain, "unknown escape": `{"event_type":"\c"}`} {
		all = append(all, outcomeCase{name: "outcome is not JSON: " + name, userID: user, callID: "c1", outcome: outcome, refused: "payload", sqlState: "22P02"})
	}
	for name, callID := range map[string]string{
		"126 characters": strings.Repeat("x", 126), "126 characters of four bytes": strings.Repeat("😀", 126), "signs": ` : "\u0000" \ 'x' %s <&>`, "a type": "c1:call.completed", "a no-break space": "\u00a0",
	} {
		all = append(
			all,
			outcomeCase{name: "call_id of " + name, callID: callID, userID: user, outcome: plain, want: "call.completed"},
			outcomeCase{name: "call_id of " + name + " with the longest type", callID: callID, userID: user, outcome: `{"event_type":"` + strings.Repeat("y", 128) + `"}`, want: strings.Repeat("y", 128)},
		)
	}
	for name, callID := range map[string]string{
		"none": "", "127 characters": strings.Repeat("x", 127), "127 characters of four bytes": strings.Repeat("😀", 127), "a newline": "c1\n", "DEL": "\x7f", "U+0085": "\u0085",
	} {
		all = append(all, outcomeCase{name: "call_id: " + name, callID: callID, userID: user, outcome: plain, refused: "call_id"})
	}
	for name, userID := range map[string]string{"none": "", "256 characters": strings.Repeat("é", 256), "U+0085": "\u0085"} {
		all = append(all, outcomeCase{name: "user_id: " + name, userID: userID, callID: "c1", outcome: plain, refused: "user_id"})
	}
	return append(
		all,
		outcomeCase{name: "call_id: NUL", callID: "\x00", userID: user, outcome: plain, refused: "call_id", sqlState: "22021"},
		outcomeCase{name: "user_id: no UTF-8", userID: "\xff", callID: "c1", outcome: plain, refused: "user_id", sqlState: "22021"},
		outcomeCase{name: "call_id is looked at first", userID: "", callID: "", outcome: `[]`, refused: "call_id"},
		outcomeCase{name: "then the outcome", userID: "", callID: "c1", outcome: `[]`, refused: "payload"},
		outcomeCase{name: "then its type", userID: "", callID: "c1", outcome: `{}`, refused: "event_type"},
	)
}
