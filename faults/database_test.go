//go:build faults

package faults

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

const (
	// backBound is how soon deliveries flow again when the database is back.
	backBound = 10 * time.Second
	// putOffBound is the same where deliveries were put off for 5 to 30 s because nothing could be written.
	putOffBound = 35 * time.Second
)

// interrupt is a scenario that makes the database fail for a while, under load, and wants the flow back.
// fail returns when the trouble is over.
//
// Both workers must go on within the bound. The table says when all had arrived that waited at the end of the trouble.
func interrupt(t *testing.T, bound time.Duration, fail func(w *world)) {
	t.Helper()
	w, stopLoad := underLoad(t, "a", "b")
	allowed := w.allow(time.Now(), w.live()...)
	fail(w)
	back := time.Now()
	waiting := w.ledger.committed()
	first := w.receiver.next(t, bound, back)
	for _, process := range w.live() {
		w.waitForWork(t, process.instance, back, bound)
	}
	caughtUp := w.receiver.arrived(t, settleBound, waiting)
	w.flow(t, len(w.receiver.all())+100)
	stopLoad()
	require.Len(t, w.live(), 2, "a worker ended for want of its database")
	w.conclude(t, settleBound, &rules{duplicates: allowed()}, flowAgain(back, first, caughtUp))
}

// flowAgain says how the deliveries came back.
func flowAgain(back, first, caughtUp time.Time) string {
	if caughtUp.Before(first) { // what waited was on its way already
		caughtUp = first
	}
	return took(back, first, "to the next arrival, ") + took(back, caughtUp, "until nothing waited")
}

func TestRestartDatabase(t *testing.T) {
	t.Parallel()
	interrupt(t, backBound, func(w *world) {
		w.postgres.stop(t)
		w.postgres.start(t)
	})
}

func TestCrashDatabase(t *testing.T) {
	t.Parallel()
	interrupt(t, backBound, func(w *world) {
		w.postgres.crash(t)
		w.postgres.start(t)
	})
}

func TestStopDatabaseLong(t *testing.T) {
	t.Parallel()
	interrupt(t, backBound, func(w *world) {
		w.postgres.stop(t)
		time.Sleep(30 * time.Second)
		w.postgres.start(t)
	})
}

func TestTerminateConnections(t *testing.T) {
	t.Parallel()
	interrupt(t, backBound, func(w *world) {
		require.GreaterOrEqual(t, w.postgres.terminateWorkers(t), 4, "connections of two workers")
	})
}

// The workers lose their connections, and others have taken all that the server allows.
func TestNoConnectionsLeft(t *testing.T) {
	t.Parallel()
	interrupt(t, backBound, func(w *world) {
		admin := w.postgres.connect(t)
		hog := &hog{url: w.postgres.url()}
		release := hog.start(t)
		defer release()
		require.Eventually(t, hog.isFull, 30*time.Second, 10*time.Millisecond, "the server takes more and more connections")
		for range 5 { // the workers take some that become free
			_, err := admin.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'webhook-worker%'`)
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
		}
	})
}

// hog opens connections as long as the server has any.
type hog struct {
	url string

	mu   sync.Mutex
	full bool
}

func (h *hog) isFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.full
}

func (h *hog) start(t *testing.T) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var opening sync.WaitGroup
	for range 4 {
		opening.Go(func() {
			var held []*pgx.Conn
			for ctx.Err() == nil {
				conn, err := pgx.Connect(ctx, h.url)
				if err != nil {
					h.mu.Lock()
					h.full = true
					h.mu.Unlock()
					time.Sleep(20 * time.Millisecond)
					continue
				}
				held = append(held, conn)
			}
			for _, conn := range held {
				_ = conn.Close(context.WithoutCancel(ctx))
			}
		})
	}
	return func() {
		cancel()
		opening.Wait()
	}
}

func TestLockOnLog(t *testing.T) {
	t.Parallel()
	interrupt(t, putOffBound, func(w *world) {
		release := w.postgres.lock(t, "webhook_delivery_log")
		locked := time.Now()
		time.Sleep(20 * time.Second)
		late := w.receiver.count(func(a *arrival) bool { return a.began.After(locked.Add(time.Second)) })
		release()
		require.Zero(t, late, "POSTs without an intent on record")
	})
}

func TestLockOnJobs(t *testing.T) {
	t.Parallel()
	interrupt(t, backBound, func(w *world) {
		release := w.postgres.lock(t, "river_job")
		time.Sleep(20 * time.Second)
		release()
	})
}

func TestReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	interrupt(t, putOffBound, func(w *world) {
		w.postgres.readOnly(t, true)
		time.Sleep(8 * time.Second)
		w.postgres.readOnly(t, false)
	})
}

// While the disk is full nothing is sent whose intent can't be written, and what was answered is written later.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &setting{})
	release := make(chan struct{})
	w.receiver.behave(hold(release))
	w.startWorker(t, "a")
	w.startWorker(t, "b")
	w.enqueue(t, 10)
	w.receiver.waitFor(t, 30*time.Second, "20 in flight", func(all []*arrival) bool { return len(all) == 20 })
	w.postgres.logFull(t, true)
	close(release)
	stopLoad := w.load(t, usualLoad)
	time.Sleep(8 * time.Second)
	require.Len(t, w.receiver.all(), 20, "POSTs without an intent on record")
	back := time.Now()
	w.postgres.logFull(t, false)
	waiting := w.ledger.committed()
	first := w.receiver.next(t, putOffBound, back)
	caughtUp := w.receiver.arrived(t, settleBound, waiting)
	stopLoad()
	w.conclude(t, settleBound, &rules{}, flowAgain(back, first, caughtUp))
}

// One of two workers can't reach the database: its connections are refused, or nothing comes back.
func TestNetworkDown(t *testing.T) {
	t.Parallel()
	cutOff(t, (*proxy).down)
}

func TestNetworkSilent(t *testing.T) {
	t.Parallel()
	cutOff(t, (*proxy).mute)
}

func cutOff(t *testing.T, cut func(*proxy)) {
	t.Helper()
	const lasting = 20 * time.Second
	w := newWorld(t, &setting{})
	w.receiver.behave(slow(usualAnswer))
	between := newProxy(t, w.postgres.address())
	lonely := w.startWorker(t, "a", "DATABASE_URL="+between.url(w.postgres.url()))
	other := w.startWorker(t, "b")
	stopLoad := w.load(t, usualLoad)
	w.flow(t, 200)
	allowed := w.allow(time.Now(), lonely)
	fault := time.Now()
	cut(between)
	w.waitForWork(t, other.instance, fault, time.Second)
	time.Sleep(time.Until(fault.Add(lasting)))
	back := time.Now()
	require.Zero(t, w.begunBetween(t, lonely.instance, fault.Add(time.Second), back), "attempts in spite of the cut")
	between.up()
	recovered := w.waitForWork(t, lonely.instance, back, backBound)
	stopLoad()
	require.Len(t, w.live(), 2, "a worker ended for want of its database")
	w.conclude(t, settleBound, &rules{duplicates: allowed()}, took(back, recovered, "from the network's return to the worker's next attempt"))
}
