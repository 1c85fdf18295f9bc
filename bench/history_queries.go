package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// historyQuery is something to time; run returns how many rows it read, or what it counted.
type historyQuery struct {
	name string
	run  func(ctx context.Context) (int, error)
}

const (
	pageSize = 50
	deepPage = 5000 // deliveries before a page far down
)

// historyQueries are the queries of a Markdown file, and those of the product.
func historyQueries(ctx context.Context, pool *pgxpool.Pool, file string) ([]historyQuery, error) {
	markdown, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the queries: %w", err)
	}
	var queries []historyQuery
	for _, sql := range markdownQueries(string(markdown)) {
		queries = append(queries, sqlQuery(pool, strings.Join(strings.Fields(sql), " "), sql))
	}
	queries = append(queries,
		sqlQuery(pool, "get_webhook_partner_stats()", `select user_id from get_webhook_partner_stats()`),
		sqlQuery(pool, "get_webhook_partner_stats(user)", `select user_id from get_webhook_partner_stats('user-77')`),
	)
	deliveries, err := jobs.NewDeliveries(ctx, pool)
	if err != nil {
		return nil, err
	}
	lists, err := listQueries(ctx, deliveries)
	if err != nil {
		return nil, err
	}
	queries = append(queries, lists...)
	shows, err := showQueries(ctx, pool, deliveries)
	if err != nil {
		return nil, err
	}
	queries = append(queries, shows...)
	queries = append(queries, replayQueries(deliveries)...)
	return append(queries, statsQueries(pool)...), nil
}

var (
	fencedSQL  = regexp.MustCompile("(?s)```sql\n(.*?)```")
	psqlOption = regexp.MustCompile(`(?m)^[^#\n]*\bpsql\b.* -c "([^"]*)"`)
	comment    = regexp.MustCompile(`(?m)--.*$`)
	queryEnd   = regexp.MustCompile(`;\s*(?:\n|$)`)
)

// markdownQueries are the queries of a Markdown text: of its sql blocks, and those that it gives to psql.
func markdownQueries(markdown string) []string {
	var queries []string
	for _, found := range append(fencedSQL.FindAllStringSubmatch(markdown, -1), psqlOption.FindAllStringSubmatch(markdown, -1)...) {
		for _, query := range queryEnd.Split(comment.ReplaceAllString(found[1], ""), -1) {
			if query = strings.TrimSpace(query); query != "" {
				queries = append(queries, query)
			}
		}
	}
	return queries
}

func sqlQuery(pool *pgxpool.Pool, name, sql string) historyQuery {
	return historyQuery{name, func(ctx context.Context) (int, error) {
		rows, err := pool.Query(ctx, sql)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		n := 0
		for rows.Next() {
			n++
		}
		return n, rows.Err()
	}}
}

// listQueries are lists with every filter, and further pages of some.
func listQueries(ctx context.Context, deliveries *jobs.Deliveries) ([]historyQuery, error) {
	const user = "user-77"
	day := time.Now().Add(-24 * time.Hour)
	type list struct {
		name   string
		filter jobs.Filter
		pages  bool
	}
	lists := []list{
		{"list", jobs.Filter{}, true},
		{"list --user", jobs.Filter{UserID: user}, true},
		{"list --user --since", jobs.Filter{UserID: user, Since: day}, false},
		{"list --partner", jobs.Filter{PartnerSlug: "partner-2"}, true},
		{"list --user --partner", jobs.Filter{UserID: user, PartnerSlug: "partner-2"}, true},
		{"list --event", jobs.Filter{EventType: "call.failed"}, true},
		{"list --event, of which there is none", jobs.Filter{EventType: "call.never"}, false},
		{"list --since", jobs.Filter{Since: day}, false},
		{"list --until", jobs.Filter{Until: time.Now().AddDate(0, 0, -30)}, false},
		{"list --error-kind", jobs.Filter{ErrorKind: partners.KindTimeout}, false},
		{"list --status dead_letter --error-kind", jobs.Filter{Status: jobs.StatusDeadLetter, ErrorKind: partners.KindTimeout}, true},
		{"list --status dead_letter --partner", jobs.Filter{Status: jobs.StatusDeadLetter, PartnerSlug: "partner-2"}, false},
		{"list --status dead_letter --event", jobs.Filter{Status: jobs.StatusDeadLetter, EventType: "call.failed"}, false},
		{"list --status dead_letter --since", jobs.Filter{Status: jobs.StatusDeadLetter, Since: day}, false},
		{"list, all filters", jobs.Filter{
			UserID: user, PartnerSlug: "partner-2", Status: jobs.StatusDeadLetter, EventType: "call.completed", ErrorKind: partners.KindConnect, Since: day.AddDate(0, 0, -30),
		}, false},
	}
	for _, status := range jobs.Statuses() {
		lists = append(lists,
			list{"list --status " + string(status), jobs.Filter{Status: status}, true},
			list{"list --user --status " + string(status), jobs.Filter{UserID: user, Status: status}, false})
	}
	var queries []historyQuery
	for _, l := range lists {
		page := func(after uuid.UUID) func(ctx context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				rows, err := deliveries.List(ctx, &l.filter, &jobs.Page{Limit: pageSize, After: after})
				return len(rows), err
			}
		}
		queries = append(queries, historyQuery{l.name, page(uuid.Nil)})
		if !l.pages {
			continue
		}
		rows, err := deliveries.List(ctx, &l.filter, &jobs.Page{Limit: deepPage})
		if err != nil {
			return nil, err
		}
		if len(rows) >= pageSize {
			queries = append(queries, historyQuery{l.name + ", page 2", page(uuid.MustParse(rows[pageSize-1].ID))})
		}
		if len(rows) == deepPage {
			queries = append(queries, historyQuery{fmt.Sprintf("%s, page %d", l.name, deepPage/pageSize+1), page(uuid.MustParse(rows[deepPage-1].ID))})
		}
	}
	return queries, nil
}

