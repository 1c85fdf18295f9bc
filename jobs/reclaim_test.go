package jobs_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// deadClient names a client as workers do, that holds no lock.
func deadClient() string { return "host-1-20260101T000000Z-" + "abcdefgh" }

// ran makes a delivery look as if a client had fetched it.
func (b *testBundle) ran(t *testing.T, delivery jobs.Delivery, client, set string) {
	t.Helper()
	b.exec(t, `update river_job
		          set state = 'running', attempt = attempt + 1, attempted_at = now() - interval '8 s', attempted_by = array_append(attempted_by, $2)
		        where args->>'delivery_id' = $1`, delivery.ID.String(), client)
	if set != "" {
		b.exec(t, `update river_job set `+set+` where args->>'delivery_id' = $1`, delivery.ID.String())
	}
}

// jobRow is what River keeps of a delivery.
type jobRow struct {
	ID       int64
	State    string
	Attempt  int
	Errors   []string
	Metadata map[string]any
}

func (b *testBundle) job(t *testing.T, delivery jobs.Delivery) jobRow {
	t.Helper()
	rows, _ := b.pool.Query(t.Context(), `
		select id, state::text, attempt::int, coalesce((select array_agg(e->>'error') from unnest(errors) e), '{}'), metadata
		  from river_job where args->>'delivery_id' = $1`, delivery.ID.String())
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[jobRow])
	require.NoError(t, err)
	return row
}

// logged puts an attempt of a delivery on record.
func (b *testBundle) logged(t *testing.T, delivery jobs.Delivery, client, outcome string, kind, text *string, status *int) uuid.UUID {
	t.Helper()
	id := uuid.New()
	b.exec(t, `
		insert into webhook_delivery_log
		       (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger, outcome, error_kind, error,
		        response_status, url, duration_ms, client_id, started_at)
		select $2, (args->>'delivery_id')::uuid, id, args->>'user_id', (args->>'partner_id')::uuid, args->>'event_id', args->>'event_type',
		       attempt, 'schedule', $3, $4, $5, $6, 'http://x', case when $3 <> 'sending' then 5 end, $7, attempted_at
		  from river_job where args->>'delivery_id' = $1`, delivery.ID.String(), id, outcome, kind, text, status, client)
	return id
}

const lost = "the worker ended before the answer was on record"

// What a dead worker left goes on as the log says, under another job id.
func TestReclaimGoesByTheLog(t *testing.T) {
	t.Parallel()
	refused := "the partner answered 500 Internal Server Error"
	cases := map[string]struct {
		outcome, kind, text string
		status              int
		set                 string

		state   string
		attempt int
		errors  []string
		logged  string
	}{
		"delivered":          {outcome: "delivered", status: 200, state: "completed", attempt: 1, logged: "delivered"},
		"failed":             {outcome: "failed", kind: "http_status", text: refused, status: 500, state: "retryable", attempt: 1, errors: []string{refused}, logged: "failed"},
		"failed at last":     {outcome: "failed", kind: "http_status", text: refused, status: 500, set: "max_attempts = 1", state: "discarded", attempt: 1, errors: []string{refused}, logged: "failed"},
		"ended":              {outcome: "cancelled", kind: "internal", text: "the partner is disabled", state: "cancelled", attempt: 1, errors: []string{"JobCancelError: the partner is disabled"}, logged: "cancelled"},
		"cut by a stop":      {outcome: "lost", kind: "shutdown", text: "stopped", state: "available", logged: "lost"},
		"no answer":          {outcome: "sending", state: "available", logged: "lost"},
		"no answer at last":  {outcome: "sending", set: "max_attempts = 1", state: "available", logged: "lost"},
		"no intent":          {state: "available", logged: "lost"},
		"cancelled by hand":  {outcome: "sending", set: `metadata = metadata || '{"cancel_attempted_at": "2026-01-01T00:00:00Z"}'`, state: "cancelled", attempt: 1, errors: []string{lost}, logged: "lost"},
		"delivered although": {outcome: "delivered", status: 204, set: `metadata = metadata || '{"cancel_attempted_at": "2026-01-01T00:00:00Z"}'`, state: "completed", attempt: 1, logged: "delivered"},
	}
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	deliveries, before := map[string]jobs.Delivery{}, map[string]jobRow{}
	for name, test := range cases {
		delivery := b.enqueue(t, completed(name))[0]
		b.ran(t, delivery, deadClient(), test.set)
		if test.outcome != "" {
			var status *int
			if test.status != 0 {
				status = &test.status
			}
			b.logged(t, delivery, deadClient(), test.outcome, notEmpty(test.kind), notEmpty(test.text), status)
		}
		deliveries[name], before[name] = delivery, b.job(t, delivery)
	}
	// The worker that gives back must not fetch, so that what it gave back can be seen.
	b.exec(t, `insert into river_queue (name, updated_at, paused_at) values ('webhooks', now(), now())`)
	b.run(t, nil)
	require.Eventually(t, func() bool { return b.count(t, `river_job where kind = 'webhook_delivery' and state = 'running'`) == 0 }, waitFor, look)

	for name, test := range cases {
		got, was := b.job(t, deliveries[name]), before[name]
		require.Equal(t, test.state, got.State, name)
		require.Equal(t, test.attempt, got.Attempt, name)
		require.NotEqual(t, was.ID, got.ID, name)
		if test.errors == nil {
			test.errors = []string{}
		}
		require.Equal(t, test.errors, got.Errors, name)
		attempts := b.attempts(t, deliveries[name])
		require.Len(t, attempts, 1, name)
		require.Equal(t, test.logged, string(attempts[0].Outcome), name)
		require.Equal(t, got.ID, attempts[0].JobID, name)
		output, _ := got.Metadata["output"].(map[string]any)
		require.Equal(t, test.logged, output["outcome"], name)
		if test.status != 0 {
			require.InDelta(t, test.status, output["response_status"], 0, name)
		}
	}
}

