package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// clock is what the worker under test takes for now: a time of the past would make River fall back to a
// policy of its own.
var clock = time.Now().Add(time.Hour).Truncate(time.Second)

// workBundle works single jobs, each in the state that the test puts it in.
type workBundle struct {
	*testBundle

	log     *jobs.AttemptLog
	timeout time.Duration // of the worker
}

func setupWork(t *testing.T) *workBundle {
	t.Helper()
	b := setup(t)
	log := jobs.NewAttemptLog(&jobs.AttemptLogConfig{Pool: b.pool, Logger: b.logger, BatchSize: 100})
	t.Cleanup(func() { _ = log.Close(t.Context()) })
	return &workBundle{testBundle: b, log: log, timeout: 10 * time.Second}
}

func (b *workBundle) worker(store *partners.Store) *jobs.DeliveryWorker {
	return jobs.NewDeliveryWorker(&jobs.DeliveryWorkerConfig{
		Pool:     b.pool,
		Store:    store,
		Sender:   b.sender,
		Log:      b.log,
		Logger:   b.logger,
		Schedule: jobs.RetrySchedule{BaseDelay: 30 * time.Second, MaxDelay: time.Hour},
		Timeout:  b.timeout,
		ClientID: "worker-under-test",
		Now:      func() time.Time { return clock },
	})
}

// work works a delivery's job as its try number attempt.
func (b *workBundle) work(t *testing.T, store *partners.Store, delivery jobs.Delivery, attempt int) (*rivertype.JobRow, error) {
	t.Helper()
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	client, err := river.NewClient(riverpgxv5.New(nil), &river.Config{})
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `update river_job set attempt = $2 where id = $1`, delivery.JobID, attempt-1)
	require.NoError(t, err)
	job, err := client.JobGetTx(t.Context(), tx, delivery.JobID)
	require.NoError(t, err)

	config := &river.Config{Logger: b.logger}
	tester := rivertest.NewWorker[jobs.DeliveryArgs, pgx.Tx](t, riverpgxv5.New(nil), config, b.worker(store))
	result, err := tester.WorkJob(t.Context(), t, tx, job)
	require.NotNil(t, result)
	require.NoError(t, tx.Commit(t.Context()))
	return result.Job, err
}

// attempts reads a delivery's rows of the audit log.
func (b *testBundle) attempts(t *testing.T, delivery jobs.Delivery) []jobs.Attempt {
	t.Helper()
	deliveries, err := jobs.NewDeliveries(t.Context(), b.pool)
	require.NoError(t, err)
	list, err := deliveries.Attempts(t.Context(), "", delivery.ID)
	require.NoError(t, err)
	return list
}

func TestWorkDelivers(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "r-1")
		_, _ = w.Write([]byte("thank you"))
	})
	partner, secret, err := b.store.Create(t.Context(), user, &partners.Params{
		Name: "Acme", Slug: "acme", URL: e.URL, EnabledEvents: []string{"*"},
		CustomPayloadFields: json.RawMessage(`{"brand":"AcmeVoice"}`),
	})
	require.NoError(t, err)
	event := completed("e1")
	event.Payload = json.RawMessage(`{"zebra":1,"alpha":2.50,"big":12345678901234567890}`)
	delivery := b.enqueue(t, event)[0]

	job, err := b.work(t, b.store, delivery, 1)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, job.State)
	require.JSONEq(t, `{"outcome":"delivered","response_status":200}`, string(job.Output()))

	require.Len(t, e.received(), 1)
	got := e.received()[0]
	require.JSONEq(t, `{"zebra":1,"alpha":2.50,"big":12345678901234567890,"brand":"AcmeVoice"}`, got.body)
	require.Equal(t, `{"zebra":1,"alpha":2.50,"big":12345678901234567890,"brand":"AcmeVoice"}`, got.body)
	require.Equal(t, delivery.ID.String(), got.header.Get("webhook-id"))
	require.Equal(t, strconv.FormatInt(clock.Unix(), 10), got.header.Get("webhook-timestamp"))
	require.Equal(t, "call.completed", got.header.Get("webhook-event-type"))
	verifier, err := standardwebhooks.NewWebhook(secret.Reveal())
	require.NoError(t, err)
	require.NoError(t, verifier.VerifyIgnoringTimestamp([]byte(got.body), got.header))

	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 1)
	a := attempts[0]
	require.Equal(t, jobs.OutcomeDelivered, a.Outcome)
	require.Equal(t, 200, *a.ResponseStatus)
	require.Equal(t, "thank you", *a.ResponseBody)
	require.Equal(t, "r-1", a.ResponseHeaders["x-request-id"])
	require.Equal(t, e.URL, *a.URL)
	require.Equal(t, jobs.TriggerSchedule, a.Trigger)
	require.Equal(t, 1, a.Number)
	require.Equal(t, "worker-under-test", a.ClientID)
	require.Equal(t, partner.ID, a.PartnerID)
	require.Equal(t, "e1", a.EventID)
	require.Equal(t, delivery.JobID, a.JobID)
	require.Positive(t, *a.DurationMS)
	require.Nil(t, a.Error)
	require.Nil(t, a.ErrorKind)
	require.WithinDuration(t, clock, a.StartedAt, time.Millisecond)
}

