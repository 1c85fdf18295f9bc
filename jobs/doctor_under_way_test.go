package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

func TestDoctorLetsPassWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	delivered := func(p *patient) jobs.Delivery { return p.delivered }
	dead := func(p *patient) jobs.Delivery { return p.dead }
	waiting := func(p *patient) jobs.Delivery { return p.waiting }
	const (
		ended    = `update river_job set finalized_at = now() - interval '4 minutes'` + ofJob
		unlogged = `delete from webhook_delivery_log` + ofLog
		open     = `update webhook_delivery_log set outcome = 'sending', started_at = now() - interval '6 minutes'` + ofLog
		longOpen = `update webhook_delivery_log set outcome = 'sending', started_at = now() - interval '20 minutes'` + ofLog
		unsettle = `update webhook_settings set log_settled_until = now() - interval '30 minutes'`
	)
	for name, tt := range map[string]struct {
		of     func(p *patient) jobs.Delivery
		change []string
	}{
		"a delivery is being sent": {waiting, []string{
			open,
			`update river_job set state = 'running', attempted_at = now() - interval '6 minutes'` + ofJob,
		}},
		"a worker was killed": {waiting, []string{
			open,
			`update river_job set state = 'retryable', scheduled_at = now() + interval '1 minute'` + ofJob,
		}},
		"a worker was killed, and its attempt is soon to be settled": {waiting, []string{longOpen, unsettle}},
		"an outcome is not written yet":                              {delivered, []string{open}},
		"an outcome is not written yet, long after":                  {delivered, []string{longOpen, unsettle}},
		"a dead letter's outcome is not written yet":                 {dead, []string{ended, open}},
		"a job has just ended without an attempt":                    {delivered, []string{ended, unlogged}},
		"River has just discarded a job":                             {dead, []string{ended, unlogged}},
		"River discarded a job, and that is soon to be settled":      {dead, []string{unlogged, unsettle, `update river_job set finalized_at = now() - interval '20 minutes'` + ofJob}},
		"a retry is due":                                                 {waiting, []string{`update river_job set scheduled_at = now() - interval '4 minutes'` + ofJob}},
		"a delivery is due":                                              {waiting, []string{`update river_job set state = 'available', scheduled_at = now() - interval '4 minutes'` + ofJob}},
		"nothing was settled, but nothing was sent":                      {waiting, []string{`delete from webhook_delivery_log`, `delete from river_job where state <> 'retryable'`, `delete from webhook_events where event_id <> 'later.event'`, `update webhook_settings set log_settled_until = now() - interval '1 year'`}},
		"a dead letter's last attempt was lost":                          {dead, []string{`update webhook_delivery_log set outcome = 'lost', response_status = null` + ofLog + ` and attempt = 2`}},
		"a dead letter's last attempt was added by the settlement":       {dead, []string{`update webhook_delivery_log set outcome = 'failed', response_status = null, url = null` + ofLog + ` and attempt = 2`}},
		"River gave up a dead letter whose worker died after its answer": {dead, []string{`update webhook_delivery_log set response_status = 502` + ofLog + ` and attempt = 2`, `update river_job set errors[2] = jsonb_set(errors[2], '{error}', '"Stuck job rescued by JobRescuer"')` + ofJob}},
		"the settlement's worker died, and two runs failed": {waiting, []string{`
			insert into river_job (kind, state, max_attempts, finalized_at, args, errors)
			select 'webhook_settlement', 'discarded', 1, now() - n * interval '1 minute', '{}',
			       array[jsonb_build_object('error', case n when 1 then 'Stuck job rescued by JobRescuer' else 'lock' end)]
			  from generate_series(0, 2) as n`}},
		"a user is being erased":     {waiting, []string{`delete from partner_webhooks`, `delete from river_job`}},
		"a delivery's args are none": {waiting, []string{`delete from webhook_events` + ofEvent, `update river_job set state = 'cancelled', finalized_at = now(), args = '{"delivery_id": "none"}'` + ofJob}},
	} {
		require.Empty(t, p.after(t, p.doctorConfig(t), "", tt.of(p), tt.change...), name)
	}
}

