package jobs_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

func (b *testBundle) stats(t *testing.T, filter jobs.StatsFilter) *jobs.Stats {
	t.Helper()
	stats, err := jobs.ReadStats(t.Context(), b.pool, &filter)
	require.NoError(t, err)
	return stats
}

// statusCounts are the counts of the statuses, and how many are due of those that can be.
func statusCounts(stats *jobs.Stats) (counts map[jobs.Status]int64, due int64) {
	counts = map[jobs.Status]int64{}
	for _, status := range stats.Statuses {
		counts[status.Status] = status.Count
		if status.Due != nil {
			due += *status.Due
		}
	}
	return counts, due
}

func TestStats(t *testing.T) {
	t.Parallel()
	s := setupScene(t)
	checkStats(t, s)
	checkStatsOfPartners(t, s)
}

// checkStats compares with what the partners saw.
func checkStats(t *testing.T, s *scene) {
	t.Helper()
	all := s.stats(t, jobs.StatsFilter{})
	counts, due := statusCounts(all)
	for _, status := range jobs.Statuses() {
		require.EqualValues(t, len(s.of(status)), counts[status], status)
	}
	require.EqualValues(t, 3, due)
	require.InDelta(t, 6.0/(6+11), *all.LastHour.SuccessRate, 1e-9)

	want := map[string]int64{
		"500 http_status": 7*2 + 1 + 2, // broken, one of them by hand, and flaky
		"502 http_status": 2,
		"503 http_status": 1 + 4 + 1, // busy; later, one of them by hand
		" connect":        2,
		" timeout":        2,
	}
	got := map[string]int64{}
	var failed int64
	for i, failure := range all.Failures {
		answer := ""
		if failure.ResponseStatus != nil {
			answer = strconv.Itoa(*failure.ResponseStatus)
		}
		got[answer+" "+*failure.ErrorKind] = failure.Count
		failed += failure.Count
		require.NotEmpty(t, *failure.Error)
		require.True(t, i == 0 || all.Failures[i-1].Count >= failure.Count, "the most frequent first")
	}
	require.Equal(t, want, got)
	require.Equal(t, all.LastHour.Attempts, failed+6)
	require.EqualValues(t, 6, all.LastHour.AttemptsDelivered)
	delivered := all.LastHour.AttemptsDelivered
	for _, minute := range all.Minutes {
		failed -= minute.Failed
		delivered -= minute.Delivered
	}
	require.Zero(t, failed)
	require.Zero(t, delivered)

	require.Len(t, all.Partners, 4)
	require.Equal(t, jobs.PartnerStats{
		UserID: user, PartnerSlug: new("broken"), State: "enabled", DeadLetters: 7, AttemptsLastHour: 15, SuccessRate: new(0.0),
	}, all.Partners[0])

	byUser := s.stats(t, jobs.StatsFilter{UserID: user})
	ofUser, dueOfUser := statusCounts(byUser)
	delete(counts, jobs.StatusDelivered)
	require.Equal(t, counts, ofUser)
	require.Equal(t, due, dueOfUser)
	for i, status := range byUser.Statuses {
		same := all.Statuses[i]
		if i > 2 {
			same = all.Statuses[i+1] // there without the delivered
		}
		if status.Status == jobs.StatusDeadLetter || status.Status == jobs.StatusCancelled {
			require.Equal(t, same.LastHour, status.LastHour, status.Status)
		}
		require.Equal(t, same.OldestAgeSeconds == nil, status.OldestAgeSeconds == nil)
		if status.OldestAgeSeconds != nil {
			require.InDelta(t, *same.OldestAgeSeconds, *status.OldestAgeSeconds, 60, status.Status)
		}
	}
	require.Equal(t, all.Failures, byUser.Failures)
	require.Equal(t, all.Partners, byUser.Partners)
	require.Equal(t, all.LastHour.P50MS, byUser.LastHour.P50MS)
	require.Equal(t, all.LastHour.P95MS, byUser.LastHour.P95MS)
}

