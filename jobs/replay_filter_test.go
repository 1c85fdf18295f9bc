package jobs_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// pastDelivery is a delivery that replays choose from.
type pastDelivery struct {
	ID        uuid.UUID
	User      string
	Slug      string
	EventType string
	State     string // River's; "gone": a delivered one whose job was removed; "forgotten": another one whose job was
	Kind      partners.ErrorKind
	CreatedAt time.Time
}

func (p *pastDelivery) status() jobs.Status {
	return map[string]jobs.Status{
		"available": jobs.StatusPending, "retryable": jobs.StatusFailed, "running": jobs.StatusProcessing, "completed": jobs.StatusDelivered,
		"gone": jobs.StatusDelivered, "discarded": jobs.StatusDeadLetter, "cancelled": jobs.StatusCancelled,
	}[p.State]
}

// matches says whether a filter means the delivery.
func (p *pastDelivery) matches(filter *jobs.Filter) bool {
	return p.status() == filter.Status &&
		(filter.UserID == "" || p.User == filter.UserID) &&
		(filter.PartnerSlug == "" || p.Slug == filter.PartnerSlug) &&
		(filter.EventType == "" || p.EventType == filter.EventType) &&
		(filter.ErrorKind == "" || p.Kind == filter.ErrorKind) &&
		(filter.Since.IsZero() || !p.CreatedAt.Before(filter.Since)) &&
		(filter.Until.IsZero() || p.CreatedAt.Before(filter.Until))
}

// insertPast makes a delivery for each combination of what filters look at. Some of those without a job have
// attempts on record.
const insertPast = `
	with made as (
	    select gen_random_uuid() as id, gen_random_uuid()::text as event_id, p.user_id, p.partner_slug, p.id as partner_id, event_type, state, kind,
	           now() - age - random() * interval '10 minutes' as at, random() < 0.5 as logged
	      from partner_webhooks p
	     cross join unnest(array['call.completed', 'call.failed']) as event_type
	     cross join unnest(array['available', 'retryable', 'running', 'completed', 'gone', 'forgotten', 'discarded', 'cancelled']) as state
	     cross join unnest(array['timeout', 'http_status']) as kind
	     cross join unnest(array['1 hour', '3 hours', '72 hours']::interval[]) as age
	), events as (
	    insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids, created_at)
	    select user_id, event_id, event_type, '{}', array[partner_id], array[id], at from made
	), jobs as (
	    insert into river_job (kind, queue, state, attempt, max_attempts, created_at, attempted_at, finalized_at, metadata, args)
	    select 'webhook_delivery', 'webhooks', state::river_job_state, case state when 'available' then 0 else 1 end, 2, at, at,
	           case when state in ('completed', 'discarded', 'cancelled') then now() - interval '1 second' end,
	           jsonb_build_object('output', jsonb_build_object('error_kind', kind, 'error', 'x')),
	           jsonb_build_object('version', 1, 'delivery_id', id, 'user_id', user_id, 'partner_id', partner_id, 'event_id', event_id, 'event_type', event_type)
	      from made
	     where state not in ('gone', 'forgotten')
	), logged as (
	    insert into webhook_delivery_log (attempt_id, delivery_id, job_id, user_id, event_id, attempt, trigger, outcome, client_id, started_at)
	    select gen_random_uuid(), id, 1, user_id, event_id, attempt, 'schedule', outcome, 'c', at + attempt * interval '1 second'
	      from made
	     cross join (values (1, 'failed'), (2, 'delivered')) as tries (attempt, outcome)
	     where state = 'gone' and logged or state = 'forgotten' and outcome = 'failed'
	)
	select id, user_id, partner_slug, event_type, state, kind, at from made order by at`

// past makes deliveries to three partners, and returns them, the oldest first.
func (b *testBundle) past(t *testing.T) []pastDelivery {
	t.Helper()
	for _, partner := range [][2]string{{user, "acme"}, {user, "zeta"}, {"other", "acme"}} {
		b.partner(t, partner[0], partner[1], nowhere, "*")
	}
	rows, err := b.pool.Query(t.Context(), insertPast)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pastDelivery])
	require.NoError(t, err)
	require.Len(t, all, 288)
	return all
}

