package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/epicvoice/webhook-worker/partners"
)

// beginStats begins a look at large tables. Compiling a plan (JIT) takes longer than running it. The looks run
// side by side, so that parallel workers only get in each other's way, and make PostgreSQL scan the whole
// table where an index would do. Groups whose number it can't know fit in memory.
const beginStats = `
	begin read only;
	set local jit = off;
	set local max_parallel_workers_per_gather = 0;
	set local work_mem = '64MB'`

// ofQueue are the conditions on the view webhook_delivery_queue, named q.
func (f *StatsFilter) ofQueue() *conditions {
	return (&Filter{UserID: f.UserID, PartnerSlug: f.PartnerSlug}).ofQueue()
}

// ofHour are the conditions on webhook_delivery_log, named l, for the attempts of the last hour that have
// ended. The time picks the partition.
func (f *StatsFilter) ofHour() *conditions {
	c := &conditions{all: []string{`l.started_at > now() - interval '1 hour'`, `l.outcome in ('delivered', 'failed', 'lost')`}}
	if f.UserID != "" {
		c.add(`l.user_id = $?`, f.UserID)
	}
	if f.PartnerSlug != "" {
		c.add(`(l.user_id, l.partner_id) in (select user_id, id from partner_webhooks where partner_slug = $?)`, f.PartnerSlug)
	}
	return c
}

// readAllStatuses reads how all deliveries stand.
func (s *Stats) readAllStatuses(ctx context.Context, tx pgx.Tx, _ *StatsFilter) error {
	type row struct {
		StatusStats

		SuccessRate, P50MS, P95MS *float64
	}
	list, err := collect(ctx, tx, pgx.RowToStructByPos[row], `
		select status, count, due, extract(epoch from oldest_age)::double precision, last_hour, success_rate, p50_ms, p95_ms
		  from get_webhook_queue_stats()`)
	if err != nil {
		return err
	}
	for i := range list {
		row := &list[i]
		s.Statuses = append(s.Statuses, row.StatusStats)
		if row.Status == StatusDelivered {
			s.LastHour.SuccessRate, s.LastHour.P50MS, s.LastHour.P95MS = row.SuccessRate, row.P50MS, row.P95MS
		}
	}
	return nil
}

// readStatuses reads how the deliveries to some partners stand. It is get_webhook_partner_stats for those who
// can say what they want before the statement is planned: indexes find a user's deliveries.
func (s *Stats) readStatuses(ctx context.Context, tx pgx.Tx, filter *StatsFilter) error {
	var known bool
	if err := tx.QueryRow(ctx, `
		select exists (select from partner_webhooks where ($1 = '' or user_id = $1) and ($2 = '' or partner_slug = $2))`,
		filter.UserID, filter.PartnerSlug).Scan(&known); err != nil {
		return err
	}
	switch {
	case !known && filter.PartnerSlug == "":
		return fmt.Errorf("%w: user %s has none", partners.ErrNotFound, filter.UserID)
	case !known:
		return fmt.Errorf("%w: %s", partners.ErrNotFound, filter.PartnerSlug)
	}
	where := filter.ofQueue()
	var err error
	s.Statuses, err = collect(ctx, tx, pgx.RowToStructByPos[StatusStats], `
		with queued as (
		    select q.status, count(*) as count, count(*) filter (where q.next_attempt_at <= now()) as due,
		           min(case when q.status <> 'pending' then q."updatedAt" when q.next_attempt_at <= now() then q.next_attempt_at else q."createdAt" end) as since,
		           count(*) filter (where q."updatedAt" > now() - interval '1 hour') as last_hour
		      from webhook_deliveries q`+where.where()+`
		       and q.status in ('pending', 'failed', 'dead_letter', 'cancelled')
		     group by q.status
		     union all
		    select 'processing', count(*), null, min(q."updatedAt"), null
		      from webhook_deliveries q`+where.where()+`
		       and q.job_id in (select id from river_job where state = 'running')
		)
		select s.status, coalesce(q.count, 0), case when s.status in ('pending', 'failed') then coalesce(q.due, 0) end,
		       case when q.since is not null then extract(epoch from now() - least(q.since, now()))::double precision end,
		       case when s.status in ('dead_letter', 'cancelled') then coalesce(q.last_hour, 0) end
		  from unnest(array['pending', 'processing', 'failed', 'dead_letter', 'cancelled']) with ordinality as s (status, place)
		  left join queued q using (status)
		 order by s.place`, where.args...)
	return err
}

