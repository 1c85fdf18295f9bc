package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestLeaksAreSeen puts a secret into each kind of place that TestNoSecretShows looks at.
func TestLeaksAreSeen(t *testing.T) {
	t.Parallel()
	w := newLeakWorld(t)
	w.must(t, "migrate up")
	planted := w.hide("planted", "planted7f3a9c0e5b")
	receiver := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		answer.WriteHeader(http.StatusInternalServerError)
		_, _ = answer.Write([]byte(planted))
	}))
	t.Cleanup(receiver.Close)
	for slug, address := range map[string]string{"echo": receiver.URL, "named": "https://" + planted + ".invalid/"} {
		w.call(t, call{command: "partner add --user u --name n --event call.completed --secret " + planted + " --slug " + slug + " --url " + address})
	}
	w.call(t, call{command: "send --data {} --user u --event !" + planted})
	w.call(t, call{command: `send --user u --event call.completed --data {"a":"` + planted + `"}`})

	serve, _ := w.background(t, "serve --addr 127.0.0.1:0")
	worker, _ := w.background(t, "work --debug")
	w.ended(t)
	_, err := w.pool.Exec(t.Context(), `
		insert into river_job (kind, queue, state, max_attempts, finalized_at, args)
		values ('webhook_delivery', 'webhooks', 'discarded', 1, now(), jsonb_build_object('delivery_id', gen_random_uuid(), 'event_id', $1::text))`, planted)
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `update partner_webhooks set secret_ciphertext = convert_to($1, 'UTF8') where partner_slug = 'echo'`, planted)
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), w.server.URL("postgres"))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	_, err = conn.Exec(t.Context(), `select 'planted7f3a9c0e5b'`)
	require.NoError(t, err)

	page, err := url.JoinPath(pagesOf(serve), "api/jobs")
	require.NoError(t, err)
	w.get(t, page+"?state=discarded", "ada", w.canary("page password").text)
	w.sawDatabase(t)
	w.sawLog(t)
	worker.stop()
	w.saw("a worker's log", worker.stderr.String())

	places := map[string]bool{}
	for _, leak := range w.leaks() {
		require.Equal(t, "planted", leak.canary)
		places[leak.place] = true
	}
	for _, want := range []string{
		"command line", "stdout of partner add", "stderr of send", "table public.webhook_events", "table public.river_job", "table public.partner_webhooks",
		"table public.webhook_delivery_log", "pg_stat_activity", "PostgreSQL's log", "page ", "a worker's log",
	} {
		seen := false
		for place := range places {
			seen = seen || strings.HasPrefix(place, want)
		}
		require.True(t, seen, "nothing was seen in %s, but in %v", want, places)
	}

	w.shown = slices.DeleteFunc(w.shown, func(shown shownText) bool { return shown.place != "command line" })
	w.saw("a place where it is meant to show", planted, "planted")
	for _, leak := range w.leaks() {
		require.Equal(t, "command line", leak.place)
	}
}
