package jobs_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// toldEvent is an operational event as it is stored, with the slugs of those that it goes to.
type toldEvent struct {
	ID, Type, UserID, Payload string
	To                        []string
	Deliveries                []jobs.Delivery
}

// told lists the operational events, the oldest first, and checks that each has its jobs and nobody else has one.
func (b *testBundle) told(t *testing.T) []toldEvent {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `
		select e.event_id, e.event_type, e.user_id, e.payload::text,
		       array(select p.partner_slug from unnest(e.partner_ids) with ordinality as i (id, place) join partner_webhooks p using (id) order by place)
		  from webhook_events e
		 where e.event_type in ('partner.disabled', 'delivery.exhausted', 'partner.failing', 'partner.recovered')
		 order by e.created_at, e.event_id`)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e toldEvent, err error) {
		return e, row.Scan(&e.ID, &e.Type, &e.UserID, &e.Payload, &e.To)
	})
	require.NoError(t, err)
	jobsOf := 0
	for i := range list {
		partnerIDs, deliveryIDs := b.eventIDs(t, list[i].UserID, list[i].ID)
		require.Len(t, partnerIDs, len(list[i].To))
		require.NotEmpty(t, partnerIDs, "what nobody subscribes to is not stored")
		for j, id := range deliveryIDs {
			require.Equal(t, 1, b.count(t, `river_job where kind = 'webhook_delivery' and queue = 'webhooks' and metadata->>'trigger' in ('schedule', 'replay')
				and args @> jsonb_build_object('version', 1, 'delivery_id', $1::text, 'partner_id', $2::text, 'user_id', $3::text, 'event_id', $4::text, 'event_type', $5::text)`,
				id.String(), partnerIDs[j].String(), list[i].UserID, list[i].ID, list[i].Type))
			list[i].Deliveries = append(list[i].Deliveries, jobs.Delivery{ID: id})
		}
		jobsOf += len(deliveryIDs)
	}
	require.Equal(t, jobsOf, b.count(t, `river_job where args->>'event_type' in ('partner.disabled', 'delivery.exhausted', 'partner.failing', 'partner.recovered')`))
	return list
}

// types are the types of the events that an endpoint received, in order.
func (e *endpoint) types() []string {
	list := []string{}
	for _, request := range e.received() {
		list = append(list, request.header.Get("webhook-event-type"))
	}
	return list
}

// instant is how operational events say a time.
var instant = regexp.MustCompile(`"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"`)

// requirePayload compares a payload byte for byte, but for times.
func requirePayload(t *testing.T, want, got string) {
	t.Helper()
	require.Equal(t, want, instant.ReplaceAllString(got, `"TIME"`))
	for _, text := range instant.FindAllString(got, -1) {
		at, err := time.Parse(`"`+time.RFC3339+`"`, text)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), at, time.Hour)
	}
}

// lone adds a partner whose deliveries get a single try.
func (b *testBundle) lone(t *testing.T, slug, url string, events ...string) *partners.Partner {
	t.Helper()
	partner := b.partner(t, user, slug, url, events...)
	b.retries(t, slug, 0)
	return partner
}

func TestPartnerDisabledIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone, ops, all := newEndpoint(t, status(http.StatusGone)), newEndpoint(t, status(http.StatusOK)), newEndpoint(t, status(http.StatusOK))
	partner := b.partner(t, user, "gone", gone.URL+"/token", "call.*", "partner.*")
	b.partner(t, user, "ops", ops.URL, "partner.*")
	b.partner(t, user, "exact", ops.URL, "partner.disabled")
	b.partner(t, user, "all", all.URL, "*")
	b.partner(t, user, "others", all.URL, "delivery.*", "partner", "partner.recovered", "partner.disabled.*")
	b.partner(t, user, "off", all.URL, "partner.*")
	_, err := b.store.Disable(t.Context(), user, "off", "tired")
	require.NoError(t, err)
	b.partner(t, "somebody else", "ops", all.URL, "partner.*")
	off := b.told(t)
	require.Len(t, off, 1)
	require.Equal(t, []string{"exact", "gone", "ops"}, off[0].To)
	b.exec(t, `delete from river_job`)
	b.exec(t, `delete from webhook_events`)

	stop := b.run(t, nil)
	for i := range 3 { // more than one answers 410
		b.enqueue(t, completed(string(rune('a'+i))))
	}
	require.Eventually(t, func() bool { return len(ops.received()) == 2 && len(all.received()) == 3 }, waitFor, look)
	require.NoError(t, stop())
	told := b.told(t)
	require.Len(t, told, 1, "it is disabled once")
	require.Equal(t, user, told[0].UserID)
	require.Equal(t, []string{"exact", "ops"}, told[0].To)
	require.Equal(t, []string{partners.EventPartnerDisabled, partners.EventPartnerDisabled}, ops.types())
	requirePayload(t, `{"event_type":"partner.disabled","timestamp":"TIME","partner":{"id":"`+partner.ID.String()+
		`","name":"gone","slug":"gone"},"disabled_reason":"its endpoint answered 410 Gone"}`, ops.received()[0].body)
	require.NotContains(t, all.types(), partners.EventPartnerDisabled)
	require.NotContains(t, gone.types(), partners.EventPartnerDisabled)

	// By hand, and once more: another event. What changes nothing is none, and neither is being enabled.
	_, err = b.store.Disable(t.Context(), user, "gone", "twice")
	require.NoError(t, err)
	require.Len(t, b.told(t), 1)
	_, err = b.store.Enable(t.Context(), user, "gone")
	require.NoError(t, err)
	require.Len(t, b.told(t), 1)
	_, err = b.store.Disable(t.Context(), user, "gone", `"unpaid"`)
	require.NoError(t, err)
	told = b.told(t)
	require.Len(t, told, 2)
	var payload map[string]any
	require.NoError(t, json.Unmarshal([]byte(told[1].Payload), &payload))
	require.Equal(t, `"unpaid"`, payload["disabled_reason"])
}

func TestDeliveryExhaustedIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, ops, all := newEndpoint(t, status(http.StatusInternalServerError)), newEndpoint(t, status(http.StatusOK)), newEndpoint(t, status(http.StatusOK))
	partner := b.partner(t, user, "dead", dead.URL, "call.*", "delivery.*")
	b.retries(t, "dead", 1)
	b.partner(t, user, "ops", ops.URL, "delivery.*", "sms.*")
	b.partner(t, user, "all", all.URL, "*")
	stop := b.run(t, nil)
	delivery := b.enqueue(t, completed("e1"))[1]
	require.Equal(t, "dead", delivery.PartnerSlug)
	b.await(t, delivery, jobs.StatusDeadLetter)
	require.Eventually(t, func() bool { return len(ops.received()) == 1 }, waitFor, look)
	told := b.told(t)
	require.Len(t, told, 1)
	require.Equal(t, []string{"ops"}, told[0].To)
	require.Equal(t, []string{partners.EventDeliveryExhausted}, ops.types())
	requirePayload(t, `{"event_type":"delivery.exhausted","timestamp":"TIME","partner":{"id":"`+partner.ID.String()+`","name":"dead","slug":"dead"},`+
		`"delivery":{"id":"`+delivery.ID.String()+`","event_id":"e1","event_type":"call.completed","attempts":2,`+
		`"last_error":"the partner answered 500 Internal Server Error","last_response_status":500}}`, ops.received()[0].body)

	// A replay that gives up is told, and so is one more try by River UI.
	require.Equal(t, jobs.Replayed, b.replay(t, delivery.ID))
	require.Eventually(t, func() bool { return len(ops.received()) == 2 }, waitFor, look)
	b.exec(t, `update river_job set state = 'available', max_attempts = max_attempts + 1, finalized_at = null, scheduled_at = now() where args->>'delivery_id' = $1`, delivery.ID.String())
	b.exec(t, `select webhook_wake_workers()`)
	require.Eventually(t, func() bool { return len(ops.received()) == 3 }, waitFor, look)
	require.Len(t, b.told(t), 3)

	// A test of a partner is nobody's loss, however it is made again.
	var test *jobs.Delivery
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) (err error) {
		test, err = b.enqueuer.EnqueueTestTx(t.Context(), tx, &jobs.Event{UserID: user, Type: "webhook.test", Payload: []byte(`{}`)}, partner.ID)
		return err
	}))
	b.await(t, *test, jobs.StatusDeadLetter)
	require.Equal(t, jobs.Replayed, b.replay(t, test.ID))
	b.await(t, *test, jobs.StatusDeadLetter)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) (err error) {
		test, err = b.enqueuer.EnqueueTestTx(t.Context(), tx, completed(""), partner.ID)
		return err
	}))
	b.await(t, *test, jobs.StatusDeadLetter)
	require.NoError(t, stop())
	require.Len(t, b.told(t), 3)
	require.Len(t, ops.received(), 3)
	require.Equal(t, []string{"call.completed"}, all.types())
	require.NotContains(t, dead.types(), partners.EventDeliveryExhausted)
}

