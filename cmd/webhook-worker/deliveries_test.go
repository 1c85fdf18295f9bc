package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/migrations"
)

func TestDeliveriesListInPages(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	terminal.addPartner(t, "u", "acme", "https://acme.example/")
	terminal.addPartner(t, "other", "acme", "https://other.example/")
	ids := past(t, pool, "u", "acme", "discarded", 25)
	others := past(t, pool, "other", "acme", "discarded", 5)
	// Equal times, across the ends of pages too.
	_, err := pool.Exec(t.Context(), `
		update river_job
		   set created_at = date_trunc('second', now()) - interval '1 hour' + (array_position($1::text[], args->>'delivery_id') / 7) * interval '1 minute'
		 where args->>'user_id' = 'u'`, ids)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `
		update webhook_events e set created_at = j.created_at from river_job j where j.args->>'delivery_id' = any (e.delivery_ids::text[])`)
	require.NoError(t, err)
	slices.Reverse(ids) // the newest first

	list := func(args ...string) (page []string) {
		var rows []struct{ ID string }
		terminal.json(t, &rows, append([]string{"deliveries", "list"}, args...)...)
		for _, row := range rows {
			page = append(page, row.ID)
		}
		return page
	}
	inPages := func(args ...string) (all []string) {
		for flags := []string{"--limit", "10"}; ; {
			page := list(slices.Concat(args, flags)...)
			require.LessOrEqual(t, len(page), 10)
			all = append(all, page...)
			if len(page) < 10 {
				return all
			}
			flags = []string{"--limit", "10", "--after", page[9]}
		}
	}
	require.Equal(t, ids, inPages("--user", "u"))
	require.Equal(t, ids, inPages("--user", "u", "--status", "dead_letter", "--partner", "acme", "--event", "call.completed"))
	slices.Reverse(others)
	require.Equal(t, append(slices.Clone(others), ids...), inPages())
	require.Empty(t, list("--after", ids[24]))
	require.Equal(t, ids[20:], list("--user", "u", "--after", ids[19], "--limit", "1000"))

	// What is enqueued meanwhile does not move the pages.
	first := list("--user", "u", "--limit", "10")
	past(t, pool, "u", "acme", "retryable", 3)
	require.Equal(t, ids[10:20], list("--user", "u", "--limit", "10", "--after", first[9]))

	said := regexp.MustCompile(`there may be more: --after (\S+)\n`)
	human := terminal.ok(t, "deliveries", "list", "--user", "u", "--limit", "10", "--status", "dead_letter")
	require.Equal(t, ids[9], said.FindStringSubmatch(human.stderr)[1])
	require.Equal(t, 11, strings.Count(human.stdout, "\n"))
	require.NotContains(t, terminal.ok(t, "deliveries", "list", "--user", "u", "--limit", "26", "--status", "dead_letter").stderr, "there may be more")

	require.Equal(t, ids[12:], list("--user", "u", "--until", "58m30s", "--status", "dead_letter"), "two minutes' worth")
	require.Equal(t, ids[12:19], list("--user", "u", "--until", "58m30s", "--since", "59m30s"))
	require.Empty(t, list("--until", "61m"))

	const unknown = "5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11"
	(&badCall{1, "delivery not found: " + unknown, "deliveries list --after " + unknown, nil, ""}).check(t, terminal)
	for args, says := range map[string]string{
		"--after 7":              `"7" is not a delivery id`,
		"--after ''":             "--after: it must not be empty",
		"--until 2h --limit 0":   "--limit must be at least 1",
		"--since 1h --until 2h":  `--until "2h" is before --since "1h"`,
		"--until tomorrow":       `--until "tomorrow" must be a day`,
		"--until '' --since 1h":  "--until: it must not be empty",
		"--partner '' --user u":  "--partner: it must not be empty",
		"--status '' --limit 10": "--status: it must not be empty",
	} {
		(&badCall{2, says, "deliveries list " + args, nil, ""}).check(t, terminal)
	}
}

