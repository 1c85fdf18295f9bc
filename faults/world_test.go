//go:build faults

package faults

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// setting is how a world differs from others.
type setting struct {
	environ  []string // of the workers
	retries  int      // after the first try; 0: 20
	pad      int      // bytes by which payloads are larger
	tls      *tls.Config
	postgres map[string]string
	binDirs  []string // of PostgreSQL's programs; nil: the usual ones
}

// world is what one scenario runs on: a PostgreSQL server, a receiver with two partners that get every event
// and one that gets none, and worker processes.
type world struct {
	postgres   *postgres
	pool       *pgxpool.Pool // the application's
	enqueuer   *jobs.Enqueuer
	store      *partners.Store
	receiver   *receiver
	ledger     *ledger
	environ    []string
	key        []byte   // that secrets are sealed with at first
	subscribed []string // slugs of the partners that get every event, sorted
	pad        string

	mu      sync.Mutex
	workers []*worker
}

// newWorld makes a world without workers. Retries come after a second or two.
func newWorld(t *testing.T, s *setting) *world {
	t.Helper()
	w := &world{
		postgres:   newPostgres(t, s),
		receiver:   newReceiver(t, s.tls),
		ledger:     newLedger(),
		subscribed: []string{"first", "second"},
		pad:        strings.Repeat("x", s.pad),
	}
	pool, err := pgxpool.New(t.Context(), w.postgres.url())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	w.pool = pool
	w.enqueuer, err = jobs.NewEnqueuer(nil)
	require.NoError(t, err)

	retries := s.retries
	if retries == 0 {
		retries = 20
	}
	w.key = newKey()
	w.environ = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"DATABASE_URL=" + w.postgres.url(),
		"WEBHOOK_ENCRYPTION_KEY=" + base64.StdEncoding.EncodeToString(w.key),
		"WEBHOOK_ALLOW_HTTP=true",
		"WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8",
		"RETRY_BASE_DELAY=1",
		"RETRY_MAX_DELAY=2",
		fmt.Sprintf("RETRY_MAX_ATTEMPTS=%d", retries),
	}, s.environ...)
	// A worker writes it at its start, but events may come before.
	w.postgres.exec(t, `update webhook_settings set retry_max_attempts = $1`, retries)

	w.store = storeWithKeys(t, pool, w.key)
	for _, slug := range w.subscribed {
		w.addPartner(t, w.store, user, slug, eventType)
	}
	w.addPartner(t, w.store, user, "other-events", "call.started")
	w.addPartner(t, w.store, "user_2", "other-user", "*")
	t.Cleanup(func() { w.end(t) })
	return w
}

func newKey() []byte {
	key := make([]byte, partners.KeySize)
	_, _ = rand.Read(key) // never fails
	return key
}

func storeWithKeys(t *testing.T, pool *pgxpool.Pool, current []byte, old ...[]byte) *partners.Store {
	t.Helper()
	keyring, err := partners.NewKeyring(current, old...)
	require.NoError(t, err)
	return partners.NewStore(&partners.StoreConfig{Pool: pool, Keyring: keyring, Guard: partners.NewGuard(&partners.GuardConfig{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})})
}

// addPartner adds a partner whose requests come to the path of its slug.
func (w *world) addPartner(t *testing.T, store *partners.Store, owner, slug, events string) *partners.Partner {
	t.Helper()
	path := "/" + slug
	partner, secret, err := store.Create(t.Context(), owner, &partners.Params{
		Name: slug, Slug: slug, URL: w.receiver.url(path), EnabledEvents: []string{events},
	})
	require.NoError(t, err)
	w.receiver.mu.Lock()
	w.receiver.secrets[path] = secret.Reveal()
	w.receiver.mu.Unlock()
	return partner
}

// end kills the workers that are left, and shows their logs if the test failed.
func (w *world) end(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	const shown = 5
	for i, process := range w.workers {
		process.kill()
		if t.Failed() && i >= len(w.workers)-shown {
			t.Logf("worker %s: %s", process.instance, tail(process.troubles(), 15))
		}
	}
}

// live are the workers that run.
func (w *world) live() []*worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.workers), (*worker).ended)
}

// leader waits until one of the workers leads River's maintenance, and returns it.
func (w *world) leader(t *testing.T) *worker {
	t.Helper()
	conn := w.postgres.connect(t)
	var leader *worker
	require.Eventually(t, func() bool {
		var id string
		if conn.QueryRow(t.Context(), `select leader_id from river_leader where expires_at > now()`).Scan(&id) != nil {
			return false
		}
		for _, process := range w.live() {
			if process.isClient(id) {
				leader = process
			}
		}
		return leader != nil
	}, 30*time.Second, 50*time.Millisecond, "no worker leads")
	return leader
}

// isClient says whether the worker has this River client id: host, instance, start and a random part.
func (p *worker) isClient(id string) bool {
	host, _ := os.Hostname()
	rest, found := strings.CutPrefix(id, host+"-"+p.instance+"-")
	return found && strings.Count(rest, "-") == 1
}

