package jobs_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// operationalTypes are the types of all operational events.
func operationalTypes() []string {
	return []string{partners.EventPartnerDisabled, partners.EventDeliveryExhausted, partners.EventPartnerFailing, partners.EventPartnerRecovered}
}

// failing makes a partner one that fails, with a closed circuit.
func (b *testBundle) failing(t *testing.T, partner *partners.Partner, deliveries ...uuid.UUID) {
	t.Helper()
	ids := make([]string, len(deliveries))
	for i, id := range deliveries {
		ids[i] = id.String()
	}
	b.exec(t, `
		insert into webhook_partner_health (partner_id, user_id, failing_since, last_failed_at, failures, failed_deliveries, last_error)
		values ($1, $2, now() - interval '5 minutes', now(), 12, $3::text[]::uuid[], 'no answer within 30s')
		on conflict (partner_id) do update set failing_since = excluded.failing_since, failures = 12, failed_deliveries = excluded.failed_deliveries`, partner.ID.String(), partner.UserID, ids)
}

// open opens circuits in the statement that tells of it, and returns what that says.
func (b *testBundle) open(t *testing.T, opened ...*partners.Partner) []bool {
	t.Helper()
	ids := make([]string, len(opened))
	for i, partner := range opened {
		ids[i] = partner.ID.String()
	}
	rows, err := b.pool.Query(t.Context(), `
		with opened as (
		    update webhook_partner_health h set opened_at = now(), probe_at = now() + interval '30 s'
		     where h.partner_id::text = any ($1) and h.opened_at is null
		    returning h.partner_id
		)
		select webhook_partner_failing(o.partner_id) from opened o`, ids)
	require.NoError(t, err)
	told, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	require.NoError(t, err)
	return told
}

// recovered ends a partner's failing in the statement that tells of it.
func (b *testBundle) recovered(t *testing.T, partner *partners.Partner) (told bool) {
	t.Helper()
	require.NoError(t, b.pool.QueryRow(t.Context(), `
		with closed as (delete from webhook_partner_health h where h.partner_id = $1 returning h.partner_id, h.opened_at, h.failing_since, h.failed_deliveries)
		select webhook_partner_recovered(partner_id, opened_at, failing_since, failed_deliveries) from closed`, partner.ID.String()).Scan(&told))
	return told
}

func TestPartnerFailingAndRecoveredAreTold(t *testing.T) {
	t.Parallel()
	owner := setup(t)
	b := owner.asWorker(t)
	acme := b.partner(t, user, "acme", nowhere, "call.*", "partner.*")
	b.partner(t, user, "ops", nowhere, "partner.*")
	b.partner(t, user, "all", nowhere, "*")
	delivery := b.enqueue(t, completed("e1"))[0]

	require.Empty(t, b.open(t, acme), "it does not fail")
	b.failing(t, acme, delivery.ID)
	var told bool
	require.NoError(t, b.pool.QueryRow(t.Context(), `select webhook_partner_failing($1)`, acme.ID.String()).Scan(&told))
	require.False(t, told, "its circuit is closed")
	require.False(t, b.recovered(t, acme), "and was")
	require.Empty(t, b.told(t))

	const head = `"timestamp":"TIME","partner":{"id":"`
	name := acme.ID.String() + `","name":"acme","slug":"acme"},`
	b.failing(t, acme, delivery.ID)
	require.Equal(t, []bool{true}, b.open(t, acme))
	require.NoError(t, b.pool.QueryRow(t.Context(), `select webhook_partner_failing($1)`, acme.ID.String()).Scan(&told))
	require.False(t, told, "an opening is told once")
	list := b.told(t)
	require.Len(t, list, 1)
	require.Equal(t, []string{"ops"}, list[0].To)
	requirePayload(t, `{"event_type":"partner.failing",`+head+name+`"failing_since":"TIME","failures":12,"last_error":"no answer within 30s"}`, list[0].Payload)
	require.True(t, b.recovered(t, acme))
	list = b.told(t)
	require.Len(t, list, 2)
	require.Equal(t, []string{"ops"}, list[1].To)
	requirePayload(t, `{"event_type":"partner.recovered",`+head+name+`"failing_since":"TIME"}`, list[1].Payload)

	b.failing(t, acme)
	require.Equal(t, []bool{true}, b.open(t, acme), "the next opening is another")
	require.True(t, b.recovered(t, acme))
	require.Len(t, b.told(t), 4)
	_, err := b.store.Delete(t.Context(), user, "ops")
	require.NoError(t, err)
	b.failing(t, acme)
	require.Equal(t, []bool{false}, b.open(t, acme), "nobody listens but itself")
	require.False(t, b.recovered(t, acme))
	require.Equal(t, 4, b.count(t, `webhook_events where event_type like 'partner.%'`))
}

