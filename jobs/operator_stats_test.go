package jobs_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// rawJob and rawAttempt are what the statistics are made of, read from the tables themselves.
type rawJob struct {
	PartnerID   string
	State       string
	Attempt     int
	CreatedAt   time.Time
	ScheduledAt time.Time
	AttemptedAt *time.Time
	FinalizedAt *time.Time
}

type rawAttempt struct {
	PartnerID  string
	Outcome    jobs.Outcome
	DurationMS *float64
	StartedAt  time.Time
}

func (j *rawJob) status() jobs.Status {
	switch j.State {
	case "running":
		return jobs.StatusProcessing
	case "completed":
		return jobs.StatusDelivered
	case "discarded":
		return jobs.StatusDeadLetter
	case "cancelled":
		return jobs.StatusCancelled
	}
	if j.Attempt == 0 {
		return jobs.StatusPending
	}
	return jobs.StatusFailed
}

// since is when the job came to its status; a pending one counts from when it is due.
func (j *rawJob) since(now time.Time) time.Time {
	switch status := j.status(); {
	case status.Ended():
		return *j.FinalizedAt
	case status != jobs.StatusPending:
		return *j.AttemptedAt
	case j.ScheduledAt.After(now):
		return j.CreatedAt
	default:
		return j.ScheduledAt
	}
}

func (j *rawJob) due(now time.Time) bool {
	waits := j.status() == jobs.StatusPending || j.status() == jobs.StatusFailed
	return waits && !j.ScheduledAt.After(now)
}

// snapshot reads everything at one moment, and does ask in the same.
func (s *scene) snapshot(t *testing.T, ask func(tx pgx.Tx)) (now time.Time, all []rawJob, attempts []rawAttempt) {
	t.Helper()
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	require.NoError(t, pgx.BeginTxFunc(t.Context(), s.pool, options, func(tx pgx.Tx) error {
		require.NoError(t, tx.QueryRow(t.Context(), `select now()`).Scan(&now))
		rows, err := tx.Query(t.Context(), `
			select args->>'partner_id', state::text, attempt, created_at, scheduled_at, attempted_at, finalized_at
			  from river_job where kind = 'webhook_delivery'`)
		require.NoError(t, err)
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[rawJob])
		require.NoError(t, err)
		rows, err = tx.Query(t.Context(), `select partner_id::text, outcome, duration_ms, started_at from webhook_delivery_log`)
		require.NoError(t, err)
		attempts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[rawAttempt])
		require.NoError(t, err)
		ask(tx)
		return nil
	}))
	return now, all, attempts
}

// quantile interpolates between the two nearest values, as percentile_cont does; nil of nothing.
func quantile(values []float64, share float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	place := share * float64(len(sorted)-1)
	below := int(place)
	above := min(below+1, len(sorted)-1)
	return new(sorted[below] + (sorted[above]-sorted[below])*(place-float64(below)))
}

func requireClose(t *testing.T, want, got *float64, what string) {
	t.Helper()
	require.Equal(t, want == nil, got == nil, what)
	if want != nil {
		require.InDelta(t, *want, *got, 1e-6, what)
	}
}

// queueStat is a row of get_webhook_queue_stats.
type queueStat struct {
	Status      jobs.Status
	Count       int
	OldestAge   *time.Duration
	Due         *int
	LastHour    *int
	SuccessRate *float64
	P50MS       *float64
	P95MS       *float64
}

