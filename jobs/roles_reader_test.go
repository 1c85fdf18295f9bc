package jobs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// readable are what a reader may select from, each with the column of its users.
var readable = map[string]string{
	"partner_webhooks": "user_id", "webhook_events": "user_id", "webhook_delivery_log": "user_id", "webhook_delivery_queue": `"userId"`,
	"webhook_partner_health": "user_id",
}

// tenants makes a database in which some users have rows of everything, enough of them for statistics.
func tenants(t *testing.T, users ...string) *testBundle {
	t.Helper()
	b := setup(t)
	for _, userID := range users {
		b.partner(t, userID, "acme", nowhere, "*")
		for i := range 20 {
			event := &jobs.Event{ID: fmt.Sprint("e", i), UserID: userID, Type: "call.completed", Payload: []byte(`{"of":"` + userID + `"}`)}
			b.enqueue(t, event)
		}
	}
	b.exec(t, `
		insert into webhook_delivery_log (attempt_id, delivery_id, job_id, user_id, attempt, trigger, outcome, client_id, started_at)
		select gen_random_uuid(), (args->>'delivery_id')::uuid, id, args->>'user_id', 1, 'schedule', 'delivered', 'client', now() from river_job`)
	b.exec(t, `
		insert into webhook_partner_health (partner_id, user_id, failing_since, last_failed_at, failures, failed_deliveries, last_error)
		select id, user_id, now(), now(), 1, '{}', 'no answer within 30s' from partner_webhooks`)
	b.exec(t, `analyze`)
	return b
}

// newReader is newRole for a reader with entries for the users given.
func newReader(t *testing.T, owner *pgxpool.Pool, users ...string) (string, *pgxpool.Pool) {
	t.Helper()
	name, pool := newRole(t, owner, "in role webhook_reader")
	enter(t, owner, name, users...)
	return name, pool
}

// requireSees checks whose rows each of the relations shows.
func requireSees(t *testing.T, as querier, want ...string) {
	t.Helper()
	for relation, column := range readable {
		rows, err := as.Query(t.Context(), fmt.Sprintf(`select distinct %s from public.%s order by 1`, column, relation))
		require.NoError(t, err)
		seen, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.ElementsMatch(t, want, seen, relation)
	}
}

func TestReaderSeesItsUsers(t *testing.T) {
	t.Parallel()
	b := tenants(t, "anna", "ben", "carl", "*")
	_, both := newReader(t, b.pool, "anna", "ben")
	_, platform := newReader(t, b.pool, "*")
	_, nobody := newReader(t, b.pool)
	requireSees(t, b.pool, "anna", "ben", "carl", "*")
	requireSees(t, both, "anna", "ben")
	requireSees(t, platform, "anna", "ben", "carl", "*")
	requireSees(t, nobody)

	_, worker := newRole(t, b.pool, "in role webhook_worker, webhook_reader")
	requireSees(t, worker, "anna", "ben", "carl", "*")

	for _, tt := range []struct {
		narrowed            string
		ofBoth, ofEverybody []string
	}{
		{"anna", []string{"anna"}, []string{"anna"}},
		{"carl", nil, []string{"carl"}},
		{"", []string{"anna", "ben"}, []string{"anna", "ben", "carl", "*"}},
		{"*", nil, nil},
		{"%", nil, nil},
	} {
		settings := map[string]string{"webhook.user_id": tt.narrowed}
		requireSees(t, connect(t, both, settings), tt.ofBoth...)
		requireSees(t, connect(t, platform, settings), tt.ofEverybody...)
		requireSees(t, connect(t, nobody, settings))
	}

	b.exec(t, `delete from webhook_role_users where user_id = 'ben'`)
	requireSees(t, both, "anna")
}