func TestDoctorKnowsRetention(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	dead := func(p *patient) jobs.Delivery { return p.dead }
	const (
		gone     = `delete from river_job` + ofJob
		earlier  = `update webhook_delivery_log set started_at = started_at - interval '10 days' where event_id = 'good.earlier'`
		forgot   = `delete from river_job where args->>'event_id' = 'good.earlier'`
		unlogged = `delete from webhook_delivery_log` + ofLog
		old      = `update webhook_events set created_at = now() - interval '3 days'` + ofEvent
		oldLog   = `update webhook_delivery_log set started_at = started_at - interval '3 days'` + ofLog
		oldJob   = `update river_job set finalized_at = now() - interval '3 days', attempted_at = now() - interval '3 days'` + ofJob
		sort     = `select webhook_make_log_partitions()`
	)
	missing := map[string]int{"event_without_delivery": 1}
	none := map[string]int{}
	for name, tt := range map[string]struct {
		of     func(p *patient) jobs.Delivery
		config func(cfg *jobs.DoctorConfig)
		change []string
		want   map[string]int
	}{
		"delivered, and removed":        {func(p *patient) jobs.Delivery { return p.delivered }, nil, []string{gone}, none},
		"dead, and removed too early":   {dead, nil, []string{gone, old, oldLog, sort}, missing},
		"dead, and removed in time":     {dead, func(cfg *jobs.DoctorConfig) { cfg.Retention.DeadLetters = 2 * day }, []string{gone, old, oldLog, sort}, none},
		"dead, removed, kept for ever":  {dead, func(cfg *jobs.DoctorConfig) { cfg.Retention.DeadLetters = -1 }, []string{gone, old, oldLog, sort}, missing},
		"cancelled, removed too early":  {func(p *patient) jobs.Delivery { return p.cancelled }, func(cfg *jobs.DoctorConfig) { cfg.Retention.DeadLetters = 2 * day }, []string{gone, old, oldLog, sort}, missing},
		"cancelled, removed in time":    {func(p *patient) jobs.Delivery { return p.cancelled }, func(cfg *jobs.DoctorConfig) { cfg.Retention.Cancelled = 2 * day }, []string{gone, old, oldLog, sort}, none},
		"no attempt, and no retention":  {dead, nil, []string{earlier, forgot, sort, gone, old, unlogged}, missing},
		"no attempt, before there were": {dead, nil, []string{gone, old, unlogged}, none},
		"no attempt, and no log":        {dead, func(cfg *jobs.DoctorConfig) { cfg.LogAttempts = false }, []string{earlier, forgot, sort, gone, old, unlogged}, none},
		"no attempt, retention":         {dead, func(cfg *jobs.DoctorConfig) { cfg.Retention.Attempts = 2 * day }, []string{earlier, forgot, sort, gone, old, unlogged}, none},
		"young, and no log":             {dead, func(cfg *jobs.DoctorConfig) { cfg.LogAttempts = false }, []string{gone, unlogged}, missing},
		"a dead letter outlives its attempts": {
			dead, func(cfg *jobs.DoctorConfig) { cfg.Retention.Attempts = 2 * day },
			[]string{earlier, forgot, sort, oldJob, unlogged},
			none,
		},
		"a dead letter is older than the log": {dead, nil, []string{oldJob, unlogged}, none},
		"nothing is ever removed": {dead, func(cfg *jobs.DoctorConfig) {
			cfg.Retention = jobs.Retention{Completed: -1, DeadLetters: -1, Cancelled: -1, Events: -1, Attempts: -1}
		}, []string{`update river_job set finalized_at = finalized_at - interval '1 year' where finalized_at is not null`, `update webhook_events set created_at = created_at - interval '1 year'`}, none},
	} {
		cfg := p.doctorConfig(t)
		if tt.config != nil {
			tt.config(cfg)
		}
		require.Equal(t, tt.want, p.after(t, cfg, "", tt.of(p), tt.change...).counts(), name)
	}
}

func TestDoctorReadsJobsOfAnyForm(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	for _, args := range []string{`{}`, `[]`, `{"delivery_id": "none"}`, `{"delivery_id": {}, "user_id": 1, "partner_id": null}`} {
		for _, state := range []string{`state = 'running', attempted_at = null`, `state = 'discarded', finalized_at = now() - interval '1 hour'`} {
			found := p.after(t, p.doctorConfig(t), "", p.waiting, `update river_job set args = '`+args+`', `+state+ofJob)
			require.Contains(t, found, "delivery_without_event", args)
			require.Equal(t, 1, found["event_without_delivery"].Count, args)
		}
	}
}

func TestDoctorLooksOnlyAtWhatIsConfigured(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	cfg := p.doctorConfig(t)
	const anotherKey = `update partner_webhooks set secret_key_id = 'another'`
	require.Equal(t, map[string]int{"partner_sealed_with_another_key": 4}, p.after(t, cfg, "", jobs.Delivery{}, anotherKey).counts())
	cfg.KeyIDs = nil
	require.Empty(t, p.after(t, cfg, "", jobs.Delivery{}, anotherKey))

	const open = `update webhook_delivery_log set outcome = 'sending'`
	require.Equal(t, map[string]int{"attempt_left_open": 7}, p.after(t, cfg, "", jobs.Delivery{}, open).counts())
	cfg.LogAttempts = false
	require.Empty(t, p.after(t, cfg, "", jobs.Delivery{}, open))

	// Where another program's jobs may run for an hour, so may deliveries.
	const running = `update river_job set state = 'running', attempted_at = now() - interval '1 hour'` + ofJob
	require.Equal(t, map[string]int{"running_without_worker": 1}, p.after(t, cfg, "", p.waiting, running).counts())
	cfg.RescueAfter = time.Hour
	require.Empty(t, p.after(t, cfg, "", p.waiting, running))
}

func TestDoctorTellsInvalidIndexesFromThoseBeingMade(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	doctor := jobs.NewDoctor(b.doctorConfig(t))
	b.enqueue(t, completed("e1"))
	b.enqueue(t, completed("e2"))

	// It waits for whoever has written to the table.
	writer, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = writer.Exec(t.Context(), `update river_job set priority = 2`)
	require.NoError(t, err)
	made := make(chan error, 1)
	go func() {
		_, err := b.pool.Exec(context.WithoutCancel(t.Context()), `create unique index concurrently twice on river_job (kind)`)
		made <- err
	}()
	const invalid = "pg_index where indexrelid = to_regclass('twice') and not indisvalid"
	require.Eventually(t, func() bool { return b.count(t, invalid) == 1 }, waitFor, look)
	diagnosis, err := doctor.Examine(t.Context(), "", 10)
	require.Empty(t, examined(t, diagnosis, err), "it is being made")

	require.NoError(t, writer.Commit(t.Context()))
	require.ErrorContains(t, <-made, "could not create unique index")
	diagnosis, err = doctor.Examine(t.Context(), "", 10)
	found := examined(t, diagnosis, err)
	require.Equal(t, map[string]int{"invalid_index": 1}, found.counts())
	require.Equal(t, "index twice of river_job is invalid", found["invalid_index"].Breaches[0].Problem)
}