// readDurations reads how long the POSTs to some partners took that delivered.
func (s *Stats) readDurations(ctx context.Context, tx pgx.Tx, filter *StatsFilter) error {
	where := filter.ofHour()
	var ms []float64 // nil if there were none
	if err := tx.QueryRow(ctx, `
		select percentile_cont(array[0.5, 0.95]) within group (order by l.duration_ms)
		  from webhook_delivery_log l`+where.where()+`
		   and l.outcome = 'delivered'`, where.args...).Scan(&ms); err != nil {
		return err
	}
	if len(ms) == 2 {
		s.LastHour.P50MS, s.LastHour.P95MS = &ms[0], &ms[1]
	}
	return nil
}

// readPartners reads which partners have the most dead letters.
func (s *Stats) readPartners(ctx context.Context, tx pgx.Tx, filter *StatsFilter) error {
	where := filter.ofQueue()
	where.all = append(where.all, `q.status in ('failed', 'dead_letter')`)
	limit := where.arg(statsRows)
	var err error
	s.Partners, err = collect(ctx, tx, pgx.RowToStructByPos[PartnerStats], `
		with dead as (
		    select q.partner_id, max(q."userId") as user_id,
		           count(*) filter (where q.status = 'dead_letter') as dead_letters,
		           count(*) filter (where q.status = 'failed') as failed
		      from webhook_deliveries q`+where.where()+`
		     group by q.partner_id
		    having count(*) filter (where q.status = 'dead_letter') > 0
		     order by dead_letters desc, failed desc, user_id, q.partner_id
		     limit `+limit+`
		), attempts as (
		    select l.partner_id, count(*) as attempts, count(*) filter (where l.outcome = 'delivered') as delivered
		      from webhook_delivery_log l`+(&StatsFilter{}).ofHour().where()+`
		     group by l.partner_id
		)
		select coalesce(d.user_id, ''), p.partner_slug,
		       case when p.id is null then 'deleted' when not p.enabled then 'disabled' when p.paused_at is not null then 'paused' else 'enabled' end,
		       d.dead_letters, d.failed, coalesce(a.attempts, 0), a.delivered::double precision / a.attempts
		  from dead d
		  left join partner_webhooks p on p.user_id = d.user_id and p.id::text = d.partner_id
		  left join attempts a on a.partner_id::text = d.partner_id
		 order by d.dead_letters desc, d.failed desc, d.user_id, p.partner_slug`, where.args...)
	return err
}

// readAttempts reads what the attempt log alone knows.
func (s *Stats) readAttempts(ctx context.Context, tx pgx.Tx, filter *StatsFilter) error {
	var now time.Time // the transaction's, as in the next statement
	if err := tx.QueryRow(ctx, `select now()`).Scan(&now); err != nil {
		return err
	}
	where := filter.ofHour()
	counts, err := collect(ctx, tx, pgx.RowToStructByPos[attemptCount], `
		select date_trunc('minute', l.started_at), l.outcome, l.response_status, l.error_kind, count(*), max(l.error collate "C")
		  from webhook_delivery_log l`+where.where()+`
		 group by 1, 2, 3, 4
		 order by 1 desc, 5 desc, 3, 4`, where.args...)
	if err != nil {
		return err
	}
	s.sumAttempts(now, counts)
	return nil
}
