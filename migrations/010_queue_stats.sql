-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- Whoever has enqueued in an open transaction holds this up, and this then all enqueueing: migrate again later.
select set_config('lock_timeout', '5s', true);

alter table webhook_settings add column log_settled_until timestamptz not null default now();
update webhook_settings set log_settled_until = '2000-01-01' where exists (select from webhook_delivery_log);
comment on column webhook_settings.log_settled_until is
    'Attempts before this time have been compared with their jobs: none of them is open whose worker died.';

create function get_webhook_queue_stats()
    returns table (status text, count bigint, oldest_age interval, due bigint, last_hour bigint,
                   success_rate double precision, p50_ms double precision, p95_ms double precision)
    language sql stable
    set search_path from current
    set jit = off set max_parallel_workers_per_gather = 0
as $$
    with waiting as (
        select case when j.attempt = 0 then 'pending' else 'failed' end as status,
               count(*) as count,
               count(*) filter (where j.scheduled_at <= now()) as due,
               min(case when j.attempt > 0 then j.attempted_at when j.scheduled_at <= now() then j.scheduled_at else j.created_at end) as since
          from river_job j
         where j.kind = 'webhook_delivery' and j.state in ('available', 'pending', 'retryable', 'scheduled')
         group by 1
    ), running as (
        select 'processing' as status, count(*) as count, min(j.attempted_at) as since
          from river_job j
         where j.kind = 'webhook_delivery' and j.state = 'running'
    ), ended as (
        select s.status,
               (select j.finalized_at from river_job j
                 where j.kind = 'webhook_delivery' and j.state = s.state and j.finalized_at is not null
                 order by j.finalized_at limit 1) as since,
               (select count(*) from river_job j
                 where j.kind = 'webhook_delivery' and j.state = s.state and j.finalized_at > now() - interval '1 hour') as last_hour
          from (values ('delivered', 'completed'::river_job_state), ('dead_letter', 'discarded'), ('cancelled', 'cancelled')) as s (status, state)
    ), counts as (
        select 'dead_letter' as status, count(*) as count from webhook_delivery_queue q where q.status = 'dead_letter'
         union all
        select 'cancelled', count(*) from webhook_delivery_queue q where q.status = 'cancelled'
         union all
        select w.status, w.count from waiting w
         union all
        select r.status, r.count from running r
    ), durations as (
        select l.outcome as status, percentile_cont(array[0.5, 0.95]) within group (order by l.duration_ms) as ms
          from webhook_delivery_log l
         where l.started_at > now() - interval '1 hour' and l.outcome in ('delivered', 'failed')
         group by l.outcome
    )
    select s.status,
           case when s.status <> 'delivered' then coalesce(c.count, 0)
                -- All the others are few, and an index counts all of them.
                else (select count(*) from river_job j where j.kind = 'webhook_delivery') - (select coalesce(sum(c.count), 0) from counts c)
           end::bigint,
           case when coalesce(w.since, r.since, e.since) is not null then now() - least(coalesce(w.since, r.since, e.since), now()) end,
           case when s.status in ('pending', 'failed') then coalesce(w.due, 0) end,
           e.last_hour,
           case when s.status = 'delivered' then
               (select sum(ended.last_hour) filter (where ended.status = 'delivered')
                       / nullif(sum(ended.last_hour) filter (where ended.status in ('delivered', 'dead_letter')), 0) from ended)
           end::double precision,
           d.ms[1],
           d.ms[2]
      from unnest(array['pending', 'processing', 'failed', 'delivered', 'dead_letter', 'cancelled']) with ordinality as s (status, place)
      left join counts c using (status)
      left join waiting w using (status)
      left join running r using (status)
      left join ended e using (status)
      left join durations d using (status)
     order by s.place
$$;

comment on function get_webhook_queue_stats is
    'One row a status of webhook_delivery_queue: how many deliveries have it; for how long the oldest has had it (pending: since it was due); how many are due, so that a worker should have them; how many came to it in the last hour; for delivered, the share of those among what was delivered or died; for delivered and failed, median and 95th percentile of the POSTs'' milliseconds of the last hour, from webhook_delivery_log.';

create function get_webhook_partner_stats(user_id text default null, partner_slug text default null)
    returns table (user_id text, partner_slug text, enabled boolean, paused boolean,
                   pending bigint, processing bigint, failed bigint, dead_letters bigint, due bigint, oldest_due_age interval,
                   attempts_last_hour bigint, delivered_last_hour bigint, success_rate double precision,
                   p50_ms double precision, p95_ms double precision)
    language sql stable
    set search_path from current
    set jit = off
as $$
    with wanted as materialized (
        select p.id, p.user_id, p.partner_slug, p.enabled, p.paused_at is not null as paused
          from partner_webhooks p
         where ($1 is null or p.user_id = $1) and ($2 is null or p.partner_slug = $2)
    ), unfinished as (
        -- One of the first two finds nothing, and is not begun: each has its own index.
        select q.partner_id, q.status, q.next_attempt_at
          from webhook_delivery_queue q
         where $1 is null and q.status in ('pending', 'failed', 'dead_letter')
         union all
        select q.partner_id, q.status, q.next_attempt_at
          from webhook_delivery_queue q
         where q."userId" = $1 and q.status in ('pending', 'failed', 'dead_letter')
         union all
        select j.args->>'partner_id', 'processing', null
          from river_job j
         where j.kind = 'webhook_delivery' and j.state = 'running'
    ), queued as (
        select u.partner_id,
               count(*) filter (where u.status = 'pending') as pending,
               count(*) filter (where u.status = 'processing') as processing,
               count(*) filter (where u.status = 'failed') as failed,
               count(*) filter (where u.status = 'dead_letter') as dead_letters,
               count(*) filter (where u.next_attempt_at <= now()) as due,
               now() - min(u.next_attempt_at) filter (where u.next_attempt_at <= now()) as oldest_due_age
          from unfinished u
         group by u.partner_id
    ), attempts as (
        select l.partner_id, count(*) as attempts, count(*) filter (where l.outcome = 'delivered') as delivered,
               percentile_cont(array[0.5, 0.95]) within group (order by l.duration_ms) as ms
          from webhook_delivery_log l
         where l.started_at > now() - interval '1 hour' and l.outcome in ('delivered', 'failed', 'lost')
         group by l.partner_id
    )
    select w.user_id, w.partner_slug, w.enabled, w.paused,
           coalesce(q.pending, 0), coalesce(q.processing, 0), coalesce(q.failed, 0), coalesce(q.dead_letters, 0), coalesce(q.due, 0), q.oldest_due_age,
           coalesce(a.attempts, 0), coalesce(a.delivered, 0), a.delivered::double precision / nullif(a.attempts, 0), a.ms[1], a.ms[2]
      from wanted w
      left join queued q on q.partner_id = w.id::text
      left join attempts a on a.partner_id = w.id
     order by w.user_id, w.partner_slug
$$;

comment on function get_webhook_partner_stats is
    'One row a partner, of one user or of one slug if given: its deliveries that have not been delivered, by status, how many of them are due and since when; and its attempts of the last hour, the share that was delivered, and median and 95th percentile of their milliseconds, from webhook_delivery_log.';

revoke execute on function get_webhook_queue_stats, get_webhook_partner_stats from public;

---- create above / drop below ----

drop function get_webhook_partner_stats(text, text);
drop function get_webhook_queue_stats();
alter table webhook_settings drop column log_settled_until;
