package jobs_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// deadLetters selects what most tests replay.
var deadLetters = jobs.Filter{Status: jobs.StatusDeadLetter}

// More than two pages, all of the same time.
func TestReplayTakesAllOnce(t *testing.T) {
	t.Parallel()
	const n = 4500
	for name, filter := range map[string]jobs.Filter{
		"discarded": deadLetters,
		"completed": {Status: jobs.StatusDelivered, Since: time.Now().Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.ended(t, b.partner(t, user, "acme", nowhere, "*"), name, n)
			last := b.count(t, `river_job where id > 0`)
			require.Equal(t, map[string]int{user + "/acme": n}, b.countReplay(t, jobs.Replay{Filter: filter}))
			require.Equal(t, map[jobs.ReplayResult]int{jobs.Replayed: n}, b.replayAll(t, jobs.Replay{Filter: filter, Run: "r"}))
			require.Equal(t, n, last)
			require.Equal(t, n, b.count(t, `river_job where metadata = '{"trigger": "replay", "replay_run": "r"}' and state = 'available' and attempt = 0`))
			require.Equal(t, n, b.count(t, `river_job where kind = 'webhook_delivery'`))
			require.Equal(t, n, b.count(t, `(select distinct args->>'delivery_id' from river_job) d`))
		})
	}
}

func TestReplayTakesNothingAgainThatDiesAgain(t *testing.T) {
	t.Parallel()
	const n = 2100 // the second page is read when some of the first are dead again
	b := setup(t)
	e := newEndpoint(t, status(http.StatusInternalServerError))
	ids := b.ended(t, b.partner(t, user, "acme", e.URL, "*"), "discarded", n)
	b.retries(t, "acme", 0)
	b.run(t, func(cfg *jobs.RunnerConfig) { forEver(cfg); cfg.MaxConcurrent = 100 })
	again := 0
	replay := jobs.Replay{Filter: deadLetters, Report: func(results []jobs.ReplayResult) {
		for _, result := range results {
			require.Equal(t, jobs.Replayed, result)
		}
		again += len(results)
		if again == 2000 {
			require.Eventually(t, func() bool { return len(e.received()) > 100 }, waitFor, look)
			require.Eventually(t, func() bool {
				return b.count(t, `webhook_delivery_queue where status = 'dead_letter' and last_response_status = 500`) > 100
			}, waitFor, look)
		}
	}}
	require.NoError(t, b.operator(t).Replay(t.Context(), &replay))
	require.Equal(t, n, again)
	require.Eventually(t, func() bool {
		return b.count(t, `webhook_delivery_queue where status = 'dead_letter' and last_response_status = 500`) == n
	}, waitFor, 10*look)
	requireEachOnce(t, e, ids)
	require.Len(t, e.received(), n)
	require.Equal(t, n, b.count(t, `webhook_delivery_log where trigger = 'replay' and outcome = 'failed'`))
	require.Equal(t, map[string]int{user + "/acme": n}, b.countReplay(t, jobs.Replay{Filter: deadLetters}), "another time they are")
}

// In one run each is replayed once, however it ended then.
func TestReplayRunIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		filter jobs.Filter
		state  string
		answer int
		ends   jobs.Status
	}{
		"delivered":    {jobs.Filter{Status: jobs.StatusDelivered, Since: time.Now().Add(-time.Hour)}, "completed", http.StatusOK, jobs.StatusDelivered},
		"dead letters": {deadLetters, "discarded", http.StatusInternalServerError, jobs.StatusDeadLetter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			e := newEndpoint(t, status(test.answer))
			b.ended(t, b.partner(t, user, "acme", e.URL, "*"), test.state, 20)
			b.retries(t, "acme", 0)
			b.run(t, forEver)
			received := 0
			for _, again := range []struct {
				run  string
				want map[jobs.ReplayResult]int
			}{
				{"monday", map[jobs.ReplayResult]int{jobs.Replayed: 20}},
				{"monday", map[jobs.ReplayResult]int{jobs.ReplayedBefore: 20}},
				{"tuesday", map[jobs.ReplayResult]int{jobs.Replayed: 20}},
				{"tuesday", map[jobs.ReplayResult]int{jobs.ReplayedBefore: 20}},
				{"", map[jobs.ReplayResult]int{jobs.Replayed: 20}},
				{"", map[jobs.ReplayResult]int{jobs.Replayed: 20}},
			} {
				require.Equal(t, again.want, b.replayAll(t, jobs.Replay{Filter: test.filter, Run: again.run}), again.run)
				received += again.want[jobs.Replayed]
				require.Eventually(t, func() bool {
					return len(e.received()) == received && b.count(t, `webhook_delivery_queue where status = $1`, string(test.ends)) == 20
				}, waitFor, look)
			}
		})
	}
}

