package jobs_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
)

// run starts a Runner and returns a function that stops it and gives its error; the test's end stops it too.
func (b *testBundle) run(t *testing.T, change func(*jobs.RunnerConfig)) (stop func() error) {
	t.Helper()
	return b.runAs(t, change, func(*jobs.Runner) {})
}

// runAs is run that hands the Runner on before it starts.
func (b *testBundle) runAs(t *testing.T, change func(*jobs.RunnerConfig), with func(*jobs.Runner)) (stop func() error) {
	t.Helper()
	riverPool, err := pgxpool.New(t.Context(), testdb.URL(b.pool))
	require.NoError(t, err)
	cfg := &jobs.RunnerConfig{
		Pool:             b.pool,
		RiverPool:        riverPool,
		Store:            b.store,
		Sender:           b.sender,
		Logger:           b.logger,
		DirectConn:       riverPool.Config().ConnConfig,
		Name:             "runner-" + t.Name(),
		Schedule:         jobs.RetrySchedule{BaseDelay: 20 * time.Millisecond, MaxDelay: time.Hour},
		MaxConcurrent:    20,
		PartnerInFlight:  20,
		UserInFlight:     20,
		CircuitMaxHold:   time.Hour,
		DisableAfter:     -1,
		PollInterval:     time.Minute, // whatever is in time was woken
		Timeout:          10 * time.Second,
		ShutdownTimeout:  5 * time.Second,
		LogAttempts:      true,
		AttemptBatchSize: 100,
		Retention:        jobs.Retention{Completed: time.Hour, DeadLetters: time.Hour, Cancelled: time.Hour, Events: time.Hour, Attempts: time.Hour},
	}
	if change != nil {
		change(cfg)
	}
	runner := jobs.NewRunner(cfg)
	with(runner)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		// A delivery may be there before all of the Runner has started; stopped then, it says that it could not start.
		for deadline := time.Now().Add(time.Second); runner.Ready() != nil && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		cancel()
		err := <-done
		riverPool.Close()
		return err
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// get reads a delivery's state.
func (b *testBundle) get(t *testing.T, delivery jobs.Delivery) *jobs.DeliveryState {
	t.Helper()
	deliveries, err := jobs.NewDeliveries(t.Context(), b.pool)
	require.NoError(t, err)
	state, err := deliveries.Get(t.Context(), user, delivery.ID)
	require.NoError(t, err)
	return state
}

// await waits until a delivery has a status.
func (b *testBundle) await(t *testing.T, delivery jobs.Delivery, status jobs.Status) *jobs.DeliveryState {
	t.Helper()
	require.Eventually(t, func() bool { return b.get(t, delivery).Status == status }, waitFor, look)
	return b.get(t, delivery)
}

func TestRunnerDeliversEachOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "one", e.URL, "*")
	b.partner(t, user, "two", e.URL, "*")
	for i := range 3 {
		b.run(t, func(cfg *jobs.RunnerConfig) { cfg.Name += string(rune('a' + i)) })
	}
	const events = 100
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range events / 4 {
				if _, err := b.tryEnqueue(t.Context(), completed("")); err != nil {
					t.Errorf("enqueueing: %v", err)
				}
			}
		})
	}
	group.Wait()
	require.Eventually(t, func() bool { return b.count(t, "webhook_delivery_queue where status = 'delivered'") == 2*events }, waitFor, look)
	ids := map[string]bool{}
	for _, request := range e.received() {
		require.False(t, ids[request.header.Get("webhook-id")])
		ids[request.header.Get("webhook-id")] = true
	}
	require.Len(t, ids, 2*events)
	require.Equal(t, 2*events, b.count(t, "webhook_delivery_log where outcome = 'delivered'"))
}

func TestRunnerRetriesInTimeAndGivesUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusInternalServerError))
	b.partner(t, user, "acme", e.URL, "*")
	b.run(t, nil)
	delivery := b.enqueue(t, completed("e1"))[0]

	state := b.await(t, delivery, jobs.StatusDeadLetter)
	require.Equal(t, 6, state.AttemptCount)
	require.Equal(t, 500, *state.LastResponseStatus)
	require.Equal(t, "http_status", *state.LastErrorKind)
	require.Equal(t, "the partner answered 500 Internal Server Error", *state.LastError)
	require.Equal(t, "acme", *state.PartnerSlug)
	require.Nil(t, state.NextAttemptAt)
	requests := e.received()
	require.Len(t, requests, 6)
	for i, request := range requests {
		require.Equal(t, delivery.ID.String(), request.header.Get("webhook-id"))
		if i > 0 {
			gap := request.at.Sub(requests[i-1].at)
			require.GreaterOrEqual(t, gap, 20*time.Millisecond<<(i-1), "none early")
		}
	}
	for i, attempt := range b.attempts(t, delivery) {
		require.Equal(t, i+1, attempt.Number)
		require.Equal(t, jobs.OutcomeFailed, attempt.Outcome)
	}
	require.Len(t, b.attempts(t, delivery), 6)
}

func TestRunnerForgetsTheErrorOfADeliveredOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var calls atomic.Int32
	e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	b.partner(t, user, "acme", e.URL, "*")
	b.run(t, nil)
	state := b.await(t, b.enqueue(t, completed("e1"))[0], jobs.StatusDelivered)
	require.Equal(t, 2, state.AttemptCount)
	require.Equal(t, 200, *state.LastResponseStatus)
	require.Nil(t, state.LastError)
	require.Nil(t, state.LastErrorKind)
}

func TestRunnerHoldsBackWhatIsForAPausedPartner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	paused, err := b.store.Pause(t.Context(), user, "acme")
	require.NoError(t, err)
	require.NotNil(t, paused.PausedAt)
	b.run(t, nil)
	delivery := b.enqueue(t, completed("e1"))[0]

	require.Eventually(t, func() bool {
		return b.count(t, "river_job where id = $1 and state = 'scheduled'", delivery.JobID) == 1
	}, waitFor, look)
	state := b.get(t, delivery)
	require.Equal(t, jobs.StatusPending, state.Status)
	require.Zero(t, state.AttemptCount, "no try is used")
	require.Greater(t, time.Until(*state.NextAttemptAt), 50*time.Second)
	require.Empty(t, e.received())
	require.Empty(t, b.attempts(t, delivery))

	deliveries, err := jobs.NewDeliveries(t.Context(), b.pool)
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		resumed, err := b.store.ResumeTx(t.Context(), tx, user, "acme")
		if err != nil {
			return err
		}
		released, err := deliveries.ReleaseTx(t.Context(), tx, user, resumed.ID)
		require.EqualValues(t, 1, released)
		return err
	}))
	b.await(t, delivery, jobs.StatusDelivered)
	require.Len(t, e.received(), 1)
}

func TestRunnerWakesWhereTheSchemaIsNotTheFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.pool.Exec(t.Context(), `create schema app`)
	require.NoError(t, err)
	schema, err := jobs.RiverSchema(t.Context(), b.pool)
	require.NoError(t, err)
	require.Equal(t, "public", schema)
	e := newEndpoint(t, status(http.StatusInternalServerError))
	b.partner(t, user, "acme", e.URL, "*")
	other, err := pgxpool.New(t.Context(), testdb.URL(b.pool)+"&search_path=app,public")
	require.NoError(t, err)
	stop := b.run(t, func(cfg *jobs.RunnerConfig) { cfg.RiverPool, cfg.RiverSchema = other, schema })
	b.await(t, b.enqueue(t, completed("e1"))[0], jobs.StatusDeadLetter)
	require.NoError(t, stop())
	other.Close()
}

func TestRunnerRecordsWhileLoadsHoldAllConnections(t *testing.T) {
	t.Parallel()
	b := setup(t)
	aside, err := pgxpool.New(t.Context(), testdb.URL(b.pool))
	require.NoError(t, err)
	defer aside.Close()
	var held []*pgxpool.Conn
	answered := make(chan struct{})
	e := newEndpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		for range b.pool.Config().MaxConns {
			connection, err := b.pool.Acquire(context.WithoutCancel(r.Context()))
			if err != nil {
				t.Errorf("acquiring: %v", err)
				return
			}
			held = append(held, connection)
		}
		close(answered)
	})
	b.partner(t, user, "acme", e.URL, "*")
	b.run(t, nil)
	b.enqueue(t, completed("e1"))
	<-answered
	delivered := func() bool {
		var n int
		err := aside.QueryRow(t.Context(), `select count(*) from webhook_delivery_log where outcome = 'delivered'`).Scan(&n)
		return err == nil && n == 1
	}
	require.Eventually(t, delivered, waitFor, look)
	for _, connection := range held {
		connection.Release()
	}
}

