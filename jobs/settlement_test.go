package jobs_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// settledRow is what the log says of a delivery's attempts.
type settledRow struct {
	Attempt int
	Outcome string
	Status  *int
	Kind    *string
	Error   *string
}

// settle runs workers until they have made the log agree with the jobs.
func (b *testBundle) settle(t *testing.T, change func(*jobs.RunnerConfig)) {
	t.Helper()
	_, err := b.pool.Exec(t.Context(), `update webhook_settings set log_settled_until = now() - interval '1 day'`)
	require.NoError(t, err)
	b.settleOn(t, change)
}

// settleOn is settle from where the last one came to.
func (b *testBundle) settleOn(t *testing.T, change func(*jobs.RunnerConfig)) {
	t.Helper()
	const settled = "river_job where kind = 'webhook_settlement' and state = 'completed'"
	before := b.count(t, settled)
	stop := b.run(t, change)
	require.Eventually(t, func() bool { return b.count(t, settled) > before }, waitFor, look)
	require.NoError(t, stop())
}

func (b *testBundle) settledRows(t *testing.T, delivery jobs.Delivery) []settledRow {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `
		select attempt, outcome, response_status, error_kind, error
		  from webhook_delivery_log where delivery_id = $1 order by started_at`, delivery.ID.String())
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[settledRow])
	require.NoError(t, err)
	return list
}

const (
	// What a worker wrote before its POST, an hour ago, and never closed.
	openRow = `
		insert into webhook_delivery_log (attempt_id, delivery_id, job_id, user_id, attempt, trigger, outcome, client_id, started_at)
		values (gen_random_uuid(), $1, $2, 'user_123', $3::int, 'schedule', 'sending', 'dead-worker', now() - interval '1 hour' + $3::int * interval '1 minute')`
	rescuedError = `{"at": "2026-01-01T00:00:00Z", "attempt": 1, "error": "Stuck job rescued by JobRescuer", "trace": ""}`
)

func TestSettlement(t *testing.T) {
	t.Parallel()
	lostError := new("the worker ended before the answer was on record")
	neverError := new("the worker ended before the attempt was on record")
	tests := map[string]struct {
		job  string // what became of the job: the rest of "update river_job set"
		open []int  // the attempts that were left open
		want []settledRow
	}{
		"the job completed": {
			job: `state = 'completed', attempt = 1, finalized_at = now() - interval '30 minutes',
			      metadata = '{"output": {"outcome": "delivered", "response_status": 202}}'`,
			open: []int{1},
			want: []settledRow{{1, "delivered", new(202), nil, nil}},
		},
		"the job completed at its second try": {
			job: `state = 'completed', attempt = 2, finalized_at = now() - interval '30 minutes',
			      metadata = '{"output": {"outcome": "delivered", "response_status": 200}}', errors = array['` + rescuedError + `'::jsonb]`,
			open: []int{1, 2},
			want: []settledRow{{1, "lost", nil, new("internal"), lostError}, {2, "delivered", new(200), nil, nil}},
		},
		"the try failed, and that is on the job": {
			job: `state = 'discarded', attempt = 1, finalized_at = now() - interval '30 minutes',
			      metadata = '{"output": {"outcome": "failed", "response_status": 500, "error_kind": "http_status", "error": "the partner answered 500"}}',
			      errors = array['{"at": "2026-01-01T00:00:00Z", "attempt": 1, "error": "the partner answered 500", "trace": ""}'::jsonb]`,
			open: []int{1},
			want: []settledRow{{1, "failed", new(500), new("http_status"), new("the partner answered 500")}},
		},
		"River rescued it and waits": {
			job:  `state = 'retryable', attempt = 1, scheduled_at = now() + interval '1 hour', errors = array['` + rescuedError + `'::jsonb]`,
			open: []int{1},
			want: []settledRow{{1, "lost", nil, new("internal"), lostError}},
		},
		"River discarded it at its last try": {
			job:  `state = 'discarded', attempt = 1, finalized_at = now() - interval '30 minutes', errors = array['` + rescuedError + `'::jsonb]`,
			open: []int{1},
			want: []settledRow{{1, "lost", nil, new("internal"), lostError}},
		},
		"River discarded it, and its worker had written nothing": {
			job:  `state = 'discarded', attempt = 1, finalized_at = now() - interval '30 minutes', errors = array['` + rescuedError + `'::jsonb]`,
			want: []settledRow{{1, "lost", nil, new("internal"), neverError}},
		},
		"its arguments could not be read": {
			job: `state = 'discarded', attempt = 1, finalized_at = now() - interval '30 minutes',
			      errors = array['{"at": "2026-01-01T00:00:00Z", "attempt": 1, "error": "bad args", "trace": ""}'::jsonb]`,
			want: []settledRow{{1, "failed", nil, new("internal"), new("bad args")}},
		},
		"an earlier try failed, and was never closed": {
			job: `state = 'completed', attempt = 2, finalized_at = now() - interval '30 minutes',
			      metadata = '{"output": {"outcome": "delivered", "response_status": 200}}',
			      errors = array['{"at": "2026-01-01T00:00:00Z", "attempt": 1, "error": "the partner answered 503", "trace": ""}'::jsonb]`,
			open: []int{1, 2},
			want: []settledRow{{1, "failed", nil, new("internal"), new("the partner answered 503")}, {2, "delivered", new(200), nil, nil}},
		},
		"its ids and its trigger are none": {
			job: `state = 'discarded', attempt = 1, finalized_at = now() - interval '30 minutes',
			      args = args || '{"partner_id": "acme"}', metadata = '{"trigger": "a whim"}',
			      errors = array['{"at": "2026-01-01T00:00:00Z", "attempt": 1, "error": "bad args", "trace": ""}'::jsonb]`,
			want: []settledRow{{1, "failed", nil, new("internal"), new("bad args")}},
		},
		"it was cancelled in River before any try": {
			job:  `state = 'cancelled', finalized_at = now() - interval '30 minutes'`,
			want: []settledRow{{0, "cancelled", nil, new("internal"), new("cancelled in River")}},
		},
		"the try is running": {
			job:  `state = 'running', attempt = 1, attempted_at = now() - interval '1 hour'`,
			open: []int{1},
			want: []settledRow{{1, "sending", nil, nil, nil}},
		},
		"a later try is running": {
			job:  `state = 'running', attempt = 2, attempted_at = now(), errors = array['` + rescuedError + `'::jsonb]`,
			open: []int{1},
			want: []settledRow{{1, "lost", nil, new("internal"), lostError}},
		},
	}
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	deliveries := map[string]jobs.Delivery{}
	for name, test := range tests {
		delivery := b.enqueue(t, completed(name))[0]
		deliveries[name] = delivery
		_, err := b.pool.Exec(t.Context(), `update river_job set `+test.job+` where id = $1`, delivery.JobID)
		require.NoError(t, err)
		for _, attempt := range test.open {
			_, err := b.pool.Exec(t.Context(), openRow, delivery.ID.String(), delivery.JobID, attempt)
			require.NoError(t, err)
		}
	}
	for range 2 { // the second time changes nothing
		// River's own rescuer must not take the running one meanwhile.
		b.settle(t, func(cfg *jobs.RunnerConfig) {
			cfg.RescueAfter = 24 * time.Hour
			forEver(cfg)
		})
		for name, test := range tests {
			require.Equal(t, test.want, b.settledRows(t, deliveries[name]), name)
		}
	}
}

