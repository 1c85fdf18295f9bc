package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// ourTables selects our tables and views as pg_class c: not River's, not the table of versions, which is
// the migrator's, and no partitions, which are described by their table.
const ourTables = `
	from pg_class c
	where c.relnamespace = current_schema()::regnamespace
	  and c.relkind in ('r', 'p', 'v', 'm')
	  and c.relname not like 'river\_%'
	  and c.relname <> 'webhook_schema_version'
	  and not c.relispartition`

func names(t *testing.T, pool *pgxpool.Pool, query string) []string {
	t.Helper()

	rows, err := pool.Query(t.Context(), query)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return list
}

func TestSchemaIsDescribed(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	tables := names(t, pool, `select c.relname `+ourTables)
	require.Subset(t, tables, []string{
		"partner_webhooks", "webhook_events", "webhook_delivery_log", "webhook_delivery_queue", "webhook_settings",
	})

	for what, query := range map[string]string{
		"tables and views without a comment": `select c.relname ` + ourTables + ` and obj_description(c.oid, 'pg_class') is null`,
		"columns without a comment": `
			select c.relname || '.' || a.attname
			  from pg_attribute a join (select c.oid, c.relname ` + ourTables + `) c on c.oid = a.attrelid
			 where a.attnum > 0 and not a.attisdropped and col_description(c.oid, a.attnum) is null`,
		"functions without a comment": `
			select p.oid::regprocedure::text from pg_proc p
			 where p.pronamespace = current_schema()::regnamespace and p.proname not like 'river\_%'
			   and obj_description(p.oid, 'pg_proc') is null`,
		"indexes without a comment that belong to no constraint": `
			select i.indexrelid::regclass::text
			  from pg_index i join pg_class x on x.oid = i.indexrelid
			 where x.relnamespace = current_schema()::regnamespace
			   and not x.relispartition
			   and not exists (select from pg_constraint where conindid = i.indexrelid)
			   and (x.relname like '%webhook%' or i.indrelid in (select c.oid ` + ourTables + `))
			   and obj_description(i.indexrelid, 'pg_class') is null`,
		"partitions without a comment": `
			select c.relname from pg_class c
			 where c.relnamespace = current_schema()::regnamespace and c.relispartition and c.relkind = 'r'
			   and obj_description(c.oid, 'pg_class') is null`,
		// PostgreSQL's own names are table_column_check, table_check and so on, with a number from the second.
		"constraints without a name of their own": `
			select n.conrelid::regclass || ' ' || n.conname
			  from pg_constraint n join (select c.oid, c.relname ` + ourTables + `) c on c.oid = n.conrelid
			 where n.contype <> 'n'
			   and (n.conname !~ ('^' || c.relname || '_') or n.conname ~ '_(check|not_null|excl)[0-9]*$' or n.conname ~ '_(key|pkey)[0-9]+$')`,
		"tables without a primary key": `
			select c.relname ` + ourTables + ` and c.relkind in ('r', 'p')
			   and not exists (select from pg_constraint where conrelid = c.oid and contype = 'p')`,
		"text that looks like a forgotten draft": `
			select description from pg_description where description ~* '(todo|fixme|xxx)'`,
	} {
		require.Empty(t, names(t, pool, query), what)
	}
}

// The view is what the original's queries read.
func TestQueueColumns(t *testing.T) {
	t.Parallel()

	columns := names(t, testdb.New(t), `
		select attname::text from pg_attribute where attrelid = 'webhook_delivery_queue'::regclass and attnum > 0`)
	require.Subset(t, columns, []string{
		"id", "userId", "event_type", "status", "attempt_count", "last_error", "last_response_status", "createdAt", "updatedAt",
	})
}

func TestQueueStatus(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	for _, tt := range []struct {
		state   string
		attempt int
		want    string
	}{
		{"available", 0, "pending"},
		{"scheduled", 0, "pending"},
		{"pending", 0, "pending"},
		{"retryable", 0, "pending"}, // a first try that was put off
		{"running", 1, "processing"},
		{"retryable", 1, "failed"},
		{"available", 2, "failed"}, // a retry that has come due
		{"scheduled", 2, "failed"},
		{"completed", 1, "delivered"},
		{"discarded", 6, "dead_letter"},
		{"cancelled", 0, "cancelled"},
		{"cancelled", 3, "cancelled"},
	} {
		tx, err := pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), `
			insert into river_job (kind, queue, state, attempt, max_attempts, args, metadata, errors, finalized_at)
			values ('webhook_delivery', 'webhooks', $1::text::river_job_state, $2, 6,
			        '{"delivery_id": "d", "user_id": "anna", "event_type": "call.completed"}',
			        '{"output": {"error": "it answered 503", "error_kind": "http_status", "response_status": 503}}',
			        array['{"error": "it answered 503"}'::jsonb],
			        case when $1 in ('completed', 'discarded', 'cancelled') then now() end),
			       ('another_kind', 'default', 'available', 0, 6, '{}', '{}', null, null)`, tt.state, tt.attempt)
		require.NoError(t, err)
		var (
			status           string
			attempts, answer int
			lastError, due   *string
		)
		require.NoError(t, tx.QueryRow(t.Context(), `
			select status, attempt_count, last_error, last_response_status, next_attempt_at::text
			  from webhook_delivery_queue where "userId" = 'anna'`).Scan(&status, &attempts, &lastError, &answer, &due))
		require.Equal(t, tt.want, status, tt.state)
		require.Equal(t, tt.attempt, attempts)
		require.Equal(t, tt.want != "delivered", lastError != nil, "a delivered one has no error, whatever came before")
		if lastError != nil {
			require.Equal(t, "it answered 503", *lastError)
		}
		require.Equal(t, 503, answer)
		require.Equal(t, tt.want == "pending" || tt.want == "failed", due != nil, tt.state)
		var count int
		require.NoError(t, tx.QueryRow(t.Context(), `select count(*) from webhook_delivery_queue`).Scan(&count))
		require.Equal(t, 1, count, "jobs of other kinds are none")
		require.NoError(t, tx.Rollback(t.Context()))
	}
}

func TestOneJobADelivery(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	insert := func(kind, delivery string) error {
		_, err := pool.Exec(t.Context(), `
			insert into river_job (kind, queue, max_attempts, args)
			values ($1, 'webhooks', 6, json_build_object('delivery_id', $2::text))`, kind, delivery)
		return err
	}
	require.NoError(t, insert("webhook_delivery", "a"))
	require.NoError(t, insert("webhook_delivery", "b"))
	require.ErrorContains(t, insert("webhook_delivery", "a"), "river_job_webhook_delivery_id_idx")
	require.NoError(t, insert("another_kind", "a"))
	require.NoError(t, insert("another_kind", "a"))
}
