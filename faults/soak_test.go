//go:build faults

package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// longestFault is how long a fault of the soak lasts at most.
const longestFault = 8 * time.Second

// kind is what a fault is about: two of one kind don't happen at once.
type kind int

const (
	ofWorkers kind = iota
	ofDatabase
	ofNetwork
	ofReceiver
	kinds
)

// random is one of the soak's faults. begin returns how it ends; nil if it is over already.
type random struct {
	name  string
	of    kind
	begin func(s *soak) (end func())
}

// soak is a world under load in which something breaks all the time.
type soak struct {
	*world

	t       *testing.T
	random  *rand.Rand
	lasting time.Duration // of the fault that begins
	proxies []*proxy
	allowed []func() int
	active  [kinds]func() // how the fault of a kind ends
	begun   [kinds]time.Time
	ends    [kinds]time.Time
}

// Faults happen at random for as long as -faults.soak says, several at once, and in the end everything has
// arrived. -faults.seed makes the same order again; when exactly each comes depends on the machine too.
func TestSoak(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d", *seed)
	w := newWorld(t, &setting{retries: 100})
	s := &soak{world: w, t: t, random: rand.New(rand.NewPCG(*seed, 0))}
	w.receiver.behave(slow(usualAnswer))
	for i, instance := range []string{"a", "b", "c"} {
		between := newProxy(t, w.postgres.address())
		s.proxies = append(s.proxies, between)
		pauses := rand.New(rand.NewPCG(*seed, uint64(i)+1))
		w.supervise(t, instance, func() time.Duration { return time.Duration(pauses.Int64N(int64(2 * time.Second))) },
			"DATABASE_URL="+between.url(w.postgres.url()))
	}
	stopLoad := w.load(t, usualLoad)
	w.flow(t, 200)

	start := time.Now()
	happened := 0
	for time.Since(start) < *soakFor {
		s.finish(time.Now())
		if s.happen(start) {
			happened++
		}
		time.Sleep(time.Duration(s.random.Int64N(int64(2 * time.Second))))
	}
	s.finish(start.Add(*soakFor + longestFault))
	over := time.Now()
	stopLoad()
	require.NotZero(t, happened)
	caughtUp := w.receiver.arrived(t, settleBound, w.ledger.committed())
	s.settleLog()
	w.conclude(t, settleBound, &rules{duplicates: sum(s.allowed), failures: true},
		took(over, caughtUp, fmt.Sprintf("until nothing waited, after %d faults in %s, seed %d", happened, *soakFor, *seed)))
}

// settleLog has the workers close what nobody else does: the attempts of a worker that was killed when River had
// the end of the job already, and the log could not be written. They do so every five minutes, and by now for
// what is older than any attempt.
func (s *soak) settleLog() {
	const step, bound = 15 * time.Second, 3 * time.Minute
	s.settle(s.t, settleBound)
	for deadline := time.Now().Add(bound); !s.logIsClosed(s.t, step) && time.Now().Before(deadline); {
		s.postgres.exec(s.t, `
			insert into river_job (kind, queue, max_attempts, args) values ('webhook_settlement', 'webhook_maintenance', 1, '{}')`)
	}
}

// happen lets a random fault begin, unless one of its kind lasts.
func (s *soak) happen(start time.Time) bool {
	all := faults()
	next := all[s.random.IntN(len(all))]
	s.lasting = time.Duration(s.random.Int64N(int64(longestFault)))
	if s.active[next.of] != nil {
		return false
	}
	s.t.Logf("%6.1f s: %s, %.1f s", time.Since(start).Seconds(), next.name, s.lasting.Seconds())
	s.begun[next.of] = time.Now()
	s.active[next.of] = next.begin(s)
	s.ends[next.of] = time.Now().Add(s.lasting)
	return true
}

// finish ends the faults that are to be over by now.
func (s *soak) finish(now time.Time) {
	for of, end := range s.active {
		if end != nil && !s.ends[of].After(now) {
			end()
			s.active[of] = nil
		}
	}
}

// victim is one of the workers that run; nil if all are being started.
func (s *soak) victim() *worker {
	live := s.live()
	if len(live) == 0 {
		return nil
	}
	return live[s.random.IntN(len(live))]
}

// allow counts what these workers have in flight among the duplicates that there may be.
func (s *soak) allow(workers ...*worker) {
	s.allowed = append(s.allowed, s.world.allow(time.Now(), workers...))
}

func (s *soak) kill(victims ...*worker) {
	since, _ := s.unrecorded()
	s.allowed = append(s.allowed, s.killSince(since, victims...))
}