// Where nobody worked for long, River's rescuer would take a try for it, or its last one.
func TestReclaimAfterALongPause(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	b.ran(t, delivery, deadClient(), `max_attempts = 1, attempted_at = now() - interval '3 days'`)
	b.logged(t, delivery, deadClient(), "sending", nil, nil, nil)
	b.run(t, nil)
	state := b.await(t, delivery, jobs.StatusDelivered)
	require.Equal(t, 1, state.AttemptCount)
	require.Empty(t, b.job(t, delivery).Errors)
	require.Len(t, e.received(), 1)
}

func notEmpty(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// The third loss in a row and every further one costs a try, and the last try ends the delivery; an answer in
// between, even a bad one, begins the count anew.
func TestReclaimCountsLossesInARow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	delivery := b.enqueue(t, completed("poison"))[0]
	b.exec(t, `update river_job set max_attempts = 3`)
	b.exec(t, `insert into river_queue (name, updated_at, paused_at) values ('webhooks', now(), now())`)
	b.run(t, nil)
	lose := func(outcome string) jobRow {
		t.Helper()
		before := b.job(t, delivery)
		require.Contains(t, []string{"available", "retryable"}, before.State)
		b.ran(t, delivery, deadClient(), "")
		b.logged(t, delivery, deadClient(), outcome, notEmpty("internal"), notEmpty(lost), nil)
		require.Eventually(t, func() bool { return b.job(t, delivery).State != "running" }, waitFor, look)
		return b.job(t, delivery)
	}
	for _, step := range []struct {
		outcome string
		attempt int
		state   string
	}{
		{"sending", 0, "available"},
		{"sending", 0, "available"},
		{"failed", 1, "retryable"},
		{"sending", 1, "available"},
		{"sending", 1, "available"},
		{"sending", 2, "retryable"},
		{"sending", 3, "discarded"},
	} {
		got := lose(step.outcome)
		require.Equal(t, step.attempt, got.Attempt, "%+v", step)
		require.Equal(t, step.state, got.State, "%+v", step)
	}
	require.Len(t, b.attempts(t, delivery), 7)
	require.Equal(t, jobs.StatusDeadLetter, b.get(t, delivery).Status)
	require.Equal(t, lost, *b.get(t, delivery).LastError)
}

// Only who has named itself as workers do, and holds no lock, counts as dead.
func TestReclaimLeavesTheLiving(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	alive, foreign := "host-2-20260101T000000Z-abcdefgh", "a client of another program"
	conn, err := pgx.Connect(t.Context(), testdb.URL(b.pool))
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), `select pg_advisory_lock(hashtextextended('webhook-worker client ' || $1, 0))`, alive)
	require.NoError(t, err)
	clients := map[string]jobs.Delivery{}
	for _, client := range []string{alive, foreign, deadClient()} {
		clients[client] = b.enqueue(t, completed(client))[0]
		b.ran(t, clients[client], client, "")
	}
	b.run(t, nil)
	gone := func(client string) func() bool {
		return func() bool { return b.job(t, clients[client]).State != "running" }
	}
	require.Eventually(t, gone(deadClient()), waitFor, look)
	require.Equal(t, "running", b.job(t, clients[alive]).State)
	require.Equal(t, "running", b.job(t, clients[foreign]).State)

	require.NoError(t, conn.Close(t.Context()))
	require.Eventually(t, gone(alive), waitFor, look)
	require.Equal(t, "running", b.job(t, clients[foreign]).State)
}

// What a dead leader of River held others take over at once, and the maintenance that it was at is no hindrance.
func TestReclaimEndsADeadLeadersTerm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `insert into river_job (kind, queue, args, max_attempts, state, attempt, attempted_at, attempted_by)
	           values ('webhook_settlement', 'webhook_maintenance', '{}', 1, 'running', 1, now(), array[$1])`, deadClient())
	b.exec(t, `insert into river_leader (leader_id, elected_at, expires_at) values ($1, now(), now() + interval '1 hour')`, deadClient())
	b.run(t, nil)
	require.Eventually(t, func() bool { return b.count(t, `river_leader where leader_id <> $1`, deadClient()) == 1 }, waitFor, look)
	require.Eventually(t, func() bool { return b.count(t, `river_job where $1 = any(attempted_by)`, deadClient()) == 0 }, waitFor, look)
}

