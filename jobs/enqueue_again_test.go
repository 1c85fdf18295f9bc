package jobs_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

func TestEnqueueAgainReturnsTheFirstDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	gone := b.partner(t, user, "gone", nowhere, "*")
	first := b.enqueue(t, completed("e1"))
	b.partner(t, user, "late", nowhere, "*")

	require.Equal(t, first, b.enqueue(t, completed("e1")))
	require.Equal(t, 2, b.count(t, "river_job"))

	_, err := b.store.Delete(t.Context(), user, "gone")
	require.NoError(t, err)
	b.exec(t, `delete from river_job where id = $1`, first[0].JobID)
	again := b.enqueue(t, completed("e1"))
	require.Equal(t, jobs.Delivery{ID: first[0].ID, PartnerID: first[0].PartnerID, PartnerSlug: "acme"}, again[0])
	require.Equal(t, jobs.Delivery{ID: first[1].ID, PartnerID: gone.ID, JobID: first[1].JobID}, again[1])
}

func TestEnqueueConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	first := b.enqueue(t, completed("e1"))

	otherPayload := completed("e1")
	otherPayload.Payload = json.RawMessage(`{"call_id": "c1"}`)
	otherType := completed("e1")
	otherType.Type = "call.failed"
	for _, event := range []*jobs.Event{otherPayload, otherType} {
		_, err := b.tryEnqueue(t.Context(), event)
		require.ErrorIs(t, err, jobs.ErrEventConflict)
		require.ErrorContains(t, err, `"e1"`)

		event.OnConflict = jobs.OnConflictFirst
		require.Equal(t, first, b.enqueue(t, event))
	}
	require.Equal(t, 1, b.count(t, "river_job"))

	other := completed("e1")
	other.UserID = "somebody-else"
	other.Payload = json.RawMessage(`{}`)
	require.Empty(t, b.enqueue(t, other), "another user's event of the same id is another event")
}

func TestEnqueueCallOutcome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "call.*")
	send := func(callID, outcome string) (deliveries []jobs.Delivery, err error) {
		err = pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
			deliveries, err = b.enqueuer.EnqueueCallOutcomeTx(t.Context(), tx, user, callID, json.RawMessage(outcome))
			return err
		})
		return deliveries, err
	}
	first, err := send("call_1", `{"event_type":"call.completed","timestamp":"t1"}`)
	require.NoError(t, err)
	require.Len(t, first, 1)

	again, err := send("call_1", `{"event_type":"call.completed","timestamp":"t2"}`)
	require.NoError(t, err, "a handler that runs again must not abort its transaction")
	require.Equal(t, first, again)

	otherType, err := send("call_1", `{"event_type":"call.transcribed"}`)
	require.NoError(t, err)
	require.NotEqual(t, first, otherType)
	require.Equal(t, 2, b.count(t, "river_job"))

	for name, outcome := range map[string]string{
		"no type":           `{}`,
		"type in caps":      `{"Event_Type":"call.completed"}`,
		"type not text":     `{"event_type":7}`,
		"type null":         `{"event_type":null}`,
		"type malformed":    `{"event_type":"call completed"}`,
		"not an object":     `["event_type"]`,
		"not JSON":          `{`,
		"nothing":           ``,
		"last type decides": `{"event_type":"call.completed","event_type":""}`,
	} {
		_, err := send("call_2", outcome)
		_, ok := errors.AsType[*partners.ValidationError](err)
		require.True(t, ok, "%s: %v", name, err)
	}
	for _, callID := range []string{"", strings.Repeat("x", 127)} {
		_, err := send(callID, `{"event_type":"call.completed"}`)
		_, ok := errors.AsType[*partners.ValidationError](err)
		require.True(t, ok, "%v", err)
	}
	_, err = send(strings.Repeat("x", 126), `{"event_type":"`+strings.Repeat("y", 128)+`"}`)
	require.NoError(t, err, "the longest call id and type make a valid event id")
}

func TestEnqueueConcurrentRepeatsMakeOneDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	const callers = 8
	results := make([][]jobs.Delivery, callers)
	failures := make([]error, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() { results[i], failures[i] = b.tryEnqueue(t.Context(), completed("e1")) })
	}
	group.Wait()
	for i := range callers {
		require.NoError(t, failures[i])
		require.Equal(t, results[0], results[i])
	}
	require.Equal(t, 1, b.count(t, "river_job"))
}

func TestEnqueueLoserUnderRepeatableRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	loser, err := b.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer func() { _ = loser.Rollback(t.Context()) }()
	_, err = loser.Exec(t.Context(), `select 1`) // takes the snapshot
	require.NoError(t, err)
	b.enqueue(t, completed("e1"))

	_, err = b.enqueuer.EnqueueTx(t.Context(), loser, completed("e1"))
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "40001", pgErr.Code)
}
