-- A year-like history: what stays of it under the retention periods of the defaults. Delivered jobs are of the
-- last day; dead letters, cancelled deliveries, events and attempts are of ninety days. One temporary table,
-- wanted, holds how many of each there shall be.

insert into partner_webhooks (user_id, partner_name, partner_slug, url, secret_ciphertext, secret_key_id, enabled_events)
select 'user-' || u, 'Partner ' || p, 'partner-' || p, 'https://partner.example/hook', '\x00', 'none', '{call.*}'
  from generate_series(1, 200) as u, generate_series(1, 2) as p;

-- Each event goes to both partners of its user. Tries are those that are over or, of a running one, under way;
-- the last of them began late after the enqueueing, as the schedule has it.
create temp table history as
with kinds as (
    select kind.*, (sum(kind.count) over (order by kind.place) - kind.count)::bigint as start
      from wanted as w
     cross join lateral (values
           (1, 'completed', w.completed, interval '1 day'),
           (2, 'discarded', w.dead, interval '90 days'),
           (3, 'cancelled', w.cancelled, interval '90 days'),
           (4, 'retryable', w.failed, interval '15 minutes'),
           (5, 'available', w.pending, interval '5 minutes'),
           (6, 'running', w.processing, interval '1 second')) as kind (place, state, count, span)
), deliveries as (
    select k.state, k.start + i - 1 as n, now() - k.span * (k.count - i + 1) / k.count as ended_at
      from kinds as k
     cross join lateral generate_series(1, k.count) as i
), tried as (
    select d.*, case d.state when 'completed' then 1 + (d.n % 50 = 0)::int when 'discarded' then 6 when 'retryable' then 1 + d.n % 5 when 'running' then 1 else 0 end as tries
      from deliveries as d
)
select d.n, d.state, d.tries, late.late, d.ended_at - interval '15 ms' - late.late as created_at,
       gen_random_uuid() as delivery_id, p.user_id, p.id as partner_id, 'event-' || d.n / 2 as event_id,
       case when (d.n / 2) % 10 < 7 then 'call.completed' else 'call.failed' end as event_type, d.n % 4 as failure
  from tried as d
 cross join lateral (select (power(2, greatest(d.tries - 1, 0)) - 1) * interval '30 s' as late) as late
  join partner_webhooks as p on p.user_id = 'user-' || 1 + (d.n / 2) % 200 and p.partner_slug = 'partner-' || 1 + d.n % 2;

create temp table failures as
select * from (values
       (0, 500, 'http_status', 'the partner answered 500 Internal Server Error'),
       (1, 503, 'http_status', 'the partner answered 503 Service Unavailable'),
       (2, null, 'timeout', 'no answer within 30s'),
       (3, null, 'connect', 'dial: connect: connection refused')) as f (failure, response_status, error_kind, error);

insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids, created_at)
select user_id, event_id, min(event_type),
       json_build_object('call_id', event_id, 'status', 'completed', 'duration', 184, 'transcript', repeat('x', 300)),
       array_agg(partner_id order by n), array_agg(delivery_id order by n), min(created_at) as created_at
  from history
 group by user_id, event_id
 order by created_at;

insert into river_job (state, attempt, max_attempts, created_at, scheduled_at, attempted_at, finalized_at, args, attempted_by, errors, kind, metadata, queue)
select h.state::river_job_state, h.tries, 6, h.created_at,
       case h.state when 'retryable' then now() + interval '200 s' * random() else h.created_at end,
       case when h.tries > 0 then h.created_at + h.late + interval '5 ms' end,
       case when h.state in ('completed', 'discarded', 'cancelled') then h.created_at + h.late + interval '15 ms' end,
       jsonb_build_object('version', 1, 'delivery_id', h.delivery_id, 'user_id', h.user_id, 'partner_id', h.partner_id, 'event_id', h.event_id, 'event_type', h.event_type),
       case when h.tries > 0 then array['host-1-20260131T100000-abcdefgh'] end,
       case when h.state in ('discarded', 'retryable') then (
           select array_agg(jsonb_build_object('at', h.created_at + k * interval '1 min', 'error', f.error, 'trace', '', 'attempt', k)) from generate_series(1, h.tries) as k) end,
       'webhook_delivery',
       jsonb_build_object('trigger', 'schedule') || case
           when h.state = 'completed' then '{"output": {"outcome": "delivered", "response_status": 200}}'
           when h.state = 'cancelled' then '{"output": {"outcome": "cancelled", "error_kind": "internal", "error": "the partner was deleted"}}'
           when h.state in ('discarded', 'retryable') then jsonb_build_object('output', jsonb_strip_nulls(jsonb_build_object(
               'outcome', 'failed', 'response_status', f.response_status, 'error_kind', f.error_kind, 'error', f.error)))
           else '{}' end,
       'webhooks'
  from history as h
  join failures as f using (failure)
 order by h.created_at;

-- One attempt of each week (ninety days begin in the thirteenth), to have the weeks' partitions made before the others come.
insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
select gen_random_uuid(), 0, 1, 'manual', 'cancelled', 'bench', now() - n * interval '7 days'
  from generate_series(1, 13) as n;
select webhook_make_log_partitions();

-- The attempts of these deliveries and, as far as more are wanted, of deliveries that are long gone.
insert into webhook_delivery_log (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger, outcome,
                                  response_status, response_headers, response_body, error_kind, error, url, duration_ms, client_id, started_at)
with attempts as (
    select h.delivery_id, h.n, h.user_id, h.partner_id, h.event_id, h.event_type, k as attempt, h.failure,
           h.state = 'completed' and k = h.tries as delivered, h.state = 'running' as sending,
           h.created_at + interval '5 ms' + (power(2, k - 1) - 1) * interval '30 s' as started_at
      from history as h
     cross join lateral generate_series(1, h.tries) as k
     union all
    select gen_random_uuid(), -n, p.user_id, p.id, 'gone-' || n, 'call.completed', 1, 0, true, false, now() - interval '89 days' * n / w.count - interval '1 day'
      from (select attempts - (select coalesce(sum(tries), 0)::bigint from history) as count from wanted) as w
     cross join lateral generate_series(1, w.count) as n
      join partner_webhooks as p on p.user_id = 'user-' || 1 + n % 200 and p.partner_slug = 'partner-' || 1 + n / 200 % 2
)
select gen_random_uuid(), a.delivery_id, a.n, a.user_id, a.partner_id, a.event_id, a.event_type, a.attempt, 'schedule',
       case when a.sending then 'sending' when a.delivered then 'delivered' else 'failed' end,
       case when a.sending then null when a.delivered then 200 else f.response_status end,
       case when not a.sending then '{"content-type":"text/plain"}'::json end,
       case when not a.sending then 'ok, thanks' end,
       case when not a.sending and not a.delivered then f.error_kind end,
       case when not a.sending and not a.delivered then f.error end,
       'https://partner.example/hook', case when not a.sending then 20 + random() * 100 end, 'host-1-20260131T100000-abcdefgh', a.started_at
  from attempts as a
  join failures as f using (failure)
 order by a.started_at;

drop table history, failures;

-- Workers have kept up with it all the time.
update webhook_settings set log_settled_until = now();
