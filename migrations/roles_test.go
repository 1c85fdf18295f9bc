package migrations_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/migrations"
)

// granted lists what the role may do in the pool's schema.
func granted(t *testing.T, pool *pgxpool.Pool, role string) []string {
	t.Helper()

	rows, err := pool.Query(t.Context(), `
		select lower(privilege) || ' ' || oid::regclass
		  from pg_class, unnest('{SELECT,INSERT,UPDATE,DELETE,USAGE}'::text[]) as p (privilege)
		 where relnamespace = (select oid from pg_namespace where nspname = current_schema()) and not relispartition
		   and case when relkind = 'S' then privilege = 'USAGE' and has_sequence_privilege($1::name, oid, privilege)
		            when relkind in ('r', 'p', 'v') and privilege in ('SELECT', 'INSERT', 'UPDATE') then has_any_column_privilege($1::name, oid, privilege)
		            when relkind in ('r', 'p', 'v') and privilege = 'DELETE' then has_table_privilege($1::name, oid, privilege) end
		union all
		select 'usage' where has_schema_privilege($1::name, current_schema()::text, 'usage')
		union all
		select oid::regprocedure::text from pg_proc
		 where pronamespace = (select oid from pg_namespace where nspname = current_schema()) and proname not like 'river\_%'
		   and has_function_privilege($1::name, oid, 'execute')
		 order by 1`, role)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return list
}

