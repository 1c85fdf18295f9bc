package main

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// sink is a partner's server that takes everything and counts what it gets by delivery.
type sink struct {
	*httptest.Server

	mu    sync.Mutex
	posts map[string]int
	total int
}

func newSink(t *testing.T) *sink {
	t.Helper()
	r := &sink{posts: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.posts[request.Header.Get("webhook-id")]++
		r.total++
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *sink) received() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// requireEachOnce checks that each delivery arrived once, and nothing else did.
func (r *sink) requireEachOnce(t *testing.T, ids []string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		require.Equal(t, 1, r.posts[id], id)
	}
	require.Equal(t, len(ids), r.total)
}

// past makes deliveries of events of their own that reached River's state ten minutes ago, a second apart,
// and returns their ids, the oldest first.
func past(t *testing.T, pool *pgxpool.Pool, user, slug, state string, n int) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
		with made as (
		    select gen_random_uuid() as id, gen_random_uuid()::text as event_id, p.user_id, p.id as partner_id,
		           date_trunc('second', now()) - interval '10 minutes' - ($4 - n) * interval '1 millisecond' as at
		      from generate_series(1, $4) as n
		      join partner_webhooks p on p.user_id = $1 and p.partner_slug = $2
		), events as (
		    insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids, created_at)
		    select user_id, event_id, 'call.completed', '{}', array[partner_id], array[id], at from made
		), jobs as (
		    insert into river_job (kind, queue, state, attempt, max_attempts, created_at, attempted_at, finalized_at, metadata, args)
		    select 'webhook_delivery', 'webhooks', $3::text::river_job_state, 1, 2, at, at,
		           case when $3 in ('completed', 'discarded', 'cancelled') then at end,
		           '{"output": {"error_kind": "timeout", "error": "no answer within 30s"}}',
		           jsonb_build_object('version', 1, 'delivery_id', id, 'user_id', user_id, 'partner_id', partner_id,
		                              'event_id', event_id, 'event_type', 'call.completed')
		      from made
		)
		select id::text from made order by at`, user, slug, state, n)
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, ids, n)
	return ids
}

// countRows counts the rows of a query.
func countRows(t *testing.T, pool *pgxpool.Pool, from string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "select count(*) from "+from, args...).Scan(&n))
	return n
}

const replayedJobs = `river_job where metadata->>'trigger' = 'replay'`
