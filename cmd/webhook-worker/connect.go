package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/pgplans"
)

const (
	// connectTimeout is how long the first connection to the database may take.
	connectTimeout = 10 * time.Second
	// applicationName is how the program's connections show in pg_stat_activity.
	applicationName = "webhook-worker"

	// A database host that vanishes is noticed within silenceTimeout: when nothing is to be said by keep-alive
	// packets, and else because what was said is not acknowledged.
	silenceTimeout    = 11 * time.Second
	keepAliveIdle     = 5 * time.Second
	keepAliveInterval = 2 * time.Second
	keepAliveCount    = 3
)

// connect opens a pool of at most maxConns connections (0: pgx's default) and sees that the database answers.
func (a *app) connect(cfg *config.Config, maxConns int32) (*pgxpool.Pool, error) {
	if err := cfg.RequireDatabase(); err != nil {
		return nil, &usageError{err}
	}
	return a.connectTo("DATABASE_URL", cfg.DatabaseURL, maxConns)
}

// connectDirect is connect without a pooler in between, for what lasts longer than a transaction: locks and
// LISTEN.
func (a *app) connectDirect(cfg *config.Config, maxConns int32) (*pgxpool.Pool, error) {
	if cfg.DatabaseDirectURL != "" {
		return a.connectTo("DATABASE_DIRECT_URL", cfg.DatabaseDirectURL, maxConns)
	}
	pool, err := a.connect(cfg, maxConns)
	if err != nil {
		return nil, err
	}
	if err := refusePooler(a.ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// refusePooler returns an error if the server's process is another than the one that the connection was
// told of: then a pooler stands between, which may share sessions.
func refusePooler(ctx context.Context, pool *pgxpool.Pool) error {
	return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		var pid uint32
		if err := conn.QueryRow(ctx, `select pg_backend_pid()`).Scan(&pid); err != nil {
			return fmt.Errorf("looking for a pooler: %w", err)
		}
		if pid == conn.Conn().PgConn().PID() {
			return nil
		}
		return errors.New("DATABASE_URL goes through a connection pooler, and a worker also needs connections of its own, for locks and LISTEN: " +
			"set DATABASE_DIRECT_URL to a connection string that goes around it, or to the same one if the pooler keeps sessions")
	})
}

func (a *app) connectTo(variable string, url config.DatabaseURL, maxConns int32) (*pgxpool.Pool, error) {
	poolConfig, err := pgxpool.ParseConfig(string(url))
	if err != nil {
		return nil, &usageError{fmt.Errorf("%s is not valid: %w", variable, err)}
	}
	if maxConns > 0 && !strings.Contains(string(url), "pool_max_conns") {
		poolConfig.MaxConns = maxConns
	}
	if _, named := poolConfig.ConnConfig.RuntimeParams["application_name"]; !named {
		poolConfig.ConnConfig.RuntimeParams["application_name"] = applicationName
	}
	poolConfig.ConnConfig.DialFunc = a.sockets.dial
	pgplans.Renew(poolConfig)
	pool, err := pgxpool.NewWithConfig(a.ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", url, err)
	}
	bounded, cancel := context.WithTimeout(a.ctx, connectTimeout)
	defer cancel()
	if err := pool.Ping(bounded); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connecting to %s (%s): %w", url, variable, rootCause(err))
	}
	return pool, nil
}

// rootCause drops the outer words of a connection error, which repeat the address of each try.
func rootCause(err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("%s (SQLSTATE %s)", pgErr.Message, pgErr.Code)
	}
	for {
		switch unwrapped := err.(type) { //nolint:errorlint // the wrapping itself is looked at
		case interface{ Unwrap() error }:
			if unwrapped.Unwrap() == nil {
				return err
			}
			err = unwrapped.Unwrap()
		case interface{ Unwrap() []error }:
			list := unwrapped.Unwrap()
			if len(list) == 0 {
				return err
			}
			err = list[len(list)-1]
		default:
			return err
		}
	}
}

// sockets are the open connections to the database, so that they can be broken all at once when nothing is
// heard through them any more.
type sockets struct {
	mu   sync.Mutex
	open map[*socket]struct{}
}

type socket struct {
	net.Conn

	of *sockets
}

// Close forgets the socket too.
func (s *socket) Close() error {
	s.of.mu.Lock()
	delete(s.of.open, s)
	s.of.mu.Unlock()
	return s.Conn.Close()
}

// dial connects to the database.
func (s *sockets) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount},
		Control:         boundSilence,
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	opened := &socket{Conn: conn, of: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*socket]struct{}{}
	}
	s.open[opened] = struct{}{}
	return opened, nil
}

// breakAll closes all connections under those who use them.
func (s *sockets) breakAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for opened := range s.open {
		_ = opened.Conn.Close()
	}
}
