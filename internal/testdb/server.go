package testdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/devpg"
)

// emptyTemplate is what every PostgreSQL has and nobody is ever connected to.
const emptyTemplate = "template0"

// shared is the process's server: one for all tests, since a start takes about
// a second and a database some 30 ms.
//
//nolint:gochecknoglobals // tests have nothing else in common that could hold it
var shared lazyServer

// lazyServer starts the server when the first test asks for a database.
type lazyServer struct {
	once   sync.Once
	server *server
	err    error
}

func (l *lazyServer) get(ctx context.Context) (*server, error) {
	l.once.Do(func() { l.server, l.err = startServer(ctx) })

	return l.server, l.err
}

// stop ends the server if one was started.
func (l *lazyServer) stop() error {
	l.once.Do(func() { l.err = errors.New("the tests have ended") })

	if l.server == nil {
		return nil
	}

	return l.server.stop(context.Background())
}

// server creates and drops databases.
type server struct {
	url   func(database string) string
	admin *pgxpool.Pool
	local *devpg.Server // nil for the server that TEST_DATABASE_URL names

	prefix string // of the databases' names, other than any other process's
	count  atomic.Int64

	migrateOnce sync.Once
	template    string
	migrateErr  error
}

func startServer(ctx context.Context) (*server, error) {
	server := &server{prefix: "webhook_test_" + strings.ToLower(rand.Text()[:10]) + "_"}

	maintenance := "postgres"

	if external := os.Getenv("TEST_DATABASE_URL"); external != "" {
		config, err := pgx.ParseConfig(external)
		if err != nil {
			return nil, fmt.Errorf("reading TEST_DATABASE_URL: %w", err)
		}

		maintenance = config.Database
		server.url = func(database string) string { return withDatabase(external, database) }
	} else {
		local, err := devpg.Start(ctx, &devpg.Config{TempDir: memoryDir(), Parameters: parameters()})
		if err != nil {
			return nil, err
		}

		server.local = local
		server.url = local.URL
	}

	admin, err := newPool(ctx, server.url(maintenance))
	if err != nil {
		return nil, errors.Join(err, server.stop(ctx))
	}

	server.admin = admin

	return server, nil
}

// parameters make the server fast at the price of durability, which a test's
// database doesn't need. Commits stay synchronous, as in production.
func parameters() map[string]string {
	const off = "off"

	return map[string]string{
		"fsync":            off,
		"full_page_writes": off,
		"autovacuum":       off, // databases don't live long enough to need it
		"shared_buffers":   "128MB",
		"max_connections":  "200",
		"max_wal_size":     "256MB", // the data may be in memory
	}
}

// migratedTemplate returns the database that migrated ones are copied from, and
// creates it for the first.
func (s *server) migratedTemplate(ctx context.Context) (string, error) {
	s.migrateOnce.Do(func() {
		s.template, s.migrateErr = s.create(ctx, emptyTemplate)
		if s.migrateErr == nil {
			s.migrateErr = migrate(ctx, s.url(s.template))
		}
	})

	return s.template, s.migrateErr
}

func (s *server) create(ctx context.Context, template string) (string, error) {
	name := s.prefix + strconv.FormatInt(s.count.Add(1), 10)

	statement := fmt.Sprintf("create database %s template %s",
		pgx.Identifier{name}.Sanitize(), pgx.Identifier{template}.Sanitize())
	if template == emptyTemplate {
		statement += " encoding 'UTF8' lc_collate 'C' lc_ctype 'C'"
	}

	if _, err := s.admin.Exec(ctx, statement); err != nil {
		return "", fmt.Errorf("creating a database: %w", err)
	}

	return name, nil
}

// drop removes a database and ends the connections that are left.
func (s *server) drop(ctx context.Context, database string) error {
	_, err := s.admin.Exec(ctx, "drop database if exists "+pgx.Identifier{database}.Sanitize()+" with (force)")
	if err != nil {
		return fmt.Errorf("dropping database %s: %w", database, err)
	}

	return nil
}

func (s *server) stop(ctx context.Context) error {
	var err error

	// A server of our own takes its databases with it.
	if s.local == nil && s.template != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
		defer cancel()

		err = s.drop(ctx, s.template)
	}

	if s.admin != nil {
		s.admin.Close()
	}

	if s.local != nil {
		err = errors.Join(err, s.local.Stop())
	}

	return err
}

// withDatabase returns the connection string, a URL or keywords and values, with
// another database.
func withDatabase(connString, database string) string {
	if u, err := url.Parse(connString); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		u.Path = "/" + database

		return u.String()
	}

	return connString + " dbname=" + database // the last one counts
}
