package jobs_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/epicvoice/webhook-worker/jobs"
)

func withUser(id string) func(*jobs.Event)   { return func(e *jobs.Event) { e.UserID = id } }
func withID(id string) func(*jobs.Event)     { return func(e *jobs.Event) { e.ID = id } }
func withType(name string) func(*jobs.Event) { return func(e *jobs.Event) { e.Type = name } }
func withPayload(text string) func(*jobs.Event) {
	return func(e *jobs.Event) { e.Payload = json.RawMessage(text) }
}

func unchanged(*jobs.Event) {}

// orFirst is a change together with OnConflictFirst.
func orFirst(change func(*jobs.Event)) func(*jobs.Event) {
	return func(e *jobs.Event) {
		change(e)
		e.OnConflict = jobs.OnConflictFirst
	}
}

// sized is a payload of so many bytes, made of one character and of x to fill up.
func sized(bytes int, character string) string {
	room := bytes - len(`{"a":""}`)
	return `{"a":"` + strings.Repeat(character, room/len(character)) + strings.Repeat("x", room%len(character)) + `"}`
}

// nested is a payload that nests so many levels deep, objects and arrays in turns.
func nested(levels int) string {
	return strings.Repeat(`{"a":[`, levels/2) + strings.Repeat(`{}`, levels%2) + strings.Repeat(`]}`, levels/2)
}