// A delivered one is known by its attempts when its job has been removed.
func TestDeliveriesShowAfterItsJob(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	terminal.addPartner(t, "u", "good", newEndpoint(t, http.StatusAccepted).URL)
	terminal.addPartner(t, "u", "bad", newEndpoint(t, http.StatusTeapot).URL, "--max-retries", "1")
	terminal.with("RETRY_BASE_DELAY=20ms").start(t, "work")
	var sent []map[string]any
	terminal.json(t, &sent, "send", "--user", "u", "--event", "call.completed", "--id", "e1", "--data", `{"n":1}`)
	require.Len(t, sent, 2)
	bad, good := sent[0]["id"].(string), sent[1]["id"].(string)
	require.Eventually(t, func() bool {
		return countRows(t, pool, `webhook_delivery_queue where status in ('delivered', 'dead_letter')`) == 2
	}, waitFor, look)
	show := func(id string) (shown map[string]any) {
		terminal.json(t, &shown, "deliveries", "show", id, "--user", "u")
		return shown
	}
	before := map[string]map[string]any{good: show(good), bad: show(bad)}
	_, err := pool.Exec(t.Context(), `delete from river_job where kind = 'webhook_delivery'`)
	require.NoError(t, err)
	for id, want := range before {
		after := show(id)
		for _, key := range []string{
			"id", "user_id", "partner_id", "partner_slug", "event_id", "event_type", "status", "attempt_count",
			"last_error", "last_error_kind", "last_response_status", "payload", "attempts",
		} {
			require.Equal(t, want[key], after[key], key)
		}
		require.InDelta(t, 0, after["job_id"], 0)
		require.Nil(t, after["next_attempt_at"])
	}
	human := terminal.ok(t, "deliveries", "show", good).stdout
	require.Contains(t, human, "removed; this is what the attempts say")
	require.Contains(t, human, "delivered")
	require.Contains(t, human, `{"n":1}`)
	(&badCall{1, "delivery not found: " + good, "deliveries show " + good + " --user other", nil, ""}).check(t, terminal)
	require.Empty(t, terminal.ok(t, "deliveries", "list", "--status", "delivered", "--json").stdout[3:], "it is in no list any more")

	_, err = pool.Exec(t.Context(), `delete from webhook_events`)
	require.NoError(t, err)
	require.Nil(t, show(good)["payload"])
	require.Equal(t, "delivered", show(good)["status"])
	_, err = pool.Exec(t.Context(), `delete from webhook_delivery_log`)
	require.NoError(t, err)
	(&badCall{1, "delivery not found: " + good, "deliveries show " + good, nil, ""}).check(t, terminal)
}

// Where the tables are in a schema of their own, the worker that runs a delivery hears of its cancelling.
func TestDeliveriesCancelInASchemaOfOurOwn(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"webhooks", "Our_Hooks"} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			empty := testdb.NewEmpty(t)
			_, err := empty.Exec(t.Context(), `create schema "`+schema+`"; create schema app`)
			require.NoError(t, err)
			open := func(searchPath string) string { return testdb.URL(empty) + "&search_path=" + searchPath }
			ours, err := pgxpool.New(t.Context(), open(`"`+schema+`"`))
			require.NoError(t, err)
			t.Cleanup(ours.Close)
			require.NoError(t, migrations.Up(t.Context(), ours, slog.New(slog.DiscardHandler)))
			worker := (&terminal{environ: []string{
				"DATABASE_URL=" + open(`"`+schema+`"`), "WEBHOOK_ENCRYPTION_KEY=" + newKey(), "WEBHOOK_ALLOW_HTTP=true", "WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8",
			}})
			operator := worker.with("DATABASE_URL=" + open(`app,"`+schema+`"`)) // the first schema is another

			arrived := make(chan struct{}, 10)
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // or it would not hear that the worker has gone
				arrived <- struct{}{}
				<-r.Context().Done()
			}))
			t.Cleanup(server.Close)
			arrives := func() bool { return len(arrived) > 0 && <-arrived == struct{}{} }
			worker.addPartner(t, "u", "acme", server.URL)
			worker.start(t, "work")
			for _, who := range []*terminal{worker, operator} {
				var sent []map[string]any
				worker.json(t, &sent, "send", "--user", "u", "--event", "call.completed", "--data", "{}")
				require.Eventually(t, arrives, waitFor, look)
				id := sent[0]["id"].(string)
				cancelled := func() bool {
					return countRows(t, ours, `webhook_delivery_queue where id = $1 and status = 'cancelled'`, id) == 1
				}
				require.Equal(t, "delivery "+id+" cancelled\n", who.ok(t, "deliveries", "cancel", id).stderr)
				require.Eventually(t, cancelled, waitFor, look)
				var shown map[string]any
				who.json(t, &shown, "deliveries", "show", id)
				require.Equal(t, "cancelled by hand before the answer", shown["last_error"])
				require.Equal(t, "delivery "+id+" replayed\n", who.ok(t, "replay", id).stderr)
				require.Eventually(t, arrives, waitFor, look, "its commit wakes the worker")
				who.ok(t, "deliveries", "cancel", id)
				require.Eventually(t, cancelled, waitFor, look)
			}
		})
	}
}