func TestReaderSeesNobodyElseWhateverItSets(t *testing.T) {
	t.Parallel()
	b := tenants(t, "anna", "carl")
	platform, _ := newReader(t, b.pool, "*")
	group, _ := newRole(t, b.pool, "in role webhook_reader")
	enter(t, b.pool, group, "carl")
	enter(t, b.pool, "webhook_reader", "carl")
	role, reader := newReader(t, b.pool, "anna")
	b.exec(t, "grant "+group+" to "+role)

	for _, attempt := range []string{
		`set role webhook_reader`, `set role ` + group, `reset session authorization`, `set session authorization ` + role,
		`set search_path = pg_temp, public`, `set transform_null_equals = on`,
		`create temp table webhook_role_users as select session_user as role, '*' as user_id; set search_path = pg_temp, pg_catalog, public`,
		`create function pg_temp.webhook_session_users() returns text[] language sql as $$select '{*}'::text[]$$; set search_path = pg_temp, public`,
		`create function pg_temp.pg_has_role(name, oid, text) returns boolean language sql as 'select true'; set search_path = pg_temp, pg_catalog`,
		`create function pg_temp.always(text, text) returns boolean language sql as 'select true'; create operator pg_temp.= (leftarg = text, rightarg = text, procedure = pg_temp.always); set search_path = pg_temp, pg_catalog`,
	} {
		conn := connect(t, reader, nil)
		_, err := conn.Exec(t.Context(), attempt)
		require.NoError(t, err, attempt)
		requireSees(t, conn, "anna")
	}
	conn := connect(t, reader, map[string]string{"row_security": "off"})
	requireDenied(t, conn, `select from webhook_events`)

	for _, attempt := range []string{
		`set role ` + platform, `set role webhook_worker`, `set session authorization ` + platform, `set session authorization ` + group,
	} {
		requireDenied(t, reader, attempt)
	}
}

func TestReaderReadsNothingElse(t *testing.T) {
	t.Parallel()
	b := tenants(t, "anna")
	role, reader := newReader(t, b.pool, "*")

	relations := b.column(t, `
		select oid::regclass::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S', 'f')`)
	require.Subset(t, relations, []string{"river_job", "river_job_id_seq", "webhook_delivery_log_default", "webhook_settings", "webhook_role_users"})
	for _, relation := range relations {
		if _, may := readable[relation]; !may {
			requireDenied(t, reader, "select from "+relation)
		}
	}
	requireDenied(t, reader, `table partner_webhooks`)
	requireDenied(t, reader, `select p from partner_webhooks p`)
	requireDenied(t, reader, `select secret_ciphertext from partner_webhooks`)
	requireDenied(t, reader, `select from partner_webhooks where secret_ciphertext > ''`)
	requireDenied(t, reader, `select secret_key_id from partner_webhooks`)
	for relation, column := range readable {
		requireDenied(t, reader, `delete from `+relation)
		requireDenied(t, reader, fmt.Sprintf(`select %s from %s for update`, column, relation))
		if relation != "webhook_delivery_queue" { // which nobody can
			requireDenied(t, reader, fmt.Sprintf(`update %s set %s = 'x'`, relation, column))
			requireDenied(t, reader, fmt.Sprintf(`insert into %s (%s) values ('x')`, relation, column))
		}
	}
	requireDenied(t, reader, `create table public.mine ()`)

	require.Equal(t, []string{"webhook_session_users()"}, b.column(t, `
		select p.oid::regprocedure::text from pg_proc p
		 where p.pronamespace = 'public'::regnamespace and p.proname not like 'river\_%' and has_function_privilege($1::name, p.oid, 'execute')`, role))
}

// spies are what a reader may make to be shown rows that a query does not return.
const spies = `
	create function pg_temp.leak(text) returns boolean language plpgsql cost 0.0000001 as $$begin raise notice 'leaked %', $1; return true; end$$;
	create function pg_temp.peek(text, text) returns boolean language plpgsql cost 0.0000001 as $$begin raise notice 'leaked %', $1; return true; end$$;
	create operator pg_temp.=== (leftarg = text, rightarg = text, procedure = pg_temp.peek, restrict = eqsel, join = eqjoinsel);
	create operator pg_temp.<<< (leftarg = text, rightarg = text, procedure = pg_temp.peek, restrict = scalarltsel)`

