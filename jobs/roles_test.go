package jobs_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

const (
	eventFor   = `select enqueue_webhook_event($1, 'call.completed', '{}', 'e1')`
	outcomeFor = `select enqueue_call_outcome_webhook($1, 'call_1', '{"event_type":"call.completed"}')`
)

// newRole makes a login role with a name that no other test uses, and a pool that has logged in as it. Both go
// with the test: roles belong to the cluster.
func newRole(t *testing.T, owner *pgxpool.Pool, options string) (string, *pgxpool.Pool) {
	t.Helper()
	name, password := "webhook_test_"+strings.ToLower(rand.Text()[:12]), rand.Text()
	_, err := owner.Exec(t.Context(), fmt.Sprintf("create role %s login password '%s' %s", name, password, options))
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := owner.Exec(context.WithoutCancel(t.Context()), fmt.Sprintf("drop owned by %s cascade; drop role %s", name, name))
		require.NoError(t, err)
	})
	config, err := pgxpool.ParseConfig(testdb.URL(owner))
	require.NoError(t, err)
	config.ConnConfig.User, config.ConnConfig.Password = name, password
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return name, pool
}

// newApplication is newRole for an application that may act for the users given.
func newApplication(t *testing.T, owner *pgxpool.Pool, users ...string) (string, *pgxpool.Pool) {
	t.Helper()
	name, pool := newRole(t, owner, "in role webhook_app")
	enter(t, owner, name, users...)
	return name, pool
}

func enter(t *testing.T, owner *pgxpool.Pool, role string, users ...string) {
	t.Helper()
	_, err := owner.Exec(t.Context(), `insert into webhook_role_users (role, user_id) select $1, unnest($2::text[])`, role, users)
	require.NoError(t, err)
}

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

func requireDelivered(t *testing.T, as querier, query, userID string) {
	t.Helper()
	rows, err := as.Query(t.Context(), query, userID)
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, ids, 1)
}

func requireDenied(t *testing.T, as querier, query string, args ...any) {
	t.Helper()
	rows, err := as.Query(t.Context(), query, args...)
	if err == nil {
		_, err = pgx.CollectRows(rows, func(pgx.CollectableRow) (struct{}, error) { return struct{}{}, nil })
	}
	require.Error(t, err, query)
	requireSQLState(t, err, "42501")
}

func TestRoleActsForItsUsers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, userID := range []string{"anna", "ben", "carl", "*"} {
		b.partner(t, userID, "acme", nowhere, "*")
	}
	requireDelivered(t, b.pool, eventFor, "carl") // the owner needs no entry
	_, app := newApplication(t, b.pool, "anna", "ben")
	_, platform := newApplication(t, b.pool, "*")
	_, nobody := newApplication(t, b.pool)
	for _, query := range []string{eventFor, outcomeFor, strings.Replace(eventFor, "'{}'", "'{}'::json", 1), strings.Replace(outcomeFor, `"}'`, `"}'::json`, 1)} {
		for _, userID := range []string{"anna", "ben"} {
			requireDelivered(t, app, query, userID)
			requireDelivered(t, platform, query, userID)
			requireDenied(t, nobody, query, userID)
		}
		requireDelivered(t, platform, query, "carl")
		for _, userID := range []string{"carl", "nobody", "Anna", "anna ", "*", "%", "ann", "annaa"} {
			requireDenied(t, app, query, userID)
			requireDenied(t, nobody, query, userID)
		}
	}
	_, err := app.Exec(t.Context(), `select enqueue_webhook_event('carl', 'call.completed', '{"other":1}', 'e1')`)
	requireSQLState(t, err, "42501", "carl", "webhook_role_users") // and not that there is such an event
	requireDelivered(t, platform, eventFor, "*")
	require.Equal(t, 7, b.count(t, "river_job"))
	require.Equal(t, 7, b.count(t, "webhook_events"))

	b.exec(t, `delete from webhook_role_users where user_id = 'ben'`)
	requireDenied(t, app, eventFor, "ben")
	requireDelivered(t, app, eventFor, "anna")
}