// waitForWork waits until a worker has begun an attempt after a time, and says when that was.
func (w *world) waitForWork(t *testing.T, instance string, after time.Time, bound time.Duration) time.Time {
	t.Helper()
	host, _ := os.Hostname()
	conn := w.postgres.connect(t)
	var began *time.Time
	for deadline := time.Now().Add(bound); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		require.NoError(t, conn.QueryRow(t.Context(), `
			select min(started_at) from webhook_delivery_log where starts_with(client_id, $1) and started_at > $2`,
			host+"-"+instance+"-", after).Scan(&began))
		if began != nil {
			return *began
		}
	}
	t.Errorf("worker %s does nothing within %s", instance, bound)
	return time.Now()
}

// begunBetween counts the attempts that a worker has begun between two times.
func (w *world) begunBetween(t *testing.T, instance string, from, to time.Time) int {
	t.Helper()
	host, _ := os.Hostname()
	var count int
	require.NoError(t, w.postgres.connect(t).QueryRow(t.Context(), `
		select count(*) from webhook_delivery_log where starts_with(client_id, $1) and started_at > $2 and started_at < $3`,
		host+"-"+instance+"-", from, to).Scan(&count))
	return count
}

// allow is the bound of the duplicates that a fault may lead to: what these workers have in flight, or have had since they
// could record answers last, and 0.3 s of their share of the throughput. It is to be asked for when the fault is over.
func (w *world) allow(since time.Time, workers ...*worker) func() int {
	const window = 300 * time.Millisecond
	fault := time.Now()
	ports := map[string]bool{}
	for _, process := range workers {
		maps.Copy(ports, process.ports())
	}
	share := float64(len(workers)) / float64(max(1, len(w.live())))
	throughput := int(math.Ceil(w.receiver.rate() * share * window.Seconds()))
	return func() int {
		return throughput + w.receiver.count(func(a *arrival) bool {
			// What the system had accepted for the receiver comes a little later. Ports are given out again.
			return ports[a.port] && a.began.Before(fault.Add(time.Second)) && (a.ended.IsZero() || a.ended.After(since))
		})
	}
}

// kill ends workers that record their answers as kill -9 does, all at once, and returns the bound of the duplicates.
func (w *world) kill(victims ...*worker) (allowed func() int) {
	return w.killSince(time.Now(), victims...) // looking at what is in flight takes longer than an answer on a busy machine
}

// killSince kills workers that may have recorded nothing since a time.
func (w *world) killSince(since time.Time, victims ...*worker) (allowed func() int) {
	for _, victim := range victims {
		victim.signal(syscall.SIGSTOP) // so that what is in flight can be looked at
	}
	allowed = w.allow(since, victims...)
	for _, victim := range victims {
		victim.signal(syscall.SIGKILL)
	}
	for _, victim := range victims {
		<-victim.done
	}
	return allowed
}

// settle waits until all deliveries have ended.
func (w *world) settle(t *testing.T, bound time.Duration) {
	t.Helper()
	conn := w.postgres.connect(t)
	var waiting []string
	for deadline := time.Now().Add(bound); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		rows, err := conn.Query(context.WithoutCancel(t.Context()), `
			select status || ' ' || count(*)
			  from webhook_delivery_queue
			 where status not in ('delivered', 'dead_letter', 'cancelled')
			 group by status order by status`)
		require.NoError(t, err)
		waiting, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		if len(waiting) == 0 {
			return
		}
	}
	t.Errorf("after %s these deliveries have not ended: %s", bound, strings.Join(waiting, ", "))
}

// logIsClosed waits until no attempt is open in the log, and says whether that is so. What could not be written
// at first is written later, after some seconds at most.
func (w *world) logIsClosed(t *testing.T, bound time.Duration) bool {
	t.Helper()
	conn := w.postgres.connect(t)
	for deadline := time.Now().Add(bound); ; time.Sleep(200 * time.Millisecond) {
		var open int
		require.NoError(t, conn.QueryRow(t.Context(), `select count(*) from webhook_delivery_log where outcome = 'sending'`).Scan(&open))
		if open == 0 || time.Now().After(deadline) {
			return open == 0
		}
	}
}

// conclude waits for the end of all deliveries, lets the oracle judge, and adds a row to the report.
func (w *world) conclude(t *testing.T, bound time.Duration, r *rules, recovery string) {
	t.Helper()
	w.settle(t, bound)
	w.logIsClosed(t, 15*time.Second) // or the oracle says which are open
	got, complaints := judge(w.gather(t), r)
	for _, complaint := range complaints {
		t.Error(complaint)
	}
	require.NotZero(t, got.events, "the scenario had no events")
	shared.report.add(&row{
		scenario: t.Name(), result: got, bound: r.duplicates, recovery: recovery, failed: t.Failed(),
	})
}
