package jobs_test

import (
	"cmp"
	_ "embed"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

//go:embed testdata/operator_queries.md
var operatorQueries string

var (
	sqlBlock   = regexp.MustCompile("(?s)```sql\n(.*?)```")
	shellBlock = regexp.MustCompile("(?s)```bash\n(.*?)```")
	psqlQuery  = regexp.MustCompile(`(?m)^[^#\n]*\bpsql\b.* -c "([^"]*)"`)
	sqlComment = regexp.MustCompile(`(?m)--.*$`)
	queryEnd   = regexp.MustCompile(`;\s*(?:\n|$)`) // one within a line is text
)

// queriesOf are the SQL queries of a Markdown text: of its sql blocks first, then what its shell blocks give to psql.
func queriesOf(markdown string) []string {
	var queries []string
	add := func(sql string) {
		for _, query := range queryEnd.Split(sqlComment.ReplaceAllString(sql, ""), -1) {
			if query = strings.TrimSpace(query); query != "" {
				queries = append(queries, query)
			}
		}
	}
	for _, block := range sqlBlock.FindAllStringSubmatch(markdown, -1) {
		add(block[1])
	}
	for _, block := range shellBlock.FindAllStringSubmatch(markdown, -1) {
		for _, command := range psqlQuery.FindAllStringSubmatch(block[1], -1) {
			add(command[1])
		}
	}
	return queries
}

// TestOperatorQueries runs the queries that operators know by heart on a database whose every delivery was
// seen from the other side, and compares.
func TestOperatorQueries(t *testing.T) {
	t.Parallel()
	queries := queriesOf(operatorQueries)
	answers := []struct {
		what  string
		check func(t *testing.T, s *scene, rows []map[string]any)
	}{
		{"SELECT * FROM get_webhook_queue_stats()", checkQueueStats},
		{"SELECT COUNT(*) FROM webhook_delivery_queue WHERE status = 'dead_letter'", checkDeadLetterCount},
		{`ORDER BY "updatedAt" DESC`, checkRecentFailures},
		{"GROUP BY last_response_status", checkFailureReasons},
		{`ORDER BY "createdAt" DESC`, checkDeadLetters},
		{"SELECT COUNT(*) FROM webhook_delivery_queue WHERE status='pending'", checkPendingCount},
	}
	require.Len(t, queries, len(answers), "every query of the file")
	s := setupScene(t)
	// One after the other and at once: a minute later paused deliveries come due, and the scene is another.
	for i, answer := range answers {
		require.Contains(t, queries[i], answer.what)
		rows, err := s.pool.Query(t.Context(), queries[i])
		require.NoError(t, err)
		got, err := pgx.CollectRows(rows, pgx.RowToMap)
		require.NoError(t, err)
		answer.check(t, s, got)
	}
	checkQueueStatsInFull(t, s)
	checkPartnerStats(t, s)
	checkView(t, s)
}

// text is empty for null.
func text(value any) string {
	if value == nil {
		return ""
	}
	return value.(string)
}

// number is 0 for null.
func number(value any) int {
	if value == nil {
		return 0
	}
	return int(value.(int32))
}

// requireFact compares a row with what is known of its delivery.
func requireFact(t *testing.T, want *fact, row map[string]any) {
	t.Helper()
	require.Equal(t, want.id, row["id"])
	require.Equal(t, want.eventType, row["event_type"], want.partner)
	require.EqualValues(t, want.posts, row["attempt_count"], want.partner)
	require.Equal(t, want.answer, number(row["last_response_status"]), want.partner)
	if want.status != jobs.StatusCancelled && want.status != jobs.StatusProcessing {
		require.Equal(t, want.failure, text(row["last_error"]), want.partner)
	}
	if status, selected := row["status"]; selected {
		require.EqualValues(t, want.status, status, want.partner)
	}
}

func checkDeadLetterCount(t *testing.T, s *scene, rows []map[string]any) {
	t.Helper()
	require.Equal(t, []map[string]any{{"count": int64(12)}}, rows)
	require.Len(t, s.of(jobs.StatusDeadLetter), 12)
}

func checkPendingCount(t *testing.T, s *scene, rows []map[string]any) {
	t.Helper()
	require.Equal(t, []map[string]any{{"count": int64(5)}}, rows)
	require.Len(t, s.of(jobs.StatusPending), 5)
}

func checkRecentFailures(t *testing.T, s *scene, rows []map[string]any) {
	t.Helper()
	want := s.of(jobs.StatusFailed, jobs.StatusDeadLetter)
	require.Len(t, want, 15, "more than the limit")
	slices.SortFunc(want, func(a, b fact) int { return cmp.Compare(b.touched, a.touched) })
	require.Len(t, rows, 10)
	for i, row := range rows {
		requireFact(t, &want[i], row)
		require.Equal(t, user, row["userId"])
		require.WithinRange(t, row["updatedAt"].(time.Time), row["createdAt"].(time.Time), time.Now().Add(time.Second))
		require.Subset(t, slices.Collect(maps.Keys(row)), []string{
			"id", "userId", "event_type", "status", "attempt_count", "last_error", "last_response_status", "createdAt", "updatedAt",
		})
	}
	require.Equal(t, "hangs", want[0].partner)
	require.Equal(t, "broken", want[2].partner, "retried after all others")
	require.Equal(t, 3, want[2].posts)
	require.Equal(t, "later", want[3].partner)
	require.Equal(t, 2, want[3].posts)
}

func checkFailureReasons(t *testing.T, s *scene, rows []map[string]any) {
	t.Helper()
	counts, failures := map[int]int{}, map[int][]string{}
	for _, f := range s.of(jobs.StatusFailed, jobs.StatusDeadLetter) {
		counts[f.answer]++
		if !slices.Contains(failures[f.answer], f.failure) {
			failures[f.answer] = append(failures[f.answer], f.failure)
		}
	}
	byCount := slices.SortedFunc(maps.Keys(counts), func(a, b int) int { return cmp.Compare(counts[b], counts[a]) })
	require.Equal(t, []int{500, 503, 0}, byCount)
	require.Len(t, rows, len(byCount))
	for i, status := range byCount {
		require.Equal(t, status, number(rows[i]["last_response_status"]))
		require.EqualValues(t, counts[status], rows[i]["count"])
		slices.Sort(failures[status])
		require.Equal(t, strings.Join(failures[status], "; "), rows[i]["errors"])
	}
	require.Nil(t, rows[2]["last_response_status"])
	require.Equal(t, "dial: connect: connection refused; no answer within 100ms", rows[2]["errors"])
}

func checkDeadLetters(t *testing.T, s *scene, rows []map[string]any) {
	t.Helper()
	want := s.of(jobs.StatusDeadLetter)
	slices.Reverse(want)
	require.Len(t, rows, 10)
	for i, row := range rows {
		require.Len(t, row, 5)
		requireFact(t, &want[i], row)
	}
}

// checkView compares every delivery.
func checkView(t *testing.T, s *scene) {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), `
		select id, event_type, status, attempt_count, last_error, last_response_status from webhook_delivery_queue`)
	require.NoError(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowToMap)
	require.NoError(t, err)
	byID := map[string]map[string]any{}
	for _, row := range got {
		byID[text(row["id"])] = row
	}
	want := s.of()
	require.Len(t, got, len(want))
	statuses := map[jobs.Status]int{}
	for _, f := range want {
		requireFact(t, &f, byID[f.id])
		statuses[f.status]++
	}
	require.Equal(t, map[jobs.Status]int{
		jobs.StatusPending: 5, jobs.StatusProcessing: 1, jobs.StatusFailed: 3, jobs.StatusDelivered: 7, jobs.StatusDeadLetter: 12, jobs.StatusCancelled: 3,
	}, statuses)
}

func checkQueueStats(t *testing.T, s *scene, rows []map[string]any) {
	t.Helper()
	require.Len(t, rows, len(jobs.Statuses()))
	for i, status := range jobs.Statuses() {
		require.EqualValues(t, status, rows[i]["status"])
		require.EqualValues(t, len(s.of(status)), rows[i]["count"], status)
	}
}