// unrecorded is since when workers keep the answers that they get, which are lost with them, and whether they do: while they
// can't write, and a little after.
func (s *soak) unrecorded() (since time.Time, they bool) {
	const caughtUp = 5 * time.Second
	since = time.Now()
	for _, of := range []kind{ofDatabase, ofNetwork} {
		if begun := s.begun[of]; time.Now().Before(s.ends[of].Add(caughtUp)) && begun.Before(since) {
			since, they = begun, true
		}
	}
	return since, they
}

// faults are all that can happen.
func faults() []random {
	return slices.Concat(workerFaults(), databaseFaults(), otherFaults())
}

func workerFaults() []random {
	// to does something to one worker.
	to := func(do func(s *soak, victim *worker) func()) func(*soak) func() {
		return func(s *soak) func() {
			if victim := s.victim(); victim != nil {
				return do(s, victim)
			}
			return nil
		}
	}
	return []random{
		{"kill a worker", ofWorkers, to(func(s *soak, victim *worker) func() {
			s.kill(victim)
			return nil
		})},
		{"kill all workers", ofWorkers, func(s *soak) func() {
			s.kill(s.live()...)
			return nil
		}},
		{"stop a worker in good order", ofWorkers, to(func(s *soak, victim *worker) func() {
			if since, they := s.unrecorded(); they {
				s.allowed = append(s.allowed, s.world.allow(since, victim))
			}
			victim.signal(syscall.SIGTERM)
			return nil
		})},
		{"freeze a worker", ofWorkers, to(func(s *soak, victim *worker) func() {
			s.allow(victim) // if it loses its connection meanwhile
			victim.signal(syscall.SIGSTOP)
			// By itself: another fault may wait for a lock that the worker holds.
			waking := time.AfterFunc(s.lasting, func() { victim.signal(syscall.SIGCONT) })
			return func() {
				waking.Stop()
				victim.signal(syscall.SIGCONT)
			}
		})},
	}
}

func databaseFaults() []random {
	// losing is a fault in which all workers may lose their connections.
	losing := func(do func(s *soak) func()) func(*soak) func() {
		return func(s *soak) func() {
			s.allow(s.live()...)
			return do(s)
		}
	}
	locked := func(table string) func(*soak) func() {
		return func(s *soak) func() { return s.postgres.lock(s.t, table) }
	}
	return []random{
		{"restart PostgreSQL", ofDatabase, losing(func(s *soak) func() {
			s.postgres.stop(s.t)
			s.postgres.start(s.t)
			return nil
		})},
		{"crash PostgreSQL", ofDatabase, losing(func(s *soak) func() {
			s.postgres.crash(s.t)
			s.postgres.start(s.t)
			return nil
		})},
		{"stop PostgreSQL", ofDatabase, losing(func(s *soak) func() {
			s.postgres.stop(s.t)
			return func() { s.postgres.start(s.t) }
		})},
		{"end all connections", ofDatabase, losing(func(s *soak) func() {
			s.postgres.terminateWorkers(s.t)
			return nil
		})},
		{"make PostgreSQL read-only", ofDatabase, losing(func(s *soak) func() {
			s.postgres.readOnly(s.t, true)
			return func() { s.postgres.readOnly(s.t, false) }
		})},
		{"lock the log", ofDatabase, locked("webhook_delivery_log")},
		{"lock the jobs", ofDatabase, locked("river_job")},
		{"fill the log's disk", ofDatabase, func(s *soak) func() {
			s.postgres.logFull(s.t, true)
			return func() { s.postgres.logFull(s.t, false) }
		}},
	}
}

func otherFaults() []random {
	// cut does something to the network of one worker.
	cut := func(do func(*proxy)) func(*soak) func() {
		return func(s *soak) func() {
			between := s.proxies[s.random.IntN(len(s.proxies))]
			s.allow(s.live()...)
			do(between)
			return between.up
		}
	}
	// bad makes the receiver behave badly.
	bad := func(b behaviour) func(*soak) func() {
		return func(s *soak) func() {
			s.receiver.behave(b)
			return func() { s.receiver.behave(slow(usualAnswer)) }
		}
	}
	return []random{
		{"cut a worker's network", ofNetwork, cut((*proxy).down)},
		{"silence a worker's network", ofNetwork, cut((*proxy).mute)},
		{"receiver down", ofReceiver, func(s *soak) func() {
			allowed := s.receiver.down()
			s.allowed = append(s.allowed, func() int { return allowed })
			return func() { s.receiver.up(s.t) }
		}},
		{"receiver answers 503", ofReceiver, bad(answer(http.StatusServiceUnavailable))},
		{"receiver closes after headers", ofReceiver, bad(closeAfterHeaders)},
		{"receiver resets in the request", ofReceiver, bad(resetInRequest)},
		{"receiver resets in the answer", ofReceiver, bad(resetInAnswer)},
		{"receiver answers garbage", ofReceiver, bad(garbage)},
		{"receiver is slow", ofReceiver, bad(slow(2 * time.Second))},
	}
}
