package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

func TestDeliveriesList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	b.partner(t, user, "zeta", nowhere, "call.failed")
	b.partner(t, "other", "acme", nowhere, "*")
	first := b.enqueue(t, completed("e1"))[0]
	failed := completed("e2")
	failed.Type = "call.failed"
	second := b.enqueue(t, failed)
	theirs := completed("e1")
	theirs.UserID = "other"
	third := b.enqueue(t, theirs)[0]
	b.exec(t, `update river_job set state = 'discarded', finalized_at = now(), attempt = 6 where id = $1`, first.JobID)

	deliveries := b.operator(t)
	tests := map[string]struct {
		filter jobs.Filter
		want   []jobs.Delivery
	}{
		"all, the newest first": {jobs.Filter{}, []jobs.Delivery{third, second[1], second[0], first}},
		"user":                  {jobs.Filter{UserID: user}, []jobs.Delivery{second[1], second[0], first}},
		"unknown user":          {jobs.Filter{UserID: "nobody"}, nil},
		"partner":               {jobs.Filter{UserID: user, PartnerSlug: "zeta"}, []jobs.Delivery{second[1]}},
		"status":                {jobs.Filter{Status: jobs.StatusDeadLetter}, []jobs.Delivery{first}},
		"event":                 {jobs.Filter{EventType: "call.completed"}, []jobs.Delivery{third, first}},
		"since":                 {jobs.Filter{Since: time.Now().Add(time.Hour)}, nil},
		"until":                 {jobs.Filter{Until: time.Now().Add(-time.Hour)}, nil},
		"both":                  {jobs.Filter{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour), UserID: user, EventType: "call.completed"}, []jobs.Delivery{first}},
		"under way":             {jobs.Filter{Status: jobs.StatusProcessing}, nil},
	}
	for name, test := range tests {
		list, err := deliveries.List(t.Context(), &test.filter, &jobs.Page{Limit: 100})
		require.NoError(t, err)
		require.Len(t, list, len(test.want), name)
		for i, delivery := range test.want {
			require.Equal(t, delivery.ID.String(), list[i].ID, name)
		}
	}
}

// A list with delivered ones goes by the events, in which one that was recovered later stands with its event.
func TestDeliveriesListGoesByEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	first, second := b.enqueue(t, completed("e1"))[0], b.enqueue(t, completed("e2"))[0]
	zeta := b.partner(t, user, "zeta", nowhere, "*")
	deliveries := b.operator(t)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		result, err := deliveries.RecoverTx(t.Context(), tx, user, "e1", zeta.ID)
		require.Equal(t, jobs.Recovered, result)
		return err
	}))
	var recovered uuid.UUID
	require.NoError(t, b.pool.QueryRow(t.Context(), `select delivery_ids[2] from webhook_events where event_id = 'e1'`).Scan(&recovered))
	want := []string{second.ID.String(), recovered.String(), first.ID.String()}

	for name, filter := range map[string]jobs.Filter{"all": {}, "user": {UserID: user}} {
		var got []string
		for page := (jobs.Page{Limit: 1}); ; {
			list, err := deliveries.List(t.Context(), &filter, &page)
			require.NoError(t, err, name)
			if len(list) == 0 {
				break
			}
			got = append(got, list[0].ID)
			page.After = uuid.MustParse(list[0].ID)
		}
		require.Equal(t, want, got, name)
	}

	b.exec(t, `delete from webhook_events where event_id = 'e2'`)
	_, err := deliveries.List(t.Context(), &jobs.Filter{}, &jobs.Page{Limit: 1, After: second.ID})
	require.ErrorIs(t, err, jobs.ErrNotFound)
	require.ErrorContains(t, err, "the event of "+second.ID.String()+" was removed")
	list, err := deliveries.List(t.Context(), &jobs.Filter{Status: jobs.StatusPending}, &jobs.Page{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, recovered.String(), list[0].ID, "by status they go by their own time")
}

