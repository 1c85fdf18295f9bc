package jobs_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// forEver keeps everything, so that tests may make things old.
func forEver(cfg *jobs.RunnerConfig) {
	cfg.Retention = jobs.Retention{Completed: -1, DeadLetters: -1, Cancelled: -1, Events: -1, Attempts: -1}
}

// operator is who replays.
func (b *testBundle) operator(t *testing.T) *jobs.Deliveries {
	t.Helper()
	deliveries, err := jobs.NewDeliveries(t.Context(), b.pool)
	require.NoError(t, err)
	return deliveries
}

// exec changes the database behind everybody's back.
func (b *testBundle) exec(t *testing.T, statement string, args ...any) int {
	t.Helper()
	tag, err := b.pool.Exec(t.Context(), statement, args...)
	require.NoError(t, err, statement)
	return int(tag.RowsAffected())
}

// retries says how often deliveries to a partner of user are tried again.
func (b *testBundle) retries(t *testing.T, slug string, n int) {
	t.Helper()
	_, err := b.store.Update(t.Context(), user, slug, &partners.Changes{MaxRetries: &partners.Override{Value: &n}})
	require.NoError(t, err)
}

// replayWay is a way to replay one delivery: by Go or by SQL.
type replayWay func(ctx context.Context, tx pgx.Tx, userID string, id uuid.UUID) (jobs.ReplayResult, error)

func (b *testBundle) replayWays(t *testing.T) map[string]replayWay {
	t.Helper()
	operator := b.operator(t)
	return map[string]replayWay{
		"Go": func(ctx context.Context, tx pgx.Tx, userID string, id uuid.UUID) (jobs.ReplayResult, error) {
			return operator.ReplayTx(ctx, tx, userID, id, "")
		},
		"SQL": func(ctx context.Context, tx pgx.Tx, userID string, id uuid.UUID) (result jobs.ReplayResult, err error) {
			if userID == "" {
				err = tx.QueryRow(ctx, `select replay_webhook_delivery($1)`, id.String()).Scan(&result)
			} else {
				err = tx.QueryRow(ctx, `select replay_webhook_delivery($1, user_id => $2)`, id.String(), userID).Scan(&result)
			}
			return result, err
		},
	}
}

// replay replays a delivery in a transaction of its own.
func (b *testBundle) replay(t *testing.T, id uuid.UUID) jobs.ReplayResult {
	t.Helper()
	result, err := b.operator(t).ReplayOne(t.Context(), "", id, false)
	require.NoError(t, err)
	return result
}

// replayAll replays what is selected, and counts the results.
func (b *testBundle) replayAll(t *testing.T, replay jobs.Replay) map[jobs.ReplayResult]int {
	t.Helper()
	counts := map[jobs.ReplayResult]int{}
	replay.Report = func(results []jobs.ReplayResult) {
		for _, result := range results {
			counts[result]++
		}
	}
	require.NoError(t, b.operator(t).Replay(t.Context(), &replay))
	return counts
}

// countReplay is how many deliveries a Replay selects, by user and slug of the partner.
func (b *testBundle) countReplay(t *testing.T, replay jobs.Replay) map[string]int {
	t.Helper()
	counts, err := b.operator(t).CountReplay(t.Context(), &replay)
	require.NoError(t, err)
	byPartner := map[string]int{}
	for i, count := range counts {
		require.Positive(t, count.Count)
		require.True(t, i == 0 || counts[i-1].Count >= count.Count, "most first")
		require.NotNil(t, count.PartnerSlug)
		byPartner[count.UserID+"/"+*count.PartnerSlug] += int(count.Count)
	}
	require.Len(t, byPartner, len(counts), "one a partner")
	return byPartner
}

// ended makes deliveries of user to a partner that ended in River's state, each of an event of its own, all
// enqueued at the same time.
func (b *testBundle) ended(t *testing.T, partner *partners.Partner, state string, n int) []uuid.UUID {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `
		with made as (
		    select gen_random_uuid() as id, format('%s-%s', $3::text, lpad(n::text, 6, '0')) as event_id, now() - interval '10 minutes' as at
		      from generate_series(1, $4) as n
		), events as (
		    insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids, created_at)
		    select $1, event_id, 'call.completed', '{}', array[$2::uuid], array[id], at from made
		), jobs as (
		    insert into river_job (kind, queue, state, attempt, max_attempts, created_at, attempted_at, finalized_at, args)
		    select 'webhook_delivery', 'webhooks', $3::text::river_job_state, 1, 1, at, at, at + interval '1 minute',
		           jsonb_build_object('version', 1, 'delivery_id', id, 'user_id', $1::text, 'partner_id', $2::uuid,
		                              'event_id', event_id, 'event_type', 'call.completed')
		      from made
		)
		select id from made order by event_id`, partner.UserID, partner.ID, state, n)
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	require.NoError(t, err)
	return ids
}

// replayed counts the jobs that a replay made.
func (b *testBundle) replayed(t *testing.T) int {
	t.Helper()
	return b.count(t, `river_job where metadata->>'trigger' = 'replay'`)
}

// requireEachOnce checks that each delivery arrived once, and nothing else did.
func requireEachOnce(t *testing.T, e *endpoint, ids []uuid.UUID) {
	t.Helper()
	seen := map[string]int{}
	for _, request := range e.received() {
		seen[request.header.Get("webhook-id")]++
	}
	for _, id := range ids {
		require.Equal(t, 1, seen[id.String()], id)
	}
	require.Len(t, seen, len(ids))
}

// moody answers with a status that can be changed.
func moody(code int) (http.HandlerFunc, *atomic.Int32) {
	var now atomic.Int32
	now.Store(int32(code))
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(now.Load())) }, &now
}

// atOnce calls a function n times concurrently, and collects what it returns.
func atOnce[T any](t *testing.T, n int, call func(i int) (T, error)) []T {
	t.Helper()
	results, errs, start := make([]T, n), make([]error, n), make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			results[i], errs[i] = call(i)
		})
	}
	close(start)
	group.Wait()
	for i, err := range errs {
		require.NoError(t, err, "call %d", i)
	}
	return results
}
