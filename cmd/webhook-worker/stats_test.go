package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
)

// statsOf runs stats --json, which must have every key and no other.
func (c *terminal) statsOf(t *testing.T, flags ...string) *jobs.Stats {
	t.Helper()
	return parseStats(t, c.ok(t, append([]string{"stats", "--json"}, flags...)...).stdout)
}

func parseStats(t *testing.T, text string) *jobs.Stats {
	t.Helper()
	var keys map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &keys), text)
	require.ElementsMatch(t, []string{"at", "statuses", "last_hour", "minutes", "failures", "partners"}, mapKeys(keys))
	for _, list := range []string{"statuses", "minutes", "failures", "partners"} {
		require.IsType(t, []any{}, keys[list], "an empty list is a list")
	}
	stats := &jobs.Stats{}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(stats))
	return stats
}

func mapKeys(m map[string]any) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// counts are the counts of the statuses that there are any deliveries of.
func counts(stats *jobs.Stats) map[jobs.Status]int64 {
	found := map[jobs.Status]int64{}
	for _, status := range stats.Statuses {
		if status.Count > 0 {
			found[status.Status] = status.Count
		}
	}
	return found
}

// sums are all attempts of the minutes.
func sums(stats *jobs.Stats) (delivered, failed int64) {
	for _, minute := range stats.Minutes {
		delivered += minute.Delivered
		failed += minute.Failed
	}
	return delivered, failed
}

// deliverSome leaves behind what two users' partners got: ann's good one took 3 events, her bad one refused
// them all, twice each; bob's bad one refused one, once; and ann's paused one waits for her 3.
func deliverSome(t *testing.T, terminal *terminal) {
	t.Helper()
	good, bad := newEndpoint(t, http.StatusOK), newEndpoint(t, http.StatusInternalServerError)
	terminal.addPartner(t, "ann", "good", good.URL)
	terminal.addPartner(t, "ann", "bad", bad.URL, "--max-retries", "1")
	terminal.addPartner(t, "ann", "paused", good.URL)
	terminal.ok(t, "partner", "pause", "--user", "ann", "paused")
	terminal.addPartner(t, "bob", "bad", newEndpoint(t, http.StatusServiceUnavailable).URL, "--max-retries", "0")
	for _, user := range []string{"ann", "ann", "ann", "bob"} {
		terminal.ok(t, "send", "--user", user, "--event", "call.completed", "--data", "{}")
	}
	worker := terminal.with("RETRY_BASE_DELAY=20ms").start(t, "work")
	require.Eventually(t, func() bool {
		found := counts(terminal.statsOf(t))
		return found[jobs.StatusDelivered] == 3 && found[jobs.StatusDeadLetter] == 4
	}, waitFor, look)
	require.Zero(t, worker.stop())
}

func TestStats(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	require.Empty(t, counts(terminal.statsOf(t)), "an empty database has statistics too")
	deliverSome(t, terminal)

	t.Run("all", func(t *testing.T) {
		t.Parallel()
		stats := terminal.statsOf(t)
		require.WithinDuration(t, time.Now(), stats.At, time.Minute)
		require.Len(t, stats.Statuses, len(jobs.Statuses()))
		require.Equal(t, map[jobs.Status]int64{jobs.StatusPending: 3, jobs.StatusDelivered: 3, jobs.StatusDeadLetter: 4}, counts(stats))
		for _, status := range stats.Statuses {
			require.Equal(t, status.Count > 0, status.OldestAgeSeconds != nil, status.Status)
			require.Equal(t, status.Status == jobs.StatusPending || status.Status == jobs.StatusFailed, status.Due != nil, status.Status)
			require.Equal(t, status.Status.Ended(), status.LastHour != nil, status.Status)
		}
		require.InDelta(t, 3.0/7, *stats.LastHour.SuccessRate, 1e-9, "of the deliveries that ended")
		require.EqualValues(t, 3+6+1, stats.LastHour.Attempts)
		require.EqualValues(t, 3, stats.LastHour.AttemptsDelivered)
		require.InDelta(t, 0.3, *stats.LastHour.AttemptSuccessRate, 1e-9)
		require.Positive(t, *stats.LastHour.P50MS)
		require.GreaterOrEqual(t, *stats.LastHour.P95MS, *stats.LastHour.P50MS)
		require.Len(t, stats.Minutes, 60)
		delivered, failed := sums(stats)
		require.EqualValues(t, 3, delivered)
		require.EqualValues(t, 7, failed)
		require.Equal(t, []jobs.FailureStats{
			{ResponseStatus: new(500), ErrorKind: new("http_status"), Count: 6, Error: new("the partner answered 500 Internal Server Error")},
			{ResponseStatus: new(503), ErrorKind: new("http_status"), Count: 1, Error: new("the partner answered 503 Service Unavailable")},
		}, stats.Failures)
		require.Equal(t, []jobs.PartnerStats{
			{UserID: "ann", PartnerSlug: new("bad"), State: "enabled", DeadLetters: 3, AttemptsLastHour: 6, SuccessRate: new(0.0)},
			{UserID: "bob", PartnerSlug: new("bad"), State: "enabled", DeadLetters: 1, AttemptsLastHour: 1, SuccessRate: new(0.0)},
		}, stats.Partners)
	})

	for name, test := range map[string]struct {
		flags             []string
		counts            map[jobs.Status]int64
		delivered, failed int64
		failures          int
		partners          int
	}{
		"user":       {[]string{"--user", "ann"}, map[jobs.Status]int64{jobs.StatusPending: 3, jobs.StatusDeadLetter: 3}, 3, 6, 1, 1},
		"other user": {[]string{"--user", "bob"}, map[jobs.Status]int64{jobs.StatusDeadLetter: 1}, 0, 1, 1, 1},
		"slug":       {[]string{"--partner", "bad"}, map[jobs.Status]int64{jobs.StatusDeadLetter: 4}, 0, 7, 2, 2},
		"partner":    {[]string{"--user", "ann", "--partner", "good"}, map[jobs.Status]int64{}, 3, 0, 0, 0},
		"waiting":    {[]string{"--user", "ann", "--partner", "paused"}, map[jobs.Status]int64{jobs.StatusPending: 3}, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stats := terminal.statsOf(t, test.flags...)
			require.Equal(t, test.counts, counts(stats))
			delivered, failed := sums(stats)
			require.Equal(t, test.delivered, delivered)
			require.Equal(t, test.failed, failed)
			require.Equal(t, delivered+failed, stats.LastHour.Attempts)
			require.Equal(t, delivered > 0, stats.LastHour.P50MS != nil)
			require.Len(t, stats.Failures, test.failures)
			require.Len(t, stats.Partners, test.partners)
		})
	}

	t.Run("for people", func(t *testing.T) {
		t.Parallel()
		human := terminal.ok(t, "stats").stdout
		for _, pattern := range []string{
			`(?m)^STATUS +COUNT +DUE +OLDEST +LAST HOUR$`,
			`(?m)^delivered +3 +\d+[sm] +3$`,
			`(?m)^dead_letter +4 +\d+[sm] +4$`,
			`(?m)^last hour +42\.8% of the deliveries that ended were delivered$`,
			`(?m)^ +30% of 10 attempts succeeded; median [0-9.]+ ms, p95 [0-9.]+ ms$`,
			`(?m)^delivered +[·▁▂▃▄▅▆▇█]{60} [1-3]/min$`,
			`(?m)^failed +[·▁▂▃▄▅▆▇█]{60} [1-7]/min$`,
			`(?m)^500 +http_status +6 +the partner answered 500 Internal Server Error$`,
			`(?m)^ann +bad +3 +0 +0% +enabled$`,
		} {
			require.Regexp(t, pattern, human)
		}
		require.NotContains(t, human, "\x1b")
		quiet := terminal.ok(t, "stats", "--user", "ann", "--partner", "paused").stdout
		require.Contains(t, quiet, "\nlast hour  no attempt ended\n")
		require.Contains(t, quiet, "No attempt of the last hour failed.\n\nNo partner has dead letters.\n")
	})
}