func TestReplayKeepsToTheRate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "discarded", 100)
	var took []time.Duration
	done := 0
	began := time.Now()
	require.NoError(t, b.operator(t).Replay(t.Context(), &jobs.Replay{
		Filter: deadLetters,
		Rate:   200,
		Report: func(results []jobs.ReplayResult) {
			require.LessOrEqual(t, len(results), 20)
			done += len(results)
			took = append(took, time.Since(began))
		},
	}))
	require.Equal(t, 100, done)
	require.Equal(t, 100, b.replayed(t))
	for i := range took { // what comes after the first chunk has been waited for
		require.GreaterOrEqual(t, took[i], time.Duration(i)*90*time.Millisecond)
	}
	require.GreaterOrEqual(t, took[len(took)-1], 350*time.Millisecond)
}

func TestReplayWithASlowRate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "discarded", 3)
	ctx, cancel := context.WithCancel(t.Context())
	err := b.operator(t).Replay(ctx, &jobs.Replay{Filter: deadLetters, Rate: 1.0 / 3600, Report: func(results []jobs.ReplayResult) {
		require.Len(t, results, 1, "the next one would come in an hour")
		time.AfterFunc(50*time.Millisecond, cancel)
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, b.replayed(t))
}

func TestReplayIsInterrupted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	ids := b.ended(t, b.partner(t, user, "acme", e.URL, "*"), "discarded", 900)
	ctx, cancel := context.WithCancel(t.Context())
	done := 0
	replay := jobs.Replay{Filter: deadLetters, Run: "r", Report: func(results []jobs.ReplayResult) {
		done += len(results)
		if done >= 400 {
			cancel()
		}
	}}
	require.ErrorIs(t, b.operator(t).Replay(ctx, &replay), context.Canceled)
	require.Equal(t, 400, done)
	require.Equal(t, 400, b.replayed(t))
	require.Equal(t, 500, b.count(t, `river_job where state = 'discarded' and metadata = '{}'`), "the rest is as it was")
	require.ErrorIs(t, b.operator(t).Replay(ctx, &replay), context.Canceled, "at once")

	b.run(t, forEver)
	require.Equal(t, map[jobs.ReplayResult]int{jobs.Replayed: 500}, b.replayAll(t, jobs.Replay{Filter: deadLetters, Run: "r"}))
	require.Eventually(t, func() bool { return b.count(t, `webhook_delivery_queue where status = 'delivered'`) == 900 }, waitFor, look)
	requireEachOnce(t, e, ids)
	require.Len(t, e.received(), 900)
}

// Whenever it is interrupted, what was not reported has not been replayed.
func TestReplayIsInterruptedAnywhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "discarded", 3000)
	operator, reported := b.operator(t), 0
	replay := jobs.Replay{Filter: deadLetters, Rate: 900_000, Run: "r", Report: func(results []jobs.ReplayResult) { reported += len(results) }}
	for round := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(rand.N(60*time.Millisecond), cancel)
		err := operator.Replay(ctx, &replay)
		timer.Stop()
		cancel()
		require.Equal(t, reported, b.replayed(t), "round %d: %v", round, err)
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
	require.NoError(t, operator.Replay(t.Context(), &replay))
	require.Equal(t, 3000, reported)
	require.Equal(t, 3000, b.replayed(t))
}