// Who tells does so with the owner's rights, and nobody can tell what did not happen.
func TestOperationalEventsOfRoles(t *testing.T) {
	t.Parallel()
	owner := setup(t)
	b := owner.asWorker(t)
	dead := newEndpoint(t, status(http.StatusGone))
	b.partner(t, user, "dead", dead.URL, "call.*")
	b.partner(t, user, "ops", newEndpoint(t, status(http.StatusOK)).URL, "partner.*")
	b.runWorker(t, nil)
	b.enqueue(t, completed("e1"))
	require.Eventually(t, func() bool {
		return b.count(t, `webhook_delivery_queue where event_type = 'partner.disabled' and status = 'delivered'`) == 1
	}, waitFor, look)

	_, app := newApplication(t, owner.pool, "*")
	_, reader := newReader(t, owner.pool, "*")
	emit := `select webhook_emit_operational_event('user_123', 'partner.disabled', 'x', '` + uuid.NewString() + `', '{}')`
	failing := `select webhook_partner_failing('` + uuid.NewString() + `')`
	recovered := `select webhook_partner_recovered('` + uuid.NewString() + `', now(), now())`
	for _, pool := range []querier{app, reader} {
		for _, attempt := range []string{emit, failing, recovered, `select webhook_is_operational('x')`} {
			requireDenied(t, pool, attempt)
		}
	}
	requireDenied(t, b.pool, emit)
	b.exec(t, failing)
	b.exec(t, recovered)

	// Whoever works the queue by rights of his own may not know our tables.
	role, river := newRole(t, owner.pool, "")
	owner.exec(t, "grant select, update on river_job to "+role)
	b.partner(t, user, "acme", nowhere, "call.*")
	b.partner(t, user, "watch", nowhere, "delivery.*")
	_, err := river.Exec(t.Context(), `update river_job set state = 'discarded', finalized_at = now() where id = $1`, b.enqueue(t, completed("e2"))[0].JobID)
	require.NoError(t, err)
	require.Equal(t, 1, owner.count(t, `webhook_events where event_type = 'delivery.exhausted'`))
}

// What can't be told changes nothing about what happened.
func TestOperationalEventsThatCannotBeStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead := newEndpoint(t, status(http.StatusInternalServerError))
	acme := b.lone(t, "acme", dead.URL, "call.*")
	b.partner(t, user, "ops", nowhere, "partner.*", "delivery.*")
	b.exec(t, `
		create function refuse() returns trigger language plpgsql as $$ begin raise exception 'disk full'; end $$;
		create trigger refuse before insert on webhook_events for each row when (new.event_type <> 'call.completed') execute function refuse()`)
	stop := b.run(t, nil)
	delivery := b.enqueue(t, completed("e1"))[0]
	b.await(t, delivery, jobs.StatusDeadLetter)
	require.NoError(t, stop())
	require.Len(t, b.job(t, delivery).Errors, 1)
	require.Len(t, dead.received(), 1)

	config := b.pool.Config().ConnConfig.Copy()
	var warnings []string
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		warnings = append(warnings, notice.Severity+": "+notice.Message)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), `update river_job set state = 'available', finalized_at = null; update river_job set state = 'discarded', finalized_at = now()`)
	require.NoError(t, err)
	require.Equal(t, "discarded", b.job(t, delivery).State)
	require.Len(t, warnings, 1)
	require.Regexp(t, `^WARNING: delivery.exhausted not told of job [0-9]+: disk full$`, warnings[0])

	b.failing(t, acme)
	require.Equal(t, []bool{false}, b.open(t, acme))
	require.Equal(t, 1, b.count(t, `webhook_partner_health where opened_at is not null`))
	require.False(t, b.recovered(t, acme))
	require.Zero(t, b.count(t, `webhook_partner_health`))
	_, err = b.store.Disable(t.Context(), user, "acme", "tired")
	require.NoError(t, err)
	require.Equal(t, 1, b.count(t, `partner_webhooks where partner_slug = 'acme' and not enabled`))
	require.Empty(t, b.told(t))

	// A job that somebody else wrote, of a partner that there is.
	b.exec(t, `insert into river_job (kind, queue, max_attempts, args) values ('webhook_delivery', 'webhooks', 1, '{}'), ('webhook_delivery', 'webhooks', 1, '[]')`)
	b.exec(t, `insert into river_job (kind, queue, max_attempts, args, metadata)
	           select 'webhook_delivery', 'webhooks', 1, args || jsonb_build_object('delivery_id', repeat('x', 300)), '{"output": [1]}' from river_job where id = $1`, delivery.JobID)
	require.Equal(t, 3, b.exec(t, `update river_job set state = 'discarded', finalized_at = now() where kind = 'webhook_delivery' and state = 'available'`))
	require.Empty(t, b.told(t))
}

