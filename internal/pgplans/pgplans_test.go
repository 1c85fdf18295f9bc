package pgplans

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// A statement's plan that was made for an empty table does not read all of it when it has grown.
func TestPlansFollowTheTables(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(testdb.URL(testdb.NewEmpty(t)))
	require.NoError(t, err)
	config.MaxConns = 1
	Renew(config)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	use := func(do func(conn *pgx.Conn)) {
		require.NoError(t, pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
			do(conn.Conn())
			return nil
		}))
	}
	plan := func(conn *pgx.Conn) string {
		rows, err := conn.Query(t.Context(), `explain execute found ('{1,2,3}')`, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return strings.Join(lines, "\n")
	}
	use(func(conn *pgx.Conn) {
		for _, statement := range []string{
			`create table grown (id int primary key)`,
			`vacuum analyze grown`,
			`set plan_cache_mode = force_generic_plan`, // as PostgreSQL takes of itself after five executions
			`prepare found (int[]) as select g.id from grown g, unnest($1) as wanted (id) where g.id = wanted.id`,
		} {
			_, err := conn.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
		}
		require.Contains(t, plan(conn), "Seq Scan")
		_, err := conn.Exec(t.Context(), `insert into grown select generate_series(1, 20000)`)
		require.NoError(t, err)
		conn.PgConn().CustomData()[renewedAt] = time.Now().Add(time.Hour)
	})
	use(func(conn *pgx.Conn) {
		require.Contains(t, plan(conn), "Seq Scan", "a plan lasts for a while")
		conn.PgConn().CustomData()[renewedAt] = time.Now().Add(-last)
	})
	use(func(conn *pgx.Conn) { require.NotContains(t, plan(conn), "Seq Scan") })
}
