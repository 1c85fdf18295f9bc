package jobs_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
)

// runner is a Runner that runs, with the pool that it has for itself.
type runner struct {
	*jobs.Runner

	stop func() error
}

// runReady is run for tests that look at the Runner itself.
func (b *testBundle) runReady(t *testing.T, change func(*jobs.RunnerConfig)) *runner {
	t.Helper()
	r := &runner{}
	r.stop = b.runAs(t, change, func(started *jobs.Runner) { r.Runner = started })
	require.Eventually(t, func() bool { return r.Ready() == nil }, waitFor, look)
	return r
}

// requireBack waits until the runner has noticed that its database is away, and has come back.
func (r *runner) requireBack(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return r.Ready() != nil }, waitFor, look, "it notices")
	require.Eventually(t, func() bool { return r.Ready() == nil }, waitFor, look, "it comes back")
}

// cut ends all other connections to the test's database that match, as an operator or a failing server does.
func (b *testBundle) cut(t *testing.T, where string) int {
	t.Helper()
	return b.count(t, `(select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid() and `+where+`) as cut`)
}

// What the sessions of the test's database hold: a lock for each client that lives, and for moments that of a step of the settlement.
const heldLocks = `pg_locks where locktype = 'advisory' and objsubid = 1 and database = (select oid from pg_database where datname = current_database())`

// The connections that hold them.
const locks = `pid in (select pid from ` + heldLocks + `)`

// newHoldingEndpoint answers nothing until answer is closed.
func newHoldingEndpoint(t *testing.T) (e *endpoint, arrived, answer chan struct{}) {
	t.Helper()
	arrived, answer = make(chan struct{}, 10), make(chan struct{})
	return newEndpoint(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-answer
	}), arrived, answer
}

func TestRunnerComesBackWithItsDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	r := b.runReady(t, nil)
	first := b.enqueue(t, completed("before"))[0]
	b.await(t, first, jobs.StatusDelivered)
	for round := range 3 {
		require.Positive(t, b.cut(t, "true"))
		r.requireBack(t)
		start := time.Now()
		delivery := b.enqueue(t, completed(string(rune('a'+round))))[0]
		state := b.await(t, delivery, jobs.StatusDelivered)
		require.Equal(t, 1, state.AttemptCount)
		require.Less(t, time.Since(start), waitFor, "it is woken: the poll is a minute")
	}
	require.GreaterOrEqual(t, b.count(t, `(select distinct unnest(attempted_by) from river_job) as clients`), 4, "each cut began another client")
	require.Eventually(t, func() bool { return b.count(t, heldLocks) == 1 }, waitFor, look, "the clients before the last end beside its work")
	require.NoError(t, r.stop())
	require.Eventually(t, func() bool { return b.count(t, heldLocks) == 0 }, waitFor, look)
}

// What is under way when the connections break ends as it would have, and is sent once.
func TestRunnerFinishesWhatWasUnderWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, arrived, answer := newHoldingEndpoint(t)
	b.partner(t, user, "acme", e.URL, "*")
	patient := b.patient(t)
	r := b.runReady(t, func(cfg *jobs.RunnerConfig) { cfg.Sender, cfg.Timeout = patient, time.Minute })
	delivery := b.enqueue(t, completed("e1"))[0]
	<-arrived
	b.cut(t, "true")
	r.requireBack(t)
	close(answer)
	state := b.await(t, delivery, jobs.StatusDelivered)
	require.Equal(t, 1, state.AttemptCount)
	require.Len(t, e.received(), 1)
	require.Len(t, b.attempts(t, delivery), 1)
}

func TestRunnerWaitsWhileTheDatabaseIsReadOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	r := b.runReady(t, nil)
	database := pgx.Identifier{b.pool.Config().ConnConfig.Database}.Sanitize()
	b.exec(t, `alter database `+database+` set default_transaction_read_only = on`)
	b.cut(t, "true")
	require.Eventually(t, func() bool {
		err := r.Ready()
		return err != nil && err.Error() == "the database is read-only: it is a replica, or default_transaction_read_only is on"
	}, waitFor, look)
	writing, err := pgx.Connect(t.Context(), testdb.URL(b.pool))
	require.NoError(t, err)
	_, err = writing.Exec(t.Context(), `set default_transaction_read_only = off`)
	require.NoError(t, err)
	_, err = writing.Exec(t.Context(), `alter database `+database+` reset default_transaction_read_only`)
	require.NoError(t, err)
	require.NoError(t, writing.Close(t.Context()))
	require.Eventually(t, func() bool { return r.Ready() == nil }, waitFor, look)
	b.await(t, b.enqueue(t, completed("e1"))[0], jobs.StatusDelivered)
}

func TestRunnerRefusesTwoDatabases(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := testdb.New(t)
	riverPool, err := pgxpool.New(t.Context(), testdb.URL(b.pool))
	require.NoError(t, err)
	defer riverPool.Close()
	r := jobs.NewRunner(&jobs.RunnerConfig{
		Pool: b.pool, RiverPool: riverPool, DirectConn: other.Config().ConnConfig, Store: b.store, Sender: b.sender, Logger: b.logger,
		Name: t.Name(), MaxConcurrent: 1, PollInterval: time.Second, Timeout: time.Second,
		Retention: jobs.Retention{Completed: time.Hour, DeadLetters: time.Hour, Cancelled: time.Hour, Events: time.Hour, Attempts: time.Hour},
	})
	require.ErrorContains(t, r.Run(context.WithoutCancel(t.Context())), "DATABASE_DIRECT_URL must reach the same database")
}

