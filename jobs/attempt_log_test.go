package jobs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/partners"
)

const (
	logWait = 20 * time.Second
	logLook = 5 * time.Millisecond
)

func newTestLog(t *testing.T, pool *pgxpool.Pool, batchSize int) *AttemptLog {
	t.Helper()
	log := NewAttemptLog(&AttemptLogConfig{
		Pool: pool, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), BatchSize: batchSize,
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = log.Close(ctx)
	})
	return log
}

func newTestAttempt() *Attempt {
	return &Attempt{
		ID: uuid.New(), DeliveryID: uuid.New(), JobID: 7, UserID: "u", PartnerID: uuid.New(), EventID: "e", EventType: "call.completed",
		Number: 1, Trigger: TriggerSchedule, Outcome: OutcomeSending, URL: new("https://partner.example/"), ClientID: "c",
		StartedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
}

// outcomes counts the rows of each outcome.
func outcomes(t *testing.T, pool *pgxpool.Pool) map[Outcome]int {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select outcome, count(*) from webhook_delivery_log group by 1`)
	require.NoError(t, err)
	defer rows.Close()
	found := map[Outcome]int{}
	for rows.Next() {
		var outcome Outcome
		var n int
		require.NoError(t, rows.Scan(&outcome, &n))
		found[outcome] = n
	}
	require.NoError(t, rows.Err())
	return found
}

// refuse makes the database refuse a kind of statement on the log, as a full disk does, until the
// function that it returns is called.
func refuse(t *testing.T, pool *pgxpool.Pool, statement string) (allow func()) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `
		create or replace function refuse() returns trigger language plpgsql as $$ begin raise exception 'disk full'; end $$;
		create trigger refuse_`+statement+` before `+statement+` on webhook_delivery_log for each row execute function refuse()`)
	require.NoError(t, err)
	return func() {
		_, err := pool.Exec(t.Context(), `drop trigger refuse_`+statement+` on webhook_delivery_log`)
		require.NoError(t, err)
	}
}

func delivered(a *Attempt) *Attempt {
	closed := *a
	closed.finish(&Verdict{Outcome: OutcomeDelivered}, &partners.Response{Status: 200, Body: "ok", Duration: time.Millisecond})
	return &closed
}

func TestAttemptLogWritesManyAtOnce(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 64)
	const attempts = 500
	var group sync.WaitGroup
	for range attempts {
		group.Go(func() {
			attempt := newTestAttempt()
			if err := log.Open(t.Context(), attempt); err != nil {
				t.Errorf("opening: %v", err)
				return
			}
			if err := log.CloseAttempt(t.Context(), delivered(attempt)); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
	}
	group.Wait()
	require.Equal(t, map[Outcome]int{OutcomeDelivered: attempts}, outcomes(t, pool))
	var transactions int
	require.NoError(t, pool.QueryRow(t.Context(), `select count(distinct xmin::text) from webhook_delivery_log`).Scan(&transactions))
	require.Less(t, transactions, attempts/2, "attempts share commits")
}

// The end of an attempt stays on the page of its beginning, so that it changes no index.
func TestAttemptLogClosesAttemptsOnTheirPages(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	const attempts = 500
	opened, closed := make([]*Attempt, attempts), make([]*Attempt, attempts)
	headers := map[string]string{"Content-Length": "2", "Content-Type": "text/plain; charset=utf-8", "Date": "Fri, 27 Nov 2026 12:00:00 GMT"}
	for i := range attempts {
		opened[i] = newTestAttempt()
		opened[i].UserID, opened[i].EventID = "user_2f9c1f1e7a", uuid.NewString()
		opened[i].URL, opened[i].ClientID = new("https://hooks.partner.example/voice/calls"), "worker-1-20261127T120000Z-abcdefgh"
		closed[i] = delivered(opened[i])
		closed[i].ResponseHeaders = headers
	}
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), insertAttempts, insertColumns(opened)...)
	require.NoError(t, err)
	columns, err := closeColumns(closed)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), closeAttempts, columns...)
	require.NoError(t, err)
	var updated, hot int
	require.NoError(t, tx.QueryRow(t.Context(), `
		select sum(pg_stat_get_xact_tuples_updated(inhrelid)), sum(pg_stat_get_xact_tuples_hot_updated(inhrelid))
		  from pg_inherits where inhparent = 'webhook_delivery_log'::regclass`).Scan(&updated, &hot))
	require.Equal(t, attempts, updated)
	require.Equal(t, attempts, hot)
}

func TestAttemptLogOpenIsCommittedWhenItReturns(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 10)
	require.NoError(t, log.Open(t.Context(), newTestAttempt()))
	require.Equal(t, map[Outcome]int{OutcomeSending: 1}, outcomes(t, pool))
	ended := newTestAttempt()
	ended.finish(&Verdict{Outcome: OutcomeCancelled, ErrorKind: partners.KindInternal, Error: "why"}, nil)
	require.NoError(t, log.Record(t.Context(), ended))
	require.Equal(t, map[Outcome]int{OutcomeSending: 1, OutcomeCancelled: 1}, outcomes(t, pool))
}

func TestAttemptLogWorksBehindAPooler(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "cache_describe"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			pool := testdb.New(t)
			pooled, err := pgxpool.New(t.Context(), testdb.URL(pool)+"&default_query_exec_mode="+mode)
			require.NoError(t, err)
			defer pooled.Close()
			log := newTestLog(t, pooled, 10)
			attempt := newTestAttempt()
			require.NoError(t, log.Open(t.Context(), attempt))
			require.NoError(t, log.CloseAttempt(t.Context(), delivered(attempt)))
			ended := newTestAttempt()
			ended.finish(&Verdict{Outcome: OutcomeCancelled, ErrorKind: partners.KindInternal, Error: "why"}, nil)
			require.NoError(t, log.Record(t.Context(), ended))
			require.Equal(t, map[Outcome]int{OutcomeDelivered: 1, OutcomeCancelled: 1}, outcomes(t, pool))
			require.NoError(t, log.Close(t.Context()))
		})
	}
}

func TestAttemptLogFailsIntentsAndKeepsOutcomes(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 10)
	attempt := newTestAttempt()
	require.NoError(t, log.Open(t.Context(), attempt))

	allowInsert, allowUpdate := refuse(t, pool, "insert"), refuse(t, pool, "update")
	require.ErrorIs(t, log.Open(t.Context(), newTestAttempt()), errUnwritable)

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, log.CloseAttempt(short, delivered(attempt)), errUnwritable)
	require.Equal(t, map[Outcome]int{OutcomeSending: 1}, outcomes(t, pool))

	allowInsert()
	allowUpdate()
	require.Eventually(t, func() bool { return outcomes(t, pool)[OutcomeDelivered] == 1 }, logWait, logLook)
	require.NoError(t, log.Open(t.Context(), newTestAttempt()), "it goes on by itself")
}

func TestAttemptLogOneBadRowFailsAlone(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 100)
	// The writer is kept busy while the good and the bad gather into one batch.
	lock, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = lock.Exec(t.Context(), `lock table webhook_delivery_log`)
	require.NoError(t, err)

	var group sync.WaitGroup
	group.Go(func() { _ = log.Open(t.Context(), newTestAttempt()) })
	require.Eventually(t, func() bool {
		var waiting bool
		require.NoError(t, pool.QueryRow(t.Context(), `
			select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`).Scan(&waiting))
		return waiting
	}, logWait, logLook)
	failures := make([]error, 20)
	for i := range failures {
		group.Go(func() {
			attempt := newTestAttempt()
			if i == 7 {
				attempt.Outcome = "no such outcome"
			}
			failures[i] = log.Open(t.Context(), attempt)
		})
	}
	require.Eventually(t, func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return len(log.queue) == len(failures)
	}, logWait, logLook)
	require.NoError(t, lock.Rollback(t.Context()))
	group.Wait()
	for i, err := range failures {
		if i == 7 {
			require.ErrorContains(t, err, "webhook_delivery_log_outcome_known")
		} else {
			require.NoError(t, err)
		}
	}
	require.Equal(t, map[Outcome]int{OutcomeSending: 20}, outcomes(t, pool))
}

func TestAttemptLogWithdrawsAnIntentThatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 100)
	lock, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = lock.Exec(t.Context(), `lock table webhook_delivery_log`)
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, log.Open(short, newTestAttempt()), errUnwritable)
	require.NoError(t, lock.Rollback(t.Context()))

	require.NoError(t, log.Open(t.Context(), newTestAttempt()))
	require.Eventually(t, func() bool { return outcomes(t, pool)[OutcomeSending] == 1 }, logWait, logLook,
		"the row that came after all is removed")
}

func TestAttemptLogBoundsItsMemory(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 1000)
	allow := refuse(t, pool, "insert")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range maxUnwritten {
		attempt := newTestAttempt()
		attempt.Outcome = OutcomeCancelled
		require.Error(t, log.Record(over, attempt), "nobody waits")
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, log.Open(short, newTestAttempt()), "2000 outcomes wait")

	opened := make(chan error, 1)
	go func() { opened <- log.Open(t.Context(), newTestAttempt()) }()
	allow()
	require.NoError(t, <-opened, "it goes on when there is room")
	require.Equal(t, maxUnwritten, outcomes(t, pool)[OutcomeCancelled])
}

func TestAttemptLogCloseWritesOut(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 10)
	attempts := make([]*Attempt, 100)
	for i := range attempts {
		attempts[i] = newTestAttempt()
		require.NoError(t, log.Open(t.Context(), attempts[i]))
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, attempt := range attempts {
		_ = log.CloseAttempt(over, delivered(attempt)) // it does not wait
	}
	require.NoError(t, log.Close(t.Context()))
	require.Equal(t, map[Outcome]int{OutcomeDelivered: 100}, outcomes(t, pool))
	require.ErrorIs(t, log.Open(t.Context(), newTestAttempt()), errLogClosed)
	require.ErrorIs(t, log.Record(t.Context(), newTestAttempt()), errLogClosed)
}

func TestAttemptLogCloseSaysWhatItLoses(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 10)
	attempt := newTestAttempt()
	require.NoError(t, log.Open(t.Context(), attempt))
	refuse(t, pool, "update")
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_ = log.CloseAttempt(short, delivered(attempt))
	require.ErrorContains(t, log.Close(short), "1 outcomes of attempts were not written")
}

// A database that was failed over to a replica may have forgotten an intent whose POST was made.
func TestAttemptLogRestoresALostIntent(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	log := newTestLog(t, pool, 10)
	kept, gone, erased := newTestAttempt(), newTestAttempt(), newTestAttempt()
	erased.UserID = "erased"
	_, err := pool.Exec(t.Context(), `insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids) values ('u', 'e', 'call.completed', '{}', '{}', '{}')`)
	require.NoError(t, err)
	for _, attempt := range []*Attempt{kept, gone, erased} {
		require.NoError(t, log.Open(t.Context(), attempt))
	}
	_, err = pool.Exec(t.Context(), `delete from webhook_delivery_log where attempt_id = any($1)`, []uuid.UUID{gone.ID, erased.ID})
	require.NoError(t, err)
	var closing sync.WaitGroup
	for _, attempt := range []*Attempt{kept, gone, erased} {
		closing.Go(func() {
			if err := log.CloseAttempt(t.Context(), delivered(attempt)); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
	}
	closing.Wait()
	require.Equal(t, map[Outcome]int{OutcomeDelivered: 2}, outcomes(t, pool), "an erased user's stays away")
	var body string
	require.NoError(t, pool.QueryRow(t.Context(), `select response_body from webhook_delivery_log where attempt_id = $1`, gone.ID).Scan(&body))
	require.Equal(t, "ok", body)
}

func TestAttemptFinishMakesTextSafe(t *testing.T) {
	t.Parallel()
	attempt := newTestAttempt()
	attempt.finish(&Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindProtocol, Error: "bad \x00 byte \xff" + strings.Repeat("x", 5000)},
		&partners.Response{Duration: time.Second})
	require.LessOrEqual(t, len(*attempt.Error), maxErrorText)
	require.NotContains(t, *attempt.Error, "\x00")
	require.Nil(t, attempt.ResponseStatus)
	require.Nil(t, attempt.ResponseBody)
	require.InDelta(t, 1000.0, *attempt.DurationMS, 0.001)
}
