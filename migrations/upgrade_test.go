package migrations_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/tern/v2/migrate"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/migrations"
)

// released is the schema of the release before: River's tables and the files to this number.
const released = 5

// newAtVersion is an empty database with River's tables and the files to a number.
func newAtVersion(t *testing.T, version int32) *pgxpool.Pool {
	t.Helper()

	pool := testdb.NewEmpty(t)
	river, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet()})
	require.NoError(t, err)
	_, err = river.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
	migrateTo(t, pool, version)
	return pool
}

// migrateTo runs the files to a number as Up and Down do.
func migrateTo(t *testing.T, pool *pgxpool.Pool, version int32) {
	t.Helper()

	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	migrator, err := migrate.NewMigrator(t.Context(), conn.Conn(), "webhook_schema_version")
	require.NoError(t, err)
	require.NoError(t, migrator.LoadMigrations(os.DirFS(".")))
	require.NoError(t, migrator.MigrateTo(t.Context(), version))
}

// fill puts rows of every kind into a database of the release before: so many deliveries, three attempts of
// each over the last hundred days and the next minute, and partners.
func fill(t *testing.T, pool *pgxpool.Pool, deliveries int) {
	t.Helper()

	sql := strings.NewReplacer("DELIVERIES", strconv.Itoa(deliveries)).Replace(fillStatements)
	_, err := pool.Exec(t.Context(), sql)
	require.NoError(t, err)
}

const fillStatements = `
	insert into partner_webhooks (user_id, partner_name, partner_slug, url, secret_ciphertext, secret_key_id, enabled_events,
	                              custom_payload_fields, max_retries, enabled, disabled_reason, paused_at)
	select 'user-' || u, 'Partner ' || p, 'partner-' || p, 'https://partner.example/hook', '\x0102', 'key', array['call.*', 'b.' || p],
	       json_build_object('zebra', u, 'alpha', p), nullif(p, 3), p <> 2, case when p = 2 then 'gone' end, case when p = 3 then now() end
	  from generate_series(1, 20) as u, generate_series(1, 3) as p;

	update webhook_settings set retry_max_attempts = 7;

	create temp table delivery as
	select n, 'user-' || 1 + n % 20 as user_id, 'event-' || n as event_id, gen_random_uuid() as id, p.id as partner_id,
	       now() - n * interval '90 days' / DELIVERIES as created_at
	  from generate_series(1, DELIVERIES) as n
	  join partner_webhooks p on p.user_id = 'user-' || 1 + n % 20 and p.partner_slug = 'partner-' || 1 + n % 3;

	insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids, created_at)
	select user_id, event_id, 'call.completed', ('{"b":' || n || ', "a":1.50}')::json, array[partner_id], array[id], created_at
	  from delivery;

	insert into river_job (state, attempt, max_attempts, created_at, attempted_at, scheduled_at, finalized_at, kind, queue, args, attempted_by, errors, metadata)
	select s.state, s.attempt, 6, created_at, case when s.attempt > 0 then created_at + interval '1 s' end, created_at + interval '1 s',
	       case when s.state in ('completed', 'discarded', 'cancelled') then created_at + interval '2 s' end, 'webhook_delivery', 'webhooks',
	       jsonb_build_object('version', 1, 'delivery_id', id, 'user_id', user_id, 'partner_id', partner_id, 'event_id', event_id, 'event_type', 'call.completed'),
	       case when s.attempt > 0 then array['worker-1'] end,
	       case when s.state in ('discarded', 'retryable') then array['{"attempt": 1, "error": "the partner answered 500", "trace": ""}'::jsonb] end,
	       '{"trigger": "schedule", "output": {"outcome": "failed", "response_status": 500}}'
	  from delivery
	  join (values (0, 'available'::river_job_state, 0), (1, 'available', 1), (2, 'scheduled', 0), (3, 'pending', 0), (4, 'running', 1),
	               (5, 'retryable', 2), (6, 'completed', 1), (7, 'discarded', 6), (8, 'cancelled', 0), (9, 'completed', 3)) as s (place, state, attempt)
	    on s.place = n % 10;
	insert into river_job (kind, args, max_attempts) values ('of_another_program', '{"x": 1}', 25);

	insert into webhook_delivery_log (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger, outcome,
	                                  response_status, response_headers, response_body, error_kind, error, url, duration_ms, client_id, started_at)
	select gen_random_uuid(), d.id, 1, d.user_id, d.partner_id, d.event_id, 'call.completed', k, 'schedule', o.outcome,
	       o.status, '{"z":"1","a":"2"}', 'a body', o.kind, 'an error', 'https://partner.example/hook', k * 1.5, 'worker-1',
	       now() + interval '1 minute' - (n * 3 + k - 3) * interval '100 days' / (3 * DELIVERIES)
	  from delivery d
	 cross join generate_series(0, 2) as k
	  join (values (0, 'delivered', 200, null), (1, 'failed', 500, 'http_status'), (2, 'lost', null, 'shutdown'), (3, 'sending', null, null)) as o (place, outcome, status, kind)
	    on o.place = (n + k) % 4;
	drop table delivery`

