//go:build faults

package faults

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

const (
	// crashBound is how soon the deliveries of a killed worker are at the receiver again.
	crashBound = 15 * time.Second
	// leaderBound is how soon retries go on when the leader was killed.
	leaderBound = 25 * time.Second
	// settleBound is how long a world may take to come to rest. It promises nothing.
	settleBound = 90 * time.Second

	// usualLoad is in events a second, of which each has two deliveries.
	usualLoad = 30
	// usualAnswer is how long the receiver takes, so that there is something in flight.
	usualAnswer = 200 * time.Millisecond
)

// underLoad is a world whose workers deliver a steady load.
func underLoad(t *testing.T, instances ...string) (w *world, stopLoad func()) {
	t.Helper()
	w = newWorld(t, &setting{})
	w.receiver.behave(slow(usualAnswer))
	for _, instance := range instances {
		w.startWorker(t, instance)
	}
	stopLoad = w.load(t, usualLoad)
	w.flow(t, 200)
	return w, stopLoad
}

// flow waits for so many arrivals.
func (w *world) flow(t *testing.T, arrivals int) {
	t.Helper()
	w.receiver.waitFor(t, 30*time.Second, "a steady flow", func(all []*arrival) bool { return len(all) >= arrivals })
}

func TestKillOneOfThree(t *testing.T) {
	t.Parallel()
	w, stopLoad := underLoad(t, "a", "b", "c")
	victim := w.busiest()
	fault := time.Now()
	allowed := w.kill(victim)
	taken := w.running(t, victim)
	require.NotEmpty(t, taken, "the worker had nothing in flight")
	recovered := w.receiver.again(t, crashBound, fault, taken)
	w.flow(t, len(w.receiver.all())+100)
	stopLoad()
	w.conclude(t, settleBound, &rules{duplicates: allowed()}, took(fault, recovered, "to all again"))
}

func TestKillAll(t *testing.T) {
	t.Parallel()
	w, stopLoad := underLoad(t, "a", "b", "c")
	all := w.live()
	fault := time.Now()
	allowed := w.kill(all...)
	taken := w.running(t, all...)
	require.NotEmpty(t, taken, "the workers had nothing in flight")
	for _, instance := range []string{"a", "b", "c"} {
		w.launch(t, instance)
	}
	recovered := w.receiver.again(t, crashBound, fault, taken)
	w.flow(t, len(w.receiver.all())+100)
	stopLoad()
	w.conclude(t, settleBound, &rules{duplicates: allowed()}, took(fault, recovered, "to all again"))
}

// A hundred deliveries wait for their answers on one worker, which is killed; another takes them over.
func TestKillWithHundredInFlight(t *testing.T) {
	t.Parallel()
	w, held, release := hundredInFlight(t)
	w.startWorker(t, "b")
	w.takeOver(t, held, release)
}

// The same, but the killed worker is started again at once, and there is no other.
func TestKillWithHundredInFlightAndRestart(t *testing.T) {
	t.Parallel()
	w, held, release := hundredInFlight(t)
	w.takeOver(t, held, release, "a")
}

// hundredInFlight is a world whose only worker has a hundred deliveries at the receiver.
func hundredInFlight(t *testing.T) (w *world, held []string, release chan struct{}) {
	t.Helper()
	w = newWorld(t, &setting{})
	release = make(chan struct{})
	w.receiver.behave(hold(release))
	w.startWorker(t, "a")
	w.enqueue(t, 50)
	w.receiver.waitFor(t, 30*time.Second, "100 in flight", func(all []*arrival) bool { return len(all) == 100 })
	return w, w.ledger.committed(), release
}

