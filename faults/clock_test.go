//go:build faults

package faults

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// clock is a host's clock that can be put forward or back.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func TestClockJumpsAhead(t *testing.T) {
	t.Parallel()
	jump(t, 10*time.Minute)
}

func TestClockFallsBack(t *testing.T) {
	t.Parallel()
	jump(t, -10*time.Minute)
}

// jump changes the clock of a worker's host in mid-run. Go reads the clock without a system call, so that no
// library can shift it for a process: the worker runs in the test, with a clock of its own. Retries come after
// the configured delay all the same.
func jump(t *testing.T, by time.Duration) {
	t.Helper()
	const (
		delay    = 3 * time.Second
		lateness = 10 * time.Second // generous: a poll, and a slow machine
		early    = 100 * time.Millisecond
	)
	w := newWorld(t, &setting{})
	w.receiver.anyTime = true // timestamps are of the wrong clock
	w.receiver.behave(firstThen(answer(http.StatusInternalServerError), answer(http.StatusOK)))
	hostClock := &clock{}
	w.runInTest(t, hostClock, delay)
	w.enqueue(t, 20)
	w.receiver.waitFor(t, 30*time.Second, "a first try of each", func(all []*arrival) bool { return len(all) >= 40 })
	hostClock.offset.Store(int64(by))
	fault := time.Now()
	w.enqueue(t, 20)
	recovered := w.receiver.again(t, delay+2*lateness, fault, w.ledger.committed())
	first := map[string]time.Time{}
	for _, a := range w.receiver.all() {
		began, again := first[a.id]
		if !again {
			first[a.id] = a.began
			continue
		}
		require.WithinRange(t, a.began, began.Add(delay-early), began.Add(delay+lateness), "the retry of %s", a.id)
	}
	w.conclude(t, lateness, &rules{failures: true}, took(fault, recovered, "until all were retried"))
}

// runInTest runs a worker in the test's own process until the test's end.
func (w *world) runInTest(t *testing.T, hostClock *clock, delay time.Duration) {
	t.Helper()
	var pools []*pgxpool.Pool
	for range 2 {
		pool, err := pgxpool.New(t.Context(), w.postgres.url())
		require.NoError(t, err)
		pools = append(pools, pool)
	}
	sender := partners.NewSender(&partners.SenderConfig{
		Guard:   partners.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, partners.Ports{}),
		Timeout: 10 * time.Second, MaxIdle: 100, UserAgent: "webhook-worker/faults",
	})
	log := &output{}
	runner, err := jobs.NewRunner(&jobs.RunnerConfig{
		Pool: pools[0], RiverPool: pools[1], DirectConn: pools[1].Config().ConnConfig,
		Store: w.store, Sender: sender, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Name: "in-test", Now: hostClock.now,
		Schedule:      jobs.RetrySchedule{BaseDelay: delay, MaxDelay: delay},
		MaxConcurrent: 100, PollInterval: 5 * time.Second, Timeout: 30 * time.Second, ShutdownTimeout: 5 * time.Second,
		LogAttempts: true, AttemptBatchSize: 200,
		Retention: jobs.Retention{
			Completed: time.Hour, DeadLetters: time.Hour, Cancelled: time.Hour, Events: 24 * time.Hour, Attempts: 24 * time.Hour,
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := runner.Run(ctx); err != nil {
			t.Errorf("worker in the test: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		sender.Close()
		for _, pool := range pools {
			pool.Close()
		}
		if t.Failed() {
			t.Logf("worker: %s", tail(log.String(), 10))
		}
	})
}