// tables are the tables of the release before, with their columns.
func tables(t *testing.T, pool *pgxpool.Pool) map[string]string {
	t.Helper()

	rows, err := pool.Query(t.Context(), `
		select c.relname, string_agg(quote_ident(a.attname), ', ' order by a.attnum)
		  from pg_class c
		  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		 where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
		   and c.relname <> 'webhook_schema_version'
		 group by c.relname`)
	require.NoError(t, err)
	columns := map[string]string{}
	var table, list string
	_, err = pgx.ForEachRow(rows, []any{&table, &list}, func() error {
		columns[table] = list
		return nil
	})
	require.NoError(t, err)
	require.Regexp(t, "^singleton, retry_max_attempts, river_schema, updated_at", columns["webhook_settings"])
	return columns
}

// fingerprints are a checksum of all rows of each table, and their number.
func fingerprints(t *testing.T, pool *pgxpool.Pool, tables map[string]string) map[string]string {
	t.Helper()

	prints := map[string]string{}
	for table, columns := range tables {
		prints[table] = scalar[string](t, pool, fmt.Sprintf(`
			select count(*) || ' rows ' || coalesce(md5(string_agg(r::text, e'\n' order by r::text collate "C")), '')
			  from (select %s from %s) as r`, columns, pgx.Identifier{table}.Sanitize()))
	}
	return prints
}

func TestUpgradeKeepsEveryRow(t *testing.T) {
	t.Parallel()

	for _, zone := range []string{"UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			pool := newAtVersion(t, released)
			_, err := pool.Exec(t.Context(), fmt.Sprintf(`alter database %s set timezone = '%s'`,
				pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize(), zone))
			require.NoError(t, err)
			pool.Reset()
			requireApplied(t, pool, released)
			fill(t, pool, 2000)
			before := tables(t, pool)
			want := fingerprints(t, pool, before)
			require.Regexp(t, "^6000 rows", want["webhook_delivery_log"])
			require.Regexp(t, "^2001 rows", want["river_job"])
			require.Regexp(t, "^60 rows", want["partner_webhooks"])

			require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
			require.NoError(t, migrations.Check(t.Context(), pool))
			require.Equal(t, want, fingerprints(t, pool, before))
			require.Equal(t, 6000, scalar[int](t, pool, `select count(*) from webhook_delivery_log_first`))
			require.Zero(t, scalar[int](t, pool, `select count(*) from webhook_delivery_log_default`))
			requireValidIndexes(t, pool)

			// The first partition goes on until its Monday; from then on there are weeks.
			first := partitions(t, pool)[0]
			require.Equal(t, "webhook_delivery_log_first", first.Name)
			require.Nil(t, first.BeginsAt)
			bound := *first.EndsAt
			require.True(t, bound.Equal(monday(bound)), "%s", bound)
			require.WithinRange(t, bound, time.Now().AddDate(0, 0, 7), time.Now().AddDate(0, 0, 15))
			require.Equal(t, []string{first.Name, first.Name, first.Name, weekName(bound), weekName(bound)},
				logAttempts(t, pool, time.Now().AddDate(-1, 0, 0), time.Now(), bound.Add(-time.Microsecond), bound, bound.AddDate(0, 0, 7).Add(-time.Microsecond)))
			require.Zero(t, scalar[int](t, pool, `select count(*) from webhook_delivery_log_default`))
			require.Equal(t, []string{"webhook_delivery_log_default"}, logAttempts(t, pool, bound.AddDate(0, 0, 7)))
			require.Equal(t, 1, makePartitions(t, pool))
			require.Equal(t, []string{weekName(bound.AddDate(0, 0, 7))}, logAttempts(t, pool, bound.AddDate(0, 0, 7)))
			logAttempts(t, pool, time.Now().AddDate(1, 0, 0)) // left in the default partition

			want = fingerprints(t, pool, before)
			for range 2 {
				require.NoError(t, migrations.Down(t.Context(), pool, len(ours(t, pool))-released, quiet()))
				requireApplied(t, pool, released)
				require.Equal(t, before, tables(t, pool))
				require.Equal(t, want, fingerprints(t, pool, before))
				require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
				require.Equal(t, want, fingerprints(t, pool, before))
				require.Zero(t, scalar[int](t, pool, `select count(*) from webhook_delivery_log_default`))
			}
		})
	}
}

// requireValidIndexes checks that all indexes are there for queries to use.
func requireValidIndexes(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()

	require.Empty(t, names(t, pool, `select indexrelid::regclass::text from pg_index where not indisvalid or not indisready`))
	require.Len(t, deliveryIndexes(t, pool), 5)
}

// deliveryIndexes are the definitions of the indexes on deliveries.
func deliveryIndexes(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()

	return names(t, pool, `select indexdef from pg_indexes where indexname like 'river\_job\_webhook\_%' order by indexname`)
}

