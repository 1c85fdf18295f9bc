package jobs_test

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// eventsAreOld removes events at once, and nothing else.
func eventsAreOld(cfg *jobs.RunnerConfig) {
	forEver(cfg)
	cfg.Retention.Events = time.Millisecond
}

func (b *testBundle) retentionHasRun(t *testing.T) bool {
	t.Helper()
	return b.count(t, `river_job where kind = 'webhook_retention' and state = 'completed'`) > 0
}

// deliveredLongAgo makes deliveries whose jobs were removed: their attempts and their old events are left.
func (b *testBundle) deliveredLongAgo(t *testing.T, slug, url string, n int) []uuid.UUID {
	t.Helper()
	ids := b.ended(t, b.partner(t, user, slug, url, "*"), "completed", n)
	b.exec(t, `
		insert into webhook_delivery_log (attempt_id, delivery_id, job_id, user_id, event_id, attempt, trigger, outcome, client_id, started_at)
		select gen_random_uuid(), delivery_ids[1], 1, user_id, event_id, 1, 'schedule', 'delivered', 'c', created_at from webhook_events`)
	require.Equal(t, n, b.exec(t, `delete from river_job`))
	return ids
}

// hasEvent says for each delivery whether its event is there.
func (b *testBundle) hasEvent(t *testing.T) map[uuid.UUID]bool {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `select unnest(delivery_ids) from webhook_events`)
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	require.NoError(t, err)
	has := map[uuid.UUID]bool{}
	for _, id := range ids {
		has[id] = true
	}
	return has
}

const jobsWithoutEvent = `river_job j where j.kind = 'webhook_delivery' and not exists (
	select from webhook_events e where e.user_id = j.args->>'user_id' and e.event_id = j.args->>'event_id')`

func TestReplayWhileRetentionRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	ids := b.deliveredLongAgo(t, "acme", e.URL, 12_060)
	racing, operator := len(ids)-60, b.operator(t)
	results := make([]jobs.ReplayResult, len(ids))
	var ended atomic.Bool
	var group sync.WaitGroup
	for i := range 6 { // half of them go the way that retention goes, half the other
		group.Go(func() {
			for k := i; k < racing && !ended.Load(); k += 6 {
				place := k
				if i%2 == 1 {
					place = racing - 6 + 2*i - k
				}
				var err error
				if results[place], err = operator.ReplayOne(t.Context(), user, ids[place], false); err != nil {
					t.Errorf("replaying: %v", err)
					return
				}
			}
		})
	}
	b.run(t, eventsAreOld)
	require.Eventually(t, func() bool { return b.retentionHasRun(t) }, waitFor, look)
	ended.Store(true)
	group.Wait()
	for place := racing; place < len(ids); place++ {
		results[place] = b.replay(t, ids[place])
		require.Equal(t, jobs.EventRemoved, results[place])
	}

	has, counts := b.hasEvent(t), map[jobs.ReplayResult]int{}
	for i, id := range ids {
		counts[results[i]]++
		switch results[i] {
		case jobs.Replayed:
			require.True(t, has[id], "replayed, and its event is gone")
		case jobs.EventRemoved:
			require.False(t, has[id], "its event is there")
		case "":
		default:
			require.Fail(t, "neither replayed nor removed", string(results[i]))
		}
	}
	require.Zero(t, b.count(t, jobsWithoutEvent))
	require.Equal(t, counts[jobs.Replayed], b.replayed(t))
	require.Positive(t, counts[jobs.Replayed])
	require.Eventually(t, func() bool { return len(e.received()) >= counts[jobs.Replayed] }, waitFor, look)
	requireEachOnce(t, e, slices.DeleteFunc(slices.Clone(ids), func(id uuid.UUID) bool { return !has[id] }))
}

// The same with whole pages of replays, which hold their events for longer.
func TestReplayAllWhileRetentionRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.deliveredLongAgo(t, "acme", e.URL, 3000)
	b.run(t, eventsAreOld)
	filter := jobs.Filter{Status: jobs.StatusDelivered, Since: time.Now().Add(-time.Hour)}
	counts := b.replayAll(t, jobs.Replay{Filter: filter, Run: "r"})
	require.Eventually(t, func() bool { return b.retentionHasRun(t) }, waitFor, look)
	require.Zero(t, b.count(t, jobsWithoutEvent))
	require.Equal(t, counts[jobs.Replayed], b.count(t, "webhook_events"))
	require.Equal(t, counts[jobs.Replayed], b.replayed(t))
	require.Eventually(t, func() bool {
		return b.count(t, `webhook_delivery_queue where status = 'delivered'`) == counts[jobs.Replayed]
	}, waitFor, look)
	require.Len(t, e.received(), counts[jobs.Replayed])
}

