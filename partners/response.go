package partners

import (
	"bytes"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// keptHeader is how much of a header's value is kept, in bytes.
const keptHeader = 256

// usefulHeaders picks the headers that help in finding a fault.
func usefulHeaders(header http.Header) map[string]string {
	kept := map[string]string{}
	for _, name := range []string{
		"cf-ray", "content-length", "content-type", "date", "location", "request-id", "retry-after",
		"server", "traceparent", "via", "x-amzn-requestid", "x-correlation-id", "x-request-id",
	} {
		if value := header.Get(name); value != "" {
			kept[name] = SafeText([]byte(value), keptHeader)
		}
	}
	return kept
}

// SafeText makes foreign bytes fit for PostgreSQL: at most limit bytes, valid UTF-8, no NUL. What does not
// fit becomes U+FFFD.
func SafeText(foreign []byte, limit int) string {
	if len(foreign) > limit {
		foreign = foreign[:limit]
		// A character that the cut went through goes whole.
		for back := 1; back <= utf8.UTFMax && back <= len(foreign); back++ {
			if start := len(foreign) - back; utf8.RuneStart(foreign[start]) {
				if !utf8.FullRune(foreign[start:]) {
					foreign = foreign[:start]
				}
				break
			}
		}
	}
	clean := bytes.ReplaceAll(bytes.ToValidUTF8(foreign, []byte("\uFFFD")), []byte{0}, []byte("\uFFFD"))
	if len(clean) > limit { // replacing made it longer
		return SafeText(clean, limit)
	}
	return string(clean)
}

// ParseRetryAfter reads a Retry-After header (RFC 9110, section 10.2.3), in seconds or as a date; 0 if it
// asks for nothing or can't be read.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if strings.Trim(value, "0123456789") == "" && value != "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(math.MaxInt64/time.Second) {
			return math.MaxInt64 // more than can be said: the caller bounds it
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}
