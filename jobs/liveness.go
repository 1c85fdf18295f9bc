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

var errAway = errors.New("the connection is away")

// errReadOnly is why a worker waits where it reaches a database that takes no writes.
var errReadOnly = errors.New("the database is read-only: it is a replica, or default_transaction_read_only is on")

// liveness shows other workers that this process lives: for each of its River clients it holds a session
// advisory lock, which PostgreSQL frees when the process dies. Its connection does nothing else, so that
// neither load nor a slow statement breaks it.
type liveness struct {
	config *pgx.ConnConfig

	mu      sync.Mutex
	clients map[string]bool // those that have not ended, and whether conn holds their lock; guarded by mu
	conn    *pgx.Conn       // nil: away; guarded by mu
}

func newLiveness(config *pgx.ConnConfig) *liveness {
	return &liveness{config: config, clients: map[string]bool{}}
}

// connect opens the connection and takes the locks of all clients. It returns for how long the server has
// been up.
func (l *liveness) connect(ctx context.Context) (time.Duration, error) {
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(bounded, l.config.Copy())
	if err != nil {
		return 0, err
	}
	uptime, err := l.prepare(bounded, conn)
	if err != nil {
		closeConn(ctx, conn)
		return 0, err
	}
	return uptime, nil
}

// prepare makes a new connection the one that holds the locks.
func (l *liveness) prepare(ctx context.Context, conn *pgx.Conn) (time.Duration, error) {
	// A host that vanishes closes nothing: the server has to find out, and free the locks.
	if _, err := conn.Exec(ctx, `
		select set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
		       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '11000', false)`); err != nil {
		return 0, err
	}
	var seconds float64
	var readOnly bool
	err := conn.QueryRow(ctx, `
		select extract(epoch from clock_timestamp() - pg_postmaster_start_time()), current_setting('transaction_read_only')::boolean`).
		Scan(&seconds, &readOnly)
	if err != nil {
		return 0, err
	}
	if readOnly {
		return 0, errReadOnly
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	for id := range l.clients {
		l.clients[id] = false
	}
	if err := l.lock(ctx); err != nil {
		l.conn = nil
		return 0, err
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// lock takes the locks that are not held. One may be held for some seconds by the connection before this one,
// which the server takes for alive; so do then the other workers. mu is held.
func (l *liveness) lock(ctx context.Context) error {
	for id, held := range l.clients {
		if held {
			continue
		}
		if err := l.conn.QueryRow(ctx, `select pg_try_advisory_lock(`+clientLock("$1")+`)`, id).Scan(&held); err != nil {
			return err
		}
		l.clients[id] = held
	}
	return nil
}

// add takes a client's lock; from then on the client is seen to live.
func (l *liveness) add(ctx context.Context, id string) error {
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return errAway
	}
	l.clients[id] = false
	if err := l.lock(bounded); err != nil {
		delete(l.clients, id)
		return err
	}
	return nil
}

// remove frees a client's lock: what it left running is anybody's.
func (l *liveness) remove(ctx context.Context, id string) {
	bounded, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.clients, id)
	if l.conn != nil {
		// If it fails the connection is broken, and the lock is free.
		_, _ = l.conn.Exec(bounded, `select pg_advisory_unlock(`+clientLock("$1")+`)`, id)
	}
}

// own lists the clients of this process that have not ended.
func (l *liveness) own() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.clients))
}

// hold sees that the connection lives until ctx ends. Its error says why it does not; the locks are free then.
func (l *liveness) hold(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(heartbeatInterval):
		}
		if err := l.beat(ctx); err != nil {
			l.disconnect(ctx)
			return err
		}
	}
}

// beat asks the server whether it still takes writes.
func (l *liveness) beat(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), heartbeatTimeout)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return errAway
	}
	var readOnly bool
	if err := l.conn.QueryRow(bounded, `select current_setting('transaction_read_only')::boolean`).Scan(&readOnly); err != nil {
		return err
	}
	if readOnly {
		return errReadOnly
	}
	return l.lock(bounded)
}

// disconnect frees all locks.
func (l *liveness) disconnect(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
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
