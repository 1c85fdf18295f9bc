package migrations_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/migrations"
)

// SQL_ASCII is the encoding of databases whose server was made where no locale is set.
func TestUpWarnsOfAnotherEncoding(t *testing.T) {
	t.Parallel()

	pool := asciiDatabase(t)
	_, err := pool.Exec(t.Context(), `select json '{"name": "\u00e9"}'->>'name'`)
	require.ErrorContains(t, err, "conversion between UTF8 and SQL_ASCII is not supported", "which is why")

	var log bytes.Buffer
	require.NoError(t, migrations.Up(t.Context(), pool, slog.New(slog.NewTextHandler(&log, nil))))
	require.Contains(t, log.String(), `level=WARN msg="the database's encoding is not UTF8`)
	requireApplied(t, pool, len(ours(t, pool)))
}

// asciiDatabase returns an empty database whose encoding is SQL_ASCII.
func asciiDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()

	admin := testdb.NewEmpty(t)
	name := fmt.Sprintf("ascii_%d", time.Now().UnixNano())
	_, err := admin.Exec(t.Context(), `create database `+name+` encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'`)
	require.NoError(t, err)
	config, err := pgxpool.ParseConfig(testdb.URL(admin))
	require.NoError(t, err)
	config.ConnConfig.Database = name
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		pool.Close()
		_, _ = admin.Exec(context.Background(), `drop database `+name+` with (force)`)
	})
	return pool
}
