package jobs_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

func TestRetryScheduleDefaults(t *testing.T) {
	t.Parallel()
	schedule := jobs.RetrySchedule{BaseDelay: 30 * time.Second, MaxDelay: time.Hour}
	now := time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC)
	for attempt, seconds := range map[int]int{1: 30, 2: 60, 3: 120, 4: 240, 5: 480, 6: 960, 7: 1920, 8: 3600, 9: 3600, 100: 3600, math.MaxInt16: 3600} {
		require.Equal(t, now.Add(time.Duration(seconds)*time.Second), schedule.Next(now, attempt, 0), "attempt %d", attempt)
	}
}

func TestRetryScheduleBounds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		base, longest time.Duration
		attempt       int
		want          time.Duration
	}{
		"the longest wait need not be a power": {time.Second, 5 * time.Second, 3, 4 * time.Second},
		"and bounds the next":                  {time.Second, 5 * time.Second, 4, 5 * time.Second},
		"base and longest the same":            {time.Second, time.Second, 1, time.Second},
		"no overflow":                          {time.Hour, math.MaxInt64, 100, math.MaxInt64},
		"less than a second":                   {time.Millisecond, time.Hour, 3, 4 * time.Millisecond},
	}
	for name, test := range tests {
		schedule := jobs.RetrySchedule{BaseDelay: test.base, MaxDelay: test.longest}
		require.Equal(t, test.want, schedule.Delay(test.attempt), name)
	}
}

func TestRetryScheduleHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	schedule := jobs.RetrySchedule{BaseDelay: 30 * time.Second, MaxDelay: time.Hour}
	now := time.Now()
	for retryAfter, want := range map[time.Duration]time.Duration{
		0:                30 * time.Second,
		10 * time.Second: 30 * time.Second, // the schedule is longer
		10 * time.Minute: 10 * time.Minute, // the partner asks for more
		24 * time.Hour:   time.Hour,        // but not beyond the bound
		math.MaxInt64:    time.Hour,
	} {
		require.Equal(t, now.Add(want), schedule.Next(now, 1, retryAfter))
	}
}

func TestRetryScheduleJitterOnlyAdds(t *testing.T) {
	t.Parallel()
	schedule := jobs.RetrySchedule{BaseDelay: 30 * time.Second, MaxDelay: time.Hour, Jitter: 0.5}
	now := time.Now()
	different := map[time.Time]bool{}
	for range 200 {
		next := schedule.Next(now, 1, 0)
		require.False(t, next.Before(now.Add(30*time.Second)))
		require.False(t, next.After(now.Add(45*time.Second)))
		different[next] = true
	}
	require.Greater(t, len(different), 100)
}