// The commit itself is not interrupted: nobody could say whether it was done.
func TestReplayIsInterruptedWhileItCommits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "discarded", 2)
	b.exec(t, `create function hold() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(1); return null; end $$`)
	b.exec(t, `create constraint trigger hold after insert on river_job deferrable initially deferred for each row execute function hold()`)
	var reported []jobs.ReplayResult
	for name, replay := range map[string]func(ctx context.Context) error{
		"all": func(ctx context.Context) error {
			return b.operator(t).Replay(ctx, &jobs.Replay{Filter: deadLetters, Rate: 1, Report: func(results []jobs.ReplayResult) {
				reported = append(reported, results...)
			}})
		},
		"one": func(ctx context.Context) error {
			result, err := b.operator(t).ReplayOne(ctx, user, ids[1], false)
			reported = append(reported, result)
			return err
		},
	} {
		reported = nil
		b.exec(t, `update river_job set state = 'discarded', finalized_at = now(), metadata = '{}'`)
		ctx, cancel := context.WithCancel(t.Context())
		lock, err := b.pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = lock.Exec(t.Context(), `select pg_advisory_xact_lock(1)`)
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- replay(ctx) }()
		require.Eventually(t, func() bool {
			return b.count(t, `pg_stat_activity where datname = current_database() and wait_event = 'advisory' and query = 'commit'`) == 1
		}, waitFor, look, name)
		cancel()
		require.NoError(t, lock.Rollback(t.Context()))
		err = <-done
		require.Equal(t, []jobs.ReplayResult{jobs.Replayed}, reported, "%s: %v", name, err)
		require.Equal(t, 1, b.replayed(t), name)
	}
}

// Several that replay the same share the work.
func TestReplayAllAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "discarded", 2500)
	operator := b.operator(t)
	counts := atOnce(t, 4, func(int) (map[jobs.ReplayResult]int, error) {
		count := map[jobs.ReplayResult]int{}
		return count, operator.Replay(t.Context(), &jobs.Replay{Filter: deadLetters, Report: func(results []jobs.ReplayResult) {
			for _, result := range results {
				count[result]++
			}
		}})
	})
	replayed := 0
	for _, count := range counts {
		replayed += count[jobs.Replayed]
		delete(count, jobs.Replayed)
		delete(count, jobs.UnderWay)
		require.Empty(t, count)
	}
	require.Equal(t, 2500, replayed)
	require.Equal(t, 2500, b.replayed(t))
	require.Equal(t, 2500, b.count(t, `river_job where kind = 'webhook_delivery'`))
}

// Where attempts are not recorded nothing but the events knows of a delivery whose job was removed.
func TestReplayDoesNotSearchForEventsItKnows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "completed", 3000)
	b.exec(t, `delete from river_job`)
	b.exec(t, `analyze webhook_events`)
	for event, searched := range map[string]bool{"completed-001500": false, "completed-000001": true, "nothing": true} {
		tx, err := b.pool.Begin(t.Context())
		require.NoError(t, err)
		// The session's counts may hold what it did before this transaction and has not reported yet.
		scans := func() (n int) {
			t.Helper()
			require.NoError(t, tx.QueryRow(t.Context(), `select pg_stat_get_xact_numscans('webhook_events'::regclass)`).Scan(&n))
			return n
		}
		before := scans()
		var result jobs.ReplayResult
		err = tx.QueryRow(t.Context(), `select replay_webhook_delivery($1, user_id => $2, event_id => $3)`, ids[1499], user, event).Scan(&result)
		require.NoError(t, err)
		require.Equal(t, jobs.Replayed, result, "a wrong event does no harm")
		require.Equal(t, searched, scans() > before, event)
		require.NoError(t, tx.Rollback(t.Context()))
	}
}

// What an operator writes in psql.
func TestReplayBySQLWhatAQuerySelects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	ids := b.ended(t, acme, "discarded", 300)
	b.ended(t, acme, "cancelled", 10)
	late := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "late", late.URL, "call.*")
	b.run(t, forEver)
	require.Equal(t, 300, b.count(t, `(
		select replay_webhook_delivery(id::uuid) as result
		  from webhook_delivery_queue
		 where status = 'dead_letter' and event_type = 'call.completed') r where result = 'replayed'`))
	require.Equal(t, 310, b.count(t, `(
		select recover_webhook_delivery(m.user_id, m.event_id, m.partner_id) as result
		  from webhook_missing_deliveries(now() - interval '7 days') as m) r where result = 'recovered'`))
	require.Eventually(t, func() bool { return b.count(t, `webhook_delivery_queue where status = 'delivered'`) == 610 }, waitFor, look)
	requireEachOnce(t, e, ids)
	require.Len(t, e.received(), 300)
	require.Len(t, late.received(), 310)
}