func TestWorkFollowsTheSchedule(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusInternalServerError))
	b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]

	for i, seconds := range []int{30, 60, 120, 240, 480} {
		job, err := b.work(t, b.store, delivery, i+1)
		require.ErrorContains(t, err, "the partner answered 500 Internal Server Error")
		require.Equal(t, rivertype.JobStateRetryable, job.State)
		require.WithinDuration(t, clock.Add(time.Duration(seconds)*time.Second), job.ScheduledAt, time.Millisecond)
	}
	job, err := b.work(t, b.store, delivery, 6)
	require.Error(t, err)
	require.Equal(t, rivertype.JobStateDiscarded, job.State)
	require.JSONEq(t, `{"outcome":"failed","response_status":500,"error_kind":"http_status",
		"error":"the partner answered 500 Internal Server Error"}`, string(job.Output()))
	require.Len(t, b.attempts(t, delivery), 6)
	require.Len(t, e.received(), 6)
}

func TestWorkHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status     int
		retryAfter string
		want       time.Duration
	}{
		"longer than the schedule":  {429, "120", 2 * time.Minute},
		"shorter than the schedule": {503, "3", 30 * time.Second},
		"beyond the bound":          {502, "86400", time.Hour},
		"on another status":         {500, "120", 30 * time.Second},
		"unreadable":                {504, "soon", 30 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWork(t)
			e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", test.retryAfter)
				w.WriteHeader(test.status)
			})
			b.partner(t, user, "acme", e.URL, "*")
			job, err := b.work(t, b.store, b.enqueue(t, completed("e1"))[0], 1)
			require.Error(t, err)
			// This pins what River does not promise: Work and NextRetry get the same job.
			require.WithinDuration(t, clock.Add(test.want), job.ScheduledAt, time.Millisecond)
		})
	}
}

func TestWorkDisablesAPartnerThatIsGone(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusGone))
	b.partner(t, user, "acme", e.URL, "*")
	first, second := b.enqueue(t, completed("e1"))[0], b.enqueue(t, completed("e2"))[0]

	job, err := b.work(t, b.store, first, 1)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, job.State)
	partner, err := b.store.Get(t.Context(), user, "acme")
	require.NoError(t, err)
	require.False(t, partner.Enabled)
	require.Equal(t, "its endpoint answered 410 Gone", *partner.DisabledReason)
	require.Equal(t, jobs.OutcomeFailed, b.attempts(t, first)[0].Outcome)

	job, err = b.work(t, b.store, second, 1)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, job.State)
	require.Len(t, e.received(), 1, "nothing is sent to a disabled partner")
	require.Equal(t, jobs.OutcomeCancelled, b.attempts(t, second)[0].Outcome)
	require.Equal(t, "the partner is disabled: its endpoint answered 410 Gone", *b.attempts(t, second)[0].Error)
	require.Nil(t, b.attempts(t, second)[0].URL)
}

