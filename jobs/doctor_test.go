package jobs_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

const (
	// In these $1 is the id of the delivery that the breach is about.
	ofJob   = ` where kind = 'webhook_delivery' and args->>'delivery_id' = $1`
	ofLog   = ` where delivery_id = $1::text::uuid`
	ofEvent = ` where delivery_ids[1] = $1::text::uuid`
)

func TestDoctorFindsEachBreach(t *testing.T) {
	t.Parallel()
	delivered := func(p *patient) jobs.Delivery { return p.delivered }
	dead := func(p *patient) jobs.Delivery { return p.dead }
	waiting := func(p *patient) jobs.Delivery { return p.waiting }
	tests := map[string]struct {
		of      func(p *patient) jobs.Delivery // nil: it is about no delivery
		check   string
		breach  []string
		problem string
	}{
		"a job is deleted": {
			waiting, "event_without_delivery",
			[]string{`delete from river_job` + ofJob},
			"its event lists it, but it has no job; its last attempt is on record as failed",
		},
		"a job is deleted before its first try": {
			waiting, "event_without_delivery",
			[]string{`delete from river_job` + ofJob, `delete from webhook_delivery_log` + ofLog},
			"no attempt is on record",
		},
		"an event lists a delivery twice": {
			waiting, "two_deliveries",
			[]string{`update webhook_events set delivery_ids = delivery_ids || delivery_ids, partner_ids = partner_ids || partner_ids` + ofEvent},
			"twice",
		},
		"an event lists a delivery three times": {
			waiting, "two_deliveries",
			[]string{`update webhook_events set delivery_ids = delivery_ids || delivery_ids || delivery_ids, partner_ids = partner_ids || partner_ids || partner_ids` + ofEvent},
			"twice",
		},
		"an event is deleted": {
			waiting, "delivery_without_event",
			[]string{`delete from webhook_events` + ofEvent},
			"(retryable) has no event",
		},
		"a dead letter's event is deleted": {
			dead, "delivery_without_event",
			[]string{`delete from webhook_events` + ofEvent},
			"(discarded) has no event",
		},
		"an event lists another partner": {
			waiting, "delivery_without_event",
			[]string{`update webhook_events set partner_ids[1] = gen_random_uuid()` + ofEvent},
			"is not in its event's list with this partner",
		},
		"an event is of another type": {
			waiting, "delivery_without_event",
			[]string{`update webhook_events set event_type = 'other'` + ofEvent},
			"has another type than its event",
		},
		"a delivered attempt is deleted": {
			delivered, "delivered_without_attempt",
			[]string{`delete from webhook_delivery_log` + ofLog},
			"no attempt of it is on record as delivered",
		},
		"a delivered attempt is on record as failed": {
			delivered, "delivered_without_attempt",
			[]string{`update webhook_delivery_log set outcome = 'failed'` + ofLog},
			"no attempt of it is on record as delivered",
		},
		"a delivered attempt is another job's": {
			delivered, "delivered_without_attempt",
			[]string{`update webhook_delivery_log set job_id = -1` + ofLog},
			"no attempt of it is on record as delivered",
		},
		"a dead letter was delivered": {
			dead, "dead_letter_disagrees",
			[]string{`update webhook_delivery_log set outcome = 'delivered'` + ofLog + ` and attempt = 2`},
			"was delivered",
		},
		"a dead letter has no attempts": {
			dead, "dead_letter_disagrees",
			[]string{`delete from webhook_delivery_log` + ofLog},
			"is not on record",
		},
		"a dead letter's last attempt is not on record": {
			dead, "dead_letter_disagrees",
			[]string{`delete from webhook_delivery_log` + ofLog + ` and attempt = 2`},
			"is not on record",
		},
		"a dead letter's last answer was another": {
			dead, "dead_letter_disagrees",
			[]string{`update webhook_delivery_log set response_status = 404` + ofLog + ` and attempt = 2`},
			"on record as failed, HTTP status 404, and in the job as failed, HTTP status 500",
		},
		"a dead letter says nothing of its last attempt": {
			dead, "dead_letter_disagrees",
			[]string{`update river_job set metadata = metadata - 'output'` + ofJob},
			"and in the job as nothing, HTTP status none",
		},
		"an attempt is open, and its job has ended": {
			delivered, "attempt_left_open",
			[]string{`update webhook_delivery_log set outcome = 'sending'` + ofLog},
			"is completed",
		},
		"an attempt is open, and its job waits": {
			waiting, "attempt_left_open",
			[]string{`update webhook_delivery_log set outcome = 'sending'` + ofLog},
			"is retryable",
		},
		"an attempt is open, and its job is gone": {
			waiting, "attempt_left_open",
			[]string{`update webhook_delivery_log set outcome = 'sending'` + ofLog, `delete from river_job` + ofJob},
			"its job is gone",
		},
		"an attempt is open, and another worker makes the next": {
			waiting, "attempt_left_open",
			[]string{
				`update webhook_delivery_log set outcome = 'sending'` + ofLog,
				`update river_job set state = 'running', attempted_at = now(), attempt = 2, attempted_by = attempted_by || 'another'::text` + ofJob,
			},
			"is running",
		},
		"nothing settles the attempts": {
			nil, "log_not_settled",
			[]string{`update webhook_settings set log_settled_until = now() - interval '3 hours'`},
			"nothing has settled the attempts since",
		},
		"a delivery runs for ever": {
			waiting, "running_without_worker",
			[]string{`update river_job set state = 'running'` + ofJob},
			"running on worker runner-TestDoctorFindsEachBreach",
		},
		"a retry is due": {
			waiting, "due_but_waiting",
			[]string{`update river_job set queue = 'webhooks', scheduled_at = now() - interval '6 minutes'` + ofJob},
			"is due and retryable",
		},
		"a delivery is held back for nothing": {
			waiting, "due_but_waiting",
			[]string{
				`update river_job set scheduled_at = now() - interval '6 minutes', state = 'available', queue = 'webhooks-held-' || (args->>'partner_id')` + ofJob,
				`delete from webhook_partner_health`,
			},
			"is due and available",
		},
		"a delivery is due": {
			waiting, "due_but_waiting",
			[]string{`update river_job set queue = 'webhooks', scheduled_at = now() - interval '6 minutes', state = 'available'` + ofJob},
			"is due and available",
		},
		"the settlement fails": {
			nil, "maintenance_failing",
			[]string{`insert into river_job (kind, state, max_attempts, finalized_at, args, errors)
			          select 'webhook_settlement', 'discarded', 1, now() - n * interval '1 minute', '{}', array[jsonb_build_object('error', 'error ' || n)]
			            from generate_series(0, 5) as n`},
			"webhook_settlement: error 0",
		},
		"a delivered job stays": {
			delivered, "job_not_removed",
			[]string{`update river_job set finalized_at = now() - interval '4 days'` + ofJob},
			"(completed) ended before its retention",
		},
		"a dead letter stays": {
			dead, "job_not_removed",
			[]string{`update river_job set finalized_at = now() - interval '93 days'` + ofJob},
			"(discarded) ended before its retention",
		},
		"an event stays": {
			delivered, "event_not_removed",
			[]string{`delete from river_job` + ofJob, `update webhook_events set created_at = now() - interval '93 days'` + ofEvent},
			"no delivery needs it",
		},
		"a partition stays": {
			nil, "log_partition_not_removed",
			[]string{`create table old partition of webhook_delivery_log for values from ('2001-01-01') to ('2001-01-08')`, `alter table old enable row level security`},
			"partition old ended before",
		},
		"a partition is missing": {
			nil, "log_partition_missing",
			[]string{`do $$ begin execute (select 'drop table ' || partition from webhook_delivery_log_partitions where begins_at > now() order by begins_at limit 1); end $$`},
			"no partition for the week from 20",
		},
		"an attempt is in the default partition": {
			waiting, "attempt_in_default_partition",
			[]string{`update webhook_delivery_log set started_at = now() - interval '60 days'` + ofLog},
			"default partition",
		},
		"the schema has no jobs": {
			nil, "river_schema",
			[]string{`update webhook_settings set river_schema = 'Nowhere'`},
			"schema Nowhere has no table river_job",
		},
		"the schema is another River's": {
			nil, "river_schema",
			[]string{`create schema app`, `create table app.river_job ()`, `update webhook_settings set river_schema = 'app'`},
			"and this connection finds river_job",
		},
		"the settings are gone": {
			nil, "river_schema",
			[]string{`delete from webhook_settings`},
			"webhook_settings has no row",
		},
		"a role is gone": {
			nil, "role_missing",
			[]string{`insert into webhook_role_users values ('nobody of this name', '*')`},
			"role nobody of this name does not exist",
		},
		"a right is gone": {
			nil, "grant_missing",
			[]string{`revoke delete on webhook_events from webhook_worker`},
			"webhook_worker may not delete webhook_events",
		},
		"River has a table more": {
			nil, "grant_missing",
			[]string{`create table river_later ()`, `grant select, insert, update on river_later to webhook_worker`},
			"webhook_worker may not delete river_later",
		},
		"row security is off": {
			nil, "row_security_off",
			[]string{`alter table webhook_events disable row level security`},
			"row security of webhook_events is off",
		},
		"a partition is open": {
			nil, "row_security_off",
			[]string{`alter table webhook_delivery_log_default disable row level security`},
			"row security of webhook_delivery_log_default is off",
		},
		"anybody may create in the schema": {
			nil, "schema_open",
			[]string{`grant create on schema public to public`},
			"everybody may create things in schema public",
		},
		"an application may create in the schema": {
			nil, "schema_open",
			[]string{`grant create on schema public to webhook_app`},
			"webhook_app may create things in schema public",
		},
		"a partner has another key": {
			nil, "partner_sealed_with_another_key",
			[]string{`update partner_webhooks set secret_key_id = 'another' where partner_slug = 'bad'`},
			"the secrets of bad are sealed with key another; at hand: ",
		},
	}
	p := newPatient(t)
	cfg := p.doctorConfig(t)
	require.Empty(t, p.after(t, cfg, "", jobs.Delivery{}), "healthy")
	for name, tt := range tests {
		var delivery jobs.Delivery
		if tt.of != nil {
			delivery = tt.of(p)
		}
		found := p.after(t, cfg, "", delivery, tt.breach...)
		require.Equal(t, map[string]int{tt.check: 1}, found.counts(), name)
		breach := found[tt.check].Breaches[0]
		require.Contains(t, breach.Problem, tt.problem, name)
		if tt.of == nil {
			require.Empty(t, breach.DeliveryID, name)
			continue
		}
		p.requireIDs(t, &breach, delivery)
		require.Contains(t, p.after(t, cfg, user, delivery, tt.breach...), tt.check, name)
		require.Empty(t, p.after(t, cfg, "another user", delivery, tt.breach...), name)
	}
}

