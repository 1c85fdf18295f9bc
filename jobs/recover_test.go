package jobs_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// missing selects what partners did not get in the last week.
func missing() jobs.Replay {
	return jobs.Replay{Missing: true, Filter: jobs.Filter{Since: time.Now().Add(-7 * 24 * time.Hour)}}
}

// recover recovers one delivery in a transaction of its own.
func (b *testBundle) recover(ctx context.Context, operator *jobs.Deliveries, userID, event string, partnerID uuid.UUID) (result jobs.ReplayResult, err error) {
	err = pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		result, err = operator.RecoverTx(ctx, tx, userID, event, partnerID)
		return err
	})
	return result, err
}

// eventIDs are the partners and deliveries that an event knows of.
func (b *testBundle) eventIDs(t *testing.T, userID, event string) (partnerIDs, deliveryIDs []uuid.UUID) {
	t.Helper()
	require.NoError(t, b.pool.QueryRow(t.Context(),
		`select partner_ids, delivery_ids from webhook_events where user_id = $1 and event_id = $2`, userID, event).Scan(&partnerIDs, &deliveryIDs))
	return partnerIDs, deliveryIDs
}

// TestRecover has a partner miss events in each way there is, and get them in the end.
func TestRecover(t *testing.T) {
	t.Parallel()
	enable := func(t *testing.T, b *testBundle, _ string) {
		t.Helper()
		_, err := b.store.Enable(t.Context(), user, "late")
		require.NoError(t, err)
	}
	tests := map[string]struct {
		before func(t *testing.T, b *testBundle, url string)
		after  func(t *testing.T, b *testBundle, url string)
	}{
		"added later": {nil, func(t *testing.T, b *testBundle, url string) {
			t.Helper()
			b.partner(t, user, "late", url, "call.completed")
		}},
		"was disabled": {func(t *testing.T, b *testBundle, url string) {
			t.Helper()
			b.partner(t, user, "late", url, "*")
			_, err := b.store.Disable(t.Context(), user, "late", "moving house")
			require.NoError(t, err)
		}, enable},
		"was not subscribed": {func(t *testing.T, b *testBundle, url string) {
			t.Helper()
			b.partner(t, user, "late", url, "sms.sent")
		}, func(t *testing.T, b *testBundle, _ string) {
			t.Helper()
			_, err := b.store.Update(t.Context(), user, "late", &partners.Changes{EnabledEvents: []string{"sms.sent", "call.*"}})
			require.NoError(t, err)
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			e, late := newEndpoint(t, status(http.StatusOK)), newEndpoint(t, status(http.StatusOK))
			b.partner(t, user, "acme", e.URL, "*")
			if test.before != nil {
				test.before(t, b, late.URL)
			}
			b.run(t, forEver)
			first := b.enqueue(t, completed("e1"))
			require.Len(t, first, 1)
			b.enqueue(t, completed("e2"))
			b.await(t, first[0], jobs.StatusDelivered)
			require.Empty(t, b.countReplay(t, missing()))
			require.Empty(t, b.replayAll(t, missing()))

			test.after(t, b, late.URL)
			b.retries(t, "late", 2)
			require.Equal(t, map[string]int{user + "/late": 2}, b.countReplay(t, missing()))
			require.Equal(t, map[jobs.ReplayResult]int{jobs.Recovered: 2}, b.replayAll(t, missing()))
			require.Empty(t, b.replayAll(t, missing()), "nothing is missing any more")
			require.Empty(t, b.countReplay(t, missing()))

			again := b.enqueue(t, completed("e1"))
			require.Len(t, again, 2)
			recovered := again[1]
			require.Equal(t, first[0].ID, again[0].ID)
			require.Equal(t, "late", recovered.PartnerSlug)
			require.Positive(t, recovered.JobID)
			partnerIDs, deliveryIDs := b.eventIDs(t, user, "e1")
			require.Equal(t, []uuid.UUID{first[0].PartnerID, recovered.PartnerID}, partnerIDs)
			require.Equal(t, []uuid.UUID{first[0].ID, recovered.ID}, deliveryIDs)
			rows, err := b.pool.Query(t.Context(), `select enqueue_webhook_event($1, 'call.completed', $2::text, 'e1')`, user, string(completed("").Payload))
			require.NoError(t, err)
			bySQL, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
			require.NoError(t, err)
			require.Equal(t, deliveryIDs, bySQL)

			state := b.await(t, recovered, jobs.StatusDelivered)
			require.Equal(t, 3, state.MaxAttempts)
			require.WithinDuration(t, time.Now(), state.CreatedAt, time.Minute)
			attempts := b.attempts(t, recovered)
			require.Len(t, attempts, 1)
			require.Equal(t, jobs.TriggerRecover, attempts[0].Trigger)
			require.Equal(t, jobs.TriggerSchedule, b.attempts(t, first[0])[0].Trigger)
			require.Eventually(t, func() bool { return len(late.received()) == 2 }, waitFor, look)
			_, second := b.eventIDs(t, user, "e2")
			requireEachOnce(t, late, []uuid.UUID{recovered.ID, second[1]})
			require.JSONEq(t, `{"call_id":"c1"}`, late.received()[0].body)
			require.Len(t, e.received(), 2, "the other partner gets nothing twice")

			b.exec(t, `delete from river_job where id = $1`, recovered.JobID)
			require.Empty(t, b.replayAll(t, missing()), "it was delivered, even if nobody remembers")
			require.Equal(t, jobs.Replayed, b.replay(t, recovered.ID))
		})
	}
}