// showQueries are looks at one delivery: one that has its job, and one that only the attempt log knows.
func showQueries(ctx context.Context, pool *pgxpool.Pool, deliveries *jobs.Deliveries) ([]historyQuery, error) {
	var queries []historyQuery
	for _, show := range []struct{ what, from string }{
		{"a dead letter", `select id::uuid from webhook_delivery_queue where status = 'dead_letter' order by "createdAt" limit 1`},
		{"one without a job", `select delivery_id from webhook_delivery_log where event_id like 'gone-%' order by started_at limit 1`},
	} {
		rows, err := pool.Query(ctx, show.from)
		if err != nil {
			return nil, fmt.Errorf("looking for %s: %w", show.what, err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			return nil, fmt.Errorf("looking for %s: %w", show.what, err)
		}
		for _, id := range ids { // one or none
			queries = append(queries, historyQuery{"show " + show.what, func(ctx context.Context) (int, error) {
				if _, err := deliveries.Get(ctx, "", id); err != nil {
					return 0, err
				}
				attempts, err := deliveries.Attempts(ctx, "", id)
				return len(attempts), err
			}})
		}
	}
	return queries, nil
}

// replayQueries are the counts of `replay --dry-run`.
func replayQueries(deliveries *jobs.Deliveries) []historyQuery {
	day := time.Now().Add(-24 * time.Hour)
	var queries []historyQuery
	for _, r := range []struct {
		name   string
		replay jobs.Replay
	}{
		{"dead letters", jobs.Replay{Filter: jobs.Filter{Status: jobs.StatusDeadLetter}}},
		{"dead letters --user", jobs.Replay{Filter: jobs.Filter{Status: jobs.StatusDeadLetter, UserID: "user-77"}}},
		{"dead letters --user --partner", jobs.Replay{Filter: jobs.Filter{Status: jobs.StatusDeadLetter, UserID: "user-77", PartnerSlug: "partner-2"}}},
		{"dead letters --since", jobs.Replay{Filter: jobs.Filter{Status: jobs.StatusDeadLetter, Since: day}}},
		{"dead letters --error-kind", jobs.Replay{Filter: jobs.Filter{Status: jobs.StatusDeadLetter, ErrorKind: partners.KindTimeout}}},
		{"cancelled", jobs.Replay{Filter: jobs.Filter{Status: jobs.StatusCancelled}}},
		{"delivered in the last hour", jobs.Replay{Filter: jobs.Filter{Status: jobs.StatusDelivered, Since: time.Now().Add(-time.Hour)}}},
		{"delivered in a day --user", jobs.Replay{Filter: jobs.Filter{Status: jobs.StatusDelivered, UserID: "user-77", Since: day}}},
		{"missing of a day", jobs.Replay{Missing: true, Filter: jobs.Filter{Since: day}}},
		{"missing of a day --user --partner", jobs.Replay{Missing: true, Filter: jobs.Filter{UserID: "user-77", PartnerSlug: "partner-2", Since: day}}},
	} {
		queries = append(queries, historyQuery{"replay --dry-run, " + r.name, func(ctx context.Context) (int, error) {
			counts, err := deliveries.CountReplay(ctx, &r.replay)
			var n int64
			for _, count := range counts {
				n += count.Count
			}
			return int(n), err
		}})
	}
	return queries
}

// statsQueries are those of the command stats.
func statsQueries(pool *pgxpool.Pool) []historyQuery {
	var queries []historyQuery
	for _, s := range []struct {
		name   string
		filter jobs.StatsFilter
	}{{"stats", jobs.StatsFilter{}}, {"stats --user", jobs.StatsFilter{UserID: "user-77"}}} {
		queries = append(queries, historyQuery{s.name, func(ctx context.Context) (int, error) {
			stats, err := jobs.ReadStats(ctx, pool, &s.filter)
			if err != nil {
				return 0, err
			}
			return len(stats.Statuses), nil
		}})
	}
	return queries
}
