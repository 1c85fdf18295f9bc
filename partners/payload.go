package partners

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// MaxPayload is the most bytes that an event's payload may have: 256 KiB.
const MaxPayload = 256 << 10

// maxDepth is how deeply a payload may nest; PostgreSQL's and partners' parsers give up not far beyond.
const maxDepth = 500

// ValidatePayload accepts a JSON object of at most [MaxPayload] bytes.
func ValidatePayload(payload json.RawMessage) error {
	if len(payload) > MaxPayload {
		return invalid("payload", "", "must have at most %d bytes (256 KiB), and has %d", MaxPayload, len(payload))
	}
	if err := validateObject(payload); err != nil {
		return invalid("payload", "", "%s", err)
	}
	return nil
}

// validateObject accepts what PostgreSQL's json type and a partner's parser accept: an object, in UTF-8,
// not nested without bound.
func validateObject(text []byte) error {
	switch {
	case !utf8.Valid(text):
		return errors.New("must be valid UTF-8")
	case !json.Valid(text):
		return fmt.Errorf("must be a JSON object, and is not JSON: %w", syntaxError(text))
	case bytes.TrimLeft(text, " \t\r\n")[0] != '{':
		return errors.New("must be a JSON object")
	case depth(text) > maxDepth:
		return fmt.Errorf("must not nest more than %d levels deep", maxDepth)
	}
	return nil
}

func syntaxError(text []byte) error {
	var ignored json.RawMessage
	return json.Unmarshal(text, &ignored)
}

// depth is how deeply valid JSON nests.
func depth(text []byte) int {
	level, deepest, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// RenderBody makes the body of a delivery: the payload's bytes as they are, with the members of fields
// appended whose names the payload does not have. Both must be valid JSON objects. Names are compared
// decoded, so "a" and "\u0061" are the same.
func RenderBody(payload, fields json.RawMessage) []byte {
	taken := map[string]bool{}
	gjson.ParseBytes(payload).ForEach(func(name, _ gjson.Result) bool {
		taken[name.String()] = true
		return true
	})

	var added bytes.Buffer
	separate := len(taken) > 0
	gjson.ParseBytes(fields).ForEach(func(name, value gjson.Result) bool {
		if !taken[name.String()] {
			if separate {
				added.WriteByte(',')
			}
			separate = true
			added.WriteString(name.Raw)
			added.WriteByte(':')
			added.WriteString(value.Raw)
		}
		return true
	})
	if added.Len() == 0 {
		return payload
	}

	// White space before the closing brace stays where it was.
	end := bytes.LastIndexByte(payload, '}')
	last := len(bytes.TrimRight(payload[:end], " \t\r\n"))
	body := make([]byte, 0, len(payload)+added.Len())
	body = append(body, payload[:last]...)
	body = append(body, added.Bytes()...)
	return append(body, payload[last:]...)
}
