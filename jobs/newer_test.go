package jobs_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/migrations"
	"github.com/epicvoice/webhook-worker/partners"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(text)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// A delivery of a later version waits for a worker of that version, whatever its arguments look like, and uses no try.
func TestRunnerLeavesNewerDeliveriesToNewerWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	logged := &lines{}
	b.logger = slog.New(slog.NewTextHandler(logged, nil))
	deliveries := map[string]jobs.Delivery{}
	for name, args := range map[string]string{
		"same shape":    `args || '{"version": 2}'`,
		"another shape": `args || '{"version": 2, "partner_id": {"region": "eu"}, "user_id": 17}'`,
		"far ahead":     `args || '{"version": 9007199254740993}'`,
	} {
		deliveries[name] = b.enqueue(t, completed(name))[0]
		b.exec(t, `update river_job set max_attempts = 1, args = `+args+` where args->>'delivery_id' = $1`, deliveries[name].ID.String())
	}
	m := newMeter(t)
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.MeterProvider = m.provider })
	for name, delivery := range deliveries {
		require.Eventually(t, func() bool { return b.job(t, delivery).Metadata["snoozes"] != nil }, waitFor, look, name)
		job := b.job(t, delivery)
		require.Equal(t, "scheduled", job.State, name)
		require.Zero(t, job.Attempt, "no try is used")
		require.Empty(t, job.Errors, name)
		require.Contains(t, logged.String(), `msg="delivery put off: a newer webhook-worker made it; update this worker" delivery_id=`+delivery.ID.String())
		require.Empty(t, b.attempts(t, delivery), name)
	}
	require.Contains(t, logged.String(), " version=2 known=1 wait=")
	require.Equal(t, map[string]float64{"{reason=newer}": 3}, of(m.read(t), "webhook.put_offs"))
	require.Empty(t, e.received())

	// To a worker that knows the version they are what they would have been.
	b.exec(t, `update river_job set args = args || '{"version": 1}', state = 'available', scheduled_at = now() where args->>'delivery_id' = $1`,
		deliveries["same shape"].ID.String())
	require.Equal(t, 1, b.await(t, deliveries["same shape"], jobs.StatusDelivered).AttemptCount)
	require.Len(t, e.received(), 1)
}

// One that nobody ever knows ends where an operator sees it, and can be replayed. What it waited for before, such as a partner
// that was paused, or its first try of which it is a replay, does not count.
func TestRunnerGivesUpOnNewerDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]
	b.exec(t, `update river_job set max_attempts = 2, args = args || '{"version": 2}', created_at = now() - interval '73 hours' where kind = 'webhook_delivery'`)
	b.run(t, nil)
	require.Eventually(t, func() bool { return b.job(t, delivery).Metadata["newer_since"] != nil }, waitFor, look)
	job := b.job(t, delivery)
	require.Equal(t, "scheduled", job.State)
	require.Zero(t, job.Attempt, "no try is used")
	since, err := time.Parse(time.RFC3339, job.Metadata["newer_since"].(string))
	require.NoError(t, err)
	require.WithinRange(t, since, time.Now().Add(-time.Minute), time.Now().Add(time.Minute))

	// It is kept when the delivery is put off again, and counts.
	const again = `update river_job set state = 'available', scheduled_at = now(), metadata = metadata || jsonb_build_object('newer_since', $1::text) where kind = 'webhook_delivery'`
	earlier := time.Now().Add(-71 * time.Hour).UTC().Format(time.RFC3339)
	b.exec(t, again, earlier)
	require.Eventually(t, func() bool { return b.job(t, delivery).Metadata["snoozes"].(float64) == 2 }, waitFor, look)
	require.Equal(t, earlier, b.job(t, delivery).Metadata["newer_since"])
	b.exec(t, again, time.Now().Add(-73*time.Hour).UTC().Format(time.RFC3339))
	state := b.await(t, delivery, jobs.StatusDeadLetter)
	require.Equal(t, "a newer webhook-worker made them: version 2, and this worker knows versions up to 1", *state.LastError)
	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 2)
	require.Equal(t, "the job's arguments can't be read: "+*state.LastError, *attempts[0].Error)
	require.Equal(t, partners.KindInternal, *attempts[0].ErrorKind)
	require.Empty(t, e.received())

	store, err := jobs.NewDeliveries(t.Context(), b.pool)
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		_, err := store.ReplayTx(t.Context(), tx, user, delivery.ID, "")
		return err
	}))
	b.await(t, delivery, jobs.StatusDelivered)
}

// So does a delivery to a partner whose secrets a later version sealed.
func TestWorkWithNewerSecrets(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusOK))
	key := bytes.Repeat([]byte{1}, partners.KeySize)
	keyring, err := partners.NewKeyring(key)
	require.NoError(t, err)
	b.store = partners.NewStore(&partners.StoreConfig{Pool: b.pool, Keyring: keyring, Guard: newGuard()})
	partner := b.partner(t, user, "acme", e.URL, "*")
	delivery := b.enqueue(t, completed("e1"))[0]

	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	aead, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(t, err)
	b.exec(t, `update partner_webhooks set secret_ciphertext = $1`,
		aead.Seal(nil, nil, []byte(`{"secrets":[],"certificate":"new"}`), append([]byte("partner secrets v1:"), partner.ID[:]...)))
	var logged bytes.Buffer
	b.logger = slog.New(slog.NewTextHandler(&logged, nil))
	job, err := b.work(t, b.store, delivery, 3)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateScheduled, job.State)
	require.WithinRange(t, job.ScheduledAt, time.Now(), time.Now().Add(15*time.Minute))
	require.Equal(t, 2, job.Attempt, "no try is used")
	require.Contains(t, logged.String(), `a newer webhook-worker sealed this partner's secrets: update this one`)
	require.Empty(t, e.received())
}

// An application that is updated before the database says so.
func TestEnqueueOnAnOlderSchema(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	const before = 18 // there were ordered ids
	all, err := migrations.Status(t.Context(), b.pool)
	require.NoError(t, err)
	require.NoError(t, migrations.Down(t.Context(), b.pool, all[len(all)-1].Version-before, slog.New(slog.DiscardHandler)))
	_, err = b.tryEnqueue(t.Context(), completed("e1"))
	require.ErrorContains(t, err, "run `webhook-worker migrate up` of that version first")
	require.ErrorContains(t, err, "have their schema in search_path")
	require.Zero(t, b.count(t, "webhook_events"))
	require.NoError(t, migrations.Up(t.Context(), b.pool, slog.New(slog.DiscardHandler)))
	require.Len(t, b.enqueue(t, completed("e1")), 1)
}
