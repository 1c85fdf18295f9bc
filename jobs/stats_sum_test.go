package jobs

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStatsSumAttempts(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 15, 4, 59, 0, time.UTC)
	minute := func(ago int) time.Time { return now.Truncate(time.Minute).Add(-time.Duration(ago) * time.Minute) }
	refused, timeout := new("http_status"), new("timeout")
	stats := &Stats{}
	stats.sumAttempts(now, []attemptCount{
		{minute(-1), OutcomeDelivered, new(200), nil, 1, nil}, // by a clock that is ahead
		{minute(0), OutcomeDelivered, new(200), nil, 2, nil},
		{minute(0), OutcomeFailed, new(500), refused, 3, nil},
		{minute(1), OutcomeFailed, new(500), refused, 4, new("a later one")},
		{minute(1), OutcomeFailed, nil, timeout, 8, new("no answer")},
		{minute(2), OutcomeDelivered, new(204), nil, 5, nil},
		{minute(2), OutcomeFailed, new(500), refused, 5, new("an earlier one")},
		{minute(59), OutcomeLost, nil, nil, 6, nil},
		{minute(60), OutcomeFailed, new(503), refused, 12, new("busy")},
		{minute(60), OutcomeDelivered, new(200), nil, 4, nil},
	})
	require.Equal(t, now, stats.At)
	require.Len(t, stats.Minutes, 60)
	for i, want := range map[int]MinuteStats{
		0:  {Failed: 6},
		1:  {},
		57: {Delivered: 5, Failed: 5},
		58: {Failed: 12},
		59: {Delivered: 3, Failed: 3},
	} {
		want.At = minute(59 - i)
		require.Equal(t, want, stats.Minutes[i])
	}
	require.Equal(t, []FailureStats{
		{ResponseStatus: new(500), ErrorKind: refused, Count: 12, Error: new("a later one")},
		{ResponseStatus: new(503), ErrorKind: refused, Count: 12, Error: new("busy")},
		{ErrorKind: timeout, Count: 8, Error: new("no answer")},
		{Count: 6},
	}, stats.Failures)
	require.EqualValues(t, 50, stats.LastHour.Attempts)
	require.EqualValues(t, 12, stats.LastHour.AttemptsDelivered)
	require.InDelta(t, 0.24, *stats.LastHour.AttemptSuccessRate, 1e-9)
}

func TestStatsSumNothing(t *testing.T) {
	t.Parallel()
	stats := &Stats{}
	stats.sumAttempts(time.Now(), nil)
	require.Len(t, stats.Minutes, 60)
	require.NotNil(t, stats.Failures)
	require.Empty(t, stats.Failures)
	require.Nil(t, stats.LastHour.AttemptSuccessRate)
}

func TestStatsKeepTheMostFrequentFailures(t *testing.T) {
	t.Parallel()
	var counts []attemptCount
	for status := range 30 {
		counts = append(counts, attemptCount{time.Now(), OutcomeFailed, new(500 + status), nil, int64(status * 7 % 30), new(strconv.Itoa(status))})
	}
	stats := &Stats{}
	stats.sumAttempts(time.Now(), counts)
	require.Len(t, stats.Failures, statsRows)
	for i, failure := range stats.Failures {
		require.EqualValues(t, 29-i, failure.Count)
	}
}
