package partners

import (
	"math"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What RFC 9110 lets a partner write is read as a second, slow reading of its grammar reads it.
func FuzzParseRetryAfter(f *testing.F) {
	for _, seed := range []string{
		"", "120", " 0 ", "99999999999999999999", "9223372036", "9223372037", "-1", "1.5", "soon", "\xff", "\u00a0120",
		"Wed, 06 May 2026 07:10:09 GMT", "Wed, 06 May 2026 07:10:09 CET", "Wed, 06 May 2026 07:10:09.5 GMT", "Fri, 31 Dec 9999 23:59:60 GMT",
		"Wednesday, 06-May-26 07:10:09 GMT", "Wednesday, 06-May-26 07:10:09 EST", "Monday, 06-May-70 07:10:09 GMT", "Sunday, 29-Feb-76 00:00:00 GMT",
		"Wed May  6 07:10:09 2026", "Wed May 06 07:10:09 2026", "Mon Feb 30 07:10:09 2026",
	} {
		f.Add(seed, uint32(833353689)) // 2026-05-29, as seconds after 2000
	}
	f.Fuzz(func(t *testing.T, value string, seconds uint32) {
		const until2050 = 1_577_836_800
		now := time.Date(2000, 1, 1, 0, 0, int(seconds%until2050), 0, time.UTC)
		wait := ParseRetryAfter(value, now)
		require.GreaterOrEqual(t, wait, time.Duration(0))

		want, form := readRetryAfter(value, now)
		if form == "" {
			_, err := http.ParseTime(strings.Trim(value, " \t"))
			require.True(t, wait == 0 || err == nil, "%q is nothing, and asks to wait %s", value, wait)
			return
		}
		require.Equal(t, want, wait, "%q at %s, read as %s", value, now, form)
		later := ParseRetryAfter(value, now.Add(time.Hour))
		switch form {
		case "seconds":
			require.Equal(t, wait, later)
		case "IMF-fixdate", "asctime-date":
			require.LessOrEqual(t, later, wait, "a later now never makes the wait longer")
		}
	})
}

// retryAfterForms are what RFC 9110 lets Retry-After be, names of days unchecked.
var retryAfterForms = []struct {
	name    string
	pattern *regexp.Regexp
}{
	{"seconds", regexp.MustCompile(`^(?P<seconds>[0-9]+)$`)},
	{"IMF-fixdate", regexp.MustCompile(`^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>\d\d) (?P<month>[A-Z][a-z]{2}) (?P<year>\d{4}) (?P<time>\d\d:\d\d:\d\d) GMT$`)},
	{"rfc850-date", regexp.MustCompile(`^(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>\d\d)-(?P<month>[A-Z][a-z]{2})-(?P<year>\d\d) (?P<time>\d\d:\d\d:\d\d) GMT$`)},
	{"asctime-date", regexp.MustCompile(`^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?P<month>[A-Z][a-z]{2}) (?P<day>\d\d| \d) (?P<time>\d\d:\d\d:\d\d) (?P<year>\d{4})$`)},
}

// readRetryAfter reads a Retry-After by those forms; the form is empty if it has none of them. Leap seconds,
// which Go's clock does not have, are left out.
func readRetryAfter(value string, now time.Time) (wait time.Duration, form string) {
	value = strings.Trim(value, " \t")
	for _, candidate := range retryAfterForms {
		form, pattern := candidate.name, candidate.pattern
		groups := pattern.FindStringSubmatch(value)
		if groups == nil {
			continue
		}
		part := func(name string) string { return groups[pattern.SubexpIndex(name)] }
		if form == "seconds" {
			wait, _ := new(big.Int).SetString(part("seconds"), 10)
			if wait.Mul(wait, big.NewInt(int64(time.Second))); !wait.IsInt64() {
				return math.MaxInt64, form
			}
			return time.Duration(wait.Int64()), form
		}
		months := []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
		month := slices.Index(months, part("month")) + 1
		day := number(part("day"))
		clock := strings.Split(part("time"), ":")
		hour, minute, second := number(clock[0]), number(clock[1]), number(clock[2])
		if month == 0 || hour > 23 || minute > 59 || second > 59 {
			return 0, ""
		}
		at := func(year int) time.Time {
			return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
		}
		year := number(part("year"))
		if form == "rfc850-date" {
			twoDigits, ahead := year, now.AddDate(50, 0, 0)
			year = ahead.Year()
			for year%100 != twoDigits || at(year).After(ahead) {
				year--
			}
		}
		if moment := at(year); moment.Day() == day && moment.Month() == time.Month(month) {
			return max(moment.Sub(now), 0), form
		}
		return 0, ""
	}
	return 0, ""
}

func number(digits string) int {
	value, _ := strconv.Atoi(strings.TrimSpace(digits))
	return value
}
