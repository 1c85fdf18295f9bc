package testdb_test

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

func hasTable(t *testing.T, pool *pgxpool.Pool, table string) bool {
	t.Helper()

	var found bool

	require.NoError(t, pool.QueryRow(t.Context(), "select to_regclass($1) is not null", table).Scan(&found))

	return found
}

func TestMigrations(t *testing.T) {
	t.Parallel()

	require.True(t, hasTable(t, testdb.New(t), "river_job"))
	require.False(t, hasTable(t, testdb.NewEmpty(t), "river_job"))
}

func TestDatabasesAreIsolated(t *testing.T) {
	t.Parallel()

	for i := range 10 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()

			pool := testdb.New(t)
			require.False(t, hasTable(t, pool, "only_here"))

			_, err := pool.Exec(t.Context(), "create table only_here ()")
			require.NoError(t, err)
			require.True(t, hasTable(t, pool, "only_here"))
		})
	}
}

//nolint:tparallel // what follows the inner test is to see it ended
func TestDatabaseIsDropped(t *testing.T) {
	t.Parallel()

	var url string

	t.Run("with connections that the test left open", func(t *testing.T) {
		pool := testdb.New(t)
		url = testdb.URL(pool)

		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)

		var ours, pools string

		require.NoError(t, conn.QueryRow(t.Context(), "select current_database()").Scan(&ours))
		require.NoError(t, pool.QueryRow(t.Context(), "select current_database()").Scan(&pools))
		require.Equal(t, pools, ours)
	})

	_, err := pgx.Connect(t.Context(), url)
	require.ErrorContains(t, err, "3D000", "invalid_catalog_name")
}

// self runs tests of this package in another process, with the variables given.
func self(t *testing.T, tests string, env ...string) {
	t.Helper()

	program, err := os.Executable()
	require.NoError(t, err)

	cmd := exec.CommandContext(t.Context(), program, "-test.run="+tests, "-test.count=1")
	cmd.Env = append(os.Environ(), env...)

	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

const nowhere = "postgres://nobody@127.0.0.1:1/nothing"

func TestServerOfTheEnvironment(t *testing.T) {
	t.Parallel()

	server, err := devpg.Start(t.Context(), &devpg.Config{Parameters: map[string]string{"fsync": "off"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })

	pool, err := pgxpool.New(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	before := databases(t, pool)

	self(t, "^(TestMigrations|TestDatabasesAreIsolated|TestDatabaseIsDropped)$",
		"TEST_DATABASE_URL="+server.URL("postgres"), "DATABASE_URL="+nowhere)

	after := databases(t, pool)
	require.Equal(t, before.names, after.names, "it dropped what it created")
	require.Greater(t, after.nextID, before.nextID+10, "it created them here")
}

type databaseList struct {
	names  []string
	nextID uint32
}

func databases(t *testing.T, pool *pgxpool.Pool) databaseList {
	t.Helper()

	var list databaseList

	require.NoError(t, pool.QueryRow(t.Context(),
		"select array_agg(datname::text order by datname) from pg_database").Scan(&list.names))

	// Creating and dropping something shows the object ids that were used up.
	_, err := pool.Exec(t.Context(), "create table probe ()")
	require.NoError(t, err)
	require.NoError(t, pool.QueryRow(t.Context(), "select 'probe'::regclass::oid").Scan(&list.nextID))

	_, err = pool.Exec(t.Context(), "drop table probe")
	require.NoError(t, err)

	return list
}

// A package whose tests need no database starts none: this one couldn't.
func TestServerIsLazy(t *testing.T) {
	t.Parallel()

	self(t, "^$", "TEST_DATABASE_URL="+nowhere)
}

func BenchmarkNew(b *testing.B) {
	testdb.New(b) // starts the server

	for b.Loop() {
		testdb.New(b)
	}
}
