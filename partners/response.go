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

// usefulHeaders picks the headers that help in finding a fault, without the secret ones of the request.
func usefulHeaders(header http.Header, request Headers) map[string]string {
	kept := map[string]string{}
	for _, name := range []string{
		"cf-ray", "content-length", "content-type", "date", "location", "request-id", "retry-after",
		"server", "traceparent", "via", "x-amzn-requestid", "x-correlation-id", "x-request-id",
	} {
		if value := header.Get(name); value != "" {
			kept[name] = SafeText(request.hide([]byte(value), keptHeader), keptHeader)
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
	value = strings.Trim(value, " \t")
	if strings.Trim(value, "0123456789") == "" && value != "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(math.MaxInt64/time.Second) {
			return math.MaxInt64 // more than can be said: the caller bounds it
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := parseDate(value, now)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// parseDate reads an HTTP date (RFC 9110, section 5.6.7). Unlike [http.ParseTime] it takes no zone but GMT, and
// a year of two digits for the last one that is not more than 50 years ahead.
func parseDate(value string, now time.Time) (time.Time, error) {
	const rfc850 = "Monday, 02-Jan-06 15:04:05 GMT"
	if at, err := time.Parse(rfc850, value); err == nil {
		latest := now.AddDate(50, 0, 0)
		for !at.AddDate(100, 0, 0).After(latest) {
			at = at.AddDate(100, 0, 0)
		}
		for at.After(latest) {
			at = at.AddDate(-100, 0, 0)
		}
		return at, nil
	}
	if at, err := time.Parse(http.TimeFormat, value); err == nil {
		return at, nil
	}
	return time.Parse(time.ANSIC, value)
}
