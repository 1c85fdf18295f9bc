package jobs

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// planned is a statement whose plan a test looks at.
type planned struct {
	sql   string
	args  []any
	index string // that it goes by; empty: whichever
}

// heldStatements are those that run each tick or each second for partners that are held back, or in a crowd.
func heldStatements(partner uuid.UUID) map[string]planned {
	const fetching = "river_job_prioritized_fetching_index"
	held, now := "webhooks-held-"+partner.String(), time.Now()
	streaks := []failure{{PartnerID: partner, First: now, Last: now, Failures: 1, Deliveries: []uuid.UUID{uuid.New()}, Error: "500"}}
	partners := []uuid.UUID{partner}
	return map[string]planned{
		"holding back":          {holdDueStatement, []any{partners, heldLook, heldBatch, priorityFirst}, fetching},
		"holding back, crowded": {holdDueStatement, []any{partners, heldLook, heldBatch, priorityUsual}, fetching},
		"holding retries back":  {holdWaitingStatement, []any{partners, heldBatch}, "river_job_webhook_waiting_idx"},
		"listing":               {listHeldStatement, nil, fetching},
		"letting go":            {letGoDue, []any{held, 20}, fetching},
		"letting go what waits": {letGoOverdue, []any{held, 20, 3600.0}, fetching},
		"overtaking":            {overtakeStatement, []any{partners, now.Add(-time.Hour), int64(0), overtakeLook, priorityUsual}, fetching},
		"overtaking, from head": {overtakeStatement, []any{partners, time.Time{}, int64(0), overtakeLook, priorityLast}, fetching},
		"counting the first":    {firstStatement, []any{Queue, priorityFirst, 100}, fetching},
		"reserving":             {reserveStatement, []any{partners, []int{1}, []int{20}, rateAhead.Seconds()}, "webhook_partner_rates_pkey"},
		"recoveries":            {recoveryStatement, []any{partners}, ""},
		"failures":              {failureStatement, []any{streaks, firstProbe.Seconds(), maxProbe.Seconds()}, ""},
		"openings":              {openingStatement, []any{partners, 20, circuitDeliveries, firstProbe.Seconds()}, ""},
		"disabling":             {disableStatement, []any{partners, 3600.0}, ""},
	}
}

// heldTables fill the tables with what is held back, and what crowds the queue.
var heldTables = []string{
	`update river_job set args = args || jsonb_build_object('partner_id', (select id from partner_webhooks limit 1))`,
	`insert into river_job (kind, queue, priority, max_attempts, args, state, scheduled_at)
	 select 'webhook_delivery', case when n % 2 = 0 then 'webhooks' else 'webhooks-held-' || p.id end, 2, 6,
	        jsonb_build_object('delivery_id', gen_random_uuid(), 'user_id', p.user_id, 'partner_id', p.id),
	        case when n % 10 = 0 then 'retryable' else 'available' end::river_job_state, now() - n * interval '1 s'
	   from (select * from partner_webhooks limit 10) p, generate_series(1, 2000) n`,
	`insert into webhook_partner_rates (partner_id) select id from partner_webhooks`,
	`insert into webhook_partner_health (partner_id, user_id, failing_since, last_failed_at, failures, failed_deliveries, last_error, opened_at, probe_at)
	 select id, user_id, now(), now(), 20, '{}', 'it fails', now(), now() from partner_webhooks`,
	`analyze`,
}

func TestPlansOfHeldDeliveries(t *testing.T) {
	t.Parallel()
	pool := grown(t, heldTables...)
	var partner uuid.UUID
	require.NoError(t, pool.QueryRow(t.Context(), `select (args->>'partner_id')::uuid from river_job where queue like 'webhooks-held-%' limit 1`).Scan(&partner))
	worker := asWorker(t, pool)
	for name, statement := range heldStatements(partner) {
		for _, db := range []querier{pool, worker} {
			plan := planOf(t, db, "explain "+statement.sql, statement.args...)
			for _, table := range []string{"river_job", "partner_webhooks", "webhook_partner_rates", "webhook_partner_health"} {
				require.NotContains(t, plan, "Seq Scan on "+table, "%s: %s", name, plan)
			}
			require.Contains(t, plan, statement.index, "%s: %s", name, plan)
		}
	}
}

// On tables without statistics nothing of it is so dear that PostgreSQL compiles it each time.
func TestPlansOfHeldDeliveriesAreCheap(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	for name, statement := range heldStatements(uuid.New()) {
		var decoded []struct {
			Plan struct {
				Cost float64 `json:"Total Cost"`
			} `json:"Plan"`
		}
		require.NoError(t, pool.QueryRow(t.Context(), "explain (format json) "+statement.sql, statement.args...).Scan(&decoded), name)
		require.Less(t, decoded[0].Plan.Cost, 5000.0, name)
	}
}