func checkQueueStatsInFull(t *testing.T, s *scene) {
	t.Helper()
	var got []queueStat
	viewed := map[jobs.Status]int{}
	now, all, attempts := s.snapshot(t, func(tx pgx.Tx) {
		rows, err := tx.Query(t.Context(), `
			select status, count, oldest_age, due, last_hour, success_rate, p50_ms, p95_ms from get_webhook_queue_stats()`)
		require.NoError(t, err)
		got, err = pgx.CollectRows(rows, pgx.RowToStructByName[queueStat])
		require.NoError(t, err)
		rows, err = tx.Query(t.Context(), `select status, count(*) from webhook_delivery_queue group by status`)
		require.NoError(t, err)
		var status jobs.Status
		var count int
		_, err = pgx.ForEachRow(rows, []any{&status, &count}, func() error {
			viewed[status] = count
			return nil
		})
		require.NoError(t, err)
	})
	hourAgo := now.Add(-time.Hour)

	want := map[jobs.Status]*queueStat{}
	for _, status := range jobs.Statuses() {
		want[status] = &queueStat{Status: status}
		if status.Ended() {
			want[status].LastHour = new(int)
		}
	}
	want[jobs.StatusPending].Due, want[jobs.StatusFailed].Due = new(int), new(int)
	for _, job := range all {
		stat := want[job.status()]
		stat.Count++
		if age := max(now.Sub(job.since(now)), 0); stat.OldestAge == nil || age > *stat.OldestAge {
			stat.OldestAge = &age
		}
		if job.due(now) {
			*stat.Due++
		}
		if stat.LastHour != nil && job.FinalizedAt.After(hourAgo) {
			*stat.LastHour++
		}
	}
	delivered, dead := *want[jobs.StatusDelivered].LastHour, *want[jobs.StatusDeadLetter].LastHour
	require.Equal(t, 6, delivered, "one was two hours ago")
	require.Equal(t, 11, dead)
	want[jobs.StatusDelivered].SuccessRate = new(float64(delivered) / float64(delivered+dead))
	require.Equal(t, 2, *want[jobs.StatusPending].Due)
	require.Equal(t, 1, *want[jobs.StatusFailed].Due)

	durations := map[jobs.Outcome][]float64{}
	for _, attempt := range attempts {
		if attempt.StartedAt.After(hourAgo) && attempt.DurationMS != nil {
			durations[attempt.Outcome] = append(durations[attempt.Outcome], *attempt.DurationMS)
		}
	}
	require.Len(t, durations[jobs.OutcomeDelivered], delivered)
	require.Greater(t, len(durations[jobs.OutcomeFailed]), 11)
	for outcome, status := range map[jobs.Outcome]jobs.Status{jobs.OutcomeDelivered: jobs.StatusDelivered, jobs.OutcomeFailed: jobs.StatusFailed} {
		want[status].P50MS, want[status].P95MS = quantile(durations[outcome], 0.5), quantile(durations[outcome], 0.95)
	}

	require.Len(t, got, len(jobs.Statuses()))
	for i, status := range jobs.Statuses() {
		stat := got[i]
		require.Equal(t, viewed[status], stat.Count, status)
		requireClose(t, want[status].P50MS, stat.P50MS, "p50 of "+string(status))
		requireClose(t, want[status].P95MS, stat.P95MS, "p95 of "+string(status))
		requireClose(t, want[status].SuccessRate, stat.SuccessRate, "success rate of "+string(status))
		stat.P50MS, stat.P95MS, stat.SuccessRate = want[status].P50MS, want[status].P95MS, want[status].SuccessRate
		require.Equal(t, *want[status], stat)
	}
}

// partnerStat is a row of get_webhook_partner_stats.
type partnerStat struct {
	UserID            string
	PartnerSlug       string
	Enabled           bool
	Paused            bool
	Pending           int
	Processing        int
	Failed            int
	DeadLetters       int
	Due               int
	OldestDueAge      *time.Duration
	AttemptsLastHour  int
	DeliveredLastHour int
	SuccessRate       *float64
	P50MS             *float64
	P95MS             *float64
}

