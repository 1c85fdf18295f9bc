package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/migrations"
)

// definitions are the functions, comments and triggers of ours, word for word.
func definitions(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()

	return names(t, pool, `
		select pg_get_functiondef(p.oid) || coalesce(obj_description(p.oid, 'pg_proc'), '') || coalesce(p.proacl::text, '')
		  from pg_proc p
		 where p.pronamespace = current_schema()::regnamespace and p.proname not like 'river\_%' and p.prokind = 'f'
		 union all
		select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
		 union all
		select col_description('partner_webhooks'::regclass, attnum) from pg_attribute where attrelid = 'partner_webhooks'::regclass and attnum > 0
		 order by 1`)
}

// The migration changes functions of earlier ones, and what takes it back restores them.
func TestOperationalEventsAreTakenBack(t *testing.T) {
	t.Parallel()

	const before = 14
	pool := newAtVersion(t, before)
	want := definitions(t, pool)
	require.NotEmpty(t, want)
	for range 2 {
		require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
		require.NotEqual(t, want, definitions(t, pool))
		require.NoError(t, migrations.Down(t.Context(), pool, len(ours(t, pool))-before, quiet()))
		// What the roles were granted meanwhile stays with the functions that were there before.
		_, err := pool.Exec(t.Context(), `revoke all on all functions in schema public from webhook_worker, webhook_reader`)
		require.NoError(t, err)
		require.Equal(t, want, definitions(t, pool))
	}
}
