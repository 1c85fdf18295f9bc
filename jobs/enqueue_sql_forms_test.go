package jobs_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestEnqueueSQLRefusesJSONB(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	for _, call := range []string{
		`select enqueue_webhook_event('user_123', 'call.completed', '{}'::jsonb)`,
		`select enqueue_webhook_event('user_123', 'call.completed', '{}'::jsonb, 'e1')`,
		`select enqueue_webhook_event('user_123', 'call.completed', '{}'::jsonb, 'e1', 'first')`,
		`select enqueue_webhook_event('user_123', 'call.completed', '{}'::jsonb, null, null)`,
		`select enqueue_webhook_event('user_123', 'call.completed', null::jsonb)`,
		`select enqueue_webhook_event(user_id => 'user_123', event_type => 'call.completed', payload => '{}'::jsonb)`,
		`select enqueue_webhook_event('user_123', 'call.completed', payload => '{}'::jsonb, on_conflict => 'first')`,
		`select enqueue_webhook_event(payload => '{}'::jsonb, event_id => 'e1', user_id => 'user_123', event_type => 'call.completed')`,
		`select enqueue_webhook_event('user_123', 'call.completed', jsonb_build_object('a', 1))`,
		`select enqueue_webhook_event('user_123'::varchar, 'call.completed'::text, to_jsonb(row(1)), 'e1'::text)`,
		`select * from enqueue_webhook_event('user_123', 'call.completed', '{}'::jsonb)`,
		`select count(*) from enqueue_webhook_event('user_123', 'call.completed', '{}'::jsonb)`,
		`do $$ begin perform enqueue_webhook_event('user_123', 'call.completed', '{}'::jsonb); end $$`,
		`select enqueue_call_outcome_webhook('user_123', 'call_1', '{"event_type":"call.completed"}'::jsonb)`,
		`select enqueue_call_outcome_webhook(user_id => 'user_123', call_id => 'call_1', outcome_data => '{"event_type":"call.completed"}'::jsonb)`,
		`select * from enqueue_call_outcome_webhook('user_123', 'call_1', null::jsonb)`,
	} {
		_, err := b.pool.Exec(t.Context(), call)
		requireSQLState(t, err, "22023", "jsonb", "pass json")
	}
	_, err := b.pool.Exec(t.Context(), `select enqueue_webhook_event($1, $2, $3::jsonb)`, user, "call.completed", `{}`)
	requireSQLState(t, err, "22023", "pass json")
	require.Zero(t, b.count(t, "webhook_events"))
}

