package jobs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/partners"
)

// TestPlansAreCheap looks at the plans of what runs for each event and each delivery, on tables without
// statistics, as a new installation has them: a plan that PostgreSQL takes for expensive is compiled (JIT)
// each time it runs. Workers' plans are the owner's: row security adds nothing to them.
func TestPlansAreCheap(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	columns, err := closeColumns([]*Attempt{newTestAttempt()})
	require.NoError(t, err)
	worker := asWorker(t, pool)
	for name, statement := range map[string]struct {
		sql  string
		args []any
	}{
		"storing an event":   {storeEventStatement, []any{"u", "e", "call.x", "{}", partners.PatternsFor("call.x"), (*uuid.UUID)(nil)}},
		"opening attempts":   {insertAttempts, insertColumns([]*Attempt{newTestAttempt()})},
		"closing attempts":   {closeAttempts, columns},
		"due deliveries":     {dueStatement, []any{Queue, dueInterval.Seconds()}},
		"withdrawing":        {withdrawAttempts, []any{[]time.Time{time.Now()}, []uuid.UUID{uuid.New()}}},
		"loading events":     {loadEventsStatement, []any{[]string{"u"}, []string{"e"}}},
		"repeating an event": {repeatedEventStatement, []any{"u", "e", "call.x", "{}"}},
	} {
		var plan, workers []byte
		require.NoError(t, pool.QueryRow(t.Context(), "explain (format json) "+statement.sql, statement.args...).Scan(&plan), name)
		require.NoError(t, worker.QueryRow(t.Context(), "explain (format json) "+statement.sql, statement.args...).Scan(&workers), name)
		require.JSONEq(t, string(plan), string(workers), name)
		var decoded []struct {
			Plan struct {
				Cost float64 `json:"Total Cost"`
			} `json:"Plan"`
		}
		require.NoError(t, json.Unmarshal(plan, &decoded))
		require.Less(t, decoded[0].Plan.Cost, 5000.0, "%s: %s", name, plan)
	}
}

// TestPlansReadNoWholeTable looks at the plans of what runs for each delivery, or each second, on tables that
// have grown: none reads a table from end to end.
func TestPlansReadNoWholeTable(t *testing.T) {
	t.Parallel()
	pool := grown(t)
	columns, err := closeColumns([]*Attempt{newTestAttempt()})
	require.NoError(t, err)
	now := []time.Time{time.Now()}
	ids := []string{uuid.NewString()}
	for name, statement := range map[string]struct {
		sql  string
		args []any
	}{
		"storing an event":          {storeEventStatement, []any{"user-7", "e", "call.x", "{}", partners.PatternsFor("call.x"), (*uuid.UUID)(nil)}},
		"loading events":            {loadEventsStatement, []any{[]string{"user-7", "user-8"}, []string{"event-7", "event-8"}}},
		"closing attempts":          {closeAttempts, columns},
		"withdrawing":               {withdrawAttempts, []any{now, ids}},
		"due deliveries":            {dueStatement, []any{Queue, dueInterval.Seconds()}},
		"dead clients":              {freeClients + holdsClientLock("client_id"), []any{[]string{Queue, maintenanceQueue}, []string{"me"}}},
		"own jobs":                  {ownRunning, []any{Queue, []string{"me"}}},
		"what is late":              {agesStatement, nil},
		"completing":                {completeStatement, []any{[]int64{7, 8}, []time.Time{time.Now(), time.Now()}, []string{"{}", "{}"}}},
		"what overtakes":            {firstStatement, []any{Queue, priorityFirst, 500}},
		"closing what is left open": {closeAbandoned, []any{time.Now().Add(-time.Minute), time.Now()}},
	} {
		plan := planOf(t, pool, "explain "+statement.sql, statement.args...)
		for _, table := range []string{"river_job", "webhook_events", "webhook_delivery_log", "partner_webhooks"} {
			require.NotContains(t, plan, "Seq Scan on "+table, name)
		}
	}
}