func TestRunnerDrains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived, answer := make(chan struct{}, 10), make(chan struct{})
	e := newEndpoint(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-answer:
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	})
	b.partner(t, user, "acme", e.URL, "*")
	stop := b.run(t, nil)
	delivery := b.enqueue(t, completed("e1"))[0]
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(answer)
	require.NoError(t, <-stopped)
	require.Equal(t, jobs.StatusDelivered, b.get(t, delivery).Status)
	require.Equal(t, jobs.OutcomeDelivered, b.attempts(t, delivery)[0].Outcome)
}

func TestRunnerGivesBackWhatDoesNotFinish(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived := make(chan struct{}, 10)
	e := newEndpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	b.partner(t, user, "acme", e.URL, "*")
	stop := b.run(t, func(cfg *jobs.RunnerConfig) { cfg.ShutdownTimeout = 10 * time.Millisecond })
	delivery := b.enqueue(t, completed("e1"))[0]
	<-arrived
	require.NoError(t, stop())

	state := b.get(t, delivery)
	require.Equal(t, jobs.StatusPending, state.Status)
	require.Zero(t, state.AttemptCount, "the try is given back")
	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 1)
	require.Equal(t, jobs.OutcomeLost, attempts[0].Outcome)
	require.Equal(t, "shutdown", string(*attempts[0].ErrorKind))

	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.Name = "the next" })
	<-arrived
}

func TestRunnerCancelsARunningDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived := make(chan struct{}, 10)
	e := newEndpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	b.partner(t, user, "acme", e.URL, "*")
	b.run(t, nil)
	delivery := b.enqueue(t, completed("e1"))[0]
	<-arrived
	deliveries, err := jobs.NewDeliveries(t.Context(), b.pool)
	require.NoError(t, err)
	before, err := deliveries.Cancel(t.Context(), user, delivery.ID, "a person", true)
	require.NoError(t, err)
	require.Equal(t, jobs.StatusProcessing, before.Status)

	b.await(t, delivery, jobs.StatusCancelled)
	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 1)
	require.Equal(t, jobs.OutcomeLost, attempts[0].Outcome)
	require.Equal(t, "cancelled by hand before the answer", *attempts[0].Error)
}

func TestRunnerCancelsADeliveryThatHasNotBegun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	lock, err := b.pool.Begin(t.Context()) // the intent can't be written
	require.NoError(t, err)
	_, err = lock.Exec(t.Context(), `lock table webhook_delivery_log`)
	require.NoError(t, err)
	b.run(t, nil)
	delivery := b.enqueue(t, completed("e1"))[0]
	b.await(t, delivery, jobs.StatusProcessing)
	deliveries, err := jobs.NewDeliveries(t.Context(), b.pool)
	require.NoError(t, err)
	_, err = deliveries.Cancel(t.Context(), user, delivery.ID, "a person", true)
	require.NoError(t, err)

	b.await(t, delivery, jobs.StatusCancelled)
	require.NoError(t, lock.Rollback(t.Context()))
	require.Eventually(t, func() bool {
		attempts := b.attempts(t, delivery)
		return len(attempts) == 1 && attempts[0].Outcome == jobs.OutcomeCancelled
	}, waitFor, look, "the intent is withdrawn, and the end is recorded")
	require.Empty(t, e.received())
}

func TestRunnerWithoutAttemptLog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusInternalServerError))
	b.partner(t, user, "acme", e.URL, "*")
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.LogAttempts = false })
	delivery := b.enqueue(t, completed("e1"))[0]
	state := b.await(t, delivery, jobs.StatusDeadLetter)
	require.Equal(t, 500, *state.LastResponseStatus, "the job keeps it")
	require.Zero(t, b.count(t, "webhook_delivery_log"))
}

func TestRunnerRefusesWhatRiverDoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	runner := jobs.NewRunner(&jobs.RunnerConfig{
		Pool: b.pool, RiverPool: b.pool, DirectConn: b.pool.Config().ConnConfig, Logger: b.logger, Name: t.Name(), LogAttempts: true, AttemptBatchSize: 1,
		MaxConcurrent: 10_001, PollInterval: time.Second, Timeout: time.Second,
	})
	require.ErrorContains(t, runner.Run(t.Context()), "making the River client")
}
