package jobs_test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// fact is what the partners' side knows of a delivery.
type fact struct {
	id        string
	partner   string
	eventType string
	status    jobs.Status
	posts     int    // how many arrived, or were refused
	answer    int    // status of the last answer; 0 if there was none
	failure   string // what the last try's error must say; empty if it was delivered
	touched   int    // place of its last POST among all
}

// scene is a database with deliveries in every status, made by real workers against real endpoints, and
// what those endpoints saw.
type scene struct {
	*testBundle

	mu    sync.Mutex
	clock int                // POSTs so far
	facts map[uuid.UUID]fact // of the endpoints' counting
	order []uuid.UUID        // as enqueued
}

const hangs = 100 * time.Millisecond

// sendWithin is a sender with a timeout of its own.
func sendWithin(t *testing.T, timeout time.Duration) func(*jobs.RunnerConfig) {
	t.Helper()
	sender := partners.NewSender(&partners.SenderConfig{
		Guard:   newGuard(),
		Timeout: timeout,
		MaxIdle: 10,
	})
	t.Cleanup(sender.Close)
	return func(cfg *jobs.RunnerConfig) {
		cfg.Sender = sender
		cfg.Name += "-" + uuid.NewString()
		cfg.PollInterval = 50 * time.Millisecond // retries are no concern of this test
		cfg.Timeout = timeout + time.Minute
		cfg.ShutdownTimeout = 10 * time.Millisecond
		forEver(cfg)
	}
}

// saw counts a POST and its answer, and returns how many there were of this delivery.
func (s *scene) saw(id uuid.UUID, answer int, failure string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	f := s.facts[id]
	f.posts, f.answer, f.failure, f.touched = f.posts+1, answer, failure, s.clock
	s.facts[id] = f
	return f.posts
}