// Go and SQL agree about which types are reserved, and what subscribes to a type.
func TestEventPatternsSpec(t *testing.T) {
	t.Parallel()
	b := setup(t)
	types := append(operationalTypes(),
		"call", "call.completed", "a.b.c.d", "partner", "delivery", "partner.created", "delivery.delivered", "partner.disabled.x", "x.partner.disabled",
		"Partner.disabled", "partner.Disabled", "partner_disabled", "partner.disabled_", "delivery.exhausted.again", "partner.failing2", "recovered")
	for _, eventType := range types {
		var operational bool
		var patterns []string
		require.NoError(t, b.pool.QueryRow(t.Context(), `select webhook_is_operational($1), webhook_event_patterns($1)`, eventType).Scan(&operational, &patterns))
		require.ElementsMatch(t, partners.PatternsFor(eventType), patterns, eventType)
		require.Equal(t, partners.IsOperational(eventType), operational, eventType)
		require.Equal(t, slices.Contains(operationalTypes(), eventType), operational, eventType)
		require.NotEqual(t, operational, slices.Contains(patterns, "*"), eventType)
	}
	require.Equal(t, []string{"partner.failing", "partner.*"}, partners.PatternsFor(partners.EventPartnerFailing))
}

func TestOperationalNamesAreReserved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "ops", nowhere, "partner.*", "delivery.*", "*")
	for _, eventType := range operationalTypes() {
		want := `event_type "` + eventType + `" is reserved for what webhook-worker itself tells`
		for _, way := range b.bothWays() {
			require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
				_, err := way.event(t.Context(), tx, &jobs.Event{UserID: user, Type: eventType, Payload: []byte(`{}`)})
				require.ErrorContains(t, err, want, way.name)
				_, err = way.outcome(t.Context(), tx, user, "c1", `{"event_type":"`+eventType+`"}`)
				require.ErrorContains(t, err, want, way.name)
				return nil
			}))
		}
	}
	require.Zero(t, b.count(t, "webhook_events"))
}

// What was told of a partner is not delivered later, least of all to that partner.
func TestOperationalEventsAreNeverMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.partner(t, user, "acme", nowhere, "partner.*", "call.*")
	b.partner(t, user, "ops", nowhere, "partner.*")
	_, err := b.store.Disable(t.Context(), user, "acme", "tired")
	require.NoError(t, err)
	require.Empty(t, b.enqueue(t, completed("e1")))
	told := b.told(t)
	require.Len(t, told, 1)
	_, err = b.store.Enable(t.Context(), user, "acme")
	require.NoError(t, err)
	b.partner(t, user, "late", nowhere, "partner.*")

	require.Equal(t, map[string]int{user + "/acme": 1}, b.countReplay(t, missing()), "but e1 is")
	require.Equal(t, map[jobs.ReplayResult]int{jobs.Recovered: 1}, b.replayAll(t, missing()))
	result, err := b.recover(t.Context(), b.operator(t), user, told[0].ID, acme.ID)
	require.NoError(t, err)
	require.Equal(t, jobs.NotSubscribed, result)
	require.Equal(t, []string{"ops"}, b.told(t)[0].To)
}

// Whatever search path a session has that changes a delivery, it is told where the tables are.
func TestOperationalEventsInASchemaOfTheirOwn(t *testing.T) {
	t.Parallel()
	ours, theirs := elsewhere(t, `Hooks "1"`)
	_, err := ours.Exec(t.Context(), `
		insert into partner_webhooks (user_id, partner_name, partner_slug, url, secret_ciphertext, secret_key_id, enabled_events)
		select user_id, 'Ops', 'ops', url, secret_ciphertext, secret_key_id, array['partner.*', 'delivery.*'] from partner_webhooks limit 1`)
	require.NoError(t, err)
	_, err = ours.Exec(t.Context(), `select enqueue_webhook_event(user_id, 'call.completed', '{}') from partner_webhooks limit 1`)
	require.NoError(t, err)
	listener := connect(t, ours, nil)
	_, err = listener.Exec(t.Context(), `listen "Hooks ""1"".river_insert"`)
	require.NoError(t, err)

	_, err = theirs.Exec(t.Context(), `update "Hooks ""1""".river_job set state = 'discarded', finalized_at = now() where args->>'event_type' = 'call.completed'`)
	require.NoError(t, err)
	_, err = theirs.Exec(t.Context(), `update "Hooks ""1""".partner_webhooks set enabled = false where partner_slug <> 'ops'`)
	require.NoError(t, err)
	var told []string
	require.NoError(t, ours.QueryRow(t.Context(), `
		select array_agg(args->>'event_type' order by id) from river_job where args->>'event_type' <> 'call.completed'`).Scan(&told))
	require.Equal(t, []string{partners.EventDeliveryExhausted, partners.EventPartnerDisabled}, told)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	notification, err := listener.WaitForNotification(ctx)
	require.NoError(t, err, "workers are woken")
	require.JSONEq(t, `{"queue":"webhooks"}`, notification.Payload)
}