// takeOver kills the first worker and waits until what it had is at the receiver again.
func (w *world) takeOver(t *testing.T, held []string, release chan struct{}, restart ...string) {
	t.Helper()
	fault := time.Now()
	w.live()[0].kill()
	for _, instance := range restart {
		w.launch(t, instance)
	}
	recovered := w.receiver.again(t, crashBound, fault, held)
	close(release)
	w.conclude(t, settleBound, &rules{duplicates: len(held)}, took(fault, recovered, "to all again"))
	for id, now := range readStates(t, w.postgres.connect(t)) {
		require.Equal(t, 1, now.tries, "delivery %s used more than one try", id)
	}
}

// busiest is the worker with the most requests at the receiver.
func (w *world) busiest() *worker {
	var (
		busiest *worker
		most    = -1
	)
	for _, process := range w.live() {
		ports := process.ports()
		if open := w.receiver.count(func(a *arrival) bool { return a.ended.IsZero() && ports[a.port] }); open > most {
			busiest, most = process, open
		}
	}
	return busiest
}

// committing is longer than a commit takes here.
const committing = 300 * time.Millisecond

// running are the deliveries that dead workers left running without an answer on record.
func (w *world) running(t *testing.T, workers ...*worker) []string {
	t.Helper()
	// The server may still be committing an answer that a worker sent it before it was killed.
	time.Sleep(committing)
	rows, err := w.postgres.connect(t).Query(t.Context(), `
		select args->>'delivery_id', attempted_by[array_upper(attempted_by, 1)]
		  from river_job
		 where kind = 'webhook_delivery' and state = 'running'
		   and not exists (
		       select from webhook_delivery_log l
		        where l.job_id = river_job.id and l.attempt = river_job.attempt and l.outcome <> 'sending')`)
	require.NoError(t, err)
	var (
		ids        []string
		id, client string
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &client}, func() error {
		if slices.ContainsFunc(workers, func(process *worker) bool { return process.isClient(client) }) {
			ids = append(ids, id)
		}
		return nil
	})
	require.NoError(t, err)
	return ids
}

func TestKillEveryTwoSeconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &setting{})
	w.receiver.behave(slow(usualAnswer))
	for _, instance := range []string{"a", "b", "c"} {
		w.supervise(t, instance, atOnce)
	}
	stopLoad := w.load(t, usualLoad)
	w.flow(t, 200)
	var (
		allowed []func() int
		kills   []time.Time
		taken   [][]string // at each kill
	)
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	for len(kills) < 30 {
		<-ticker.C
		live := w.live()
		if len(live) == 0 {
			continue // all are being started
		}
		kills = append(kills, time.Now())
		victim := live[rand.IntN(len(live))]
		allowed = append(allowed, w.kill(victim))
		taken = append(taken, w.running(t, victim))
	}
	var longest time.Duration
	for i, kill := range kills {
		// The worker that gives them back may itself be killed before it does.
		longest = max(longest, w.receiver.again(t, settleBound, kill, taken[i]).Sub(kill))
	}
	stopLoad()
	last := kills[len(kills)-1]
	w.conclude(t, settleBound, &rules{duplicates: sum(allowed)}, took(last, last.Add(longest), "at worst, to all again"))
}

func sum(bounds []func() int) int {
	total := 0
	for _, bound := range bounds {
		total += bound()
	}
	return total
}

// The leader wakes what waits for its retry.
func TestKillLeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &setting{environ: []string{"RETRY_BASE_DELAY=8", "RETRY_MAX_DELAY=8", "CIRCUIT_FAILURES=0"}})
	for _, instance := range []string{"a", "b", "c"} {
		w.startWorker(t, instance)
	}
	leader := w.leader(t)
	w.receiver.behave(firstThen(answer(http.StatusInternalServerError), answer(http.StatusOK)))
	w.enqueue(t, 50)
	w.receiver.waitFor(t, 30*time.Second, "a first try of each", func(all []*arrival) bool { return len(all) == 100 })
	fault := time.Now()
	leader.kill()
	recovered := w.receiver.again(t, leaderBound, fault, w.ledger.committed())
	w.conclude(t, settleBound, &rules{failures: true}, took(fault, recovered, "to all retried"))
}