// answers is an endpoint that gives one answer after another, the last one for ever.
func (s *scene) answers(header map[string]string, body string, statuses ...int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := uuid.MustParse(r.Header.Get("webhook-id"))
		s.mu.Lock()
		status := statuses[min(s.facts[id].posts, len(statuses)-1)]
		s.mu.Unlock()
		failure := ""
		if status >= 300 {
			failure = fmt.Sprintf("the partner answered %d %s", status, http.StatusText(status))
		}
		s.saw(id, status, failure)
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// add adds a partner that gets the events of a type of its own.
func (s *scene) add(t *testing.T, slug, url string, retries int) {
	t.Helper()
	_, _, err := s.store.Create(t.Context(), user, &partners.Params{
		Name: slug, Slug: slug, URL: url, EnabledEvents: []string{"call." + slug}, MaxRetries: &retries,
	})
	require.NoError(t, err)
}

// send enqueues an event for a partner.
func (s *scene) send(t *testing.T, slug string) jobs.Delivery {
	t.Helper()
	event := completed("")
	event.Type = "call." + slug
	deliveries := s.enqueue(t, event)
	require.Len(t, deliveries, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = append(s.order, deliveries[0].ID)
	f := s.facts[deliveries[0].ID]
	f.id, f.partner, f.eventType = deliveries[0].ID.String(), slug, event.Type
	s.facts[deliveries[0].ID] = f
	return deliveries[0]
}

// becomes waits for a status, and notes that it is the right one.
func (s *scene) becomes(t *testing.T, delivery jobs.Delivery, status jobs.Status) {
	t.Helper()
	s.await(t, delivery, status)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.facts[delivery.ID]
	f.status = status
	s.facts[delivery.ID] = f
}

// forgive lets a partner that asked to be left alone be called again.
func (s *scene) forgive(t *testing.T, slug string) {
	t.Helper()
	require.Eventually(t, func() bool {
		tag, err := s.pool.Exec(t.Context(), `
			delete from webhook_partner_health h using partner_webhooks p
			 where p.id = h.partner_id and p.partner_slug = $1 and h.slowed_until > now() + interval '1 minute'`, slug)
		return err == nil && tag.RowsAffected() > 0
	}, waitFor, look)
}

// sendAll sends one after another, so that it is known which came last.
func (s *scene) sendAll(t *testing.T, slug string, status jobs.Status, n int) []jobs.Delivery {
	t.Helper()
	sent := make([]jobs.Delivery, n)
	for i := range sent {
		sent[i] = s.send(t, slug)
		s.becomes(t, sent[i], status)
	}
	return sent
}

func (s *scene) cancel(t *testing.T, delivery jobs.Delivery) {
	t.Helper()
	_, err := s.operator(t).Cancel(t.Context(), user, delivery.ID, "a person", true)
	require.NoError(t, err)
	s.becomes(t, delivery, jobs.StatusCancelled)
}

// retry is the retry button of River UI.
func (s *scene) retry(t *testing.T, delivery jobs.Delivery) {
	t.Helper()
	client, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{})
	require.NoError(t, err)
	_, err = client.JobRetry(t.Context(), delivery.JobID)
	require.NoError(t, err)
}

// setupScene leaves a worker behind that has one delivery in flight and no room for another.
func setupScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{testBundle: setup(t), facts: map[uuid.UUID]fact{}}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refusing := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	arrived := make(chan struct{}, 10)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		s.saw(uuid.MustParse(r.Header.Get("webhook-id")), 0, "no answer within "+hangs.String())
		arrived <- struct{}{}
		<-r.Context().Done()
	}
	hour := map[string]string{"Retry-After": "3600"}
	s.add(t, "good", newEndpoint(t, s.answers(nil, "thanks", 200)).URL, 5)
	s.add(t, "flaky", newEndpoint(t, s.answers(nil, "", 500, 502, 204)).URL, 5)
	s.add(t, "broken", newEndpoint(t, s.answers(nil, "", 500)).URL, 1)
	s.add(t, "busy", newEndpoint(t, s.answers(nil, "no room", 503)).URL, 0)
	s.add(t, "later", newEndpoint(t, s.answers(hour, "in an hour", 503)).URL, 5)
	s.add(t, "gone", newEndpoint(t, s.answers(nil, "", 410)).URL, 5)
	s.add(t, "closed", refusing, 1)
	s.add(t, "hangs", newEndpoint(t, hang).URL, 0)
	s.add(t, "held", newEndpoint(t, hang).URL, 5)
	s.add(t, "paused", nowhere, 5)
	_, err = s.store.Pause(t.Context(), user, "paused")
	require.NoError(t, err)

	stop := s.run(t, sendWithin(t, time.Minute))
	old := slices.Concat(
		s.sendAll(t, "busy", jobs.StatusDeadLetter, 1), s.sendAll(t, "good", jobs.StatusDelivered, 1), s.sendAll(t, "gone", jobs.StatusCancelled, 1))
	s.sendAll(t, "good", jobs.StatusDelivered, 4)
	s.sendAll(t, "flaky", jobs.StatusDelivered, 2)
	broken := s.sendAll(t, "broken", jobs.StatusDeadLetter, 7)
	s.sendAll(t, "busy", jobs.StatusDeadLetter, 1)
	var later []jobs.Delivery
	for range 4 {
		later = append(later, s.sendAll(t, "later", jobs.StatusFailed, 1)...)
		s.forgive(t, "later")
	}
	for _, delivery := range s.sendAll(t, "closed", jobs.StatusDeadLetter, 1) {
		s.saw(delivery.ID, 0, "")
		s.saw(delivery.ID, 0, "dial: connect: connection refused") // nobody else can count these two
	}
	paused := s.sendAll(t, "paused", jobs.StatusPending, 4)
	require.Eventually(t, func() bool { return s.count(t, "river_job where state = 'scheduled'") == len(paused) }, waitFor, look)
	s.cancel(t, paused[0])
	s.cancel(t, later[3])
	for _, again := range []jobs.Delivery{later[0], broken[0]} { // enqueued early, changed last
		before := s.get(t, again).AttemptCount
		s.retry(t, again)
		require.Eventually(t, func() bool {
			now := s.get(t, again)
			return now.AttemptCount > before && (now.Status == jobs.StatusFailed || now.Status == jobs.StatusDeadLetter)
		}, waitFor, look)
	}
	require.NoError(t, stop())

	stop = s.run(t, sendWithin(t, hangs))
	s.sendAll(t, "hangs", jobs.StatusDeadLetter, 2)
	require.NoError(t, stop())
	for range 2 {
		<-arrived
	}

	quiet := sendWithin(t, time.Hour)
	s.run(t, func(cfg *jobs.RunnerConfig) {
		quiet(cfg)
		cfg.MaxConcurrent = 1
	})
	s.sendAll(t, "held", jobs.StatusProcessing, 1)
	<-arrived
	s.sendAll(t, "good", jobs.StatusPending, 2) // nobody has time for these
	s.retry(t, later[1])
	s.age(t, old)
	return s
}

// age makes it two hours ago that deliveries were made.
func (s *scene) age(t *testing.T, deliveries []jobs.Delivery) {
	t.Helper()
	ids := make([]uuid.UUID, len(deliveries))
	for i, delivery := range deliveries {
		ids[i] = delivery.ID
	}
	require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `update webhook_delivery_log set started_at = started_at - interval '2 hours' where delivery_id = any ($1)`, ids); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `
			update river_job
			   set created_at = created_at - interval '2 hours', attempted_at = attempted_at - interval '2 hours',
			       scheduled_at = scheduled_at - interval '2 hours', finalized_at = finalized_at - interval '2 hours'
			 where args->>'delivery_id' = any ($1::uuid[]::text[])`, ids)
		return err
	}))
}

// of are the facts of deliveries with one of the statuses, in the order that they were enqueued.
func (s *scene) of(statuses ...jobs.Status) []fact {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []fact
	for _, id := range s.order {
		if f := s.facts[id]; len(statuses) == 0 || slices.Contains(statuses, f.status) {
			list = append(list, f)
		}
	}
	return list
}
