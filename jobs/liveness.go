package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// heartbeatInterval is how often a worker sees whether its connection still answers, and
	// heartbeatTimeout how long it waits for that before it takes the connection for broken.
	heartbeatInterval = time.Second
	heartbeatTimeout  = 10 * time.Second

	// A worker whose database is away tries again after firstReconnect, and after twice as long each
	// further time, maxReconnect at most. Each try may take connectTimeout.
	firstReconnect = 100 * time.Millisecond
	maxReconnect   = time.Second
	connectTimeout = 5 * time.Second

	// maxClientID is the longest id that River takes, in bytes.
	maxClientID = 100
)

// clientIDPattern is how clients are named that hold a lock for as long as they live. Others, such as those
// of another program, are never taken for dead.
const clientIDPattern = `'-[0-9]{8}T[0-9]{6}Z-[a-z2-7]{8}$'`

// newClientID names a River client among all there ever were: the worker's name, the time and a random part.
func newClientID(worker string, now time.Time) string {
	suffix := fmt.Sprintf("-%s-%s", now.UTC().Format("20060102T150405Z"), strings.ToLower(rand.Text()[:8]))
	return strings.ToValidUTF8(worker[:min(len(worker), maxClientID-len(suffix))], "") + suffix
}

// clientLock is the SQL expression of the advisory lock's key that the client named by id holds.
func clientLock(id string) string {
	return `hashtextextended('webhook-worker client ' || ` + id + `, 0)`
}

// ownTables is an SQL expression that differs from schema to schema: part of the keys of locks that are about its tables.
const ownTables = `coalesce(to_regclass('webhook_settings')::oid, 0)`

var errAway = errors.New("the connection is away")

// errReadOnly is why a worker waits where it reaches a database that takes no writes.
var errReadOnly = errors.New("the database is read-only: it is a replica, or default_transaction_read_only is on")

// liveness shows other workers that this process lives: for each of its River clients it holds a session
// advisory lock, which PostgreSQL frees when the process dies. Its connection does nothing else, so that
// neither load nor a slow statement breaks it.
type liveness struct {
	config *pgx.ConnConfig
	clock  *databaseClock // read along with every sign of life
	elect  bool           // whether this worker may lead
	pulse  pulse          // of keep

	connMu sync.Mutex // held while the server is asked
	conn   *pgx.Conn  // nil: away

	mu      sync.Mutex      // held for moments
	clients map[string]bool // those that have not ended, and whether conn holds their lock
	away    error           // why there is no connection; nil: there is one
	trusted time.Time       // from when on others whose lock is free count as dead
	leading bool            // whether conn holds the lock of the worker that collects
}

func newLiveness(config *pgx.ConnConfig, clock *databaseClock, elect bool) *liveness {
	return &liveness{config: config, clock: clock, elect: elect, clients: map[string]bool{}, away: errAway}
}

// leads says whether this worker is the one of its database that collects.
func (l *liveness) leads() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leading
}

// keep sees that the connection lives, and opens it again when it does not, until ctx ends. The locks are free
// from when it breaks until it is back.
func (l *liveness) keep(ctx context.Context) {
	wait := heartbeatInterval
	defer l.pulse.end()
	for {
		l.pulse.beat()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if l.fault() == nil {
			wait = heartbeatInterval
			if err := l.beat(ctx); err != nil && ctx.Err() == nil {
				l.disconnect(ctx, err)
				wait = firstReconnect
			}
			continue
		}
		if err := l.connect(ctx, reconnectGrace); err == nil {
			wait = heartbeatInterval
		} else {
			l.disconnect(ctx, err)
			wait = min(2*wait, maxReconnect)
		}
	}
}

// fault says why the locks are not held; nil: they are.
func (l *liveness) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.away
}

// trustedFrom is from when on others whose lock is free count as dead.
func (l *liveness) trustedFrom() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trusted
}

