package jobs_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// column returns the one column that a query has.
func (b *testBundle) column(t *testing.T, query string, args ...any) []string {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), query, args...)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return list
}

func TestRoleReadsAndWritesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, "anna", "acme", nowhere, "*")
	role, app := newApplication(t, b.pool, "anna", "*")
	requireDelivered(t, app, eventFor, "anna")

	relations := b.column(t, `
		select oid::regclass::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S', 'f')`)
	require.Subset(t, relations, []string{
		"partner_webhooks", "webhook_events", "webhook_settings", "webhook_role_users", "webhook_delivery_log", "webhook_delivery_log_default",
		"webhook_delivery_queue", "webhook_deliveries", "webhook_schema_version", "river_job", "river_job_id_seq", "river_queue", "river_leader",
	})
	for _, relation := range relations {
		requireDenied(t, app, "table "+relation)
		requireDenied(t, app, "select 1 from "+relation)
	}
	tx, err := app.Begin(t.Context())
	require.NoError(t, err)
	_, err = b.enqueuer.EnqueueTx(t.Context(), tx, completed("e2"))
	requireSQLState(t, err, "42501")
	require.NoError(t, tx.Rollback(t.Context()))

	for _, grantee := range []string{role, "webhook_app", "public"} {
		require.Empty(t, b.column(t, `
			select oid::regclass || ' ' || privilege
			  from pg_class, unnest('{select,insert,update,delete,truncate,references,trigger}'::text[]) as p (privilege)
			 where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')
			   and case when privilege in ('select', 'insert', 'update', 'references')
			            then has_any_column_privilege($1::name, oid, privilege) else has_table_privilege($1::name, oid, privilege) end
			union all
			select oid::regclass || ' ' || privilege
			  from pg_class, unnest('{select,usage,update}'::text[]) as p (privilege)
			 where relnamespace = 'public'::regnamespace and case when relkind = 'S' then has_sequence_privilege($1::name, oid, privilege) end
			union all
			select 'create in the schema' where has_schema_privilege($1::name, 'public', 'create')`, grantee), grantee)
	}
}

func TestRoleCallsNothingButEnqueueing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	role, _ := newApplication(t, b.pool, "*")
	// River's own functions read no table.
	const ours = ` from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname not like 'river\_%'`
	enqueueing := []string{
		"enqueue_call_outcome_webhook(text,text,json)", "enqueue_call_outcome_webhook(text,text,jsonb)", "enqueue_call_outcome_webhook(text,text,text)",
		"enqueue_webhook_event(text,text,json,text,text)", "enqueue_webhook_event(text,text,jsonb,text,text)", "enqueue_webhook_event(text,text,text,text,text)",
	}
	for _, grantee := range []string{role, "webhook_app"} {
		require.Equal(t, enqueueing, b.column(t, `
			select p.oid::regprocedure::text `+ours+` and has_function_privilege($1::name, p.oid, 'execute') order by 1`, grantee))
	}
	require.Empty(t, b.column(t, `select p.oid::regprocedure::text `+ours+` and has_function_privilege('public', p.oid, 'execute')`))
	others := b.column(t, `select p.proname `+ours+` and p.proname ~ '^(webhook_|get_webhook|replay_webhook|recover_webhook)'`)
	require.Subset(t, others, []string{"webhook_require_user", "webhook_require_payload", "webhook_store_event", "webhook_wake_workers"})
	require.Empty(t, b.column(t, `
		select p.oid::regprocedure::text `+ours+` and (p.prosecdef or p.oid::regprocedure::text = any ($1))
		   and not (p.prosecdef and exists (select from unnest(p.proconfig) as c where c ~ '^search_path=.*, pg_temp$'))`, enqueueing),
		"what runs as the owner does so with a search path of its own, where temporary objects come last")
	require.Empty(t, b.column(t, `
		select p.oid::regprocedure::text `+ours+` and not exists (select from unnest(p.proconfig) as c where c ~ '^search_path=.*, pg_temp$')
		   and p.proname like 'webhook\_%' and p.provolatile <> 'i' and p.prosqlbody is null`),
		"so does what that calls, if it reads tables that it looks for at each call")
}