// TestReplayFilters compares what Replay takes, and what CountReplay says that it takes, with what a filter
// means, and with what List shows for it.
func TestReplayFilters(t *testing.T) {
	t.Parallel()
	now := time.Now()
	hours := func(n float64) time.Time { return now.Add(-time.Duration(n * float64(time.Hour))) }
	tests := map[string]jobs.Filter{
		"all dead letters":      {Status: jobs.StatusDeadLetter},
		"all cancelled":         {Status: jobs.StatusCancelled},
		"all delivered":         {Status: jobs.StatusDelivered},
		"user":                  {Status: jobs.StatusDeadLetter, UserID: user},
		"unknown user":          {Status: jobs.StatusDeadLetter, UserID: "nobody"},
		"partner":               {Status: jobs.StatusDeadLetter, PartnerSlug: "acme"},
		"partner of a user":     {Status: jobs.StatusCancelled, UserID: user, PartnerSlug: "acme"},
		"partner of another":    {Status: jobs.StatusCancelled, UserID: "other", PartnerSlug: "zeta"},
		"event":                 {Status: jobs.StatusDeadLetter, EventType: "call.failed"},
		"kind of error":         {Status: jobs.StatusDeadLetter, ErrorKind: partners.KindTimeout},
		"another kind":          {Status: jobs.StatusCancelled, ErrorKind: partners.KindHTTPStatus},
		"kind that there isn't": {Status: jobs.StatusDeadLetter, ErrorKind: partners.KindDNS},
		"since":                 {Status: jobs.StatusDeadLetter, Since: hours(2)},
		"until":                 {Status: jobs.StatusDeadLetter, Until: hours(2)},
		"since and until":       {Status: jobs.StatusDeadLetter, Since: hours(4), Until: hours(2)},
		"all at once": {
			Status: jobs.StatusDeadLetter, UserID: user, PartnerSlug: "zeta", EventType: "call.completed", ErrorKind: partners.KindTimeout,
			Since: hours(4), Until: hours(2),
		},
		"delivered, user":            {Status: jobs.StatusDelivered, UserID: "other"},
		"delivered, partner":         {Status: jobs.StatusDelivered, PartnerSlug: "acme"},
		"delivered, event":           {Status: jobs.StatusDelivered, EventType: "call.failed"},
		"delivered, since":           {Status: jobs.StatusDelivered, Since: hours(4)},
		"delivered, since and until": {Status: jobs.StatusDelivered, Since: hours(4), Until: hours(2)},
		"delivered, until later":     {Status: jobs.StatusDelivered, Since: hours(4), Until: hours(-1)},
		"delivered, all at once": {
			Status: jobs.StatusDelivered, UserID: user, PartnerSlug: "zeta", EventType: "call.completed", Since: hours(4), Until: hours(2),
		},
	}
	for name, filter := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var want []uuid.UUID // the oldest first
			counts, gone := map[string]int{}, 0
			for _, p := range b.past(t) {
				if p.matches(&filter) {
					want = append(want, p.ID)
					counts[p.User+"/"+p.Slug]++
					if p.State == "gone" {
						gone++
					}
				}
			}
			listed, err := b.operator(t).List(t.Context(), &filter, &jobs.Page{Limit: 1000})
			require.NoError(t, err)
			require.Len(t, listed, len(want)-gone, "a list has none without a job")
			before := b.count(t, `river_job where kind = 'webhook_delivery'`)

			require.Equal(t, counts, b.countReplay(t, jobs.Replay{Filter: filter}))
			require.Zero(t, b.replayed(t), "counting changes nothing")
			results := b.replayAll(t, jobs.Replay{Filter: filter})
			require.Equal(t, len(want), results[jobs.Replayed])
			require.LessOrEqual(t, len(results), 1)
			require.Empty(t, b.replayAll(t, jobs.Replay{Filter: filter}), "nothing is left")
			require.Empty(t, b.countReplay(t, jobs.Replay{Filter: filter}))

			rows, err := b.pool.Query(t.Context(), `
				select (args->>'delivery_id')::uuid from river_job where metadata->>'trigger' = 'replay' order by id`)
			require.NoError(t, err)
			got, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
			require.NoError(t, err)
			require.Equal(t, want, append([]uuid.UUID(nil), got...), "the oldest first")
			require.Equal(t, before+gone, b.count(t, `river_job where kind = 'webhook_delivery'`))
		})
	}
}