func brackets(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// enqueueCases are the cases of EnqueueTx and of enqueue_webhook_event.
func enqueueCases() []enqueueCase {
	var all []enqueueCase
	all = append(all, textCases("user_id", withUser)...)
	all = append(all, textCases("event_id", withID)...)
	all = append(all, eventTypeCases()...)
	all = append(all, payloadCases()...)
	all = append(all, fanOutCases()...)
	all = append(all, triesCases()...)
	return append(all, repeatCases()...)
}

// textCases are those of a text of at most 255 characters.
func textCases(field string, with func(string) func(*jobs.Event)) []enqueueCase {
	var all []enqueueCase
	for name, text := range map[string]string{
		"255 characters": strings.Repeat("x", 255), "255 characters of two bytes": strings.Repeat("é", 255),
		"255 characters of four bytes": strings.Repeat("😀", 255), "one character": "é", "a star": "*", "no UUID": "\U0010ffff\ufffe",
		"all kinds of signs": ` "q" 'q' \ \u0041 %s $1 {} <&> : ; -- `, "the character after the controls": "a\u00a0b", "the one before DEL": "a~b",
		"line and paragraph separators": "a\u2028b\u2029", "invisible characters": "\ufeffa\u200b\u202e\u00ad", "composed and not": "é e\u0301",
	} {
		all = append(all, enqueueCase{name: field + " with " + name, event: with(text)})
		if field == "event_id" {
			all = append(all, enqueueCase{
				name: field + " with " + name + " to a partner", event: with(text), partners: subscribed("acme"), want: []string{"acme 6"},
				again: []func(*jobs.Event){unchanged},
			})
		} else {
			all = append(all, enqueueCase{
				name: field + " with " + name + " to a partner", event: with(text),
				partners: []subscriber{{slug: "acme", owner: text, events: []string{"*"}}}, want: []string{"acme 6"},
			})
		}
	}
	for name, text := range map[string]string{
		"256 characters": strings.Repeat("x", 256), "256 characters of two bytes": strings.Repeat("é", 256), "256 characters of four bytes": strings.Repeat("😀", 256),
		"a megabyte": strings.Repeat("x", 1<<20), "many lines": strings.Repeat("\n", 256),
		"U+0001": "a\x01", "a tab": "a\tb", "a newline at the end": "a\n", "a newline at the start": "\na", "a carriage return": "\r", "U+001F": "\x1f",
		"DEL": "a\x7f", "U+0080": "a\u0080", "U+0085": "a\u0085b", "U+009F": "\u009f",
	} {
		all = append(all, enqueueCase{name: field + " with " + name, event: with(text), refused: field})
	}
	for name, text := range map[string]string{"NUL": "a\x00b", "bytes that are no UTF-8": "a\xff", "half a character": "\xed\xa0\x80"} {
		all = append(all, enqueueCase{name: field + " with " + name, event: with(text), refused: field, sqlState: "22021"})
	}
	if field == "user_id" {
		all = append(all, enqueueCase{name: "no " + field, event: with(""), refused: field})
	} else {
		all = append(all, enqueueCase{name: "no " + field, event: with(""), partners: subscribed("acme"), want: []string{"acme 6"}})
	}
	return all
}

func eventTypeCases() []enqueueCase {
	var all []enqueueCase
	for _, name := range []string{"a", "A", "0", "_", "call", "call.completed", "a.b.c.d.e", "Call_2.DONE_", "a.0", strings.Repeat("x", 128), strings.Repeat("a.", 63) + "bc"} {
		all = append(all, enqueueCase{name: fmt.Sprintf("event_type %.20q", name), event: withType(name)})
	}
	for _, name := range []string{
		"", ".", "..", ".a", "a.", "a..b", "a.b.", "a-b", "a b", " a", "a ", "a\n", "\na", "a\nb", "a.\n", "a\tb", "*", "a.*", "a/b", "a:b", "é", "a.é", "ａ", "²", "٣", "\u212a",
		"call.completed\n", "a\u0085", "a\x7f", "a'b", `a"b`, `a\b`, strings.Repeat("x", 129), strings.Repeat("x.", 64) + "x", strings.Repeat("x", 1000), strings.Repeat("é", 128),
	} {
		all = append(all, enqueueCase{name: fmt.Sprintf("event_type %.20q", name), event: withType(name), refused: "event_type"})
	}
	for _, name := range []string{"a\x00b", "a\xff"} {
		all = append(all, enqueueCase{name: fmt.Sprintf("event_type %.20q", name), event: withType(name), refused: "event_type", sqlState: "22021"})
	}
	for _, name := range operationalTypes() {
		all = append(
			all,
			enqueueCase{name: "reserved " + name, event: withType(name), partners: subscribed("acme"), refused: "event_type"},
			enqueueCase{name: "not reserved " + name + ".x", event: withType(name + ".x"), partners: subscribed("acme"), want: []string{"acme 6"}},
		)
	}
	return append(
		all,
		enqueueCase{name: "user_id is looked at first", event: func(e *jobs.Event) { e.UserID, e.ID, e.Type, e.Payload = "", "\n", "", json.RawMessage("[]") }, refused: "user_id"},
		enqueueCase{name: "then event_id", event: func(e *jobs.Event) { e.ID, e.Type, e.Payload = "\n", "", json.RawMessage("[]") }, refused: "event_id"},
		enqueueCase{name: "then event_type", event: func(e *jobs.Event) { e.Type, e.Payload = "", json.RawMessage("[]") }, refused: "event_type"},
	)
}

func payloadCases() []enqueueCase {
	var all []enqueueCase
	for name, text := range map[string]string{
		"empty": `{}`, "order and numbers": `{"zebra":1,"alpha":2.50,"big":12345678901234567890123456789012345678901234567890,"e":[1e999999,-0,0.10,1E+5,-1.5e-300,1.0]}`,
		"white space": " \t\r\n{ \"a\" : [ 1 ,\n2 ] }\r\n\t ", "duplicate keys": `{"a":1,"a":{"b":2,"b":3},"\u0061":null}`,
		"NUL and controls escaped": `{"a":"\u0000","\u0000":"\u0001\u001f\u007f\b\f\n\r\t\/\\\""}`, "lone surrogates": `{"a":"\ud800","b":"\udc00\ud800","\uDFFF":"\ud83d\ude00"}`,
		"characters as they are": "{\"é\":\"😀\u2028\u2029\u0085\x7f\ufeff\ufffe\U0010ffff<&>\"}", "empty key": `{"":0}`, "literals": `{"a":[true,false,null]}`,
		"256 KiB": sized(256<<10, "x"), "256 KiB of two-byte characters": sized(256<<10, "é"), "256 KiB of escaped quotes": sized(256<<10, `\"`),
		"256 KiB of escaped backslashes": sized(256<<10, `\\`), "256 KiB of white space": "{" + strings.Repeat("\n", 256<<10-2) + "}",
		"256 KiB of small arrays": `{"a":[` + strings.Repeat(`[],`, (256<<10-12)/3) + `[]]}`, "256 KiB of small texts": `{"a":["[[",` + strings.Repeat(`"{",`, (256<<10-20)/4) + `"["]}`,
		"499 levels": nested(499), "500 levels": nested(500), "500 levels with white space": strings.ReplaceAll(nested(500), `:[`, ": \n["),
		"500 levels twice":   `{"a":` + brackets(499) + `,"b":` + brackets(499) + `}`,
		"brackets in a text": `{"a":"` + strings.Repeat("[", 1000) + `"}`, "brackets in a key": `{"` + strings.Repeat("{[", 1000) + `":1}`,
		"brackets after an escaped quote": `{"a":"\"` + strings.Repeat("[", 1000) + `"}`, "brackets after an escaped backslash and quote": `{"a":"\\\"` + strings.Repeat("[", 1000) + `"}`,
		"brackets between escaped quotes": `{"a":"` + strings.Repeat(`\"[`, 1000) + `"}`, "brackets before an escaped newline": `{"a":"` + strings.Repeat(`[\n`, 1000) + `\\"}`,
		"brackets in a text at 500 levels": `{"a":` + strings.Repeat("[", 499) + `"[[{{\"[["` + strings.Repeat("]", 499) + `}`,
		"brackets escaped":                 `{"a":"` + strings.Repeat(`\u005b\u007b`, 600) + `"}`, "brackets after a raw quote's escape": `{"\u0022":"\u0022` + strings.Repeat("[", 600) + `"}`,
	} {
		all = append(all, enqueueCase{
			name: "payload: " + name, event: withPayload(text), partners: subscribed("acme"), want: []string{"acme 6"}, again: []func(*jobs.Event){unchanged},
		})
	}
	for name, text := range map[string]string{
		"array": `[]`, "array of objects": " \n[{}]", "text": `"{}"`, "number": `1`, "null": `null`, "true": `true`, "256 KiB and a byte": sized(256<<10+1, "x"),
		"256 KiB and a byte of two-byte characters": sized(256<<10+1, "é"), "256 KiB and a byte of white space": "{" + strings.Repeat(" ", 256<<10-1) + "}", "a megabyte": sized(1<<20, "x"),
		"501 levels": nested(501), "502 levels": nested(502), "501 levels, the rest flat": `{"b":[[],[{}]],"a":` + brackets(500) + `,"c":[]}`,
		"501 levels after 500":                  `{"a":` + brackets(499) + `,"b":` + brackets(500) + `}`,
		"501 levels after an escaped backslash": `{"a":"\\","b":` + brackets(500) + `}`, "501 levels after an escaped quote": `{"a":"\"","b":` + brackets(500) + `}`,
		"501 levels, closed in texts":                `{"a":["` + strings.Repeat("]}", 600) + `","\\\"]",` + brackets(499) + `]}`,
		"501 levels, texts opened in between":        `{"a":` + strings.Repeat(`["[","\"]",`, 499) + `[]` + strings.Repeat("]", 499) + `}`,
		"501 levels after a key that ends in escape": `{"]\\":` + brackets(500) + `}`,
	} {
		all = append(all, enqueueCase{name: "payload: " + name, event: withPayload(text), refused: "payload"})
	}
	// PostgreSQL's own type json refuses these.
	for name, text := range map[string]string{
		"empty": ``, "space": ` `, "open": `{`, "two": `{}{}`, "comma at the end": `{"a":1,}`, "single quotes": `{'a':1}`, "no quotes": `{a:1}`, "octal number": `{"a":01}`,
		"half a number": `{"a":1.}`, "number with plus": `{"a":+1}`, "hexadecimal number": `{"a":0x1}`, "NaN": `{"a":NaN}`, "Infinity": `{"a":-Infinity}`, "True": `{"a":True}`,
		"byte order mark": "\ufeff{}", "no-break space": "{\u00a0}", "vertical tab": "{\v}", "comment": `{/**/}`, "newline in a text": "{\"a\":\"\n\"}", "U+001F in a text": "{\"a\":\"\x1f\"}",
		"unknown escape": `{"a":"\x41"}`, "escaped single quote": `{"a":"\'"}`, "half an escape": `{"a":"\u12"}`, "escape that is no hex": `{"a":"\u12g4"}`, "text without an end": `{"a":"\"}`,
		"trailing text": `{} x`, "brackets crossed": `{"a":[}]`,
	} {
		all = append(all, enqueueCase{name: "payload is not JSON: " + name, event: withPayload(text), refused: "payload", sqlState: "22P02"})
	}
	for name, text := range map[string]string{"NUL": "{\"a\":\"\x00\"}", "NUL at the end": "{}\x00", "no UTF-8": "{\"a\":\"\xff\"}", "half a character": "{\"a\":\"\xed\xa0\x80\"}", "overlong": "{\"a\":\"\xc0\xaf\"}", "too high": "{\"a\":\"\xf4\x90\x80\x80\"}"} {
		all = append(all, enqueueCase{name: "payload is not UTF-8: " + name, event: withPayload(text), refused: "payload", sqlState: "22021"})
	}
	return append(all, enqueueCase{name: "payload: so deep that parsers give up", event: withPayload(nested(80_000)), refused: "payload", sqlState: "*"})
}

func fanOutCases() []enqueueCase {
	list := []subscriber{
		{slug: "all", events: []string{"*"}},
		{slug: "call", events: []string{"call"}},
		{slug: "call-any", events: []string{"call.*"}},
		{slug: "call-any-any", events: []string{"call.*.*"}}, // which the store refuses
		{slug: "call-completed", events: []string{"call.completed"}},
		{slug: "call-transfer-any", events: []string{"call.transfer.*"}},
		{slug: "call-twice", events: []string{"call.completed", "call.*", "*", "call.completed"}},
		{slug: "callx-any", events: []string{"callx.*"}},
		{slug: "completed", events: []string{"completed", "*.completed", ".*"}},
		{slug: "disabled", events: []string{"*"}, with: `{"enabled":false,"disabled_reason":"tired"}`},
		{slug: "operational", events: []string{"partner.*", "delivery.*", "partner.disabled"}},
		{slug: "other", events: []string{"agent.*"}},
		{slug: "paused", events: []string{"*"}, with: `{"paused_at":"2026-01-01T00:00:00Z"}`},
		{slug: "stranger", owner: "somebody-else", events: []string{"*"}},
		{slug: "stranger-2", owner: "USER_123", events: []string{"*"}},
		{slug: "stranger-3", owner: "user_123 ", events: []string{"*"}},
		{slug: "upper", events: []string{"CALL.*", "Call.completed"}},
	}
	var all []enqueueCase
	for eventType, want := range map[string][]string{
		"call.completed":     {"all 6", "call-any 6", "call-completed 6", "call-twice 6", "paused 6"},
		"call":               {"all 6", "call 6", "call-twice 6", "paused 6"},
		"callx.y":            {"all 6", "call-twice 6", "callx-any 6", "paused 6"},
		"call.transfer":      {"all 6", "call-any 6", "call-twice 6", "paused 6"},
		"call.transfer.done": {"all 6", "call-any 6", "call-transfer-any 6", "call-twice 6", "paused 6"},
		"call.transfer.x.y":  {"all 6", "call-any 6", "call-transfer-any 6", "call-twice 6", "paused 6"},
		"call.completed.now": {"all 6", "call-any 6", "call-twice 6", "paused 6"},
		"CALL.completed":     {"all 6", "call-twice 6", "paused 6", "upper 6"},
		"x.call.completed":   {"all 6", "call-twice 6", "paused 6"},
		"call_completed":     {"all 6", "call-twice 6", "paused 6"},
		"completed":          {"all 6", "call-twice 6", "completed 6", "paused 6"},
		"partner.created":    {"all 6", "call-twice 6", "operational 6", "paused 6"},
		"delivery.disabled":  {"all 6", "call-twice 6", "operational 6", "paused 6"},
	} {
		all = append(all, enqueueCase{name: "fan-out of " + eventType, partners: list, event: withType(eventType), want: want, again: []func(*jobs.Event){unchanged}})
	}
	var many, wantMany []string
	for i := range 150 {
		slug := fmt.Sprintf("p-%03d", i)
		many, wantMany = append(many, slug), append(wantMany, slug+" 6")
	}
	return append(
		all,
		enqueueCase{name: "no partner is subscribed", partners: list[1:6], event: withType("agent.left")},
		enqueueCase{name: "150 partners", partners: subscribed(many...), want: wantMany, again: []func(*jobs.Event){unchanged}},
	)
}

func triesCases() []enqueueCase {
	n := func(n int) *int { return &n }
	list := []subscriber{
		{slug: "default", events: []string{"*"}},
		{slug: "hundred", events: []string{"*"}, retries: n(100)},
		{slug: "one", events: []string{"*"}, retries: n(1)},
		{slug: "zero", events: []string{"*"}, retries: n(0)},
	}
	return []enqueueCase{
		{name: "tries at the default", partners: list, want: []string{"default 6", "hundred 101", "one 2", "zero 1"}},
		{name: "tries of 9 retries", partners: list, settings: n(9), want: []string{"default 10", "hundred 101", "one 2", "zero 1"}},
		{name: "tries of no retries", partners: list, settings: n(0), want: []string{"default 1", "hundred 101", "one 2", "zero 1"}},
	}
}

func repeatCases() []enqueueCase {
	two, wantTwo := subscribed("acme", "zeta"), []string{"acme 6", "zeta 6"}
	same := []func(*jobs.Event){unchanged, orFirst(unchanged), unchanged}
	var others []func(*jobs.Event)
	for _, payload := range []string{`{}`, `{"call_id": "c1"}`, `{"call_id":"c1"} `, `{"call_id":"c2"}`, `{"call_id":"c\u0031"}`, `{"call_id":"c1","call_id":"c1"}`} {
		others = append(others, withPayload(payload))
	}
	others = append(others, withType("call.failed"), withType("call.Completed"), func(e *jobs.Event) { e.Type, e.Payload = "call.failed", json.RawMessage(`{}`) })
	first := make([]func(*jobs.Event), len(others))
	for i, other := range others {
		first[i] = orFirst(other)
	}
	all := []enqueueCase{
		{name: "again: other payload or type", partners: two, want: wantTwo, again: others, conflict: true},
		{name: "again: other payload or type, the first wins", partners: two, want: wantTwo, again: first},
		{name: "again: nobody wants it", again: append(same, first...)},
		{name: "again: nobody wants it, other payload or type", again: others, conflict: true},
		{name: "again: somebody wants it now", partners: []subscriber{{slug: "acme", events: []string{"call.failed"}}}, between: `update partner_webhooks set enabled_events = '{*}'`, again: same},
		{name: "again: the first time it was to win too", event: orFirst(unchanged), partners: two, want: wantTwo, again: same},
		{name: "again: one job is gone, other payload or type", partners: two, want: wantTwo, between: `delete from river_job where id = (select min(id) from river_job)`, again: others, conflict: true},
		{name: "again: one job is gone, the first wins", partners: two, want: wantTwo, between: `delete from river_job where id = (select max(id) from river_job)`, again: first},
	}
	for _, between := range []string{
		``, `delete from river_job`, `delete from partner_webhooks`, `delete from partner_webhooks where partner_slug = 'acme'`, `update webhook_settings set retry_max_attempts = 1`,
		`update partner_webhooks set partner_slug = 'zzzz' where partner_slug = 'acme'`, `update partner_webhooks set enabled = false, disabled_reason = 'tired'`,
		`update partner_webhooks set enabled_events = '{none}'`, `update river_job set state = 'completed', finalized_at = now()`,
	} {
		all = append(all, enqueueCase{name: "again after: " + between, partners: two, want: wantTwo, between: between, again: same})
	}
	return all
}
