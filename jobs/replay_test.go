package jobs_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// TestReplay ends deliveries in every way with a real worker, and replays them to it.
func TestReplay(t *testing.T) {
	t.Parallel()
	removeJob := func(t *testing.T, b *testBundle, delivery jobs.Delivery) {
		t.Helper()
		require.Equal(t, 1, b.exec(t, `delete from river_job where id = $1`, delivery.JobID))
	}
	tests := map[string]struct {
		answer  int
		ends    jobs.Status
		prepare func(t *testing.T, b *testBundle, delivery jobs.Delivery)
		logged  int // attempts on record before the replay
	}{
		"dead letter":                          {http.StatusInternalServerError, jobs.StatusDeadLetter, nil, 2},
		"dead letter whose job was removed":    {http.StatusInternalServerError, jobs.StatusDeadLetter, removeJob, 2},
		"cancelled":                            {http.StatusGone, jobs.StatusCancelled, nil, 1},
		"delivered":                            {http.StatusOK, jobs.StatusDelivered, nil, 1},
		"delivered, and its job was removed":   {http.StatusOK, jobs.StatusDelivered, removeJob, 1},
		"delivered, and no attempt was logged": {http.StatusOK, jobs.StatusDelivered, removeLog, 0},
		"delivered, and all but its event was removed": {http.StatusOK, jobs.StatusDelivered, func(t *testing.T, b *testBundle, delivery jobs.Delivery) {
			t.Helper()
			removeJob(t, b, delivery)
			removeLog(t, b, delivery)
		}, 0},
	}
	for name, test := range tests {
		for _, way := range []string{"Go", "SQL"} {
			t.Run(name+" by "+way, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				handler, answer := moody(test.answer)
				e := newEndpoint(t, handler)
				b.partner(t, user, "acme", e.URL, "*")
				b.retries(t, "acme", 1)
				b.run(t, forEver)
				delivery := b.enqueue(t, completed("e1"))[0]
				b.await(t, delivery, test.ends)
				before := len(e.received())
				b.exec(t, `update river_job set created_at = created_at - interval '3 hours' where id = $1`, delivery.JobID)
				b.exec(t, `update webhook_events e set created_at = j.created_at from river_job j where j.id = $1`, delivery.JobID)
				enqueued := b.get(t, delivery).CreatedAt
				if test.prepare != nil {
					test.prepare(t, b, delivery)
				}
				logged := b.attempts(t, delivery)
				require.Len(t, logged, test.logged)
				_, err := b.store.Enable(t.Context(), user, "acme")
				require.NoError(t, err)
				b.retries(t, "acme", 3)
				answer.Store(http.StatusAccepted)

				b.replayInTx(t, b.replayWays(t)[way], delivery, enqueued)
				state := b.await(t, delivery, jobs.StatusDelivered)
				require.Equal(t, 1, state.AttemptCount)
				require.Equal(t, enqueued, state.CreatedAt)
				requests := e.received()
				require.Len(t, requests, before+1)
				require.Equal(t, delivery.ID.String(), requests[before].header.Get("webhook-id"))
				require.JSONEq(t, `{"call_id":"c1"}`, requests[before].body)
				attempts := b.attempts(t, delivery)
				require.Len(t, attempts, test.logged+1)
				require.Equal(t, logged, attempts[:test.logged], "what was on record stays")
				require.Equal(t, jobs.TriggerReplay, attempts[test.logged].Trigger)
				require.Equal(t, 1, attempts[test.logged].Number)
				require.Equal(t, state.JobID, attempts[test.logged].JobID)
			})
		}
	}
}

func removeLog(t *testing.T, b *testBundle, delivery jobs.Delivery) {
	t.Helper()
	require.Positive(t, b.exec(t, `delete from webhook_delivery_log where delivery_id = $1`, delivery.ID))
}

