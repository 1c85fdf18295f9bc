package partners

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidatePayload(t *testing.T) {
	t.Parallel()

	nested := func(levels int) string {
		return strings.Repeat(`{"a":`, levels-1) + `{}` + strings.Repeat(`}`, levels-1)
	}
	sized := func(size int) string { return `{"a":"` + strings.Repeat("x", size-8) + `"}` }
	for _, accepted := range []string{
		`{}`, " \t\r\n{ } \n", `{"a":null,"a":1}`, `{"":0}`, `{"a":"\u0000"}`, `{"a":"\ud800"}`, `{"a":"[[[{{{\"[\\"}`,
		nested(maxDepth), sized(MaxPayload), `{"a":"\"` + strings.Repeat("[", 2*maxDepth) + `"}`,
	} {
		require.NoError(t, ValidatePayload(json.RawMessage(accepted)), "%.100s", accepted)
	}
	for text, reason := range map[string]string{
		"":                     "is not JSON",
		" ":                    "is not JSON",
		"null":                 "must be a JSON object",
		"[]":                   "must be a JSON object",
		`"{}"`:                 "must be a JSON object",
		"1":                    "must be a JSON object",
		"\n[{}]":               "must be a JSON object",
		"{":                    "is not JSON",
		"{}{}":                 "is not JSON",
		`{"a":1,}`:             "is not JSON",
		`{'a':1}`:              "is not JSON",
		`{"a":01}`:             "is not JSON",
		`{"a":NaN}`:            "is not JSON",
		"\ufeff{}":             "is not JSON",
		"{\"a\":\"\x00\"}":     "is not JSON",
		"{\"a\":\"\xff\"}":     "must be valid UTF-8",
		nested(maxDepth + 1):   "must not nest more than 500 levels",
		nested(100_000)[:5000]: "is not JSON",
		nested(20_000):         "is not JSON",
		sized(MaxPayload + 1):  "at most 262144 bytes (256 KiB), and has 262145",
		`{"a":"\\","b":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`: "must not nest",
		`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`:          "must not nest",
	} {
		requireRefused(t, ValidatePayload(json.RawMessage(text)), "payload", reason)
	}
}

func TestValidateFields(t *testing.T) {
	t.Parallel()

	sized := func(size int) json.RawMessage { return json.RawMessage(`{"a":"` + strings.Repeat("x", size-8) + `"}`) }
	require.NoError(t, validateFields(json.RawMessage(`{"a":1}`)))
	require.NoError(t, validateFields(sized(maxFieldsBytes)))
	for text, reason := range map[string]string{
		string(sized(maxFieldsBytes + 1)): "at most 16384 bytes, and has 16385",
		"":                                "is not JSON",
		"null":                            "must be a JSON object",
		"[]":                              "must be a JSON object",
		"{\"\xff\":1}":                    "must be valid UTF-8",
		strings.Repeat(`{"a":`, maxDepth) + "{}" + strings.Repeat("}", maxDepth): "must not nest",
	} {
		requireRefused(t, validateFields(json.RawMessage(text)), "custom_payload_fields", reason)
	}
}

func TestRenderBody(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct{ name, payload, fields, want string }{
		{
			"order and numbers as written", `{"zebra":1,"alpha":2.50,"big":12345678901234567890}`, `{"brand":"AcmeVoice"}`,
			`{"zebra":1,"alpha":2.50,"big":12345678901234567890,"brand":"AcmeVoice"}`,
		},
		{"empty payload", `{}`, `{"brand":"AcmeVoice"}`, `{"brand":"AcmeVoice"}`},
		{"empty payload with space", "{ \n}", `{"a":1,"b":2}`, "{\"a\":1,\"b\":2 \n}"},
		{"both empty", `{}`, `{}`, `{}`},
		{"no fields", " {\"a\" : 1.0e+2}\n", `{}`, " {\"a\" : 1.0e+2}\n"},
		{"no fields at all", `{"a":1}`, ``, `{"a":1}`},
		{"clash", `{"a":1}`, `{"a":2,"b":3}`, `{"a":1,"b":3}`},
		{"nothing but clashes", `{"a":1, "b":2}`, `{"b":3,"a":2}`, `{"a":1, "b":2}`},
		{"clash by an escape in the payload", `{"\u0061":1}`, `{"a":2}`, `{"\u0061":1}`},
		{"clash by an escape in the fields", `{"a/b":1}`, `{"\u0061\/b":2}`, `{"a/b":1}`},
		{"clash by a surrogate pair", `{"😀":1}`, `{"\ud83d\ude00":2,"\uD83D\uDE01":3}`, `{"😀":1,"\uD83D\uDE01":3}`},
		{"half a surrogate pair clashes with nothing else", `{"\ud800\u0061":1}`, `{"\ud800\u0062":2}`, `{"\ud800\u0061":1,"\ud800\u0062":2}`},
		{"clash of empty names", `{"":1}`, `{"":2}`, `{"":1}`},
		{"case matters", `{"a":1}`, `{"A":2}`, `{"a":1,"A":2}`},
		{"nested names do not clash", `{"x":{"a":1}}`, `{"a":2}`, `{"x":{"a":1},"a":2}`},
		{"duplicates in the payload", `{"a":1,"a":2}`, `{"a":3,"b":4}`, `{"a":1,"a":2,"b":4}`},
		{"white space stays", "\n{\n  \"a\": [1, 2]\n}\n", "{\n  \"b\" : { \"c\": 1 } ,\n\"d\":2}", "\n{\n  \"a\": [1, 2],\"b\":{ \"c\": 1 },\"d\":2\n}\n"},
		{"braces in text", `{"a":"}"}`, `{"b":"{"}`, `{"a":"}","b":"{"}`},
		{"every kind of value", `{"a":1}`, `{"b":null,"c":true,"d":-0.0,"e":"x","f":[],"g":{}}`, `{"a":1,"b":null,"c":true,"d":-0.0,"e":"x","f":[],"g":{}}`},
		{"names with escapes are kept", `{"a\nb":"\u00e4"}`, `{"c\td":"\u00e4"}`, `{"a\nb":"\u00e4","c\td":"\u00e4"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			payload, fields := json.RawMessage(tt.payload), json.RawMessage(tt.fields)
			require.Equal(t, tt.want, string(RenderBody(payload, fields)))
			require.Equal(t, tt.payload, string(payload), "its arguments are not written to")
			require.Equal(t, tt.fields, string(fields))
		})
	}
}

func TestRenderBodyDoesNotWriteBehindThePayload(t *testing.T) {
	t.Parallel()

	buffer := []byte(`{"a":1}-----------------------------`)
	body := RenderBody(buffer[:7], json.RawMessage(`{"brand":"AcmeVoice"}`))
	want := `{"a":1,"brand":"AcmeVoice"}`
	require.Equal(t, want, string(body))
	require.Equal(t, `{"a":1}-----------------------------`, string(buffer))
}
