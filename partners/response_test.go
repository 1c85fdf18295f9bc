package partners

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()

	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                                  0,
		"  ":                                0,
		"0":                                 0,
		"120":                               2 * time.Minute,
		" 120\t":                            2 * time.Minute,
		"007":                               7 * time.Second,
		"9223372036":                        9223372036 * time.Second,
		"9223372037":                        math.MaxInt64,
		"99999999999999999999":              math.MaxInt64,
		strings.Repeat("9", 1000):           math.MaxInt64,
		"Wed, 06 May 2026 07:10:09 GMT":     2 * time.Minute,
		"Wednesday, 06-May-26 07:10:09 GMT": 2 * time.Minute,                // RFC 850
		"Wed May  6 07:10:09 2026":          2 * time.Minute,                // asctime
		"Monday, 06-May-75 07:08:09 GMT":    now.AddDate(49, 0, 0).Sub(now), // not 1975
		"Sunday, 06-May-76 07:08:10 GMT":    0,                              // more than 50 years ahead, so 1976
		"Wednesday, 06-May-26 07:10:09 EST": 0,                              // no zone but GMT
		"Wed, 06 May 2026 07:10:09 CET":     0,
		"\u00a0120":                         0,
		"Wed, 06 May 2026 07:08:09 GMT":     0,
		"Tue, 05 May 2026 07:08:09 GMT":     0,
		"Thu, 01 Jan 1970 00:00:00 GMT":     0,
		"Fri, 31 Dec 9999 23:59:59 GMT":     math.MaxInt64,
		"-5":                                0,
		"+5":                                0,
		"1.5":                               0,
		"1e3":                               0,
		"0x10":                              0,
		"10s":                               0,
		"５":                                 0,
		"soon":                              0,
		"1, 2":                              0,
		"2026-05-06T07:10:09Z":              0,
		"\x00":                              0,
	} {
		require.Equal(t, want, ParseRetryAfter(value, now), "%.50q", value)
	}
}

func TestSafeText(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		foreign string
		limit   int
		want    string
	}{
		{"", 10, ""},
		{"hello", 10, "hello"},
		{"hello", 5, "hello"},
		{"hello", 4, "hell"},
		{"hello", 0, ""},
		{"a\x00b", 10, "a\uFFFDb"},
		{"a\xffb", 10, "a\uFFFDb"},
		{"a\xff\xfe\xfdb", 10, "a\uFFFDb"}, // a run of them becomes one
		{"\x00\x00\x00", 6, "\uFFFD\uFFFD"},
		{"\x00\x00\x00", 2, ""},
		{"ééé", 3, "é"},
		{"😀😀", 7, "😀"},
		{"😀😀", 8, "😀😀"},
		{"😀😀", 3, ""},
		{"ab\xf0\x9f\x98", 5, "ab\uFFFD"},         // cut by whoever sent it
		{"abc\xf0\x9f\x98\x80", 5, "abc"},         // cut here
		{"\x80\x80\x80\x80\x80\x80", 5, "\uFFFD"}, // no start in reach
		{"two\nlines\t\x1b[31m", 100, "two\nlines\t\x1b[31m"},
	} {
		require.Equal(t, tt.want, SafeText([]byte(tt.foreign), tt.limit), "%q to %d", tt.foreign, tt.limit)
	}
}

func TestUsefulHeaders(t *testing.T) {
	t.Parallel()

	header := http.Header{}
	header.Set("Content-Type", "text/plain")
	header.Set("X-Request-Id", "abc\xff")
	header.Set("Location", strings.Repeat("x", 1000))
	header.Set("Set-Cookie", "session=secret")
	header.Set("Authorization", "secret")
	header.Add("Via", "one")
	header.Add("Via", "two")
	require.Equal(t, map[string]string{
		"content-type": "text/plain",
		"x-request-id": "abc\uFFFD",
		"location":     strings.Repeat("x", 256),
		"via":          "one",
	}, usefulHeaders(header, Headers{}))
	require.Equal(t, map[string]string{}, usefulHeaders(nil, Headers{}))
}
