package jobs

import (
	"math/rand/v2"
	"time"
)

// RetrySchedule says how long to wait after a failed try: BaseDelay after the first, twice as long after
// each further one, MaxDelay at most.
type RetrySchedule struct {
	BaseDelay time.Duration
	MaxDelay  time.Duration
	Jitter    float64 // share of each wait, 0 to 1, that is added at random
}

// Delay is the wait after try number attempt (from 1) failed, without jitter.
func (s RetrySchedule) Delay(attempt int) time.Duration {
	delay := s.BaseDelay
	for range attempt - 1 {
		if delay >= s.MaxDelay/2 {
			return s.MaxDelay
		}
		delay *= 2
	}
	return min(delay, s.MaxDelay)
}

// Next is when to try again after try number attempt failed at now. A partner that asked for a longer
// wait (Retry-After) gets it, up to MaxDelay.
func (s RetrySchedule) Next(now time.Time, attempt int, retryAfter time.Duration) time.Time {
	delay := max(s.Delay(attempt), min(retryAfter, s.MaxDelay))
	if s.Jitter > 0 {
		delay += time.Duration(rand.Float64() * s.Jitter * float64(delay)) //nolint:gosec // no secret depends on it
	}
	return now.Add(delay)
}