// checkStatsOfPartners compares with the function of the schema that counts the same.
func checkStatsOfPartners(t *testing.T, s *scene) {
	t.Helper()
	for _, slug := range []string{"good", "flaky", "broken", "later", "hangs", "held", "paused"} {
		got, due := statusCounts(s.stats(t, jobs.StatsFilter{UserID: user, PartnerSlug: slug}))
		want := map[jobs.Status]int64{jobs.StatusCancelled: got[jobs.StatusCancelled]} // which that does not count
		var pending, processing, failed, dead, wantDue int64
		require.NoError(t, s.pool.QueryRow(t.Context(), `
			select pending, processing, failed, dead_letters, due from get_webhook_partner_stats($1, $2)`, user, slug).
			Scan(&pending, &processing, &failed, &dead, &wantDue))
		want[jobs.StatusPending], want[jobs.StatusProcessing], want[jobs.StatusFailed], want[jobs.StatusDeadLetter] = pending, processing, failed, dead
		require.Equal(t, want, got, slug)
		require.Equal(t, wantDue, due, slug)
	}
}

func TestStatsOfPartnersThatChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad := newEndpoint(t, status(http.StatusTeapot))
	for _, slug := range []string{"a", "b", "c", "d"} {
		_, _, err := b.store.Create(t.Context(), user, &partners.Params{
			Name: slug, Slug: slug, URL: bad.URL, EnabledEvents: []string{"*"}, MaxRetries: new(0),
		})
		require.NoError(t, err)
	}
	stop := b.run(t, nil)
	deliveries := b.enqueue(t, completed("e1"))
	for _, delivery := range deliveries {
		b.await(t, delivery, jobs.StatusDeadLetter)
	}
	require.NoError(t, stop())
	_, err := b.store.Pause(t.Context(), user, "b")
	require.NoError(t, err)
	_, err = b.store.Disable(t.Context(), user, "c", "by hand")
	require.NoError(t, err)
	_, err = b.store.Delete(t.Context(), user, "d")
	require.NoError(t, err)

	dead := func(slug *string, state string) jobs.PartnerStats {
		return jobs.PartnerStats{UserID: user, PartnerSlug: slug, State: state, DeadLetters: 1, AttemptsLastHour: 1, SuccessRate: new(0.0)}
	}
	want := []jobs.PartnerStats{dead(new("a"), "enabled"), dead(new("b"), "paused"), dead(new("c"), "disabled"), dead(nil, "deleted")}
	require.Equal(t, want, b.stats(t, jobs.StatsFilter{}).Partners)
	require.Equal(t, want, b.stats(t, jobs.StatsFilter{UserID: user}).Partners)
	require.Equal(t, want[1:2], b.stats(t, jobs.StatsFilter{PartnerSlug: "b"}).Partners)
	_, err = jobs.ReadStats(t.Context(), b.pool, &jobs.StatsFilter{UserID: user, PartnerSlug: "d"})
	require.ErrorIs(t, err, partners.ErrNotFound)
	require.EqualError(t, err, "partner not found: d")
}

func TestStatsListTheWorstPartners(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 12 {
		b.partner(t, user, fmt.Sprintf("partner-%02d", i), nowhere, fmt.Sprintf("call.n%02d", i))
		for range i {
			event := completed("")
			event.Type = fmt.Sprintf("call.n%02d", i)
			b.enqueue(t, event)
		}
	}
	b.exec(t, `update river_job set state = 'discarded', finalized_at = now(), attempt = 6`)
	list := b.stats(t, jobs.StatsFilter{}).Partners
	require.Len(t, list, 10)
	for i, partner := range list {
		require.EqualValues(t, 11-i, partner.DeadLetters)
		require.Equal(t, fmt.Sprintf("partner-%02d", 11-i), *partner.PartnerSlug)
		require.Nil(t, partner.SuccessRate, "nothing was tried in the last hour")
	}
}