// replayInTx replays a delivery, and looks at its job before a worker can.
func (b *testBundle) replayInTx(t *testing.T, way replayWay, delivery jobs.Delivery, enqueued time.Time) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		result, err := way(t.Context(), tx, user, delivery.ID)
		require.NoError(t, err)
		require.Equal(t, jobs.Replayed, result)
		rows, err := tx.Query(t.Context(), `
			select id, state::text, attempt, max_attempts, queue, priority, created_at, scheduled_at <= now(), args, metadata
			  from river_job where kind = 'webhook_delivery'`)
		require.NoError(t, err)
		type job struct {
			ID                   int64
			State                string
			Attempt, MaxAttempts int
			Queue                string
			Priority             int
			CreatedAt            time.Time
			Due                  bool
			Args                 map[string]any
			Metadata             map[string]any
		}
		got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[job])
		require.NoError(t, err)
		require.NotEqual(t, delivery.JobID, got.ID, "a job of its own")
		require.Equal(t, job{
			got.ID, "available", 0, 4, jobs.Queue, 2, enqueued, true,
			map[string]any{
				"version": 1.0, "delivery_id": delivery.ID.String(), "user_id": user, "partner_id": delivery.PartnerID.String(),
				"event_id": "e1", "event_type": "call.completed",
			},
			map[string]any{"trigger": "replay"},
		}, got)
		return nil
	}))
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	anew := func(t *testing.T, b *testBundle, delivery jobs.Delivery) { // the same event id, after retention
		t.Helper()
		b.exec(t, `insert into webhook_delivery_log (attempt_id, delivery_id, job_id, user_id, event_id, attempt, trigger, outcome, client_id, started_at)
			select gen_random_uuid(), $1, 1, user_id, event_id, 1, 'schedule', 'delivered', 'c', now() from webhook_events`, delivery.ID.String())
		b.exec(t, `delete from webhook_events`)
		b.exec(t, `delete from river_job`)
		b.enqueue(t, completed("e1"))
	}
	statement := func(sql string) func(*testing.T, *testBundle, jobs.Delivery) {
		return func(t *testing.T, b *testBundle, _ jobs.Delivery) {
			t.Helper()
			require.Equal(t, 1, b.exec(t, sql))
		}
	}
	tests := map[string]struct {
		change func(t *testing.T, b *testBundle, delivery jobs.Delivery)
		userID string
		other  bool // another id
		want   jobs.ReplayResult
	}{
		"pending":                    {statement(`update river_job set state = 'available', attempt = 0, finalized_at = null`), "", false, jobs.UnderWay},
		"held for a pause":           {statement(`update river_job set state = 'scheduled', attempt = 0, finalized_at = null`), "", false, jobs.UnderWay},
		"running":                    {statement(`update river_job set state = 'running', finalized_at = null`), "", false, jobs.UnderWay},
		"failed, waits for its try":  {statement(`update river_job set state = 'retryable', finalized_at = null`), "", false, jobs.UnderWay},
		"failed, due":                {statement(`update river_job set state = 'available', finalized_at = null`), user, false, jobs.UnderWay},
		"unknown":                    {nil, "", true, jobs.ReplayNotFound},
		"unknown to the user":        {nil, user, true, jobs.ReplayNotFound},
		"another user's":             {nil, "other", false, jobs.ReplayNotFound},
		"another user's, job gone":   {statement(`delete from river_job`), "other", false, jobs.ReplayNotFound},
		"another user's, under way":  {statement(`update river_job set state = 'available', finalized_at = null`), "other", false, jobs.ReplayNotFound},
		"event removed":              {statement(`delete from webhook_events`), user, false, jobs.EventRemoved},
		"event enqueued anew":        {anew, user, false, jobs.EventRemoved},
		"partner deleted":            {statement(`delete from partner_webhooks`), "", false, jobs.PartnerDeleted},
		"partner disabled":           {statement(`update partner_webhooks set enabled = false, disabled_reason = 'x'`), "", false, jobs.PartnerDisabled},
		"nothing but the id is left": {statement(`with j as (delete from river_job) delete from webhook_events`), "", false, jobs.ReplayNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.partner(t, user, "acme", nowhere, "*")
			delivery := b.enqueue(t, completed("e1"))[0]
			b.exec(t, `update river_job set state = 'discarded', attempt = 1, finalized_at = now()`)
			if test.change != nil {
				test.change(t, b, delivery)
			}
			id := delivery.ID
			if test.other {
				id = uuid.New()
			}
			before := b.dump(t)
			for way, replay := range b.replayWays(t) {
				require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
					result, err := replay(t.Context(), tx, test.userID, id)
					require.Equal(t, test.want, result, way)
					return err
				}))
			}
			for _, dryRun := range []bool{true, false} {
				result, err := b.operator(t).ReplayOne(t.Context(), test.userID, id, dryRun)
				require.NoError(t, err)
				require.Equal(t, test.want, result)
			}
			require.Equal(t, before, b.dump(t), "nothing has changed")
		})
	}
}