func TestWorkTriesAgainWhenTheURLChangedBeforeThe410(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	elsewhere := "https://elsewhere.example/"
	e := newEndpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := b.store.Update(r.Context(), user, "acme", &partners.Changes{URL: &elsewhere}); err != nil {
			t.Errorf("updating: %v", err)
		}
		w.WriteHeader(http.StatusGone)
	})
	b.partner(t, user, "acme", e.URL, "*")
	job, err := b.work(t, b.store, b.enqueue(t, completed("e1"))[0], 1)
	require.Error(t, err)
	require.Equal(t, rivertype.JobStateRetryable, job.State)
	partner, err := b.store.Get(t.Context(), user, "acme")
	require.NoError(t, err)
	require.True(t, partner.Enabled)
}

func TestWorkDoesNotChargeThePartnerForTheDatabase(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	const slow = 2 * time.Second
	e := newEndpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
		}
	})
	b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	b.timeout = 2*slow - slow/10 // enough for the partner, not for both
	lock, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = lock.Exec(t.Context(), `lock table webhook_delivery_log`)
	require.NoError(t, err)
	time.AfterFunc(slow, func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) })

	job, err := b.work(t, b.store, delivery, 1)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, job.State)
}

func TestWorkEndsWithoutAPost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil func(t *testing.T, b *workBundle)
		why   string
	}{
		"deleted partner": {func(t *testing.T, b *workBundle) {
			t.Helper()
			_, err := b.store.Delete(t.Context(), user, "acme")
			require.NoError(t, err)
		}, "the partner was deleted"},
		"partner disabled in SQL, without a reason": {func(t *testing.T, b *workBundle) {
			t.Helper()
			_, err := b.pool.Exec(t.Context(), `update partner_webhooks set enabled = false`)
			require.NoError(t, err)
		}, "the partner is disabled"},
		"removed event": {func(t *testing.T, b *workBundle) {
			t.Helper()
			_, err := b.pool.Exec(t.Context(), `delete from webhook_events`)
			require.NoError(t, err)
		}, "the event was removed"},
		"job that names another user's partner": {func(t *testing.T, b *workBundle) {
			t.Helper()
			_, err := b.pool.Exec(t.Context(), `update river_job set args = jsonb_set(args, '{user_id}', '"somebody-else"')`)
			require.NoError(t, err)
		}, "the partner was deleted"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupWork(t)
			e := newEndpoint(t, status(http.StatusOK))
			b.partner(t, user, "acme", e.URL, "*")
			delivery := b.enqueue(t, completed("e1"))[0]
			test.spoil(t, b)

			job, err := b.work(t, b.store, delivery, 1)
			require.NoError(t, err)
			require.Equal(t, rivertype.JobStateCancelled, job.State)
			require.Contains(t, job.Errors[0].Error, test.why)
			require.Empty(t, e.received())
			attempts := b.attempts(t, delivery)
			require.Len(t, attempts, 1)
			require.Equal(t, jobs.OutcomeCancelled, attempts[0].Outcome)
			require.Equal(t, test.why, *attempts[0].Error)
		})
	}
}

// A delivery whose partner's key is not at hand waits for a worker that has it.
func TestWorkWithoutTheKey(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	var keyID string
	require.NoError(t, b.pool.QueryRow(t.Context(), `select secret_key_id from partner_webhooks`).Scan(&keyID))
	var logged bytes.Buffer
	b.logger = slog.New(slog.NewTextHandler(&logged, nil))

	job, err := b.work(t, newStore(t, b.pool), delivery, 3)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateScheduled, job.State)
	require.WithinRange(t, job.ScheduledAt, time.Now(), time.Now().Add(15*time.Minute))
	require.Equal(t, 2, job.Attempt, "no try is used")
	require.Empty(t, job.Errors)
	require.Empty(t, e.received())
	require.Empty(t, b.attempts(t, delivery))
	require.Contains(t, logged.String(), `msg="delivery put off"`)
	require.Contains(t, logged.String(), "sealed with key "+keyID)

	job, err = b.work(t, b.store, delivery, 3)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, job.State)
	require.Len(t, e.received(), 1)
}