// TestRecoverSelects compares what is recovered with what is counted and with what is missing.
func TestRecoverSelects(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tests := map[string]struct {
		filter jobs.Filter
		want   []string // user/event/partner
	}{
		"all":                {jobs.Filter{}, []string{"other/o1/late", "user_123/c1/late", "user_123/c1/zeta", "user_123/f1/late", "user_123/old/late", "user_123/old/zeta"}},
		"user":               {jobs.Filter{UserID: "other"}, []string{"other/o1/late"}},
		"partner":            {jobs.Filter{PartnerSlug: "late"}, []string{"other/o1/late", "user_123/c1/late", "user_123/f1/late", "user_123/old/late"}},
		"user and partner":   {jobs.Filter{UserID: user, PartnerSlug: "zeta"}, []string{"user_123/c1/zeta", "user_123/old/zeta"}},
		"event":              {jobs.Filter{EventType: "call.failed"}, []string{"user_123/f1/late"}},
		"since":              {jobs.Filter{Since: now.Add(-time.Hour)}, []string{"other/o1/late", "user_123/c1/late", "user_123/c1/zeta", "user_123/f1/late"}},
		"until":              {jobs.Filter{Until: now.Add(-time.Hour)}, []string{"user_123/old/late", "user_123/old/zeta"}},
		"until later":        {jobs.Filter{Since: now.Add(-time.Hour), Until: now.Add(time.Hour), UserID: "other"}, []string{"other/o1/late"}},
		"a disabled partner": {jobs.Filter{PartnerSlug: "off"}, nil},
		"what all have":      {jobs.Filter{PartnerSlug: "acme"}, nil},
		"tests of partners":  {jobs.Filter{EventType: "webhook.test"}, nil},
		"no such user":       {jobs.Filter{UserID: "nobody"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			acme := b.partner(t, user, "acme", nowhere, "*")
			for _, event := range []*jobs.Event{completed("c1"), completed("old"), {ID: "f1", UserID: user, Type: "call.failed", Payload: []byte(`{}`)}} {
				require.Len(t, b.enqueue(t, event), 1)
			}
			require.Empty(t, b.enqueue(t, &jobs.Event{ID: "o1", UserID: "other", Type: "call.completed", Payload: []byte(`{}`)}))
			require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
				event := &jobs.Event{ID: "t1", UserID: user, Type: "webhook.test", Payload: []byte(`{}`)}
				_, err := b.enqueuer.EnqueueTestTx(t.Context(), tx, event, acme.ID)
				return err
			}))
			b.exec(t, `update webhook_events set created_at = now() - interval '2 hours' where event_id = 'old'`)
			b.partner(t, user, "late", nowhere, "*")
			b.partner(t, user, "zeta", nowhere, "call.completed")
			b.partner(t, user, "off", nowhere, "*")
			_, err := b.store.Disable(t.Context(), user, "off", "x")
			require.NoError(t, err)
			b.partner(t, user, "sms", nowhere, "sms.*")
			b.partner(t, "other", "late", nowhere, "call.*")

			counts := map[string]int{}
			for _, delivery := range test.want {
				parts := strings.Split(delivery, "/")
				counts[parts[0]+"/"+parts[2]]++
			}
			replay := jobs.Replay{Missing: true, Filter: test.filter}
			require.Equal(t, counts, b.countReplay(t, replay))
			results := b.replayAll(t, replay)
			require.Equal(t, len(test.want), results[jobs.Recovered])
			require.LessOrEqual(t, len(results), 1)
			rows, err := b.pool.Query(t.Context(), `
				select concat_ws('/', j.args->>'user_id', j.args->>'event_id', p.partner_slug)
				  from river_job j
				  join partner_webhooks p on p.id::text = j.args->>'partner_id'
				 where j.metadata->>'trigger' = 'recover' and p.user_id = j.args->>'user_id'
				 order by 1`)
			require.NoError(t, err)
			got, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			require.Equal(t, test.want, append([]string(nil), got...))
		})
	}
}

func TestRecoverRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.partner(t, user, "acme", nowhere, "*")
	first := b.enqueue(t, completed("e1"))[0]
	late := b.partner(t, user, "late", nowhere, "*")
	sms := b.partner(t, user, "sms", nowhere, "sms.*")
	off := b.partner(t, user, "off", nowhere, "*")
	_, err := b.store.Disable(t.Context(), user, "off", "x")
	require.NoError(t, err)
	gone := b.partner(t, user, "gone", nowhere, "*")
	_, err = b.store.Delete(t.Context(), user, "gone")
	require.NoError(t, err)
	theirs := b.partner(t, "other", "acme", nowhere, "*")
	operator, before := b.operator(t), b.dump(t)

	for name, test := range map[string]struct {
		userID, event string
		partner       uuid.UUID
		want          jobs.ReplayResult
	}{
		"unknown event":         {user, "e2", late.ID, jobs.ReplayNotFound},
		"another user's event":  {"other", "e1", theirs.ID, jobs.ReplayNotFound},
		"unknown user":          {"nobody", "e1", late.ID, jobs.ReplayNotFound},
		"deleted partner":       {user, "e1", gone.ID, jobs.PartnerDeleted},
		"unknown partner":       {user, "e1", uuid.New(), jobs.PartnerDeleted},
		"another's partner":     {user, "e1", theirs.ID, jobs.PartnerDeleted},
		"disabled partner":      {user, "e1", off.ID, jobs.PartnerDisabled},
		"it has it":             {user, "e1", acme.ID, jobs.NotMissing},
		"it does not want that": {user, "e1", sms.ID, jobs.NotSubscribed},
	} {
		result, err := b.recover(t.Context(), operator, test.userID, test.event, test.partner)
		require.NoError(t, err)
		require.Equal(t, test.want, result, name)
		var bySQL jobs.ReplayResult
		require.NoError(t, b.pool.QueryRow(t.Context(), `select recover_webhook_delivery($1, $2, $3)`, test.userID, test.event, test.partner).Scan(&bySQL))
		require.Equal(t, test.want, bySQL, name)
	}
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	result, err := operator.RecoverTx(t.Context(), tx, user, "e1", late.ID)
	require.NoError(t, err)
	require.Equal(t, jobs.Recovered, result)
	result, err = operator.RecoverTx(t.Context(), tx, user, "e1", late.ID)
	require.NoError(t, err)
	require.Equal(t, jobs.NotMissing, result)
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, before, b.dump(t), "nothing has changed")

	_, err = b.store.Pause(t.Context(), user, "late")
	require.NoError(t, err)
	result, err = b.recover(t.Context(), operator, user, "e1", late.ID)
	require.NoError(t, err)
	require.Equal(t, jobs.Recovered, result, "a paused partner gets it later")
	_, deliveryIDs := b.eventIDs(t, user, "e1")
	require.Equal(t, first.ID, deliveryIDs[0])
}

func TestRecoverAtOnceIsOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	var events []string
	for i := range 10 {
		event := completed(string(rune('a' + i)))
		b.enqueue(t, event)
		events = append(events, event.ID)
	}
	late := []*partners.Partner{b.partner(t, user, "late", nowhere, "*"), b.partner(t, user, "later", nowhere, "*")}
	operator := b.operator(t)
	for _, event := range events {
		results := atOnce(t, 8, func(i int) (jobs.ReplayResult, error) {
			return b.recover(t.Context(), operator, user, event, late[i%2].ID)
		})
		slices.Sort(results)
		require.Equal(t, slices.Repeat([]jobs.ReplayResult{jobs.NotMissing}, 6), results[:6])
		require.Equal(t, []jobs.ReplayResult{jobs.Recovered, jobs.Recovered}, results[6:])
		partnerIDs, deliveryIDs := b.eventIDs(t, user, event)
		require.Len(t, partnerIDs, 3)
		require.ElementsMatch(t, []uuid.UUID{late[0].ID, late[1].ID}, partnerIDs[1:])
		require.Len(t, deliveryIDs, 3)
		require.Equal(t, 3, b.count(t, `river_job where args->>'event_id' = $1`, event))
		require.Equal(t, 3, b.count(t, `river_job where args->>'delivery_id' = any ($1::uuid[]::text[])`, deliveryIDs))
	}
}

// Two that recover all at once share the work.
func TestRecoverAllAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ended(t, b.partner(t, user, "acme", nowhere, "*"), "completed", 2500)
	b.partner(t, user, "late", nowhere, "call.*")
	operator := b.operator(t)
	counts := atOnce(t, 4, func(int) (map[jobs.ReplayResult]int, error) {
		count, replay := map[jobs.ReplayResult]int{}, missing()
		replay.Report = func(results []jobs.ReplayResult) {
			for _, result := range results {
				count[result]++
			}
		}
		return count, operator.Replay(t.Context(), &replay)
	})
	recovered := 0
	for _, count := range counts {
		recovered += count[jobs.Recovered]
		delete(count, jobs.Recovered)
		delete(count, jobs.NotMissing)
		require.Empty(t, slices.Collect(maps.Keys(count)))
	}
	require.Equal(t, 2500, recovered)
	require.Equal(t, 2500, b.count(t, `river_job where metadata->>'trigger' = 'recover'`))
	require.Equal(t, 2500, b.count(t, `webhook_events where cardinality(delivery_ids) = 2`))
}