func checkPartnerStats(t *testing.T, s *scene) {
	t.Helper()
	const other = "other"
	s.partner(t, other, "good", nowhere, "nothing.of.use")
	var got []partnerStat
	ids := map[string]string{} // by slug
	now, all, attempts := s.snapshot(t, func(tx pgx.Tx) {
		got = partnerStats(t, tx, nil, nil)
		of := func(userID, slug string) (list []partnerStat) {
			for _, stat := range got {
				if (userID == "" || stat.UserID == userID) && (slug == "" || stat.PartnerSlug == slug) {
					list = append(list, stat)
				}
			}
			return list
		}
		require.Equal(t, of(user, ""), partnerStats(t, tx, new(user), nil))
		require.Equal(t, of("", "good"), partnerStats(t, tx, nil, new("good")))
		require.Equal(t, of(other, "good"), partnerStats(t, tx, new(other), new("good")))
		require.Empty(t, partnerStats(t, tx, new(other), new("broken")))
		rows, err := tx.Query(t.Context(), `select partner_slug, id from partner_webhooks where user_id = $1`, user)
		require.NoError(t, err)
		var slug string
		var id uuid.UUID
		_, err = pgx.ForEachRow(rows, []any{&slug, &id}, func() error {
			ids[slug] = id.String()
			return nil
		})
		require.NoError(t, err)
	})

	require.Len(t, got, len(ids)+1)
	require.Equal(t, partnerStat{UserID: other, PartnerSlug: "good", Enabled: true}, got[0])
	require.True(t, slices.IsSortedFunc(got[1:], func(a, b partnerStat) int {
		if a.PartnerSlug < b.PartnerSlug {
			return -1
		}
		return 1
	}))
	for _, stat := range got[1:] {
		want := wantPartnerStat(stat.PartnerSlug, ids[stat.PartnerSlug], now, all, attempts)
		requireClose(t, want.P50MS, stat.P50MS, "p50 of "+stat.PartnerSlug)
		requireClose(t, want.P95MS, stat.P95MS, "p95 of "+stat.PartnerSlug)
		requireClose(t, want.SuccessRate, stat.SuccessRate, "success rate of "+stat.PartnerSlug)
		stat.P50MS, stat.P95MS, stat.SuccessRate = want.P50MS, want.P95MS, want.SuccessRate
		require.Equal(t, *want, stat)
		// And as the endpoint saw it, where all of it was in the last hour.
		if stat.PartnerSlug == "broken" {
			require.Equal(t, 7, stat.DeadLetters)
			require.Equal(t, 7*2+1, stat.AttemptsLastHour)
			require.Zero(t, *stat.SuccessRate)
		}
		if stat.PartnerSlug == "flaky" {
			require.Equal(t, 2*3, stat.AttemptsLastHour)
			require.Equal(t, 2, stat.DeliveredLastHour)
		}
	}
}

func partnerStats(t *testing.T, tx pgx.Tx, userID, slug *string) []partnerStat {
	t.Helper()
	rows, err := tx.Query(t.Context(), `
		select user_id, partner_slug, enabled, paused, pending, processing, failed, dead_letters, due, oldest_due_age,
		       attempts_last_hour, delivered_last_hour, success_rate, p50_ms, p95_ms
		  from get_webhook_partner_stats($1, $2)`, userID, slug)
	require.NoError(t, err)
	stats, err := pgx.CollectRows(rows, pgx.RowToStructByName[partnerStat])
	require.NoError(t, err)
	return stats
}

func wantPartnerStat(slug, id string, now time.Time, all []rawJob, attempts []rawAttempt) *partnerStat {
	want := &partnerStat{UserID: user, PartnerSlug: slug, Enabled: slug != "gone", Paused: slug == "paused"}
	for _, job := range all {
		if job.PartnerID != id {
			continue
		}
		switch job.status() {
		case jobs.StatusPending:
			want.Pending++
		case jobs.StatusProcessing:
			want.Processing++
		case jobs.StatusFailed:
			want.Failed++
		case jobs.StatusDeadLetter:
			want.DeadLetters++
		case jobs.StatusDelivered, jobs.StatusCancelled:
		}
		if job.due(now) {
			want.Due++
			if age := now.Sub(job.ScheduledAt); want.OldestDueAge == nil || age > *want.OldestDueAge {
				want.OldestDueAge = &age
			}
		}
	}
	var durations []float64
	for _, attempt := range attempts {
		counts := attempt.Outcome == jobs.OutcomeDelivered || attempt.Outcome == jobs.OutcomeFailed || attempt.Outcome == jobs.OutcomeLost
		if attempt.PartnerID != id || !attempt.StartedAt.After(now.Add(-time.Hour)) || !counts {
			continue
		}
		want.AttemptsLastHour++
		if attempt.Outcome == jobs.OutcomeDelivered {
			want.DeliveredLastHour++
		}
		if attempt.DurationMS != nil {
			durations = append(durations, *attempt.DurationMS)
		}
	}
	if want.AttemptsLastHour > 0 {
		want.SuccessRate = new(float64(want.DeliveredLastHour) / float64(want.AttemptsLastHour))
	}
	want.P50MS, want.P95MS = quantile(durations, 0.5), quantile(durations, 0.95)
	return want
}