func TestConcurrentUpFromTheReleaseBefore(t *testing.T) {
	t.Parallel()

	pool := newAtVersion(t, released)
	fill(t, pool, 2000)
	before := tables(t, pool)
	want := fingerprints(t, pool, before)
	errs := make([]error, 10)
	var group sync.WaitGroup
	for i := range errs {
		config, err := pgxpool.ParseConfig(testdb.URL(pool))
		require.NoError(t, err)
		config.MaxConns = 2
		own, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(own.Close)
		group.Go(func() {
			if errs[i] = migrations.Up(t.Context(), own, quiet()); errs[i] == nil {
				errs[i] = migrations.Check(t.Context(), own)
			}
		})
	}
	group.Wait()
	for i, err := range errs {
		require.NoError(t, err, "process %d", i)
	}
	require.Equal(t, want, fingerprints(t, pool, before))
	requireValidIndexes(t, pool)
}

// Those of River's indexes that only other programs' jobs need are gone where there are none, and come back.
func TestRiverIndexesStayForOtherPrograms(t *testing.T) {
	t.Parallel()

	const spared = `select indexrelid::regclass::text from pg_index
	                 where indrelid = 'river_job'::regclass
	                   and indexrelid::regclass::text in ('river_job_args_index', 'river_job_kind', 'river_job_metadata_index') order by 1`
	all := []string{"river_job_args_index", "river_job_kind", "river_job_metadata_index"}
	for kind, want := range map[string][]string{"webhook_retention": {}, "webhook_delivery": {}, "report": all, "webhook_report": {"river_job_kind"}} {
		pool := newAtVersion(t, 16)
		_, err := pool.Exec(t.Context(), `insert into river_job (args, kind, max_attempts) values ('{}', $1, 1)`, kind)
		require.NoError(t, err)
		migrateTo(t, pool, 22)
		require.Equal(t, want, names(t, pool, spared), kind)
		migrateTo(t, pool, 16)
		require.Equal(t, all, names(t, pool, spared), kind)
	}
}

// A build that was cut short leaves an index that PostgreSQL keeps up to date and does not use.
func TestUpRepairsInvalidIndexes(t *testing.T) {
	t.Parallel()

	whole := deliveryIndexes(t, testdb.New(t))
	pool := newAtVersion(t, 6)
	fill(t, pool, 2000)
	for _, name := range []string{
		"river_job_webhook_created_idx", "river_job_webhook_user_idx", "river_job_webhook_status_idx", "river_job_webhook_failing_idx",
	} {
		_, err := pool.Exec(t.Context(), fmt.Sprintf(`create index %s on river_job (created_at)`, name))
		require.NoError(t, err)
		_, err = pool.Exec(t.Context(), `update pg_index set indisvalid = false where indexrelid = $1::text::regclass`, name)
		require.NoError(t, err)
	}
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	requireValidIndexes(t, pool)
	require.Equal(t, whole, deliveryIndexes(t, pool))
}

// statementEnd ends a statement of a file whose statements end with their line; bodies are between $$.
var statementEnd = regexp.MustCompile(`(?s)(?:\$\$.*?\$\$|[^$])*?;\n`)

// lasting leaves out what belongs to one week.
func lasting(objects []string) []string {
	return slices.DeleteFunc(objects, regexp.MustCompile(`_log_[0-9]{8}`).MatchString)
}

// Files that are no transaction may end after any of their statements, and go on from the start.
func TestUpGoesOnWhereItWasInterrupted(t *testing.T) {
	t.Parallel()

	for version, file := range map[int32]string{
		7: "007_delivery_indexes.sql", 8: "008_attempt_partitions.sql", 12: "012_row_security.sql", 15: "015_operational_events.sql",
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		up, _, found := strings.Cut(string(text), "---- create above / drop below ----")
		require.True(t, found)
		whole := newAtVersion(t, version-1)
		fill(t, whole, 100)
		require.NoError(t, migrations.Up(t.Context(), whole, quiet()))
		complete := lasting(objects(t, whole))
		statements := statementEnd.FindAllString(up, -1)
		require.Greater(t, len(statements), 8)
		require.Equal(t, strings.TrimSpace(up), strings.TrimSpace(strings.Join(statements, "")))
		for done := range statements {
			t.Run(fmt.Sprintf("%s after %d", file, done+1), func(t *testing.T) {
				t.Parallel()
				pool := newAtVersion(t, version-1)
				fill(t, pool, 100)
				before := tables(t, pool)
				conn, err := pgx.Connect(t.Context(), testdb.URL(pool))
				require.NoError(t, err)
				for _, statement := range statements[:done+1] {
					_, err := conn.Exec(t.Context(), statement)
					require.NoError(t, err, statement)
				}
				require.NoError(t, conn.Close(t.Context()))
				times := []time.Time{time.Now()} // workers write on
				if scalar[bool](t, pool, `select to_regclass('webhook_delivery_log_first') is not null`) {
					times = append(times, time.Now().AddDate(1, 0, 0)) // one of them with a wrong clock
				}
				logAttempts(t, pool, times...)
				want := fingerprints(t, pool, before)

				require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
				require.Equal(t, want, fingerprints(t, pool, before))
				requireValidIndexes(t, pool)
				require.Equal(t, complete, lasting(objects(t, pool)))
			})
		}
	}
}
