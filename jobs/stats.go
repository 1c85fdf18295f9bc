package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/epicvoice/webhook-worker/partners"
)

const (
	// statsMinutes is how many minutes [Stats] counts attempts in.
	statsMinutes = 60
	// statsRows is the most failures and the most partners in [Stats].
	statsRows = 10
)

// Stats is how the deliveries stand, and how the last hour went.
type Stats struct {
	At       time.Time      `json:"at"` // by the database's clock
	Statuses []StatusStats  `json:"statuses"`
	LastHour HourStats      `json:"last_hour"`
	Minutes  []MinuteStats  `json:"minutes"`  // the 60 last minutes of the clock, the oldest first
	Failures []FailureStats `json:"failures"` // of the last hour, the most frequent first, at most 10
	Partners []PartnerStats `json:"partners"` // the most dead letters first, at most 10
}

// StatusStats is how the deliveries of a status stand.
type StatusStats struct {
	Status           Status   `json:"status"`
	Count            int64    `json:"count"`
	Due              *int64   `json:"due"`                // pending and failed: a worker should have them
	OldestAgeSeconds *float64 `json:"oldest_age_seconds"` // how long the oldest has had the status; pending: has been due
	LastHour         *int64   `json:"last_hour"`          // how many came to it, if they end in it
}

// HourStats is how the last hour went. Attempts are known if they are recorded (AUDIT_LOG_ENABLED); one that
// is under way does not count. Rates are between 0 and 1, and nil if there was nothing.
type HourStats struct {
	SuccessRate        *float64 `json:"success_rate"` // of the deliveries that were delivered or died; nil with a filter
	Attempts           int64    `json:"attempts"`
	AttemptsDelivered  int64    `json:"attempts_delivered"`
	AttemptSuccessRate *float64 `json:"attempt_success_rate"`
	P50MS              *float64 `json:"p50_ms"` // median of the POSTs that delivered
	P95MS              *float64 `json:"p95_ms"`
}

// MinuteStats are the attempts that began in a minute.
type MinuteStats struct {
	At        time.Time `json:"at"`
	Delivered int64     `json:"delivered"`
	Failed    int64     `json:"failed"` // or lost
}

// FailureStats are the attempts that failed, or were lost, in one way.
type FailureStats struct {
	ResponseStatus *int    `json:"response_status"` // nil: no answer
	ErrorKind      *string `json:"error_kind"`
	Count          int64   `json:"count"`
	Error          *string `json:"error"` // an example, of the last minute that has one
}

// PartnerStats is how a partner stands.
type PartnerStats struct {
	UserID           string   `json:"user_id"`
	PartnerSlug      *string  `json:"partner_slug"` // nil: the partner was deleted
	State            string   `json:"state"`        // enabled, paused, disabled or deleted
	DeadLetters      int64    `json:"dead_letters"`
	Failed           int64    `json:"failed"` // wait for their next try
	AttemptsLastHour int64    `json:"attempts_last_hour"`
	SuccessRate      *float64 `json:"success_rate"` // of the attempts of the last hour
}

// StatsFilter narrows statistics to partners; empty fields to none.
type StatsFilter struct {
	UserID      string
	PartnerSlug string
}

// ReadStats reads statistics, with up to four connections at a time. With a filter it leaves the delivered out
// of the statuses, which there are too many of to be counted; its error wraps [partners.ErrNotFound] if the
// filter selects no partner.
func ReadStats(ctx context.Context, pool *pgxpool.Pool, filter *StatsFilter) (*Stats, error) {
	stats := &Stats{}
	group, ctx := errgroup.WithContext(ctx)
	look := func(read func(ctx context.Context, tx pgx.Tx, filter *StatsFilter) error) {
		group.Go(func() error {
			return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: beginStats}, func(tx pgx.Tx) error {
				return read(ctx, tx, filter)
			})
		})
	}
	if *filter == (StatsFilter{}) {
		look(stats.readAllStatuses)
	} else {
		look(stats.readStatuses)
		look(stats.readDurations)
	}
	look(stats.readPartners)
	look(stats.readAttempts)
	err := group.Wait()
	if errors.Is(err, partners.ErrNotFound) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("reading statistics: %w", err)
	}
	return stats, nil
}

// attemptCount is how many attempts that began in a minute ended alike.
type attemptCount struct {
	Minute         time.Time
	Outcome        Outcome
	ResponseStatus *int
	ErrorKind      *string
	Count          int64
	Error          *string
}

// sumAttempts makes minutes, failures and the hour of counts, whose latest minutes come first.
func (s *Stats) sumAttempts(now time.Time, counts []attemptCount) {
	type failureKey struct {
		status int
		kind   string
	}
	s.At = now
	last := now.Truncate(time.Minute)
	s.Minutes = make([]MinuteStats, statsMinutes)
	for i := range s.Minutes {
		s.Minutes[i].At = last.Add(time.Duration(i-statsMinutes+1) * time.Minute)
	}
	failures := map[failureKey]int{}
	s.Failures = []FailureStats{}
	for i := range counts {
		count := &counts[i]
		s.LastHour.Attempts += count.Count
		// A worker's clock may be ahead. The hour's first seconds are of a minute that is the 61st by now.
		place := min(statsMinutes-1-int(last.Sub(count.Minute)/time.Minute), statsMinutes-1)
		if count.Outcome == OutcomeDelivered {
			s.LastHour.AttemptsDelivered += count.Count
			if place >= 0 {
				s.Minutes[place].Delivered += count.Count
			}
			continue
		}
		if place >= 0 {
			s.Minutes[place].Failed += count.Count
		}
		key := failureKey{}
		if count.ResponseStatus != nil {
			key.status = *count.ResponseStatus
		}
		if count.ErrorKind != nil {
			key.kind = *count.ErrorKind
		}
		at, known := failures[key]
		if !known {
			at = len(s.Failures)
			failures[key] = at
			s.Failures = append(s.Failures, FailureStats{ResponseStatus: count.ResponseStatus, ErrorKind: count.ErrorKind})
		}
		failure := &s.Failures[at]
		failure.Count += count.Count
		failure.Error = cmp.Or(failure.Error, count.Error)
	}
	// Of those that are equally frequent, the latest come first.
	slices.SortStableFunc(s.Failures, func(a, b FailureStats) int { return cmp.Compare(b.Count, a.Count) })
	s.Failures = s.Failures[:min(len(s.Failures), statsRows)]
	if s.LastHour.Attempts > 0 {
		s.LastHour.AttemptSuccessRate = new(float64(s.LastHour.AttemptsDelivered) / float64(s.LastHour.Attempts))
	}
}