// A connection that holds the locks and breaks alone is replaced before anybody takes the worker for dead.
func TestRunnerKeepsItsDeliveriesWhenItsLockBreaks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, arrived, answer := newHoldingEndpoint(t)
	b.partner(t, user, "acme", e.URL, "*")
	first := b.runReady(t, nil)
	delivery := b.enqueue(t, completed("e1"))[0]
	<-arrived
	b.runReady(t, func(cfg *jobs.RunnerConfig) { cfg.Name = "looker" })
	before := b.job(t, delivery)
	require.Equal(t, 1, b.cut(t, locks+` and pid in (select l.pid from pg_locks l, river_job j where l.locktype = 'advisory'
		and (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('webhook-worker client ' || j.attempted_by[1], 0))`))
	first.requireBack(t)
	close(answer)
	b.await(t, delivery, jobs.StatusDelivered)
	require.Equal(t, before.ID, b.job(t, delivery).ID)
	require.Len(t, e.received(), 1)
}

// breakable is a pool whose way to the database can be broken, while other ways are whole.
func (b *testBundle) breakable(t *testing.T) (*pgxpool.Pool, *atomic.Bool) {
	t.Helper()
	broken := &atomic.Bool{}
	config, err := pgxpool.ParseConfig(testdb.URL(b.pool))
	require.NoError(t, err)
	config.BeforeConnect = func(context.Context, *pgx.ConnConfig) error {
		if broken.Load() {
			return errors.New("the pooler is down")
		}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool, broken
}

// Where only the way through the pooler is broken the worker takes nothing, and keeps what it has: it lives.
func TestRunnerWhosePoolIsBrokenKeepsItsLocks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, arrived, answer := newHoldingEndpoint(t)
	b.partner(t, user, "acme", e.URL, "*")
	pool, broken := b.breakable(t)
	patient := b.patient(t)
	r := b.runReady(t, func(cfg *jobs.RunnerConfig) { cfg.Pool, cfg.Sender, cfg.Timeout = pool, patient, time.Minute })
	delivery := b.enqueue(t, completed("e1"))[0]
	<-arrived
	before := b.job(t, delivery)
	b.runReady(t, func(cfg *jobs.RunnerConfig) {
		cfg.Name, cfg.MaxConcurrent, cfg.Sender, cfg.Timeout = "looker", 1, patient, time.Minute
	})
	broken.Store(true)
	pool.Reset()
	require.Eventually(t, func() bool { return r.Ready() != nil }, waitFor, look, "it says so")
	b.cut(t, locks)             // and now all have to come back
	time.Sleep(6 * time.Second) // longer than the dead stay unnoticed
	require.Error(t, r.Ready())
	require.Equal(t, before.ID, b.job(t, delivery).ID, "its delivery is its own")
	broken.Store(false)
	require.Eventually(t, func() bool { return r.Ready() == nil }, waitFor, look)
	close(answer)
	b.await(t, delivery, jobs.StatusDelivered)
	require.Len(t, e.received(), 1)
}

func TestRunnerStopsWhileItsPoolIsBroken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pool, broken := b.breakable(t)
	r := b.runReady(t, func(cfg *jobs.RunnerConfig) { cfg.Pool = pool })
	broken.Store(true)
	pool.Reset()
	require.Eventually(t, func() bool { return r.Ready() != nil }, waitFor, look)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	select {
	case err := <-stopped:
		require.NoError(t, err)
	case <-time.After(waitFor):
		t.Fatal("it does not stop")
	}
}

// A suspended session's deliveries count too.
func TestRunnerBoundsDeliveriesOverSessions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var atOnce, most atomic.Int32
	e := newEndpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		for now := atOnce.Add(1); ; {
			if seen := most.Load(); now <= seen || most.CompareAndSwap(seen, now) {
				break
			}
		}
		defer atOnce.Add(-1)
		select {
		case <-time.After(4 * time.Second):
		case <-r.Context().Done():
		}
	})
	b.partner(t, user, "acme", e.URL, "*")
	r := b.runReady(t, func(cfg *jobs.RunnerConfig) { cfg.MaxConcurrent = 2 })
	for i := range 4 {
		b.enqueue(t, completed(strconv.Itoa(i)))
	}
	for range 2 {
		b.cut(t, locks)
		r.requireBack(t)
	}
	require.Eventually(t, func() bool { return b.count(t, `webhook_delivery_queue where status = 'delivered'`) == 4 }, 2*waitFor, look)
	require.EqualValues(t, 2, most.Load())
}

func TestRunnerRecordsArgumentsThatMeanNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	b.exec(t, `insert into river_job (kind, queue, max_attempts, args) values
		('webhook_delivery', 'webhooks', 2, '{"delivery_id": 7, "user_id": "user_123", "partner_id": "x"}'),
		('webhook_delivery', 'webhooks', 2, '[]')`)
	b.run(t, nil)
	delivery := b.enqueue(t, completed("e1"))[0]
	b.await(t, delivery, jobs.StatusDelivered)
	require.Eventually(t, func() bool { return b.count(t, `river_job where state = 'discarded'`) == 2 }, waitFor, look)
	require.Equal(t, 4, b.count(t, `webhook_delivery_log where delivery_id is null and partner_id is null and event_id is null
		and outcome = 'failed' and error_kind = 'internal' and error like 'the job''s arguments can''t be read: %'`))
	require.Equal(t, 2, b.count(t, `webhook_delivery_log where user_id = $1 and delivery_id is null`, user))
}
