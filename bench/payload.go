package main

import (
	"fmt"
	"strings"
)

// payloadOf is a call's outcome, of a size in bytes; the least is a few hundred.
func payloadOf(size int) string {
	const (
		start = `{"call_id":"call-0123456789","room_name":"room-0123456789","event_type":"call.completed",` +
			`"timestamp":"2026-01-31T15:04:05.000000Z","duration":184,"status":"completed","sentiment":"positive",` +
			`"agent":"reception-2","language":"en-GB","cost_cents":37,"summary":"`
		end      = `"}`
		sentence = "The caller asked to move the appointment of Tuesday to Thursday afternoon. "
	)
	length := max(0, size-len(start)-len(end))
	return fmt.Sprint(start, strings.Repeat(sentence, length/len(sentence)+1)[:length], end)
}