// A replay that has not committed holds its event.
func TestRetentionLeavesWhatIsBeingReplayed(t *testing.T) {
	t.Parallel()
	for name, commit := range map[string]bool{"which commits": true, "which is rolled back": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			e := newEndpoint(t, status(http.StatusOK))
			ids := b.deliveredLongAgo(t, "acme", e.URL, 3)
			tx, err := b.pool.Begin(t.Context())
			require.NoError(t, err)
			result, err := b.operator(t).ReplayTx(t.Context(), tx, user, ids[1], "")
			require.NoError(t, err)
			require.Equal(t, jobs.Replayed, result)
			stop := b.run(t, eventsAreOld)
			require.Eventually(t, func() bool { return b.retentionHasRun(t) }, waitFor, look)
			require.Equal(t, map[uuid.UUID]bool{ids[1]: true}, b.hasEvent(t))
			require.Equal(t, jobs.EventRemoved, b.replay(t, ids[0]))

			if commit {
				require.NoError(t, tx.Commit(t.Context()))
				b.await(t, jobs.Delivery{ID: ids[1]}, jobs.StatusDelivered)
				requireEachOnce(t, e, ids[1:2])
				return
			}
			require.NoError(t, tx.Rollback(t.Context()))
			require.NoError(t, stop())
			b.exec(t, `delete from river_job`)
			b.run(t, func(cfg *jobs.RunnerConfig) { eventsAreOld(cfg); cfg.Name = "the next" })
			require.Eventually(t, func() bool { return b.retentionHasRun(t) }, waitFor, look)
			require.Empty(t, b.hasEvent(t), "the next run takes it")
			require.Equal(t, jobs.EventRemoved, b.replay(t, ids[1]))
		})
	}
}

// A replay waits for retention that has locked its event, and sees what became of it.
func TestReplayWaitsForRetention(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statement string
		commit    bool
		want      jobs.ReplayResult
	}{
		"which removes it":     {`delete from webhook_events where event_id = $1`, true, jobs.EventRemoved},
		"which leaves it":      {`select $1::text`, true, jobs.Replayed},
		"which is interrupted": {`delete from webhook_events where event_id = $1`, false, jobs.Replayed},
	} {
		for _, way := range []string{"one", "all", "SQL"} {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				id := b.deliveredLongAgo(t, "acme", nowhere, 1)[0]
				retention, err := b.pool.Begin(t.Context())
				require.NoError(t, err)
				var event string
				require.NoError(t, retention.QueryRow(t.Context(), `select event_id from webhook_events for update`).Scan(&event))

				operator := b.operator(t)
				done := make(chan map[jobs.ReplayResult]int, 1)
				go func() {
					var result jobs.ReplayResult
					var err error
					switch way {
					case "one":
						result, err = operator.ReplayOne(t.Context(), "", id, false)
					case "SQL":
						err = b.pool.QueryRow(t.Context(), `select replay_webhook_delivery($1)`, id.String()).Scan(&result)
					default:
						filter := jobs.Filter{Status: jobs.StatusDelivered, Since: time.Now().Add(-time.Hour)}
						err = operator.Replay(t.Context(), &jobs.Replay{Filter: filter, Report: func(results []jobs.ReplayResult) { result = results[0] }})
					}
					if err != nil {
						t.Errorf("replaying: %v", err)
					}
					done <- map[jobs.ReplayResult]int{result: 1}
				}()
				require.Eventually(t, func() bool {
					return b.count(t, `pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == 1
				}, waitFor, look)
				_, err = retention.Exec(t.Context(), test.statement, event)
				require.NoError(t, err)
				if test.commit {
					require.NoError(t, retention.Commit(t.Context()))
				} else {
					require.NoError(t, retention.Rollback(t.Context()))
				}
				require.Equal(t, map[jobs.ReplayResult]int{test.want: 1}, <-done)
				require.Zero(t, b.count(t, jobsWithoutEvent))
				require.Equal(t, test.want == jobs.Replayed, b.replayed(t) == 1)
			})
		}
	}
}

// A delivery that is recovered keeps its event too.
func TestRecoverWhileRetentionRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := b.deliveredLongAgo(t, "acme", nowhere, 2)
	late := b.partner(t, user, "late", nowhere, "*")
	var event string
	require.NoError(t, b.pool.QueryRow(t.Context(), `select event_id from webhook_events where delivery_ids[1] = $1`, ids[0]).Scan(&event))
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	result, err := b.operator(t).RecoverTx(t.Context(), tx, user, event, late.ID)
	require.NoError(t, err)
	require.Equal(t, jobs.Recovered, result)
	b.run(t, func(cfg *jobs.RunnerConfig) { eventsAreOld(cfg); cfg.Sender = b.sender })
	require.Eventually(t, func() bool { return b.retentionHasRun(t) }, waitFor, look)
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, 1, b.count(t, "webhook_events"))
	require.Equal(t, 1, b.count(t, "webhook_events where event_id = $1 and cardinality(delivery_ids) = 2", event))
	require.Zero(t, b.count(t, jobsWithoutEvent))

	tx, err = b.pool.Begin(t.Context())
	require.NoError(t, err)
	result, err = b.operator(t).RecoverTx(t.Context(), tx, user, "completed-000002", late.ID)
	require.NoError(t, err)
	require.Equal(t, jobs.ReplayNotFound, result)
	require.NoError(t, tx.Rollback(t.Context()))
}