// dump is all that deliveries are made of.
func (b *testBundle) dump(t *testing.T) (all string) {
	t.Helper()
	require.NoError(t, b.pool.QueryRow(t.Context(), `
		select concat_ws(E'\n',
		       (select string_agg(e::text, E'\n' order by e.user_id, e.event_id) from webhook_events e),
		       (select string_agg(j::text, E'\n' order by j.id) from river_job j),
		       (select string_agg(l::text, E'\n' order by l.started_at, l.attempt_id) from webhook_delivery_log l))`).Scan(&all))
	return all
}

func TestReplayToAPausedPartnerIsHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	partner := b.partner(t, user, "acme", e.URL, "*")
	id := b.ended(t, partner, "discarded", 1)[0]
	_, err := b.store.Pause(t.Context(), user, "acme")
	require.NoError(t, err)
	b.run(t, nil)
	require.Equal(t, jobs.Replayed, b.replay(t, id))
	require.Eventually(t, func() bool {
		return b.count(t, `river_job where kind = 'webhook_delivery' and state = 'scheduled' and attempt = 0`) == 1
	}, waitFor, look)
	require.Empty(t, e.received())
	require.Equal(t, jobs.UnderWay, b.replay(t, id))

	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		if _, err := b.store.ResumeTx(t.Context(), tx, user, "acme"); err != nil {
			return err
		}
		_, err := b.operator(t).ReleaseTx(t.Context(), tx, user, partner.ID)
		return err
	}))
	b.await(t, jobs.Delivery{ID: id}, jobs.StatusDelivered)
	requireEachOnce(t, e, []uuid.UUID{id})
}

// An application replays in a transaction of its own, with other work.
func TestReplayIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"Go", "SQL"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			e := newEndpoint(t, status(http.StatusOK))
			id := b.ended(t, b.partner(t, user, "acme", e.URL, "*"), "discarded", 1)[0]
			b.exec(t, `create table tickets (delivery_id uuid)`)
			replay := func(tx pgx.Tx) {
				_, err := tx.Exec(t.Context(), `insert into tickets values ($1)`, id)
				require.NoError(t, err)
				result, err := b.replayWays(t)[way](t.Context(), tx, "", id)
				require.NoError(t, err)
				require.Equal(t, jobs.Replayed, result)
				result, err = b.replayWays(t)[way](t.Context(), tx, "", id)
				require.NoError(t, err)
				require.Equal(t, jobs.UnderWay, result, "it sees its own replay")
			}
			before := b.dump(t)
			tx, err := b.pool.Begin(t.Context())
			require.NoError(t, err)
			replay(tx)
			require.Equal(t, before, b.dump(t), "nobody else sees it yet")
			require.NoError(t, tx.Rollback(t.Context()))
			require.Equal(t, before, b.dump(t))
			require.Zero(t, b.count(t, "tickets"))

			b.run(t, nil)
			tx, err = b.pool.Begin(t.Context())
			require.NoError(t, err)
			replay(tx)
			require.NoError(t, tx.Commit(t.Context()))
			b.await(t, jobs.Delivery{ID: id}, jobs.StatusDelivered)
			require.Equal(t, 1, b.count(t, "tickets"))
			requireEachOnce(t, e, []uuid.UUID{id})
		})
	}
}

func TestReplayDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "discarded", 1)[0]
	before := b.dump(t)
	for range 2 {
		result, err := b.operator(t).ReplayOne(t.Context(), user, id, true)
		require.NoError(t, err)
		require.Equal(t, jobs.Replayed, result)
	}
	require.Equal(t, before, b.dump(t))
}

func TestReplayAtOnceIsOne(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"with a job": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ids := b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "completed", 20)
			if gone {
				b.exec(t, `delete from river_job`)
			}
			operator := b.operator(t)
			for _, id := range ids {
				results := atOnce(t, 16, func(i int) (result jobs.ReplayResult, err error) {
					if i%2 == 0 {
						return operator.ReplayOne(t.Context(), user, id, false)
					}
					err = b.pool.QueryRow(t.Context(), `select replay_webhook_delivery($1)`, id.String()).Scan(&result)
					return result, err
				})
				counts := map[jobs.ReplayResult]int{}
				for _, result := range results {
					counts[result]++
				}
				require.Equal(t, map[jobs.ReplayResult]int{jobs.Replayed: 1, jobs.UnderWay: 15}, counts)
				require.Equal(t, 1, b.count(t, `river_job where args->>'delivery_id' = $1`, id.String()))
			}
			require.Equal(t, len(ids), b.replayed(t))
			require.Equal(t, len(ids), b.count(t, `river_job where kind = 'webhook_delivery'`))
		})
	}
}