func TestRoleActsForNobodyElseWhateverItSets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, "anna", "acme", nowhere, "*")
	b.partner(t, "carl", "acme", nowhere, "*")
	var owner string
	require.NoError(t, b.pool.QueryRow(t.Context(), `select current_user`).Scan(&owner))
	platform, _ := newApplication(t, b.pool, "*")
	group, _ := newRole(t, b.pool, "")
	enter(t, b.pool, group, "carl")
	enter(t, b.pool, "webhook_app", "carl")
	role, app := newApplication(t, b.pool, "anna")
	b.exec(t, "grant "+group+" to "+role)
	quoted := pgx.Identifier{owner}.Sanitize()

	const ownTable = `
		create temp table webhook_role_users (role name, user_id text);
		insert into webhook_role_users values (session_user, '*'), (session_user, 'carl'), (current_user, 'carl');`
	for _, attempt := range []string{
		``, `set webhook.user_id = 'carl'`, `set session webhook.user_id = 'carl'`, `set webhook.user_id = ''`, `set webhook.user_id = '*'`,
		`select set_config('webhook.user_id', 'carl', false)`, `set webhook.role = 'carl'`, `set role webhook_app`, `set role ` + group, `set role none`, `reset role`, `reset session authorization`,
		`set session authorization ` + role, `set search_path = ''`, `set search_path = pg_temp`, ownTable, ownTable + `set search_path = pg_temp, public`,
		`create temp table webhook_role_users as select session_user as role, 'carl' as user_id; set search_path = pg_temp, pg_catalog, public`,
		`create temp view webhook_role_users as select session_user as role, 'carl'::text as user_id`,
		`create function pg_temp.webhook_require_user(text) returns void language sql as ''; set search_path = pg_temp, public`,
		`create function pg_temp.pg_has_role(name, name, text) returns boolean language sql as 'select true'; set search_path = pg_temp, pg_catalog`,
		`create function pg_temp.current_setting(text, boolean) returns text language sql as 'select ''carl'''; set search_path = pg_temp, pg_catalog`,
		`create function pg_temp.never(text, text) returns boolean language sql as 'select false'; create operator pg_temp.<> (leftarg = text, rightarg = text, procedure = pg_temp.never)`,
		`create domain pg_temp.name as text; create domain pg_temp.text as varchar; set search_path = pg_temp, pg_catalog`,
		`set standard_conforming_strings = off`, `set row_security = off`, `set transform_null_equals = on`,
	} {
		conn := connect(t, app, nil)
		_, err := conn.Exec(t.Context(), attempt)
		require.NoError(t, err, attempt)
		for _, query := range []string{eventFor, outcomeFor} {
			_, err := conn.Exec(t.Context(), strings.Replace(query, "enqueue", "public.enqueue", 1), "carl")
			require.Error(t, err, attempt)
			if !strings.Contains(attempt, "standard_conforming_strings") { // with that, nothing is enqueued at all
				requireSQLState(t, err, "42501")
			}
		}
	}
	require.Zero(t, b.count(t, "webhook_events"))

	for _, attempt := range []string{
		`set role ` + quoted, `set session authorization ` + quoted, `set role ` + platform, `set session authorization ` + platform, `set session authorization ` + group,
		`insert into webhook_role_users (role, user_id) values (session_user, 'carl')`, `update webhook_role_users set user_id = 'carl'`, `delete from webhook_role_users`,
		`create table public.mine ()`, `create function public.mine() returns void language sql as ''`,
		`create or replace function public.webhook_require_user(user_id text) returns void language sql as ''`,
		`alter function webhook_require_user(text) rename to gone`, `alter table webhook_role_users disable trigger all`,
		`grant webhook_app to ` + group, `alter role ` + role + ` createrole`, `truncate webhook_events`,
		`grant select on webhook_events to ` + role, `create trigger mine before insert on webhook_events execute function suppress_redundant_updates_trigger()`,
		`select webhook_require_user('anna')`, `select webhook_store_event('carl', 'a', '{}', 'e1', 'error')`, `select webhook_store_call_outcome('carl', 'c', '{"event_type":"a"}')`, `select webhook_wake_workers()`,
		`select webhook_emit_operational_event('anna', 'partner.disabled', 'e1', gen_random_uuid(), '{}')`, `select webhook_partner_failing(gen_random_uuid())`,
		`select webhook_partner_recovered(gen_random_uuid(), now(), now())`,
	} {
		requireDenied(t, app, attempt)
	}
	requireDelivered(t, app, eventFor, "anna")
}