// Nor does the settlement, with whatever a plan assumes of the time that it goes through.
func TestPlansOfTheSettlementGoByDelivery(t *testing.T) {
	t.Parallel()
	pool := grown(t)
	for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
		worker := asWorker(t, pool)
		_, err := worker.Exec(t.Context(), `set plan_cache_mode = `+mode+`; prepare added as `+addUnrecorded)
		require.NoError(t, err)
		plan := planOf(t, worker, `explain execute added (now() - interval '6 hours', now(), '1 hour', false)`, pgx.QueryExecModeSimpleProtocol)
		require.NotContains(t, plan, "Seq Scan on webhook_delivery_log", mode)
		require.Contains(t, plan, "Index Cond: (delivery_id = found.delivery_id)", mode)
		require.Equal(t, strings.Count(plan, " on webhook_delivery_log_"), strings.Count(plan, "Index Cond: (delivery_id"), "%s: %s", mode, plan)
	}
}

// grownTables fill the tables with what is over, and with deliveries that wait, all of one priority.
var grownTables = []string{
	`insert into partner_webhooks (user_id, partner_name, partner_slug, url, secret_ciphertext, secret_key_id, enabled_events)
	 select 'user-' || n, 'P', 'p', 'https://partner.example/', '\x00', 'none', '{call.*}' from generate_series(1, 5000) n`,
	`insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids)
	 select 'user-' || n % 5000, 'event-' || n, 'call.x', '{}', '{}', '{}' from generate_series(1, 20000) n`,
	`insert into river_job (kind, queue, max_attempts, args, state, scheduled_at, finalized_at, attempted_at, attempted_by, errors)
	 select 'webhook_delivery', 'webhooks', 6, jsonb_build_object('delivery_id', gen_random_uuid(), 'user_id', 'user-' || n % 5000),
	        case when n % 10 = 0 then 'available' else 'completed' end::river_job_state, now() - interval '1 hour',
	        case when n % 10 > 0 then now() - n * interval '1 minute' end, now(), array['client'], case when n % 10 = 1 then array['{"attempt": 1}'::jsonb] end
	   from generate_series(1, 20000) n`,
	`insert into webhook_delivery_log (attempt_id, delivery_id, job_id, attempt, trigger, outcome, client_id, started_at)
	 select gen_random_uuid(), gen_random_uuid(), n, 1, 'schedule', 'delivered', 'client', now() + (n - 5000) * interval '2 min' from generate_series(1, 20000) n`,
	`insert into webhook_delivery_log (attempt_id, delivery_id, job_id, attempt, trigger, outcome, client_id, started_at)
	 select gen_random_uuid(), gen_random_uuid(), n, 1, 'schedule', 'delivered', 'client', '2020-01-01' from generate_series(1, 5000) n`,
	`analyze`,
}

// grown is a database whose tables have grown, by grownTables and more statements.
func grown(t *testing.T, more ...string) *pgxpool.Pool {
	t.Helper()
	pool := testdb.New(t)
	for _, statement := range slices.Concat(grownTables, more) {
		_, err := pool.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	return pool
}

// planOf is what an explain statement says.
func planOf(t *testing.T, db querier, explain string, args ...any) string {
	t.Helper()
	lines, err := collect(t.Context(), db, pgx.RowTo[string], explain, args...)
	require.NoError(t, err, explain)
	return strings.Join(lines, "\n")
}

// asWorker is a connection to the pool's database in the role webhook_worker.
func asWorker(t *testing.T, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	config := pool.Config()
	config.MaxConns = 1
	config.ConnConfig.RuntimeParams["role"] = "webhook_worker"
	worker, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(worker.Close)
	return worker
}

func TestOnlyTheOwnerRebuildsIndexes(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	indexes, err := indexesToRebuild(t.Context(), pool)
	require.NoError(t, err)
	require.NotEmpty(t, indexes)
	indexes, err = indexesToRebuild(t.Context(), asWorker(t, pool))
	require.NoError(t, err)
	require.Equal(t, []string{}, indexes, "nil would be River's choice")
}
