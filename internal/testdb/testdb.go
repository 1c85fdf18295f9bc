// Package testdb gives every test a PostgreSQL database of its own, on one
// private server per test process, or on the server that TEST_DATABASE_URL
// names. DATABASE_URL is never looked at: it may be an operator's.
//
// A package's tests use it like this:
//
//	func TestMain(m *testing.M) { testdb.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		pool := testdb.New(t)
//	}
package testdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/epicvoice/webhook-worker/migrations"
)

const (
	// setupTimeout bounds the start of the server, which includes a download
	// where no PostgreSQL is installed, and the migration of the template.
	setupTimeout = 5 * time.Minute

	// createTimeout bounds the creation of a database, and dropTimeout the end
	// of one: its pool's closing and its removal.
	createTimeout = time.Minute
	dropTimeout   = 30 * time.Second

	// closeTimeout is how long a pool's connections may stay in use after the
	// test's end.
	closeTimeout = 5 * time.Second

	maxPoolConns = 10
)

var errInUse = errors.New("connections of the test's pool are still in use")

// Main is what TestMain calls: it runs the tests, stops the server, fails if
// goroutines are left, and exits.
func Main(m *testing.M) {
	goleak.VerifyTestMain(&run{tests: m})
}

// run stops the server between the tests' end and the search for goroutines.
type run struct {
	tests *testing.M
}

func (r *run) Run() int {
	code := r.tests.Run()

	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "testdb:", err)

		code = max(code, 1)
	}

	return code
}

// New returns a pool on a fresh, migrated database of its own, which is dropped
// when the test ends. It ends the test if it can't.
func New(tb testing.TB) *pgxpool.Pool {
	tb.Helper()

	return open(tb, migrated)
}

func migrated(ctx context.Context, server *server) (string, error) {
	template, err := server.migratedTemplate(ctx)
	if err != nil {
		return "", err
	}

	return server.create(ctx, template)
}

// NewEmpty is New without the migrations.
func NewEmpty(tb testing.TB) *pgxpool.Pool {
	tb.Helper()

	return open(tb, func(ctx context.Context, server *server) (string, error) {
		return server.create(ctx, emptyTemplate)
	})
}

// Fuzz is what create, which is New or NewEmpty, gives a fuzz target. Its
// workers, which are processes of their own, get databases on the server of the
// process that started them.
func Fuzz(f *testing.F, create func(testing.TB) *pgxpool.Pool) *pgxpool.Pool {
	f.Helper()

	pool := create(f)
	f.Setenv("TEST_DATABASE_URL", URL(pool))

	return pool
}

// URL returns the connection string of the pool's database.
func URL(pool *pgxpool.Pool) string {
	return pool.Config().ConnString()
}

// Open is New for Example tests, which have no testing.TB: the caller closes
// the database when it is done with it.
func Open(ctx context.Context) (*pgxpool.Pool, func() error, error) {
	return openDatabase(ctx, migrated)
}

// creator makes a database on a server and returns its name.
type creator func(ctx context.Context, server *server) (string, error)

func open(tb testing.TB, create creator) *pgxpool.Pool {
	tb.Helper()

	pool, closeDatabase, err := openDatabase(tb.Context(), create)
	if err != nil {
		tb.Fatalf("testdb: %v", err)
	}

	tb.Cleanup(func() {
		if err := closeDatabase(); err != nil {
			tb.Errorf("testdb: %v", err)
		}
	})

	return pool
}

func openDatabase(parent context.Context, create creator) (*pgxpool.Pool, func() error, error) {
	setupCtx, cancelSetup := context.WithTimeout(parent, setupTimeout)
	defer cancelSetup()

	server, err := shared.get(setupCtx)
	if err != nil {
		return nil, nil, err
	}

	ctx, cancel := context.WithTimeout(parent, createTimeout)
	defer cancel()

	database, err := create(ctx, server)
	if err != nil {
		return nil, nil, err
	}

	pool, err := newPool(ctx, server.url(database))
	if err != nil {
		return nil, nil, errors.Join(err, server.drop(ctx, database))
	}

	return pool, func() error {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), dropTimeout)
		defer cancel()

		var inUse error
		if !closePool(pool) {
			inUse = errInUse
		}

		return errors.Join(inUse, server.drop(ctx, database))
	}, nil
}

func newPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the database's URL: %w", err)
	}

	config.MaxConns = maxPoolConns

	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("opening a pool: %w", err)
	}

	return pool, nil
}

// closePool closes the pool and reports whether its connections were all given
// back. Close waits for them without a bound; the database's removal cuts those
// that a test forgot.
func closePool(pool *pgxpool.Pool) bool {
	closed := make(chan struct{})

	go func() {
		defer close(closed)

		pool.Close()
	}()

	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()

	select {
	case <-closed:
		return true
	case <-timer.C:
		return false
	}
}

func migrate(ctx context.Context, url string) error {
	pool, err := newPool(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()

	if err := migrations.Up(ctx, pool, slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("migrating the template database: %w", err)
	}

	return nil
}