// requireIDs looks whether a breach names the delivery, or at least its event.
func (p *patient) requireIDs(t *testing.T, breach *jobs.Breach, delivery jobs.Delivery) {
	t.Helper()
	require.Equal(t, user, breach.UserID)
	require.NotEmpty(t, breach.EventID)
	require.WithinRange(t, *breach.At, time.Now().Add(-94*day), time.Now())
	if breach.DeliveryID == "" {
		require.Equal(t, 1, p.count(t, "webhook_events where event_id = $1 and delivery_ids[1] = $2", breach.EventID, delivery.ID.String()))
		return
	}
	require.Equal(t, delivery.ID.String(), breach.DeliveryID)
	require.Equal(t, delivery.PartnerID.String(), breach.PartnerID)
	if breach.AttemptID != "" {
		require.Equal(t, 1, p.count(t, "webhook_delivery_log where attempt_id = $1 and delivery_id = $2", breach.AttemptID, delivery.ID.String()))
	}
}

func TestDoctorCountsWhatItDoesNotShow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	partner := b.partner(t, user, "acme", nowhere, "*")
	b.exec(t, `
		insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids, created_at)
		select $1, 'e' || n, 'a', '{}', array[$2::uuid], array[gen_random_uuid()], now() - n * interval '1 minute' from generate_series(1, 30) as n`,
		user, partner.ID)
	diagnosis, err := jobs.NewDoctor(b.doctorConfig(t)).Examine(t.Context(), "", 3)
	require.NoError(t, err)
	require.Equal(t, 30, diagnosis.Breaches())
	finding := diagnosis.Checks[0]
	require.Equal(t, 30, finding.Count)
	require.Len(t, finding.Breaches, 3)
	require.Equal(t, "e30", finding.Breaches[0].EventID, "the oldest first")
	require.NoError(t, uuid.Validate(finding.Breaches[0].DeliveryID))
}