// inSchema opens a pool on the database, as somebody else if a name is given, that works in the schema.
func inSchema(t *testing.T, url, schema, user, password string) *pgxpool.Pool {
	t.Helper()

	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.RuntimeParams["search_path"] = schema
	if user != "" {
		config.ConnConfig.User, config.ConnConfig.Password = user, password
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func TestUpGrantsWhatDownTakesBack(t *testing.T) {
	t.Parallel()

	admin := testdb.NewEmpty(t)
	_, err := admin.Exec(t.Context(), `create schema hooks`) // public is open to everybody
	require.NoError(t, err)
	pool := inSchema(t, testdb.URL(admin), "hooks", "", "")
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	want, worker, reader := granted(t, pool, "webhook_app"), granted(t, pool, "webhook_worker"), granted(t, pool, "webhook_reader")
	require.Len(t, want, 7, "the schema and three forms of each function")
	require.Contains(t, worker, "webhook_make_log_partitions()")
	require.Contains(t, worker, "select river_job")
	require.NotContains(t, worker, "webhook_guard_log_partition(regclass)")
	require.Equal(t, []string{
		"select partner_webhooks", "select webhook_delivery_log", "select webhook_delivery_queue", "select webhook_events", "select webhook_partner_health", "usage", "webhook_session_users()",
	}, reader)
	require.Empty(t, granted(t, pool, "public"))
	var attributes string
	require.NoError(t, pool.QueryRow(t.Context(), `
		select concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls)
		  from pg_roles where rolname = 'webhook_app'`).Scan(&attributes))
	require.Equal(t, "f t f f f f f", attributes)

	for _, steps := range []int{-1, len(ours(t, pool)), len(ours(t, pool)) - 5} {
		require.NoError(t, migrations.Down(t.Context(), pool, steps, quiet()))
		for _, role := range []string{"webhook_app", "webhook_worker", "webhook_reader"} {
			require.Empty(t, granted(t, pool, role), "the role is there, and has nothing")
		}
		require.Empty(t, names(t, pool, `select polname::text from pg_policy where polrelid in (select oid from pg_class where relnamespace = current_schema()::regnamespace)`))
		require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
		require.Equal(t, want, granted(t, pool, "webhook_app"))
		require.Equal(t, worker, granted(t, pool, "webhook_worker"))
		require.Equal(t, reader, granted(t, pool, "webhook_reader"))
	}
	_, err = pool.Exec(t.Context(), `drop schema hooks cascade; create schema hooks`)
	require.NoError(t, err)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	require.Equal(t, want, granted(t, pool, "webhook_app"))
	require.Equal(t, worker, granted(t, pool, "webhook_worker"))
}

// Roles are the whole server's, so this needs one where nobody else migrates.
func TestUpWhereTheRoleIsMissing(t *testing.T) {
	t.Parallel()

	server, err := devpg.Start(t.Context(), &devpg.Config{Parameters: map[string]string{"fsync": "off"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	admin, err := pgxpool.New(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	exec := func(statement string) {
		_, err := admin.Exec(t.Context(), statement)
		require.NoError(t, err)
	}

	// An owner that may not create roles is told what to do, and is back where it was.
	exec(`create role plain login password 'plain'`)
	exec(`create database plain owner plain`)
	plain := inSchema(t, server.URL("plain"), "public", "plain", "plain")
	var refused *pgconn.PgError
	require.ErrorAs(t, migrations.Up(t.Context(), plain, quiet()), &refused)
	require.Equal(t, "42501", refused.Code)
	require.Contains(t, refused.Message, "create role webhook_app nologin")
	require.Contains(t, refused.Message, "plain may not create roles")
	requireApplied(t, plain, 5)

	// The first one of many databases that migrate at once creates it.
	const databases, rounds = 8, 2
	pools := make([]*pgxpool.Pool, databases)
	for i := range pools {
		exec(fmt.Sprintf(`create database many_%d`, i))
		pools[i] = inSchema(t, server.URL(fmt.Sprintf("many_%d", i)), "public", "", "")
	}
	for range rounds {
		errs := make([]error, databases)
		start := make(chan struct{})
		var group sync.WaitGroup
		for i, pool := range pools {
			group.Go(func() {
				<-start
				errs[i] = migrations.Up(t.Context(), pool, quiet())
			})
		}
		close(start)
		group.Wait()
		for i, pool := range pools {
			require.NoError(t, errs[i], "database %d", i)
			require.Len(t, granted(t, pool, "webhook_app"), 7)
		}
		for _, pool := range pools {
			require.NoError(t, migrations.Down(t.Context(), pool, len(ours(t, pool))-5, quiet()))
		}
		exec(`drop role webhook_app, webhook_worker, webhook_reader`) // which nothing depends on any more
	}

	exec(`create role webhook_app nologin`)
	require.ErrorAs(t, migrations.Up(t.Context(), plain, quiet()), &refused)
	require.Contains(t, refused.Message, "create role webhook_worker nologin; create role webhook_reader nologin")
	requireApplied(t, plain, slices.IndexFunc(ours(t, plain), func(m migrations.Migration) bool { return strings.HasSuffix(m.Name, "_row_security.sql") }))
	exec(`create role webhook_worker nologin; create role webhook_reader nologin`)
	require.NoError(t, migrations.Up(t.Context(), plain, quiet()))
	require.Len(t, granted(t, plain, "webhook_app"), 7)

	// Who is not the owner is told who is.
	exec(`create role worker login password 'worker' in role webhook_worker`)
	worker := inSchema(t, server.URL("plain"), "public", "worker", "worker")
	require.NoError(t, migrations.Check(t.Context(), worker))
	for _, err := range []error{migrations.Up(t.Context(), worker, quiet()), migrations.Down(t.Context(), worker, 1, quiet())} {
		require.ErrorContains(t, err, "role worker may not migrate: the tables belong to plain")
	}
	exec(`create role stranger login password 'stranger'`)
	exec(`create database theirs`)
	stranger := inSchema(t, server.URL("plain"), "public", "stranger", "stranger")
	require.ErrorContains(t, migrations.Check(t.Context(), stranger), "grant webhook_worker to")
	stranger = inSchema(t, server.URL("theirs"), "public", "stranger", "stranger")
	require.ErrorContains(t, migrations.Up(t.Context(), stranger, quiet()), `it may not create tables in schema public, for which it needs`)

	// A database that was restored on another server may have come without them.
	_, err = inSchema(t, server.URL("plain"), "public", "", "").Exec(t.Context(), `drop owned by webhook_app, webhook_worker, webhook_reader`)
	require.NoError(t, err)
	exec(`drop role webhook_app, webhook_worker, webhook_reader`)
	require.NoError(t, migrations.Down(t.Context(), plain, -1, quiet()))
	requireApplied(t, plain, 0)
}

// Whoever was let read the queue by hand, before there was a wall, does not get behind it by the upgrade.
func TestUpLeavesNobodyBehindTheWall(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	require.NoError(t, migrations.Down(t.Context(), pool, len(ours(t, pool))-11, quiet()))
	role := fmt.Sprintf("looker_%d", time.Now().UnixNano())
	_, err := pool.Exec(t.Context(), `create role `+role+` nologin; grant select on webhook_delivery_queue to `+role+`, public`)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = pool.Exec(context.Background(), `drop owned by `+role+`; drop role `+role) })
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	for _, relation := range []string{"webhook_deliveries", "webhook_delivery_queue"} {
		var may bool
		require.NoError(t, pool.QueryRow(t.Context(), `select has_table_privilege($1::name, $2::text, 'select')`, role, relation).Scan(&may))
		require.False(t, may, relation)
	}
}