// connect opens the connection and takes the locks of all clients. Nobody counts as dead for the grace given, nor in
// the first startGrace of the server.
func (l *liveness) connect(ctx context.Context, grace time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(bounded, l.config.Copy())
	if err != nil {
		return err
	}
	uptime, err := l.prepare(bounded, conn)
	if err != nil {
		closeConn(ctx, conn)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = nil
	l.trusted = time.Now().Add(max(grace, startGrace-uptime))
	return nil
}

// prepare makes a new connection the one that holds the locks.
func (l *liveness) prepare(ctx context.Context, conn *pgx.Conn) (time.Duration, error) {
	// A host that vanishes closes nothing: the server has to find out, and free the locks.
	if _, err := conn.Exec(ctx, `
		select set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
		       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '11000', false)`); err != nil {
		return 0, err
	}
	uptime, err := l.ask(ctx, conn)
	if err != nil {
		return 0, err
	}
	l.connMu.Lock()
	defer l.connMu.Unlock()
	l.mu.Lock()
	for id := range l.clients {
		l.clients[id] = false
	}
	l.leading = false
	l.mu.Unlock()
	if err := l.lock(ctx, conn); err != nil {
		return 0, err
	}
	l.conn = conn
	return uptime, nil
}

// ask reads the server's clock, and returns for how long it has been up. Its error says so if it takes no
// writes.
func (l *liveness) ask(ctx context.Context, conn *pgx.Conn) (time.Duration, error) {
	var now, started time.Time
	var readOnly bool
	asked := time.Now()
	err := conn.QueryRow(ctx, `
		select clock_timestamp(), pg_postmaster_start_time(), current_setting('transaction_read_only')::boolean`).
		Scan(&now, &started, &readOnly)
	if err != nil {
		return 0, err
	}
	l.clock.set(now, asked, time.Now())
	if readOnly {
		return 0, errReadOnly
	}
	return now.Sub(started), nil
}

// lock takes the locks that are not held. One may be held for some seconds by the connection before this one,
// which the server takes for alive; so do then the other workers. connMu is held.
func (l *liveness) lock(ctx context.Context, conn *pgx.Conn) error {
	for _, id := range l.unlocked() {
		var held bool
		if err := conn.QueryRow(ctx, `select pg_try_advisory_lock(`+clientLock("$1")+`)`, id).Scan(&held); err != nil {
			return err
		}
		l.mu.Lock()
		if _, has := l.clients[id]; has {
			l.clients[id] = held
		}
		l.mu.Unlock()
	}
	if !l.elect || l.leads() {
		return nil
	}
	var leading bool
	if err := conn.QueryRow(ctx, `select pg_try_advisory_lock(`+collectorLock+`)`).Scan(&leading); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading = leading
	return nil
}

// unlocked lists the clients whose lock is not held.
func (l *liveness) unlocked() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for id, held := range l.clients {
		if !held {
			ids = append(ids, id)
		}
	}
	return ids
}

// add takes a client's lock; from then on the client is seen to live.
func (l *liveness) add(ctx context.Context, id string) error {
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	l.connMu.Lock()
	defer l.connMu.Unlock()
	if l.conn == nil {
		return errAway
	}
	l.mu.Lock()
	l.clients[id] = false
	l.mu.Unlock()
	if err := l.lock(bounded, l.conn); err != nil {
		l.forget(id)
		return err
	}
	return nil
}

// remove frees a client's lock: what it left running is anybody's.
func (l *liveness) remove(ctx context.Context, id string) {
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	l.forget(id)
	l.connMu.Lock()
	defer l.connMu.Unlock()
	if l.conn != nil {
		// If it fails the connection is broken, and the lock is free.
		_, _ = l.conn.Exec(bounded, `select pg_advisory_unlock(`+clientLock("$1")+`)`, id)
	}
}

func (l *liveness) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.clients, id)
}

// own lists the clients of this process that have not ended.
func (l *liveness) own() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.clients))
}

// beat asks the server whether it still takes writes.
func (l *liveness) beat(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	l.connMu.Lock()
	defer l.connMu.Unlock()
	if l.conn == nil {
		return errAway
	}
	if _, err := l.ask(bounded, l.conn); err != nil {
		return err
	}
	return l.lock(bounded, l.conn)
}

// disconnect frees all locks, for the reason given.
func (l *liveness) disconnect(ctx context.Context, why error) {
	l.mu.Lock()
	l.away, l.leading = why, false
	l.mu.Unlock()
	l.connMu.Lock()
	defer l.connMu.Unlock()
	if l.conn != nil {
		closeConn(ctx, l.conn)
		l.conn = nil
	}
}

// closeConn closes a connection without waiting for a server that may be gone.
func closeConn(ctx context.Context, conn *pgx.Conn) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(bounded)
}
