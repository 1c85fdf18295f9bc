package jobs_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

const day = 24 * time.Hour

// patient is a database with deliveries of each end, made by a worker two hours ago and after an earlier one, in
// which nothing is wrong.
type patient struct {
	*testBundle

	delivered, dead, cancelled, waiting jobs.Delivery
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{testBundle: setup(t)}
	good := newEndpoint(t, status(http.StatusOK))
	bad := newEndpoint(t, status(http.StatusInternalServerError))
	later := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	p.partner(t, user, "good", good.URL, "good.*")
	p.partner(t, user, "bad", bad.URL, "bad.*")
	p.partner(t, user, "later", later.URL, "later.event")
	p.partner(t, user, "later-too", later.URL, "later.cancelled") // one that asked to be left alone gets no second
	p.retries(t, "bad", 1)

	stop := p.run(t, forEver) // nothing may go before it is looked at
	p.await(t, p.enqueueType(t, "good.earlier"), jobs.StatusDelivered)
	p.age(t, "1 hour")
	p.delivered = p.enqueueType(t, "good.event")
	p.dead = p.enqueueType(t, "bad.event")
	p.cancelled = p.enqueueType(t, "later.cancelled")
	p.waiting = p.enqueueType(t, "later.event")
	p.await(t, p.delivered, jobs.StatusDelivered)
	p.await(t, p.dead, jobs.StatusDeadLetter)
	p.await(t, p.waiting, jobs.StatusFailed)
	p.await(t, p.cancelled, jobs.StatusFailed)
	_, err := p.operator(t).Cancel(t.Context(), user, p.cancelled.ID, "a person", true)
	require.NoError(t, err)
	require.NoError(t, stop())
	p.age(t, "2 hours")
	return p
}

// enqueueType enqueues an event whose id is its type, which has one delivery.
func (p *patient) enqueueType(t *testing.T, eventType string) jobs.Delivery {
	t.Helper()
	deliveries := p.enqueue(t, &jobs.Event{ID: eventType, UserID: user, Type: eventType, Payload: json.RawMessage(`{}`)})
	require.Len(t, deliveries, 1)
	return deliveries[0]
}

// age makes all that has happened happen earlier; what waits becomes due at the same time.
func (b *testBundle) age(t *testing.T, by string) {
	t.Helper()
	b.exec(t, `update webhook_events set created_at = created_at - $1::text::interval`, by)
	b.exec(t, `update webhook_delivery_log set started_at = started_at - $1::text::interval`, by)
	b.exec(t, `update river_job
	                set created_at = created_at - $1::text::interval, attempted_at = attempted_at - $1::text::interval,
	                    finalized_at = finalized_at - $1::text::interval`, by)
	b.exec(t, `select webhook_make_log_partitions()`)
}

// doctorConfig is the configuration of a production's doctor.
func (b *testBundle) doctorConfig(t *testing.T) *jobs.DoctorConfig {
	t.Helper()
	cfg := &jobs.DoctorConfig{
		Pool:        b.pool,
		Timeout:     30 * time.Second,
		LogAttempts: true,
		Retention:   jobs.Retention{Completed: day, DeadLetters: 90 * day, Cancelled: 90 * day, Events: 90 * day, Attempts: 90 * day},
	}
	require.NoError(t, b.pool.QueryRow(t.Context(), `select array_agg(distinct secret_key_id) from partner_webhooks`).Scan(&cfg.KeyIDs))
	return cfg
}

// examination is what each check found that found something.
type examination map[string]jobs.Finding

// counts is how much each found.
func (e examination) counts() map[string]int {
	counts := map[string]int{}
	for name, finding := range e {
		counts[name] = finding.Count
	}
	return counts
}

func examined(t *testing.T, diagnosis *jobs.Diagnosis, err error) examination {
	t.Helper()
	require.NoError(t, err)
	found := examination{}
	for _, finding := range diagnosis.Checks {
		require.NotEmpty(t, finding.Description)
		require.NotEmpty(t, finding.Advice)
		if finding.Count > 0 {
			require.NotEmpty(t, finding.Breaches)
			found[finding.Name] = finding
		}
	}
	return found
}

// after changes the database by statements about a delivery, lets the doctor see that, and takes it back.
func (b *testBundle) after(t *testing.T, cfg *jobs.DoctorConfig, userID string, delivery jobs.Delivery, statements ...string) examination {
	t.Helper()
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	for _, statement := range statements {
		var args []any
		if strings.Contains(statement, "$1") {
			args = []any{delivery.ID.String()}
		}
		_, err := tx.Exec(t.Context(), statement, args...)
		require.NoError(t, err, statement)
	}
	_, err = tx.Exec(t.Context(), `set local jit = off`) // as in readMuch
	require.NoError(t, err)
	diagnosis, err := jobs.NewDoctor(cfg).ExamineTx(t.Context(), tx, userID, 10)
	return examined(t, diagnosis, err)
}
