package jobs_test

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// Workers at full speed, deliveries of every end, and everything that an operator does to them: whenever the
// doctor looks, nothing is wrong.
func TestDoctorFindsNothingWhileWorkersRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.busyPartners(t)
	var stops []func() error
	for i := range 2 {
		stops = append(stops, b.run(t, func(cfg *jobs.RunnerConfig) {
			cfg.Name += strconv.Itoa(i)
			cfg.PollInterval = 100 * time.Millisecond // retries are no concern of this test
		}))
	}

	doctor := jobs.NewDoctor(b.doctorConfig(t))
	// This one gives no time at all for what is under way: each commit must leave things in order. Deliveries
	// may be due and running, of course, and attempts not settled.
	hasty := b.doctorConfig(t)
	hasty.Timeout, hasty.RescueAfter = -time.Hour, -time.Hour
	strict := jobs.NewDoctor(hasty).WithGrace(0)
	look := func() {
		diagnosis, err := doctor.Examine(t.Context(), "", 10)
		require.Empty(t, examined(t, diagnosis, err))
		diagnosis, err = strict.Examine(t.Context(), "", 10)
		found := examined(t, diagnosis, err)
		for _, name := range []string{"due_but_waiting", "running_without_worker", "log_not_settled"} {
			delete(found, name)
		}
		require.Empty(t, found)
	}
	busy := make(chan struct{})
	go func() {
		defer close(busy)
		b.keepBusy(t)
	}()
	defer func() { <-busy }()
	looks := 0
	for ended := false; !ended; looks++ {
		look()
		select {
		case <-busy:
			ended = true
		default:
		}
	}
	const waiting = `webhook_delivery_queue q join partner_webhooks p on p.id::text = q.partner_id
	                  where q.status in ('pending', 'processing', 'failed') and p.paused_at is null`
	for b.count(t, waiting) > 0 {
		look()
		looks++
	}
	require.Greater(t, looks, 2, "a look takes a second or so on a busy machine")
	for _, stop := range stops {
		require.NoError(t, stop())
	}
	look()

	// Long after as well.
	b.age(t, "2 hours")
	look()
	b.requireVariety(t)
}

// busyPartners makes partners that answer in every way.
func (b *testBundle) busyPartners(t *testing.T) {
	t.Helper()
	var flaky, gone atomic.Int64
	answers := map[string]http.HandlerFunc{
		"ok":   status(http.StatusOK),
		"dead": status(http.StatusInternalServerError),
		"flaky": func(w http.ResponseWriter, _ *http.Request) {
			if flaky.Add(1)%2 == 1 {
				w.WriteHeader(http.StatusBadGateway)
			}
		},
		"gone": func(w http.ResponseWriter, _ *http.Request) {
			if gone.Add(1) > 30 {
				w.WriteHeader(http.StatusGone)
			}
		},
		"paused":  status(http.StatusOK),
		"deleted": status(http.StatusTeapot),
	}
	for slug, answer := range answers {
		b.partner(t, user, slug, newEndpoint(t, answer).URL, "*")
	}
	one := 1
	_, err := b.store.Update(t.Context(), user, "dead", &partners.Changes{MaxRetries: &partners.Override{Value: &one}})
	require.NoError(t, err)
}

// keepBusy enqueues some hundred deliveries and meddles with them.
func (b *testBundle) keepBusy(t *testing.T) {
	t.Helper()
	const (
		writers = 3
		events  = 30
	)
	deliveries, err := jobs.NewDeliveries(t.Context(), b.pool)
	if err != nil {
		t.Error(err)
		return
	}
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			for event := range events {
				if err := b.enqueueSomehow(t, writer, event); err != nil {
					t.Errorf("enqueueing: %v", err)
				}
				if err := b.meddle(t, deliveries, event); err != nil {
					t.Errorf("meddling: %v", err)
				}
			}
		})
	}
	group.Wait()
}

// enqueueSomehow enqueues an event by Go, by SQL, or as a test.
func (b *testBundle) enqueueSomehow(t *testing.T, writer, event int) error {
	t.Helper()
	switch writer {
	case 0:
		_, err := b.pool.Exec(t.Context(), `select enqueue_webhook_event($1, 'call.completed', '{}'::json)`, user)
		return err
	case 1:
		partner, err := b.store.Get(t.Context(), user, []string{"ok", "dead", "flaky"}[event%3])
		if err != nil {
			return err
		}
		return pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
			_, err := b.enqueuer.EnqueueTestTx(t.Context(), tx, completed(""), partner.ID)
			return err
		})
	default:
		_, err := b.tryEnqueue(t.Context(), completed(""))
		return err
	}
}

// meddle cancels or replays any delivery, or changes a partner.
func (b *testBundle) meddle(t *testing.T, deliveries *jobs.Deliveries, step int) error {
	t.Helper()
	switch step {
	case 5:
		_, err := b.store.Pause(t.Context(), user, "paused")
		return err
	case 20:
		_, err := b.store.Delete(t.Context(), user, "deleted")
		if errors.Is(err, partners.ErrNotFound) { // another writer was first
			return nil
		}
		return err
	}
	statuses := []string{"pending", "failed", "processing"}
	if step%2 == 1 {
		statuses = []string{"dead_letter", "cancelled", "delivered"}
	}
	var id uuid.UUID
	err := b.pool.QueryRow(t.Context(), `select id::uuid from webhook_delivery_queue where status = any($1) order by random() limit 1`, statuses).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if step%2 == 1 {
		_, err = b.pool.Exec(t.Context(), `select replay_webhook_delivery($1)`, id.String())
		return err
	}
	_, err = deliveries.Cancel(t.Context(), "", id, "a person", true)
	return err
}

// requireVariety looks whether what must have come about did; what else did is up to chance.
func (b *testBundle) requireVariety(t *testing.T) {
	t.Helper()
	require.Greater(t, b.count(t, "webhook_delivery_queue"), 300)
	for _, status := range []jobs.Status{jobs.StatusPending, jobs.StatusDelivered, jobs.StatusDeadLetter} {
		require.NotZero(t, b.count(t, "webhook_delivery_queue where status = $1", string(status)), status)
	}
	for _, where := range []string{
		"outcome = 'delivered'", "outcome = 'failed'", "trigger = 'replay'", "trigger = 'test'", "attempt > 1",
	} {
		require.NotZero(t, b.count(t, "webhook_delivery_log where "+where), where)
	}
}