// Each worker in turn is told to stop, and another takes its place.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	w, stopLoad := underLoad(t, "a", "b", "c")
	var longest time.Duration
	for _, old := range w.live() {
		fault := time.Now()
		old.signal(syscall.SIGTERM)
		require.Zero(t, old.wait(t, 30*time.Second), "exit status of worker %s", old.instance)
		longest = max(longest, time.Since(fault))
		w.startWorker(t, old.instance)
		w.flow(t, len(w.receiver.all())+50)
	}
	stopLoad()
	end := time.Now()
	w.conclude(t, settleBound, &rules{}, took(end.Add(-longest), end, "for the slowest to stop"))
}

// A delivery that takes longer than SHUTDOWN_TIMEOUT is given back with its try.
func TestDrainGivesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &setting{environ: []string{"SHUTDOWN_TIMEOUT=2"}})
	release := make(chan struct{})
	w.receiver.behave(hold(release))
	old := w.startWorker(t, "a")
	w.enqueue(t, 10)
	w.receiver.waitFor(t, 30*time.Second, "20 in flight", func(all []*arrival) bool { return len(all) == 20 })
	w.startWorker(t, "b")
	fault := time.Now()
	old.signal(syscall.SIGTERM)
	require.Zero(t, old.wait(t, 15*time.Second), "exit status")
	recovered := w.receiver.again(t, crashBound, fault, w.ledger.committed())
	close(release)
	w.conclude(t, settleBound, &rules{duplicates: 20}, took(fault, recovered, "to all again"))
	for id, now := range readStates(t, w.postgres.connect(t)) {
		require.Equal(t, 1, now.tries, "delivery %s used more than one try", id)
	}
}

// A second SIGTERM does not wait for what is in flight.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	w, held, release := hundredInFlight(t)
	impatient := w.live()[0]
	impatient.signal(syscall.SIGTERM)
	require.Eventually(t, func() bool { return impatient.says("worker stopping") }, 5*time.Second, 10*time.Millisecond)
	fault := time.Now()
	require.Eventually(t, func() bool {
		impatient.signal(syscall.SIGTERM)
		return impatient.ended()
	}, time.Second, 100*time.Millisecond, "a second signal does not end it at once")
	w.startWorker(t, "b")
	recovered := w.receiver.again(t, crashBound, fault, held)
	close(release)
	w.conclude(t, settleBound, &rules{duplicates: len(held)}, took(fault, recovered, "to all again"))
}

// A worker that does nothing for 20 s is slow and not dead: nobody takes its deliveries.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	const frozen = 20 * time.Second
	w := newWorld(t, &setting{})
	release := make(chan struct{})
	w.receiver.behave(hold(release))
	sleeper := w.startWorker(t, "a")
	w.enqueue(t, 10)
	w.receiver.waitFor(t, 30*time.Second, "20 in flight", func(all []*arrival) bool { return len(all) == 20 })
	held := w.ledger.committed()
	w.startWorker(t, "b")
	sleeper.signal(syscall.SIGSTOP)
	fault := time.Now()
	close(release) // its partners have answered, and it can't read that yet
	w.enqueue(t, 50)
	w.receiver.waitFor(t, crashBound, "the other worker delivers meanwhile", func(all []*arrival) bool { return len(all) >= 120 })
	time.Sleep(time.Until(fault.Add(frozen)))
	waking := time.Now()
	sleeper.signal(syscall.SIGCONT)
	w.settle(t, settleBound)
	recovered := time.Now()
	for _, id := range held {
		require.Equal(t, 1, w.receiver.count(func(a *arrival) bool { return a.id == id }), "delivery %s was taken from a worker that lives", id)
	}
	w.conclude(t, settleBound, &rules{}, took(waking, recovered, "from waking to all delivered"))
}