func TestWorkWithDamagedSecrets(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	b.exec(t, `update partner_webhooks set secret_ciphertext = secret_ciphertext || '\x00'`)

	job, err := b.work(t, b.store, delivery, 1)
	require.ErrorContains(t, err, "this partner's secrets are damaged")
	require.Equal(t, rivertype.JobStateRetryable, job.State)
	require.Empty(t, e.received())
	attempts := b.attempts(t, delivery)
	require.Equal(t, jobs.OutcomeFailed, attempts[0].Outcome)
	require.Equal(t, partners.KindInternal, *attempts[0].ErrorKind)
}

// refuse makes the database refuse a kind of statement on the audit log, as a full disk does.
func (b *workBundle) refuse(t *testing.T, statement string) {
	t.Helper()
	_, err := b.pool.Exec(t.Context(), `
		create function refuse() returns trigger language plpgsql as $$ begin raise exception 'disk full'; end $$;
		create trigger refuse before `+statement+` on webhook_delivery_log for each row execute function refuse()`)
	require.NoError(t, err)
}

// A fault of ours is a failed try like any other, and its attempt is closed.
func TestWorkOutlivesAPanic(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	b.partner(t, user, "acme", nowhere, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	b.sender = nil
	job, err := b.work(t, b.store, delivery, 1)
	require.Error(t, err)
	require.Equal(t, rivertype.JobStateRetryable, job.State)
	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 1)
	require.Equal(t, jobs.OutcomeFailed, attempts[0].Outcome)
	require.Equal(t, partners.KindInternal, *attempts[0].ErrorKind)
	require.Equal(t, "webhook-worker failed: its log says more", *attempts[0].Error)
}

func TestWorkSendsNothingWithoutAnIntent(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	b.refuse(t, "insert")

	job, err := b.work(t, b.store, delivery, 1)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateScheduled, job.State)
	require.Zero(t, job.Attempt, "no try is used")
	require.Empty(t, job.Errors)
	require.Greater(t, time.Until(job.ScheduledAt), 4*time.Second)
	require.Less(t, time.Until(job.ScheduledAt), 31*time.Second)
	require.Empty(t, e.received())
	require.Empty(t, b.attempts(t, delivery))
}

func TestWorkReturnsTheVerdictWithoutTheOutcomesRow(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	b.refuse(t, "update")

	job, err := b.work(t, b.store, delivery, 1)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, job.State)
	require.Equal(t, jobs.OutcomeSending, b.attempts(t, delivery)[0].Outcome)

	_, err = b.pool.Exec(t.Context(), `drop trigger refuse on webhook_delivery_log`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return b.attempts(t, delivery)[0].Outcome == jobs.OutcomeDelivered
	}, waitFor, look, "the row is written when the database takes it")
	require.Len(t, e.received(), 1, "only the row's write is repeated")
}

func TestWorkMarksTests(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusOK))
	partner := b.partner(t, user, "acme", e.URL, "call.failed")
	var delivery *jobs.Delivery
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) (err error) {
		delivery, err = b.enqueuer.EnqueueTestTx(t.Context(), tx, completed(""), partner.ID)
		return err
	}))
	_, err := b.work(t, b.store, *delivery, 1)
	require.NoError(t, err)
	require.Equal(t, jobs.TriggerTest, b.attempts(t, *delivery)[0].Trigger)
}

func TestDeliveryArgsHoldNothingSecret(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(jobs.DeliveryArgs{DeliveryID: uuid.New()})
	require.NoError(t, err)
	var members map[string]any
	require.NoError(t, json.Unmarshal(encoded, &members))
	require.Len(t, members, 6)
	require.Equal(t, "webhook_delivery", jobs.DeliveryArgs{}.Kind())
}

// A job that something else made may have a trigger of its own in its metadata.
func TestWorkOfUnknownTrigger(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	endpoint := newEndpoint(t, status(http.StatusNoContent))
	b.partner(t, user, "acme", endpoint.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	_, err := b.pool.Exec(t.Context(), `update river_job set metadata = '{"trigger": "by hand"}' where id = $1`, delivery.JobID)
	require.NoError(t, err)

	job, err := b.work(t, b.store, delivery, 1)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, job.State)
	require.Len(t, endpoint.received(), 1)
	require.Equal(t, jobs.TriggerSchedule, b.attempts(t, delivery)[0].Trigger, "as SQL takes it")
}