// Two partners that take what is told of each other, and fail.
func TestOperationalEventsMakeNoLoop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead := newEndpoint(t, status(http.StatusInternalServerError))
	b.lone(t, "acme", dead.URL, "call.*", "delivery.*", "partner.*")
	zeta := b.lone(t, "zeta", dead.URL, "delivery.*", "partner.*")
	stop := b.run(t, nil)
	b.await(t, b.enqueue(t, completed("e1"))[0], jobs.StatusDeadLetter)
	require.Eventually(t, func() bool { return len(b.told(t)) == 1 }, waitFor, look)
	exhausted := b.told(t)[0]
	require.Equal(t, []string{"zeta"}, exhausted.To)
	b.await(t, exhausted.Deliveries[0], jobs.StatusDeadLetter)
	require.Equal(t, jobs.Replayed, b.replay(t, exhausted.Deliveries[0].ID))
	b.await(t, exhausted.Deliveries[0], jobs.StatusDeadLetter)
	require.NoError(t, stop())
	require.Len(t, b.told(t), 1, "that it can't be told is not told")

	// Nor is it told that a partner fails, if nothing else has shown it.
	b.failing(t, zeta, exhausted.Deliveries[0].ID)
	require.Equal(t, []bool{false}, b.open(t, zeta))
	require.False(t, b.recovered(t, zeta))
	require.Len(t, b.told(t), 1)
}

// Whoever gives a delivery up, it is told once.
func TestDeliveryExhaustedWithoutAWorkersWord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.lone(t, "acme", nowhere, "call.*")
	b.partner(t, user, "ops", nowhere, "delivery.*")
	rescued, reclaimed, held := b.enqueue(t, completed("rescued"))[0], b.enqueue(t, completed("reclaimed"))[0], b.enqueue(t, completed("held"))[0]

	// River's rescuer, of a worker that never came to write an outcome.
	b.ran(t, rescued, deadClient(), "")
	const rescue = `update river_job set state = 'discarded', finalized_at = now(), errors = array_append(errors, '` + rescuedError + `'::jsonb) where args->>'delivery_id' = $1`
	b.exec(t, rescue, rescued.ID.String())
	told := b.told(t)
	require.Len(t, told, 1)
	requirePayload(t, `{"event_type":"delivery.exhausted","timestamp":"TIME","partner":{"id":"`+acme.ID.String()+`","name":"acme","slug":"acme"},`+
		`"delivery":{"id":"`+rescued.ID.String()+`","event_id":"rescued","event_type":"call.completed","attempts":1,`+
		`"last_error":"Stuck job rescued by JobRescuer","last_response_status":null}}`, told[0].Payload)
	b.exec(t, rescue, rescued.ID.String())
	b.exec(t, `update river_job set metadata = metadata || '{"a": 1}'`)
	require.Len(t, b.told(t), 1, "it was discarded before")

	// Every other end, and what is no delivery.
	for _, end := range []string{"completed", "cancelled"} {
		b.exec(t, `update river_job set state = $2::text::river_job_state, finalized_at = now() where args->>'delivery_id' = $1`, held.ID.String(), end)
	}
	b.exec(t, `insert into river_job (kind, queue, max_attempts, args, state, finalized_at) select 'another', queue, max_attempts, args, 'discarded', now() from river_job where id = $1`, held.JobID)
	b.exec(t, `update river_job set state = 'available', finalized_at = null where kind = 'another'`)
	b.exec(t, `update river_job set state = 'discarded', finalized_at = now() where kind = 'another'`)
	require.Len(t, b.told(t), 1)

	// The reclaimer deletes the job of a dead worker and makes another.
	b.ran(t, reclaimed, deadClient(), "")
	b.logged(t, reclaimed, deadClient(), "failed", new("http_status"), new("the partner answered 500 Internal Server Error"), new(500))
	b.exec(t, `insert into river_queue (name, updated_at, paused_at) values ('webhooks', now(), now())`)
	b.run(t, nil)
	require.NotEqual(t, reclaimed.JobID, b.awaitJob(t, reclaimed, "discarded").ID)
	told = b.told(t)
	require.Len(t, told, 2)
	require.Contains(t, told[1].Payload, `"event_id":"reclaimed","event_type":"call.completed","attempts":1,"last_error":"the partner answered 500 Internal Server Error","last_response_status":500}`)

	// What is brought in from elsewhere gave up long ago.
	b.ended(t, acme, "discarded", 2)
	require.Len(t, b.told(t), 4)
	b.exec(t, `update webhook_events set event_id = 'moved' || event_id where event_type = 'call.completed'`)
	b.exec(t, `
		with gone as (delete from river_job where state = 'discarded' returning *)
		insert into river_job (kind, queue, state, attempt, max_attempts, attempted_at, finalized_at, args)
		select kind, queue, state, attempt, max_attempts, attempted_at, finalized_at - interval '2 hours', args from gone where kind = 'webhook_delivery'`)
	require.Len(t, b.told(t), 4)
}

// awaitJob waits until a delivery's job is in a state of River's.
func (b *testBundle) awaitJob(t *testing.T, delivery jobs.Delivery, state string) jobRow {
	t.Helper()
	require.Eventually(t, func() bool { return b.job(t, delivery).State == state }, waitFor, look)
	return b.job(t, delivery)
}