// A fetch whose answer was lost leaves deliveries that nobody works on, although their worker lives.
func TestReclaimTakesWhatItsOwnWorkerNeverHeardOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	b.run(t, nil)
	first := b.enqueue(t, completed("e1"))[0]
	b.await(t, first, jobs.StatusDelivered)
	var client string
	require.NoError(t, b.pool.QueryRow(t.Context(), `select attempted_by[1] from river_job where kind = 'webhook_delivery'`).Scan(&client))

	var second jobs.Delivery
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		deliveries, err := b.enqueuer.EnqueueTx(t.Context(), tx, completed("e2"))
		if err != nil {
			return err
		}
		second = deliveries[0]
		_, err = tx.Exec(t.Context(), `
			update river_job set state = 'running', attempt = 1, attempted_at = now(), attempted_by = array[$2] where args->>'delivery_id' = $1`,
			second.ID.String(), client)
		return err
	}))
	require.Eventually(t, func() bool { return b.get(t, second).Status == jobs.StatusDelivered }, 2*waitFor, look)
	require.Equal(t, 1, b.get(t, second).AttemptCount)
	require.Len(t, e.received(), 2)
}

// What one job should not hold keeps none of the others back.
func TestReclaimStepsOverWhatItCannotRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	odd, even, big := b.enqueue(t, completed("odd"))[0], b.enqueue(t, completed("even"))[0], b.enqueue(t, completed("big"))[0]
	other := "host-3-20260101T000000Z-abcdefgh"
	b.ran(t, odd, deadClient(), `metadata = '{"lost": {"errors": "0", "in_a_row": "many"}}'`)
	b.ran(t, even, deadClient(), `metadata = '{"lost": 7}'`)
	b.ran(t, big, other, "max_attempts = 32767, attempt = 32767")
	b.exec(t, `insert into webhook_delivery_log (attempt_id, delivery_id, job_id, attempt, trigger, outcome, client_id, started_at)
		select gen_random_uuid(), (args->>'delivery_id')::uuid, id, attempt, 'schedule', 'failed', $1, attempted_at
		  from river_job where attempted_by[1] = $1`, other)
	b.exec(t, `insert into river_queue (name, updated_at, paused_at) values ('webhooks', now(), now())`)
	b.run(t, nil)
	require.Eventually(t, func() bool { return b.count(t, `river_job where kind = 'webhook_delivery' and state = 'running'`) == 0 }, waitFor, look)
	require.Equal(t, "available", b.job(t, odd).State)
	require.Equal(t, "available", b.job(t, even).State)
	require.Equal(t, "discarded", b.job(t, big).State)
}

// patient is a sender that waits for longer than it takes to notice that a worker is dead.
func (b *testBundle) patient(t *testing.T) *partners.Sender {
	t.Helper()
	sender := partners.NewSender(&partners.SenderConfig{
		Guard: newGuard(), Timeout: time.Minute, MaxIdle: 10, UserAgent: "test",
	})
	t.Cleanup(sender.Close)
	return sender
}

// A worker that was thought dead may speak after all: its word changes no job, and its answer is on record.
func TestReclaimedDeliveryIgnoresItsFormerWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	answer, arrived := make(chan struct{}), make(chan struct{}, 10)
	e := newEndpoint(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	b.partner(t, user, "acme", e.URL, "*")
	patient := b.patient(t)
	stop := b.run(t, func(cfg *jobs.RunnerConfig) { cfg.Sender, cfg.Timeout = patient, time.Minute })
	delivery := b.enqueue(t, completed("e1"))[0]
	<-arrived
	before := b.job(t, delivery)
	b.exec(t, `update river_job set attempted_by = array[$1] where kind = 'webhook_delivery'`, deadClient()) // as if its lock were gone
	b.exec(t, `update webhook_delivery_log set client_id = $1`, deadClient())
	<-arrived // it is sent again
	after := b.job(t, delivery)
	require.NotEqual(t, before.ID, after.ID)
	require.Equal(t, "running", after.State)
	close(answer)
	require.NoError(t, stop())
	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 2)
	for _, attempt := range attempts {
		require.Equal(t, jobs.OutcomeFailed, attempt.Outcome, "the answer came in the end")
	}
	got := b.job(t, delivery)
	require.Equal(t, after.ID, got.ID)
	require.Len(t, got.Errors, 1, "the first worker's word did not count")
	require.Equal(t, 1, got.Attempt)
	encoded, err := json.Marshal(got.Metadata)
	require.NoError(t, err)
	require.Contains(t, string(encoded), "in_a_row")
}
