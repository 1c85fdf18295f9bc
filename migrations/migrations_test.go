package migrations_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/migrations"
)

func TestANewerRiverIsNoHindrance(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	_, err := pool.Exec(t.Context(), `insert into river_migration (line, version) values ('main', 99)`)
	require.NoError(t, err)
	require.NoError(t, migrations.Check(t.Context(), pool))
	_, err = migrations.Status(t.Context(), pool)
	require.NoError(t, err)
}

func TestMain(m *testing.M) { testdb.Main(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// ours are the migrations of this project, without River's.
func ours(t *testing.T, pool *pgxpool.Pool) []migrations.Migration {
	t.Helper()

	all, err := migrations.Status(t.Context(), pool)
	require.NoError(t, err)
	var list []migrations.Migration
	for _, migration := range all {
		if migration.Line == "webhook-worker" {
			list = append(list, migration)
		}
	}
	return list
}

// requireApplied checks that the first n migrations of ours have run, and no more.
func requireApplied(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()

	for i, migration := range ours(t, pool) {
		require.Equal(t, i+1, migration.Version)
		require.Equal(t, i < n, migration.Applied, migration.Name)
	}
}

// objects lists what the database's current schema has, but for what belongs to something else in the list.
func objects(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()

	var list []string
	require.NoError(t, pool.QueryRow(t.Context(), `
		select array_agg(name order by name)
		  from (select relkind::text || ' ' || relname as name from pg_class where relnamespace = current_schema()::regnamespace
		        union all
		        select 'function ' || oid::regprocedure from pg_proc where pronamespace = current_schema()::regnamespace
		        union all
		        select 'type ' || typname from pg_type where typnamespace = current_schema()::regnamespace
		        union all
		        select 'trigger ' || tgname from pg_trigger where not tgisinternal
		        union all
		        select 'policy ' || polrelid::regclass || ' ' || polname from pg_policy
		        union all
		        select 'row security ' || oid::regclass from pg_class where relnamespace = current_schema()::regnamespace and relrowsecurity
		        union all
		        select 'constraint ' || conrelid::regclass || ' ' || conname from pg_constraint where connamespace = current_schema()::regnamespace) o`).Scan(&list))
	return list
}

func TestUp(t *testing.T) {
	t.Parallel()

	pool := testdb.NewEmpty(t)
	requireApplied(t, pool, 0)
	require.Empty(t, objects(t, pool), "Status changes nothing")
	require.ErrorIs(t, migrations.Check(t.Context(), pool), migrations.ErrBehind)
	require.Empty(t, objects(t, pool), "nor does Check")

	var logged bytes.Buffer
	require.NoError(t, migrations.Up(t.Context(), pool, slog.New(slog.NewTextHandler(&logged, nil))))
	require.Contains(t, logged.String(), "line=river")
	require.Contains(t, logged.String(), "line=webhook-worker version=1 name=001_settings.sql")
	requireApplied(t, pool, len(ours(t, pool)))
	require.NoError(t, migrations.Check(t.Context(), pool))
	before := objects(t, pool)
	require.Contains(t, before, "r partner_webhooks")
	require.Contains(t, before, "r river_job")

	logged.Reset()
	require.NoError(t, migrations.Up(t.Context(), pool, slog.New(slog.NewTextHandler(&logged, nil))))
	require.NotContains(t, logged.String(), "migrated", "the second time there is nothing to do")
	require.Equal(t, before, objects(t, pool))
}

func TestConcurrentUp(t *testing.T) {
	t.Parallel()

	url := testdb.URL(testdb.NewEmpty(t))
	errs := make([]error, 10)
	var group sync.WaitGroup
	for i := range errs {
		config, err := pgxpool.ParseConfig(url)
		require.NoError(t, err)
		config.MaxConns = 2 // as many as Up says it needs
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		group.Go(func() {
			if errs[i] = migrations.Up(t.Context(), pool, quiet()); errs[i] == nil {
				errs[i] = migrations.Check(t.Context(), pool)
			}
		})
	}
	group.Wait()
	for i, err := range errs {
		require.NoError(t, err, "process %d", i)
	}
}

func TestUpGivesTheLockBack(t *testing.T) {
	t.Parallel()

	pool := testdb.NewEmpty(t)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	require.NoError(t, migrations.Down(t.Context(), pool, 1, quiet()))
	require.Eventually(t, func() bool {
		var locks int
		require.NoError(t, pool.QueryRow(t.Context(), `
			select count(*) from pg_locks l join pg_database d on d.oid = l.database
			 where l.locktype = 'advisory' and d.datname = current_database()`).Scan(&locks))
		return locks == 0
	}, 30*time.Second, 10*time.Millisecond)
}

func TestUpWaitsForTheLockAsLongAsItsContext(t *testing.T) {
	t.Parallel()

	pool := testdb.NewEmpty(t)
	holder, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer holder.Release()
	_, err = holder.Exec(t.Context(), `select pg_advisory_lock($1)`, int64(0x776562686f6f6b73))
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, migrations.Up(ctx, pool, quiet()), context.DeadlineExceeded)
	require.Empty(t, objects(t, pool))

	_, err = holder.Exec(t.Context(), `select pg_advisory_unlock_all()`)
	require.NoError(t, err)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
}

func TestDown(t *testing.T) {
	t.Parallel()

	pool := testdb.NewEmpty(t)
	require.NoError(t, migrations.Down(t.Context(), pool, 1, quiet()), "there is nothing to take back")
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	complete, count := objects(t, pool), len(ours(t, pool))

	require.NoError(t, migrations.Down(t.Context(), pool, 0, quiet()))
	requireApplied(t, pool, count)

	var logged bytes.Buffer
	require.NoError(t, migrations.Down(t.Context(), pool, 1, slog.New(slog.NewTextHandler(&logged, nil))))
	require.Contains(t, logged.String(), "migrating down")
	requireApplied(t, pool, count-1)
	require.ErrorIs(t, migrations.Check(t.Context(), pool), migrations.ErrBehind)
	require.ErrorContains(t, migrations.Check(t.Context(), pool), "1 of ")
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	require.Equal(t, complete, objects(t, pool))

	// Each step takes back exactly what it made.
	for left := count - 1; left >= 0; left-- {
		require.NoError(t, migrations.Down(t.Context(), pool, 1, quiet()))
		requireApplied(t, pool, left)
	}
	stepwise := objects(t, pool)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	require.Equal(t, complete, objects(t, pool))

	for _, steps := range []int{-1, count, count + 10} {
		require.NoError(t, migrations.Down(t.Context(), pool, steps, quiet()))
		requireApplied(t, pool, 0)
		require.Equal(t, stepwise, objects(t, pool))
		require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
		require.Equal(t, complete, objects(t, pool))
	}
}

// River's tables may hold an application's own jobs.
func TestDownLeavesNothingButRivers(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	require.NoError(t, migrations.Down(t.Context(), pool, -1, quiet()))
	left := objects(t, pool)
	require.Contains(t, left, "r river_job")
	for _, object := range left {
		require.NotContains(t, object, "partner")
		require.NotRegexp(t, `webhook_(?:[^s]|settings)`, object, "only the version's table stays")
	}
}

func TestNewerDatabase(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	before := objects(t, pool)
	newer := len(ours(t, pool)) + 4
	_, err := pool.Exec(t.Context(), `update webhook_schema_version set version = $1`, newer)
	require.NoError(t, err)

	for what, migrate := range map[string]func() error{
		"up":       func() error { return migrations.Up(t.Context(), pool, quiet()) },
		"down 0":   func() error { return migrations.Down(t.Context(), pool, 0, quiet()) },
		"down 1":   func() error { return migrations.Down(t.Context(), pool, 1, quiet()) },
		"down 5":   func() error { return migrations.Down(t.Context(), pool, 5, quiet()) },
		"down all": func() error { return migrations.Down(t.Context(), pool, -1, quiet()) },
	} {
		err := migrate()
		require.ErrorContains(t, err, "the database was migrated by a newer version of this program", what)
		require.NotContains(t, err.Error(), "\n")
		require.Equal(t, before, objects(t, pool), what)
	}
	var version int
	require.NoError(t, pool.QueryRow(t.Context(), `select version from webhook_schema_version`).Scan(&version))
	require.Equal(t, newer, version)
	require.NoError(t, migrations.Check(t.Context(), pool), "it lacks nothing")
	ahead, err := migrations.Ahead(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, 4, ahead)
}

// A schema says which programs it is for, so that those that would break refuse.
func TestSchemaForNewerProgramsAlone(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	known := len(ours(t, pool))
	from := func() int { return scalar[int](t, pool, `select works_from from webhook_schema_version`) }
	require.Equal(t, 10, from(), "the release before works with it")
	say := func(from int) {
		_, err := pool.Exec(t.Context(), `update webhook_schema_version set works_from = $1`, from)
		require.NoError(t, err)
	}
	say(known)
	require.NoError(t, migrations.Check(t.Context(), pool))
	say(known + 1)
	require.ErrorIs(t, migrations.Check(t.Context(), pool), migrations.ErrTooOld)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()), "the schema is this program's own")
	require.Equal(t, 10, from())

	require.NoError(t, migrations.Down(t.Context(), pool, known-8, quiet()))
	require.Equal(t, 8, from(), "whoever knows all that is left")
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	require.Equal(t, 10, from())

	// Earlier versions did not say.
	_, err := pool.Exec(t.Context(), `alter table webhook_schema_version drop column works_from`)
	require.NoError(t, err)
	require.NoError(t, migrations.Check(t.Context(), pool))
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	require.Equal(t, 10, from())

	// Who reads for long, as a backup does, holds up nobody.
	backup, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = backup.Rollback(t.Context()) }()
	_, err = backup.Exec(t.Context(), `select from webhook_schema_version`)
	require.NoError(t, err)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
}

func TestNoDatabase(t *testing.T) {
	t.Parallel()

	pool, err := pgxpool.New(t.Context(), "postgres://u:leaky@127.0.0.1:1/nowhere")
	require.NoError(t, err)
	defer pool.Close()
	_, statusErr := migrations.Status(t.Context(), pool)
	for _, err := range []error{
		statusErr, migrations.Check(t.Context(), pool), migrations.Up(t.Context(), pool, quiet()), migrations.Down(t.Context(), pool, 1, quiet()),
	} {
		require.Error(t, err)
		require.NotErrorIs(t, err, migrations.ErrBehind)
		require.NotContains(t, err.Error(), "leaky")
	}
}