func TestRoleIsNarrowedByWebhookUserID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, "anna", "acme", nowhere, "*")
	b.partner(t, "ben", "acme", nowhere, "*")
	_, platform := newApplication(t, b.pool, "*")
	_, app := newApplication(t, b.pool, "anna", "ben")
	for _, as := range []*pgxpool.Pool{b.pool, platform, app} {
		conn := connect(t, as, map[string]string{"webhook.user_id": "anna"})
		exec := func(statement string) {
			_, err := conn.Exec(t.Context(), statement)
			require.NoError(t, err)
		}
		for _, query := range []string{eventFor, outcomeFor} {
			requireDelivered(t, conn, query, "anna")
			_, err := conn.Exec(t.Context(), query, "ben")
			requireSQLState(t, err, "42501", "webhook.user_id", "ben")
			exec(`begin; set local webhook.user_id = 'ben'`)
			requireDelivered(t, conn, query, "ben")
			requireDenied(t, conn, query, "anna")
			exec(`rollback`)
			requireDenied(t, conn, query, "ben")
			exec(`set webhook.user_id = ''`)
			requireDelivered(t, conn, query, "anna")
			requireDelivered(t, conn, query, "ben")
			exec(`set webhook.user_id = '*'`)
			requireDenied(t, conn, query, "anna")
			exec(`set webhook.user_id = 'anna'`)
		}
	}
}

// Membership of webhook_app lets a role call the functions, and an entry says for whom: it takes both.
func TestRoleNeedsToBeGrantedWebhookApp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, "anna", "acme", nowhere, "*")
	name, stranger := newRole(t, b.pool, "")
	enter(t, b.pool, name, "anna", "*")
	requireDenied(t, stranger, eventFor, "anna")
	requireDenied(t, stranger, outcomeFor, "anna")
	b.exec(t, "grant webhook_app to "+name)
	requireDelivered(t, stranger, eventFor, "anna")
	b.exec(t, "revoke webhook_app from "+name)
	requireDenied(t, stranger, eventFor, "anna")
}

// The tables' owner is seldom a superuser.
func TestRoleOfTheOwner(t *testing.T) {
	t.Parallel()
	testdb.New(t) // with it the server has the role webhook_app
	admin := testdb.NewEmpty(t)
	owner, ours := newRole(t, admin, "")
	_, err := admin.Exec(t.Context(), "create schema hooks authorization "+owner+"; alter role "+owner+" set search_path = hooks")
	require.NoError(t, err)
	ours.Reset()
	migrate(t, ours)
	b := &testBundle{pool: ours, store: newStore(t, ours)}
	b.partner(t, "anna", "acme", nowhere, "*")
	b.partner(t, "carl", "acme", nowhere, "*")
	event, outcome := strings.Replace(eventFor, "enqueue", "hooks.enqueue", 1), strings.Replace(outcomeFor, "enqueue", "hooks.enqueue", 1)

	_, heir := newRole(t, admin, "in role "+owner)
	member, noHeir := newRole(t, admin, "noinherit in role "+owner)
	_, err = ours.Exec(t.Context(), "grant usage on schema hooks to "+member+"; grant execute on all functions in schema hooks to "+member)
	require.NoError(t, err)
	_, app := newRole(t, admin, "in role webhook_app")
	enter(t, ours, app.Config().ConnConfig.User, "anna")
	for _, query := range []string{event, outcome} {
		requireDenied(t, app, query, "carl")
		requireDelivered(t, app, query, "anna")
		requireDenied(t, noHeir, query, "anna")
		for _, as := range []*pgxpool.Pool{ours, admin, heir} {
			requireDelivered(t, as, query, "anna")
			requireDelivered(t, as, query, "carl")
		}
	}
	requireDenied(t, app, `table hooks.webhook_events`)
	require.Equal(t, 4, b.count(t, "river_job"))
}