func TestEnqueueSQLTakesAnyOtherFormOfJSON(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	const payload = `{"b": 1.0, "a":"é"}`
	for call, want := range map[string]string{
		`select enqueue_webhook_event('user_123', 'call.completed', '{"b": 1.0, "a":"é"}')`:                                                         payload,
		`select enqueue_webhook_event('user_123', 'call.completed', '{"b": 1.0, "a":"é"}', 'e1')`:                                                   payload,
		`select enqueue_webhook_event('user_123', 'call.completed', '{"b": 1.0, "a":"é"}', null, 'first')`:                                          payload,
		`select enqueue_webhook_event('user_123', 'call.completed', '{"b": 1.0, "a":"é"}'::text)`:                                                   payload,
		`select enqueue_webhook_event('user_123', 'call.completed', '{"b": 1.0, "a":"é"}'::varchar, 'e1'::varchar)`:                                 payload,
		`select enqueue_webhook_event('user_123', 'call.completed', '{"b": 1.0, "a":"é"}'::json)`:                                                   payload,
		`select enqueue_webhook_event('user_123', 'call.completed', '{"b": 1.0, "a":"é"}'::json, 'e1', 'error')`:                                    payload,
		`select * from enqueue_webhook_event('user_123', 'call.completed', json_build_object('b', 1.0, 'a', 'é'))`:                                  `{"b" : 1.0, "a" : "é"}`,
		`select enqueue_webhook_event('user_123', 'call.completed', row_to_json(r)) from (values (1.0, 'é')) as r (b, a)`:                           `{"b":1.0,"a":"é"}`,
		`select enqueue_webhook_event(user_id => 'user_123', event_type => 'call.completed', payload => '{"b": 1.0, "a":"é"}')`:                     payload,
		`select enqueue_webhook_event(payload => '{"b": 1.0, "a":"é"}'::json, user_id => 'user_123', event_type => 'call.completed')`:               payload,
		`select enqueue_webhook_event('user_123', 'call.completed', on_conflict => 'first', payload => '{"b": 1.0, "a":"é"}')`:                      payload,
		`do $$ begin perform enqueue_webhook_event('user_123', 'call.completed', '{"b": 1.0, "a":"é"}', event_id => 'e1'); end $$`:                  payload,
		`prepare p as select enqueue_webhook_event('user_123', 'call.completed', $1); execute p('{"b": 1.0, "a":"é"}'); deallocate p`:               payload,
		`prepare p as select enqueue_webhook_event($1, $2, $3, $4, $5); execute p('user_123', 'a', '{}', null, 'error'); deallocate p`:              `{}`,
		`prepare p (text, json) as select enqueue_webhook_event($1, 'a', $2); execute p('user_123', '{"b": 1.0, "a":"é"}'); deallocate p`:           payload,
		`select enqueue_call_outcome_webhook('user_123', 'call_1', '{"event_type":"call.completed"}')`:                                              `{"event_type":"call.completed"}`,
		`select enqueue_call_outcome_webhook('user_123', 'call_1', '{"event_type":"call.completed"}'::text)`:                                        `{"event_type":"call.completed"}`,
		`select enqueue_call_outcome_webhook(user_id => 'user_123', call_id => 'call_1', outcome_data => '{"event_type":"call.completed"} ')`:       `{"event_type":"call.completed"} `,
		`select enqueue_call_outcome_webhook('user_123', 'call_1', json_build_object('event_type', 'call.completed'))`:                              `{"event_type" : "call.completed"}`,
		`prepare p as select enqueue_call_outcome_webhook($1, $2, $3); execute p('user_123', 'c', '{"event_type":"call.completed"}'); deallocate p`: `{"event_type":"call.completed"}`,
	} {
		tx, err := b.pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), call, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, call)
		requireOneStored(t, tx, want)
		require.NoError(t, tx.Rollback(t.Context()))
	}
}

// requireOneStored checks that there is one event, of that payload, with one job.
func requireOneStored(t *testing.T, tx pgx.Tx, payload string) {
	t.Helper()
	var (
		stored string
		count  int
	)
	require.NoError(t, tx.QueryRow(t.Context(), `select payload::text, (select count(*) from river_job) from webhook_events`).Scan(&stored, &count))
	require.Equal(t, payload, stored) // the very bytes
	require.Equal(t, 1, count)
}

func TestEnqueueSQLTakesParameters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	const payload = `{"event_type":"call.completed", "b": 1.0}`
	for _, call := range []string{`select enqueue_webhook_event($1, $2, $3)`, `select enqueue_webhook_event($1, $2, $3::json)`, `select enqueue_call_outcome_webhook($1, $2, $3)`} {
		for _, mode := range []pgx.QueryExecMode{
			pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
		} {
			tx, err := b.pool.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), call, mode, user, "call.completed", payload)
			require.NoError(t, err, "%s %s", call, mode)
			requireOneStored(t, tx, payload)
			require.NoError(t, tx.Rollback(t.Context()))
		}
		// As libpq's drivers do: the server decides what type a parameter has.
		tx, err := b.pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Conn().PgConn().ExecParams(t.Context(), call, [][]byte{[]byte(user), []byte("call.completed"), []byte(payload)}, nil, nil, nil).Close()
		require.NoError(t, err, call)
		requireOneStored(t, tx, payload)
		require.NoError(t, tx.Rollback(t.Context()))
	}
}