func TestDeliveriesStatusesOfAllStates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	tests := map[string]map[int]jobs.Status{
		"available": {0: jobs.StatusPending, 1: jobs.StatusFailed},
		"scheduled": {0: jobs.StatusPending, 2: jobs.StatusFailed},
		"pending":   {0: jobs.StatusPending},
		"running":   {1: jobs.StatusProcessing},
		"retryable": {1: jobs.StatusFailed},
		"completed": {1: jobs.StatusDelivered},
		"discarded": {6: jobs.StatusDeadLetter},
		"cancelled": {0: jobs.StatusCancelled},
	}
	require.Len(t, tests, 8)
	for state, byAttempt := range tests {
		for attempt, want := range byAttempt {
			b.exec(t, `
				update river_job
				   set state = $1::text::river_job_state, attempt = $2,
				       finalized_at = case when $1 in ('completed', 'discarded', 'cancelled') then now() end`, state, attempt)
			got := b.get(t, delivery)
			require.Equal(t, want, got.Status, "%s after %d", state, attempt)
			require.Equal(t, want == jobs.StatusPending || want == jobs.StatusFailed, got.NextAttemptAt != nil)
		}
	}
}

func TestDeliveriesOfAnotherUserAreNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	deliveries := b.operator(t)

	_, err := deliveries.Get(t.Context(), "other", delivery.ID)
	require.ErrorIs(t, err, jobs.ErrNotFound)
	require.EqualError(t, err, "delivery not found: "+delivery.ID.String())
	unknown := uuid.New()
	_, err = deliveries.Get(t.Context(), user, unknown)
	require.EqualError(t, err, "delivery not found: "+unknown.String())
	_, err = deliveries.Cancel(t.Context(), "other", delivery.ID, "a person", true)
	require.ErrorIs(t, err, jobs.ErrNotFound)
	_, err = deliveries.Cancel(t.Context(), user, unknown, "a person", true)
	require.ErrorIs(t, err, jobs.ErrNotFound)
	require.Equal(t, jobs.StatusPending, b.get(t, delivery).Status)
	payload, err := deliveries.Payload(t.Context(), "other", "e1")
	require.NoError(t, err)
	require.Nil(t, payload)
}

func TestDeliveriesCancelAWaitingOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	deliveries := b.operator(t)

	before, err := deliveries.Cancel(t.Context(), user, delivery.ID, "a person", true)
	require.NoError(t, err)
	require.Equal(t, jobs.StatusPending, before.Status)
	require.Equal(t, jobs.StatusCancelled, b.get(t, delivery).Status)
	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 1)
	require.Equal(t, jobs.OutcomeCancelled, attempts[0].Outcome)
	require.Equal(t, jobs.TriggerManual, attempts[0].Trigger)
	require.Equal(t, "a person", attempts[0].ClientID)

	before, err = deliveries.Cancel(t.Context(), user, delivery.ID, "a person", true)
	require.NoError(t, err)
	require.True(t, before.Status.Ended())
	require.Len(t, b.attempts(t, delivery), 1, "twice is once")
}

// A replay gives a delivery another job. One that commits while its cancelling waits for the job leads to that.
func TestDeliveriesCancelOneThatIsBeingReplayed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	b.exec(t, `update river_job set state = 'discarded', attempt = 6, finalized_at = now()`)
	replay, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = replay.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = replay.Exec(t.Context(), `select replay_webhook_delivery($1)`, delivery.ID)
	require.NoError(t, err)

	type answer struct {
		before *jobs.DeliveryState
		err    error
	}
	cancelled := make(chan answer, 1)
	deliveries := b.operator(t)
	go func() {
		before, err := deliveries.Cancel(t.Context(), user, delivery.ID, "a person", true)
		cancelled <- answer{before, err}
	}()
	require.Eventually(t, func() bool {
		return b.count(t, `pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == 1
	}, waitFor, look)
	require.NoError(t, replay.Commit(t.Context()))
	got := <-cancelled
	require.NoError(t, got.err)
	require.Equal(t, jobs.StatusPending, got.before.Status)
	require.Equal(t, jobs.StatusCancelled, b.get(t, delivery).Status)
}

func TestDeliveriesPayload(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	b.enqueue(t, completed("e1"))
	payload, err := b.operator(t).Payload(t.Context(), user, "e1")
	require.NoError(t, err)
	require.Equal(t, `{"call_id":"c1"}`, string(payload)) //nolint:testifylint // the very bytes
}