func TestReaderIsShownNothingByTheWay(t *testing.T) {
	t.Parallel()
	b := tenants(t, "anna", "carl")
	_, reader := newReader(t, b.pool, "anna")
	config := reader.Config().ConnConfig.Copy()
	var told []string
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { told = append(told, notice.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), spies)
	require.NoError(t, err)

	for relation, column := range readable {
		for _, where := range []string{
			`pg_temp.leak(` + column + `)`, `not pg_temp.leak(` + column + `)`, `pg_temp.leak(` + column + `) or true`,
			column + ` operator(pg_temp.===) 'x'`, column + ` operator(pg_temp.<<<) 'x'`, column + ` = 'carl' and pg_temp.leak(` + column + `)`,
			`1 / case when ` + column + ` = 'carl' then 0 else 1 end = 1`, `exists (select 1 / case when ` + column + ` = 'carl' then 0 else 1 end)`,
		} {
			for _, query := range []string{`select %s from %s where %s`, `explain select %s from %s where %s`, `explain (analyze, verbose) select %s from %s where %s`} {
				rows, err := conn.Query(t.Context(), fmt.Sprintf(query, column, relation, where))
				require.NoError(t, err)
				lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
				require.NoError(t, err, where)
				if strings.HasPrefix(query, "select") {
					require.NotContains(t, lines, "carl")
				}
			}
		}
	}
	require.Contains(t, told, "leaked anna", "the spies work")
	require.NotContains(t, strings.Join(told, "\n"), "carl")

	for view, column := range map[string]string{"pg_stats": "most_common_vals::text || histogram_bounds::text", "pg_stats_ext": "most_common_vals::text", "pg_stats_ext_exprs": "most_common_vals::text"} {
		rows, err := conn.Query(t.Context(), fmt.Sprintf(`select coalesce(%s, '') from %s where schemaname = 'public'`, column, view))
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.NotContains(t, strings.Join(lines, "\n"), "carl", view)
	}
}

// The views and tables of readers are found by an index if they name the user and a status, or the delivery.
func TestReaderLooksUpByIndex(t *testing.T) {
	t.Parallel()
	b := tenants(t, "anna", "ben", "carl")
	_, reader := newReader(t, b.pool, "anna")
	conn := connect(t, reader, map[string]string{"enable_seqscan": "off"})
	for query, index := range map[string]string{
		`select * from webhook_delivery_queue where id = 'x'`:                                                   "river_job_webhook_delivery_id_idx",
		`select * from webhook_delivery_queue where "userId" = 'anna' and status in ('pending', 'dead_letter')`: "river_job_webhook_user_idx",
		`select * from webhook_delivery_queue where status = 'dead_letter'`:                                     "river_job_webhook_status_idx",
		`select q.* from webhook_events e
		  cross join lateral (select * from webhook_delivery_queue q where q.id = any (e.delivery_ids::text[]) offset 0) q
		  where e.user_id = 'anna' and e.created_at > now() - interval '1 hour'`: "river_job_webhook_delivery_id_idx",
		`select * from webhook_events where user_id = 'anna' and event_id = 'e1'`:                       "webhook_events_pkey",
		`select * from webhook_delivery_log where delivery_id = '00000000-0000-4000-8000-000000000000'`: "delivery_id_started_at_idx",
		`select partner_name from partner_webhooks where user_id = 'anna'`:                              "partner_webhooks_user_id_partner_slug_key",
	} {
		rows, err := conn.Query(t.Context(), "explain "+query)
		require.NoError(t, err)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Contains(t, strings.Join(plan, "\n"), index, query)
		require.Contains(t, strings.Join(plan, "\n"), "Index Cond", query)
	}
}