func TestEnqueueSQLNamesTheBadArgument(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for call, field := range map[string]string{
		`select enqueue_webhook_event(null, 'a', '{}')`:                                        "user_id ",
		`select enqueue_webhook_event('u', null, '{}')`:                                        "event_type ",
		`select enqueue_webhook_event('u', 'a', null)`:                                         "payload ",
		`select enqueue_webhook_event('u', 'a', null::json)`:                                   "payload ",
		`select enqueue_webhook_event('u', 'a', '{}', '')`:                                     "event_id ",
		`select enqueue_webhook_event('u', 'a', '{}', null, null)`:                             "on_conflict ",
		`select enqueue_webhook_event('u', 'a', '{}', null, '')`:                               "on_conflict ",
		`select enqueue_webhook_event('u', 'a', '{}', null, 'First')`:                          "on_conflict ",
		`select enqueue_webhook_event('u', 'a', '{}', on_conflict => 'last')`:                  "on_conflict ",
		`select enqueue_call_outcome_webhook(null, 'c', '{"event_type":"a"}')`:                 "user_id ",
		`select enqueue_call_outcome_webhook('u', null, '{"event_type":"a"}')`:                 "call_id ",
		`select enqueue_call_outcome_webhook('u', 'c', null)`:                                  "payload ",
		`select enqueue_call_outcome_webhook('u', 'c', null::json)`:                            "payload ",
		`select enqueue_webhook_event(E'a\nb', 'a', '{}')`:                                     `user_id "a\nb" `,
		`select enqueue_webhook_event('u', E'a\nb', '{}')`:                                     `event_type "a\nb" `,
		`select enqueue_webhook_event('u', 'a', '{}', E'\n' || repeat('x', 255))`:              `event_id "\n`,
		`select enqueue_webhook_event('u', 'a', '{}', '"' || repeat('x', 255))`:                `event_id "\"`,
		`select enqueue_call_outcome_webhook('u', E'\u009f\n' || repeat('x', 255), '{"a":1}')`: `call_id "`,
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			_, err := b.pool.Exec(t.Context(), call)
			requireSQLState(t, err, "22023")
			message := err.(*pgconn.PgError).Message //nolint:errorlint // as requireSQLState found
			require.Equal(t, field, message[:min(len(field), len(message))])
			require.NotContains(t, message, "\n")
		})
	}
}

func TestEnqueueSQLSaysThatTheFirstWon(t *testing.T) {
	t.Parallel()
	b := setup(t)
	config, err := pgx.ParseConfig(testdb.URL(b.pool))
	require.NoError(t, err)
	var notices []string
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		notices = append(notices, notice.Severity+" "+notice.Message)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	for _, payload := range []string{`{"a":1}`, `{"a":1}`, `{"a":2}`, `{"a":1}`} {
		_, err = conn.Exec(t.Context(), `select enqueue_webhook_event('u', 'a', $1, 'e1', 'first')`, payload)
		require.NoError(t, err)
	}
	require.Len(t, notices, 1)
	require.Contains(t, notices[0], `NOTICE event "e1" exists`)
}

// A session may have tables of its own, which PostgreSQL finds before any others.
func TestEnqueueSQLIsNotDiverted(t *testing.T) {
	t.Parallel()
	ours, theirs := elsewhere(t, "hooks")
	for _, searchPath := range []string{"app", "hooks", "pg_temp, hooks", "hooks, pg_temp", "pg_temp, pg_catalog, hooks", ""} {
		conn := connect(t, theirs, map[string]string{"search_path": searchPath})
		var calls string
		require.NoError(t, ours.QueryRow(t.Context(), `
			select string_agg(format('create temp table %I (like hooks.%I including all)', relname, relname), ';')
			  from pg_class where relnamespace = 'hooks'::regnamespace and relkind in ('r', 'p') and not relispartition`).Scan(&calls))
		_, err := conn.Exec(t.Context(), calls+`;
			create domain pg_temp.json as text;
			create domain pg_temp.uuid as text;
			create function pg_temp.webhook_store_event(text, text, json, text, text) returns setof uuid language sql as 'select null::uuid';
			create function pg_temp.webhook_wake_workers() returns void language sql as '';
			create function pg_temp.pg_notify(text, text) returns void language sql as ''`)
		require.NoError(t, err)
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		ids, err := queryIDs(t.Context(), tx, `select hooks.enqueue_webhook_event($1, 'a', '{}', 'e1')`, user)
		require.NoError(t, err)
		require.Len(t, ids, 1)
		again, err := queryIDs(t.Context(), tx, `select hooks.enqueue_webhook_event($1, 'a', '{}'::pg_catalog.json, 'e1')`, user)
		require.NoError(t, err)
		require.Equal(t, ids, again)
		outcome, err := queryIDs(t.Context(), tx, `select hooks.enqueue_call_outcome_webhook($1, 'c1', '{"event_type":"a"}')`, user)
		require.NoError(t, err)
		require.Len(t, outcome, 1)
		for table, want := range map[string]int{
			"hooks.webhook_events": 2, "hooks.river_job": 2, "pg_temp.webhook_events": 0, "pg_temp.river_job": 0, "pg_temp.partner_webhooks": 0,
		} {
			var n int
			require.NoError(t, tx.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n))
			require.Equal(t, want, n, "%s with search_path %q", table, searchPath)
		}
		require.NoError(t, tx.Rollback(t.Context()))
	}
}