func TestStatsSaysThatAttemptsAreNotRecorded(t *testing.T) {
	t.Parallel()
	silent, _ := newTerminal(t)
	silent = silent.with("AUDIT_LOG_ENABLED=false")
	const unrecorded = "AUDIT_LOG_ENABLED=false: attempts are not recorded"
	require.Contains(t, silent.ok(t, "stats").stdout, "\n\n"+unrecorded+"\n\nNo partner has dead letters.\n")
	deliverSome(t, silent)
	human := silent.ok(t, "stats").stdout
	require.Contains(t, human, "last hour  42.8% of the deliveries that ended were delivered\n"+unrecorded+"\n")
	require.Equal(t, 1, strings.Count(human, "attempts"))
	require.Regexp(t, `(?m)^ann +bad +3 +0 +enabled$`, human)
	require.Contains(t, silent.ok(t, "stats", "--user", "ann").stdout, unrecorded)
	stats := silent.statsOf(t)
	require.Zero(t, stats.LastHour.Attempts)
	require.Nil(t, stats.LastHour.AttemptSuccessRate)
}

func TestStatsMistakes(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	terminal.addPartner(t, "ann", "acme", "https://acme.example/")
	for name, test := range map[string]badCall{
		"every without watch": {2, "--every needs --watch", "stats --every 2s", nil, ""},
		"every too short":     {2, "--every must be at least 100ms, and is 99ms", "stats --watch --every 99ms", nil, ""},
		"never":               {2, "--every must be at least 100ms, and is 0s", "stats --watch --every 0", nil, ""},
		"backwards":           {2, "--every must be at least 100ms", "stats --watch --every=-2s", nil, ""},
		"malformed every":     {2, "it must be seconds, such as 30", "stats --watch --every often", nil, ""},
		"empty user":          {2, "--user: it must not be empty", "stats --user ''", nil, ""},
		"empty partner":       {2, "--partner: it must not be empty", "stats --partner ''", nil, ""},
		"an argument":         {2, "unexpected argument ann", "stats ann", nil, ""},
		"unknown user":        {1, "partner not found: user nobody has none", "stats --user nobody", nil, ""},
		"unknown partner":     {1, "partner not found: nobody", "stats --partner nobody --json", nil, ""},
		"another's partner":   {1, "partner not found: acme", "stats --user bob --partner acme", nil, ""},
		"unknown, watched":    {1, "partner not found: nobody", "stats --partner nobody --watch", nil, ""},
		"database down":       {1, "connection refused", "stats --watch", []string{"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/db"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.check(t, terminal)
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var stdout, stderr bytes.Buffer
		require.Equal(t, 1, run(ctx, []string{"stats"}, terminal.environ, strings.NewReader(""), &stdout, &stderr))
		require.Equal(t, "webhook-worker: stats: interrupted\n", stderr.String())
		require.Empty(t, stdout.String())
	})
	t.Run("one connection", func(t *testing.T) {
		t.Parallel()
		url := testdb.URL(pool)
		separator := "?"
		if strings.Contains(url, "?") {
			separator = "&"
		}
		narrow := terminal.with("DATABASE_URL=" + url + separator + "pool_max_conns=1")
		require.Empty(t, counts(narrow.statsOf(t)))
		require.Empty(t, counts(narrow.statsOf(t, "--user", "ann")))
	})
}