func TestSettlementOfAJobThatIsGone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	_, err := b.pool.Exec(t.Context(), openRow, delivery.ID.String(), delivery.JobID, 1)
	require.NoError(t, err)
	_, err = b.pool.Exec(t.Context(), `delete from river_job where id = $1`, delivery.JobID)
	require.NoError(t, err)
	b.settle(t, nil)
	require.Equal(t, "lost", b.settledRows(t, delivery)[0].Outcome)
}

// What workers wrote themselves in every way that a delivery can end stays as it is.
func TestSettlementLeavesWhatIsSettled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for slug, code := range map[string]int{"good": http.StatusOK, "bad": http.StatusInternalServerError, "gone": http.StatusGone} {
		b.partner(t, user, slug, newEndpoint(t, status(code)).URL, "*")
	}
	stop := b.run(t, nil)
	deliveries := b.enqueue(t, completed("e1"))
	require.Eventually(t, func() bool {
		return b.count(t, "webhook_delivery_queue where status in ('delivered', 'dead_letter', 'cancelled')") == len(deliveries)
	}, waitFor, look)
	require.NoError(t, stop())
	list, err := jobs.NewDeliveries(t.Context(), b.pool)
	require.NoError(t, err)
	b.partner(t, user, "waiting", nowhere, "call.waits")
	waiting := b.enqueue(t, &jobs.Event{ID: "e2", UserID: user, Type: "call.waits", Payload: []byte(`{}`)})[0]
	_, err = list.Cancel(t.Context(), user, waiting.ID, "test", true)
	require.NoError(t, err)
	_, err = b.pool.Exec(t.Context(), `
		update river_job set finalized_at = finalized_at - interval '1 hour' where kind = 'webhook_delivery';
		update webhook_delivery_log set started_at = started_at - interval '1 hour'`)
	require.NoError(t, err)

	var before [][]settledRow
	for _, delivery := range append(deliveries, waiting) {
		before = append(before, b.settledRows(t, delivery))
	}
	b.settle(t, forEver)
	for i, delivery := range append(deliveries, waiting) {
		require.NotEmpty(t, before[i])
		require.Equal(t, before[i], b.settledRows(t, delivery))
	}
}

func TestSettlementOfAJobWithoutIDs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.pool.Exec(t.Context(), `
		insert into river_job (kind, queue, max_attempts, args, state, attempt, finalized_at, errors)
		values ('webhook_delivery', 'webhooks', 1, '{"delivery_id": "none"}', 'discarded', 1, now() - interval '1 hour', array['`+rescuedError+`'::jsonb])`)
	require.NoError(t, err)
	for range 2 {
		b.settle(t, forEver)
		require.Equal(t, 1, b.count(t, "webhook_delivery_log where delivery_id is null and outcome = 'lost'"))
	}
}

func TestSettlementWithoutALog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	_, err := b.pool.Exec(t.Context(), `
		update river_job set state = 'discarded', attempt = 1, finalized_at = now() - interval '30 minutes', errors = array['`+rescuedError+`'::jsonb]
		 where id = $1`, delivery.JobID)
	require.NoError(t, err)
	b.settle(t, func(cfg *jobs.RunnerConfig) { cfg.LogAttempts = false })
	require.Empty(t, b.settledRows(t, delivery))
	b.settleOn(t, nil)
	require.Empty(t, b.settledRows(t, delivery), "it ended while nobody kept a log")
}