// What a session may set changes neither the rules nor what is stored.
func TestEnqueueSQLWhateverTheSessionSets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	for name, value := range map[string]string{
		"search_path": "", "standard_conforming_strings": "off", "backslash_quote": "off", "escape_string_warning": "off", "transform_null_equals": "on", "array_nulls": "off",
		"quote_all_identifiers": "on", "client_min_messages": "error", "default_transaction_isolation": "serializable", "row_security": "off", "DateStyle": "SQL, DMY",
		"plan_cache_mode": "force_generic_plan", "jit_above_cost": "0", "client_encoding": "LATIN1", "enable_hashagg": "off", "bytea_output": "escape",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := connect(t, b.pool, map[string]string{name: value})
			tx, err := conn.Begin(t.Context())
			require.NoError(t, err)
			const payload = `{"event_type":"call.completed","a":"\\\u0000\""}`
			ids, err := queryIDs(t.Context(), tx, `select public.enqueue_webhook_event($1, 'call.completed', $2, 'e1')`, user, payload)
			require.NoError(t, err)
			require.Len(t, ids, 1)
			again, err := queryIDs(t.Context(), tx, `select public.enqueue_webhook_event($1, 'call.completed', $2, 'e1')`, user, payload)
			require.NoError(t, err)
			require.Equal(t, ids, again)
			ids, err = queryIDs(t.Context(), tx, `select public.enqueue_call_outcome_webhook($1, 'c1', $2)`, user, payload)
			require.NoError(t, err)
			require.Len(t, ids, 1)
			for _, bad := range [][]any{{"a\nb", "a", `{}`}, {"u", "call-x", `{}`}, {"u", "a", `[]`}, {"u", "a", `{"a":"\\","b":` + brackets(500) + `}`}} {
				_, err = queryIDs(t.Context(), tx, `select public.enqueue_webhook_event($1, $2, $3)`, bad...)
				requireSQLState(t, err, "22023")
			}
			require.NoError(t, tx.Rollback(t.Context()))
		})
	}
}

// A client can send more than any rule allows, and must not keep the server busy with it.
func TestEnqueueSQLRefusesHugeArgumentsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	huge := strings.Repeat("é", 1<<19)
	for call, field := range map[string]string{
		`select enqueue_webhook_event($1, 'a', '{}')`:                                                 "user_id ",
		`select enqueue_webhook_event('u', $1, '{}')`:                                                 "event_type ",
		`select enqueue_webhook_event('u', 'a', '{}', $1)`:                                            "event_id ",
		`select enqueue_webhook_event('u', 'a', '{}', on_conflict => $1)`:                             "on_conflict ",
		`select enqueue_webhook_event('u', 'a', '{"a":"' || $1 || '"}')`:                              "payload ",
		`select enqueue_webhook_event('u', 'a', '{"a":[' || repeat('{},', length($1)) || '1]}')`:      "payload ",
		`select enqueue_call_outcome_webhook('u', $1, '{"event_type":"a"}')`:                          "call_id ",
		`select enqueue_call_outcome_webhook('u', 'c', '{"event_type":"' || $1 || '"}')`:              "payload ",
		`select enqueue_call_outcome_webhook('u', 'c', '{"event_type":"' || left($1, 99999) || '"}')`: "event_type ",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			conn := connect(t, b.pool, map[string]string{"statement_timeout": "5s"})
			_, err := conn.Exec(t.Context(), call, huge)
			requireSQLState(t, err, "22023")
			require.Truef(t, strings.HasPrefix(err.(*pgconn.PgError).Message, field), "%.200s", err) //nolint:errorlint // as requireSQLState found
			require.Less(t, len(err.Error()), 1000)
		})
	}
}
