-- A database of webhook-worker 9b8d371, made by `make release-database`.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['webhook_app', 'webhook_worker', 'webhook_reader'] loop
        begin
            if not exists (select from pg_roles where rolname = wanted) then
                execute format('create role %I nologin', wanted);
            end if;
        exception
            when duplicate_object or unique_violation then
                null;
        end;
    end loop;
end
$$;
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE TYPE public.river_job_state AS ENUM (
    'available',
    'cancelled',
    'completed',
    'discarded',
    'pending',
    'retryable',
    'running',
    'scheduled'
);

CREATE FUNCTION public.webhook_store_call_outcome(user_id text, call_id text, outcome_data json) RETURNS SETOF uuid
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
    members json;
    event_type text;
begin
    perform webhook_require_text('call_id', call_id, 126);
    perform webhook_require_payload(outcome_data);
    -- PostgreSQL reads no member of a document that has an escape of NUL or of half a character in any text;
    -- another control character stands for those here. \x01 cannot be in JSON: it stands for an escaped
    -- backslash meanwhile.
    members := replace(regexp_replace(replace(outcome_data::text, '\\', E'\x01'),
                                      '\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\\u0001', 'g'), E'\x01', '\\');
    if json_typeof(members->'event_type') is distinct from 'string' then
        raise exception 'event_type must be in the outcome, as text such as call.completed' using errcode = 'invalid_parameter_value';
    end if;
    event_type := members->>'event_type';
    perform webhook_require_event_type(event_type);
    return query select webhook_store_event(user_id, event_type, outcome_data, call_id || ':' || event_type, 'first');
end
$$;

CREATE FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data json) RETURNS SETOF uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET standard_conforming_strings TO 'on'
    BEGIN ATOMIC
 SELECT public.webhook_store_call_outcome(user_id, call_id, outcome_data) AS webhook_store_call_outcome;
END;

CREATE FUNCTION public.webhook_refuse_jsonb() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
    raise exception 'the payload is jsonb: pass json instead, because jsonb has lost the order of keys and the form of numbers'
          using errcode = 'invalid_parameter_value';
end
$$;

CREATE FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data jsonb) RETURNS SETOF uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET standard_conforming_strings TO 'on'
    BEGIN ATOMIC
 SELECT NULL::uuid AS uuid
    FROM public.webhook_refuse_jsonb() webhook_refuse_jsonb(webhook_refuse_jsonb);
END;

CREATE FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data text) RETURNS SETOF uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET standard_conforming_strings TO 'on'
    BEGIN ATOMIC
 SELECT public.webhook_store_call_outcome(user_id, call_id, (outcome_data)::json) AS webhook_store_call_outcome;
END;

CREATE FUNCTION public.webhook_store_event(user_id text, event_type text, payload json, event_id text, on_conflict text) RETURNS SETOF uuid
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
#variable_conflict use_column
declare
    p_user_id    text    := $1;
    p_event_type text    := $2;
    p_payload    json    := $3;
    p_event_id   text    := coalesce($4, gen_random_uuid()::text);
    p_conflict   text    := $5;
    patterns     text[];
    stored       boolean;
    same         boolean;
    ids          uuid[];
begin
    perform webhook_require_text('user_id', p_user_id, 255);
    perform webhook_require_user(p_user_id);
    perform webhook_require_text('event_id', p_event_id, 255);
    perform webhook_require_event_type(p_event_type);
    perform webhook_require_payload(p_payload);
    if p_conflict is null or p_conflict not in ('error', 'first') then
        raise exception 'on_conflict % must be error or first', coalesce(to_json(left(p_conflict, 80))::text, 'null') using errcode = 'invalid_parameter_value';
    end if;
    patterns := webhook_event_patterns(p_event_type);

    -- The event is the gate: whoever stores it makes the jobs.
    with subscribed as materialized (
        select p.id as partner_id, p.partner_slug, gen_random_uuid() as delivery_id,
               1 + coalesce(p.max_retries, (select retry_max_attempts from webhook_settings)) as max_attempts
          from partner_webhooks p
         where p.user_id = p_user_id
           and p.enabled
           and p.enabled_events && patterns
    ), stored as (
        insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids)
        select p_user_id, p_event_id, p_event_type, p_payload,
               coalesce(array_agg(partner_id order by partner_slug), '{}'),
               coalesce(array_agg(delivery_id order by partner_slug), '{}')
          from subscribed
        on conflict (user_id, event_id) do nothing
        returning delivery_ids
    ), jobs as (
        insert into river_job (kind, queue, priority, max_attempts, metadata, args)
        select 'webhook_delivery', 'webhooks', webhook_delivery_priority(partner_id), max_attempts, '{"trigger": "schedule"}',
               jsonb_build_object('version', 1, 'delivery_id', delivery_id, 'user_id', p_user_id, 'partner_id', partner_id,
                                  'event_id', p_event_id, 'event_type', p_event_type)
          from subscribed
         where exists (select from stored)
         order by partner_slug
    )
    select true, delivery_ids into stored, ids from stored;

    if stored then
        if cardinality(ids) > 0 then
            perform webhook_wake_workers();
        end if;
        return query select unnest(ids);
        return;
    end if;

    select e.event_type = p_event_type and e.payload::text = p_payload::text, e.delivery_ids
      into same, ids
      from webhook_events e
     where e.user_id = p_user_id and e.event_id = p_event_id;
    if not found then
        raise exception 'event % was removed while it was being enqueued again: try once more', to_json(p_event_id)
              using errcode = 'serialization_failure';
    elsif not same and p_conflict = 'error' then
        raise exception 'an event of id % exists with another type or payload', to_json(p_event_id) using errcode = 'WH001';
    elsif not same then
        raise notice 'event % exists with another type or payload: the first one stands', to_json(p_event_id);
    end if;
    return query select unnest(ids);
end
$_$;

CREATE FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload json, event_id text DEFAULT NULL::text, on_conflict text DEFAULT 'error'::text) RETURNS SETOF uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET standard_conforming_strings TO 'on'
    BEGIN ATOMIC
 SELECT public.webhook_store_event(user_id, event_type, payload, event_id, on_conflict) AS webhook_store_event;
END;

CREATE FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload jsonb, event_id text DEFAULT NULL::text, on_conflict text DEFAULT 'error'::text) RETURNS SETOF uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET standard_conforming_strings TO 'on'
    BEGIN ATOMIC
 SELECT NULL::uuid AS uuid
    FROM public.webhook_refuse_jsonb() webhook_refuse_jsonb(webhook_refuse_jsonb);
END;

CREATE FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload text, event_id text DEFAULT NULL::text, on_conflict text DEFAULT 'error'::text) RETURNS SETOF uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET standard_conforming_strings TO 'on'
    BEGIN ATOMIC
 SELECT public.webhook_store_event(user_id, event_type, (payload)::json, event_id, on_conflict) AS webhook_store_event;
END;

CREATE FUNCTION public.get_webhook_partner_stats(user_id text DEFAULT NULL::text, partner_slug text DEFAULT NULL::text) RETURNS TABLE(user_id text, partner_slug text, enabled boolean, paused boolean, pending bigint, processing bigint, failed bigint, dead_letters bigint, due bigint, oldest_due_age interval, attempts_last_hour bigint, delivered_last_hour bigint, success_rate double precision, p50_ms double precision, p95_ms double precision)
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    SET jit TO 'off'
    AS $_$
    with wanted as materialized (
        select p.id, p.user_id, p.partner_slug, p.enabled, p.paused_at is not null as paused
          from partner_webhooks p
         where ($1 is null or p.user_id = $1) and ($2 is null or p.partner_slug = $2)
    ), unfinished as (
        -- One of the first two finds nothing, and is not begun: each has its own index.
        select q.partner_id, q.status, q.next_attempt_at
          from webhook_deliveries q
         where $1 is null and q.status in ('pending', 'failed', 'dead_letter')
         union all
        select q.partner_id, q.status, q.next_attempt_at
          from webhook_deliveries q
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
$_$;

CREATE FUNCTION public.get_webhook_queue_stats() RETURNS TABLE(status text, count bigint, oldest_age interval, due bigint, last_hour bigint, success_rate double precision, p50_ms double precision, p95_ms double precision)
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    SET jit TO 'off'
    SET max_parallel_workers_per_gather TO '0'
    AS $$
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
        select 'dead_letter' as status, count(*) as count from webhook_deliveries q where q.status = 'dead_letter'
         union all
        select 'cancelled', count(*) from webhook_deliveries q where q.status = 'cancelled'
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

CREATE FUNCTION public.recover_webhook_delivery(user_id text, event_id text, partner_id uuid) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
#variable_conflict use_column
declare
    p_user_id    text := $1;
    p_event_id   text := $2;
    p_partner_id uuid := $3;
    p_new_id     uuid := gen_random_uuid();
    event        webhook_events;
    partner      partner_webhooks;
begin
    select e.* into event from webhook_events e where e.user_id = p_user_id and e.event_id = p_event_id for no key update;
    if not found then
        return 'not_found';
    end if;
    select p.* into partner from partner_webhooks p where p.user_id = p_user_id and p.id = p_partner_id;
    if not found then
        return 'partner_deleted';
    elsif not partner.enabled then
        return 'partner_disabled';
    elsif p_partner_id = any (event.partner_ids) then
        return 'not_missing';
    elsif webhook_is_operational(event.event_type) or not partner.enabled_events && webhook_event_patterns(event.event_type) then
        return 'not_subscribed';
    end if;
    update webhook_events e
       set partner_ids = e.partner_ids || p_partner_id, delivery_ids = e.delivery_ids || p_new_id
     where e.user_id = p_user_id and e.event_id = p_event_id;
    perform webhook_insert_delivery(p_new_id, p_user_id, p_partner_id, p_event_id, event.event_type, partner.max_retries,
                                    '{"trigger": "recover"}', now());
    return 'recovered';
end
$_$;

CREATE FUNCTION public.replay_webhook_delivery(delivery_id uuid, run text DEFAULT NULL::text, user_id text DEFAULT NULL::text, event_id text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
#variable_conflict use_column
declare
    p_delivery_id uuid := $1;
    p_run         text := $2;
    p_only_user   text := $3;
    p_job_id      bigint;
    p_state       river_job_state;
    p_earlier_run text;
    p_user_id     text;
    p_event_id    text;
    p_created_at  timestamptz;
    event         webhook_events;
    partner       partner_webhooks;
begin
    select j.id, j.state, j.metadata->>'replay_run', j.args->>'user_id', j.args->>'event_id', j.created_at
      into p_job_id, p_state, p_earlier_run, p_user_id, p_event_id, p_created_at
      from river_job j
     where j.kind = 'webhook_delivery' and j.args->>'delivery_id' = p_delivery_id::text
       for update;
    if p_job_id is null then
        -- Its job has been removed. The caller or the log knows its event; else all events are looked through.
        select e.user_id, e.event_id into p_user_id, p_event_id
          from webhook_events e
         where e.user_id = p_only_user and e.event_id = $4 and p_delivery_id = any (e.delivery_ids);
        if not found then
            select l.user_id, l.event_id into p_user_id, p_event_id
              from webhook_delivery_log l
             where l.delivery_id = p_delivery_id
             limit 1;
        end if;
        if not found then
            select e.user_id, e.event_id into p_user_id, p_event_id
              from webhook_events e
             where p_delivery_id = any (e.delivery_ids);
        end if;
        if not found then
            return 'not_found';
        end if;
    end if;
    if p_user_id <> p_only_user then
        return 'not_found';
    elsif p_earlier_run = p_run then
        return 'replayed_before';
    elsif p_state not in ('completed', 'discarded', 'cancelled') then
        return 'under_way';
    end if;

    -- Retention locks an event before it looks for jobs of it: it waits for this transaction, or has won.
    select e.* into event from webhook_events e where e.user_id = p_user_id and e.event_id = p_event_id for key share;
    if not found or array_position(event.delivery_ids, p_delivery_id) is null then
        return 'event_removed';
    end if;
    select p.* into partner
      from partner_webhooks p
     where p.user_id = p_user_id and p.id = event.partner_ids[array_position(event.delivery_ids, p_delivery_id)];
    if not found then
        return 'partner_deleted';
    elsif not partner.enabled then
        return 'partner_disabled';
    end if;

    delete from river_job j where j.id = p_job_id;
    if webhook_insert_delivery(p_delivery_id, p_user_id, partner.id, p_event_id, event.event_type, partner.max_retries,
                               jsonb_strip_nulls(jsonb_build_object('trigger', 'replay', 'replay_run', p_run)),
                               coalesce(p_created_at, event.created_at))
    then
        return 'replayed';
    end if;
    return 'under_way'; -- another replay was faster
end
$_$;

CREATE FUNCTION public.river_job_state_in_bitmask(bitmask bit, state public.river_job_state) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE state
        WHEN 'available' THEN get_bit(bitmask, 7)
        WHEN 'cancelled' THEN get_bit(bitmask, 6)
        WHEN 'completed' THEN get_bit(bitmask, 5)
        WHEN 'discarded' THEN get_bit(bitmask, 4)
        WHEN 'pending'   THEN get_bit(bitmask, 3)
        WHEN 'retryable' THEN get_bit(bitmask, 2)
        WHEN 'running'   THEN get_bit(bitmask, 1)
        WHEN 'scheduled' THEN get_bit(bitmask, 0)
        ELSE 0
    END = 1;
$$;

CREATE FUNCTION public.webhook_delivery_exhausted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
    if webhook_is_operational(new.args->>'event_type') is not false
       or new.args->>'event_type' = 'webhook.test' or new.metadata->>'trigger' = 'test'
    then
        return null;
    end if;
    -- A delivery that is replayed and gives up again does so at another time.
    perform webhook_emit_operational_event(
        p.user_id, 'delivery.exhausted', format('delivery.exhausted:%s:%s', new.args->>'delivery_id', webhook_time(new.finalized_at)), p.id,
        (select row_to_json(d)
           from (select new.args->>'delivery_id' as id, new.args->>'event_id' as event_id, new.args->>'event_type' as event_type) as i
          cross join lateral (select i.id, i.event_id, i.event_type, new.attempt as attempts,
                                     left(coalesce(new.metadata->'output'->>'error', new.errors[array_upper(new.errors, 1)]->>'error'), 1024) as last_error,
                                     new.metadata->'output'->'response_status' as last_response_status) as l
          cross join lateral (select row_to_json(l) as delivery) as d))
       from partner_webhooks p
      where p.user_id = new.args->>'user_id' and p.id::text = new.args->>'partner_id';
    return null;
exception
    when others then
        raise warning 'delivery.exhausted not told of job %: %', new.id, sqlerrm;
        return null;
end
$$;

CREATE FUNCTION public.webhook_delivery_priority(partner_id uuid) RETURNS smallint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $_$
#variable_conflict use_column
begin
    if not exists (select from webhook_crowd c where c.until > now()) then
        return 2;
    elsif exists (select from webhook_crowd c where c.partner_id = $1 and c.until > now()) then
        return 3;
    end if;
    return 1;
end
$_$;

CREATE FUNCTION public.webhook_drop_log_partitions(before timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO'
    AS $$
declare
    old     regclass;
    dropped integer := 0;
begin
    lock table only webhook_delivery_log in share update exclusive mode; -- as above
    for old in select p.partition from webhook_delivery_log_partitions p where p.ends_at <= before order by p.ends_at loop
        execute 'drop table ' || old;
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;

CREATE FUNCTION public.webhook_emit_operational_event(user_id text, event_type text, event_id text, about uuid, data json) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
#variable_conflict use_column
declare
    p_user_id    text := $1;
    p_event_type text := $2;
    p_event_id   text := $3;
    p_about      uuid := $4;
    p_data       text := $5::text;
    head         text;
    told         boolean;
begin
    select row_to_json(h)::text into head
      from partner_webhooks p
     cross join lateral (select p.id, p.partner_name as name, p.partner_slug as slug) as i
     cross join lateral (select p_event_type as event_type, webhook_time(now()) as "timestamp", row_to_json(i) as partner) as h
     where p.user_id = p_user_id and p.id = p_about;
    if not found then
        return false;
    end if;

    with subscribed as materialized (
        select p.id as partner_id, p.partner_slug, gen_random_uuid() as delivery_id,
               1 + coalesce(p.max_retries, (select retry_max_attempts from webhook_settings)) as max_attempts
          from partner_webhooks p
         where p.user_id = p_user_id
           and p.id <> p_about
           and p.enabled
           and p.enabled_events && webhook_event_patterns(p_event_type)
    ), stored as (
        insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids)
        select p_user_id, p_event_id, p_event_type,
               (left(head, -1) || coalesce(',' || nullif(substr(p_data, 2), '}'), '}'))::json,
               array_agg(partner_id order by partner_slug),
               array_agg(delivery_id order by partner_slug)
          from subscribed
        having count(*) > 0
        on conflict (user_id, event_id) do nothing
        returning true
    ), jobs as (
        insert into river_job (kind, queue, priority, max_attempts, metadata, args)
        select 'webhook_delivery', 'webhooks', webhook_delivery_priority(partner_id), max_attempts, '{"trigger": "schedule"}',
               jsonb_build_object('version', 1, 'delivery_id', delivery_id, 'user_id', p_user_id, 'partner_id', partner_id,
                                  'event_id', p_event_id, 'event_type', p_event_type)
          from subscribed
         where exists (select from stored)
         order by partner_slug
    )
    select exists (select from stored) into told;
    if told then
        perform webhook_wake_workers();
    end if;
    return told;
end
$_$;

CREATE FUNCTION public.webhook_is_operational(event_type text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    RETURN (event_type = ANY (ARRAY['partner.disabled'::text, 'delivery.exhausted'::text, 'partner.failing'::text, 'partner.recovered'::text]));

CREATE FUNCTION public.webhook_event_patterns(event_type text) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    RETURN (CASE WHEN public.webhook_is_operational(event_type) THEN ARRAY[event_type] ELSE ARRAY[event_type, '*'::text] END || ARRAY(SELECT ("left"(webhook_event_patterns.event_type, places.place) || '*'::text) FROM generate_series(1, char_length(webhook_event_patterns.event_type)) places(place) WHERE (substr(webhook_event_patterns.event_type, places.place, 1) = '.'::text)));

CREATE FUNCTION public.webhook_forget_partner_health() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
    delete from webhook_partner_health h where h.partner_id = new.id;
    return null;
end
$$;

CREATE FUNCTION public.webhook_guard_log_partition(partition regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
    -- Those who read the log do so through its table, whose policies apply then. Retention and erasure name a
    -- partition.
    execute format('drop policy if exists webhook_worker on %s', partition);
    execute format('create policy webhook_worker on %s to webhook_worker using (true) with check (true)', partition);
    execute format('alter table %s enable row level security', partition);
    execute format('grant select, delete on %s to webhook_worker', partition);
end
$$;

CREATE FUNCTION public.webhook_insert_delivery(delivery_id uuid, user_id text, partner_id uuid, event_id text, event_type text, max_retries integer, metadata jsonb, created_at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
begin
    insert into river_job (kind, queue, priority, max_attempts, metadata, created_at, args)
    values ('webhook_delivery', 'webhooks', webhook_delivery_priority($3), 1 + coalesce($6, (select retry_max_attempts from webhook_settings)), $7, $8,
            jsonb_build_object('version', 1, 'delivery_id', $1, 'user_id', $2, 'partner_id', $3, 'event_id', $4, 'event_type', $5))
    on conflict ((args->>'delivery_id')) where kind = 'webhook_delivery' do nothing;
    if found then
        perform webhook_wake_workers();
        return true;
    end if;
    return false;
end
$_$;

CREATE FUNCTION public.webhook_make_log_partitions() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO'
    AS $$
declare
    week  timestamptz;
    name  text;
    made  integer := 0;
begin
    -- One call at a time, and what the one before made is seen.
    lock table only webhook_delivery_log in share update exclusive mode;
    -- This week and the next two, and every week that the default partition has rows of. Names have four digits
    -- for the year; a time that needs more stays in the default partition.
    for week in
        select w from (
            select date_trunc('week', now(), 'UTC') + n * interval '7 days' as w from generate_series(0, 2) as n
             union
            select date_trunc('week', started_at, 'UTC') from webhook_delivery_log_default
             where started_at >= '0001-01-01' and started_at < '10000-01-01') as wanted
         where not exists (select from webhook_delivery_log_partitions p
                            where p.ends_at > w and (p.begins_at is null or p.begins_at <= w))
         order by w
    loop
        name := 'webhook_delivery_log_' || to_char(week at time zone 'UTC', 'YYYYMMDD');
        -- Whoever has chosen the default partition for a row must be done with it, and nobody may choose until the
        -- new one is attached: a writer that waited for the default partition itself would find that its row does
        -- not belong there any more, or is not there.
        lock table only webhook_delivery_log in access exclusive mode;
        lock table webhook_delivery_log_default in access exclusive mode;
        -- Every row is written twice, open and closed. The room left over keeps the second version on its page,
        -- so that no index changes. Old partitions are never written: they are vacuumed once, for their last rows.
        execute format('create table %I (like webhook_delivery_log including defaults including constraints) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05)', name);
        perform webhook_guard_log_partition(name::regclass);
        execute format('comment on table %I is %L', name, 'The attempts of the week from ' || to_char(week at time zone 'UTC', 'YYYY-MM-DD') || '.');
        execute format('with moved as (delete from webhook_delivery_log_default where started_at >= %L and started_at < %L returning *) insert into %I select * from moved',
                       week, week + interval '7 days', name);
        execute format('alter table webhook_delivery_log attach partition %I for values from (%L) to (%L)', name, week, week + interval '7 days');
        made := made + 1;
    end loop;
    return made;
end
$$;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.partner_webhooks (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id text NOT NULL,
    partner_name text NOT NULL,
    partner_slug text NOT NULL,
    url text NOT NULL,
    secret_ciphertext bytea NOT NULL,
    secret_key_id text NOT NULL,
    enabled_events text[] NOT NULL,
    custom_payload_fields json DEFAULT '{}'::json NOT NULL,
    max_retries smallint,
    enabled boolean DEFAULT true NOT NULL,
    disabled_reason text,
    paused_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    request_headers json DEFAULT '{}'::json NOT NULL,
    rate_limit integer,
    max_in_flight integer,
    CONSTRAINT partner_webhooks_custom_payload_fields_object CHECK ((json_typeof(custom_payload_fields) = 'object'::text)),
    CONSTRAINT partner_webhooks_disabled_reason_if_disabled CHECK (((disabled_reason IS NULL) OR (NOT enabled))),
    CONSTRAINT partner_webhooks_enabled_events_count CHECK (((cardinality(enabled_events) >= 1) AND (cardinality(enabled_events) <= 100))),
    CONSTRAINT partner_webhooks_max_in_flight_range CHECK (((max_in_flight >= 1) AND (max_in_flight <= 10000))),
    CONSTRAINT partner_webhooks_max_retries_range CHECK (((max_retries >= 0) AND (max_retries <= 100))),
    CONSTRAINT partner_webhooks_partner_name_length CHECK (((char_length(partner_name) >= 1) AND (char_length(partner_name) <= 200))),
    CONSTRAINT partner_webhooks_partner_slug_format CHECK (((partner_slug ~ '^[a-z0-9]+([-_][a-z0-9]+)*$'::text) AND (char_length(partner_slug) <= 63))),
    CONSTRAINT partner_webhooks_rate_limit_range CHECK (((rate_limit >= 1) AND (rate_limit <= 10000))),
    CONSTRAINT partner_webhooks_request_headers_format CHECK (((request_headers)::text ~ '^\{("[!#$%&''*+.^_`|~0-9A-Za-z-]+":(null|"([!#-[\]-~]|\\["\\])(( |[!#-[\]-~]|\\["\\])*([!#-[\]-~]|\\["\\]))?"),?){0,20}\}$'::text)),
    CONSTRAINT partner_webhooks_request_headers_reserved CHECK (((request_headers)::text !~* '"(accept-encoding|connection|content-[^"\\]*|date|expect|host|http2-settings|keep-alive|proxy-[^"\\]*|te|trailer|transfer-encoding|upgrade|user-agent|webhook-[^"\\]*)":'::text)),
    CONSTRAINT partner_webhooks_request_headers_size CHECK ((octet_length((request_headers)::text) <= 16384)),
    CONSTRAINT partner_webhooks_request_headers_unique CHECK (((request_headers)::text !~* '[{,]"([^"\\]+)":.*,"\1":'::text)),
    CONSTRAINT partner_webhooks_url_format CHECK (((url ~ '^https?://'::text) AND (char_length(url) <= 2048))),
    CONSTRAINT partner_webhooks_user_id_length CHECK (((char_length(user_id) >= 1) AND (char_length(user_id) <= 255)))
);

CREATE TABLE public.webhook_events (
    user_id text NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    payload json NOT NULL,
    partner_ids uuid[] NOT NULL,
    delivery_ids uuid[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT webhook_events_event_id_length CHECK (((char_length(event_id) >= 1) AND (char_length(event_id) <= 255))),
    CONSTRAINT webhook_events_event_type_format CHECK (((event_type ~ '^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$'::text) AND (char_length(event_type) <= 128))),
    CONSTRAINT webhook_events_partner_and_delivery_ids_pair CHECK ((cardinality(partner_ids) = cardinality(delivery_ids))),
    CONSTRAINT webhook_events_payload_object CHECK ((json_typeof(payload) = 'object'::text)),
    CONSTRAINT webhook_events_payload_size CHECK ((octet_length((payload)::text) <= 262144)),
    CONSTRAINT webhook_events_user_id_length CHECK (((char_length(user_id) >= 1) AND (char_length(user_id) <= 255)))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_analyze_scale_factor='0.02');

CREATE FUNCTION public.webhook_missing_deliveries(since timestamp with time zone, until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone, user_id text DEFAULT NULL::text, partner_slug text DEFAULT NULL::text, event_type text DEFAULT NULL::text) RETURNS TABLE(user_id text, event_id text, event_type text, partner_id uuid, partner_slug text, created_at timestamp with time zone)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT e.user_id,
     e.event_id,
     e.event_type,
     p.id,
     p.partner_slug,
     e.created_at
    FROM (public.webhook_events e
      JOIN public.partner_webhooks p ON ((p.user_id = e.user_id)))
   WHERE ((e.created_at >= webhook_missing_deliveries.since) AND (e.created_at < webhook_missing_deliveries.until) AND ((webhook_missing_deliveries.user_id IS NULL) OR (e.user_id = webhook_missing_deliveries.user_id)) AND ((webhook_missing_deliveries.partner_slug IS NULL) OR (p.partner_slug = webhook_missing_deliveries.partner_slug)) AND ((webhook_missing_deliveries.event_type IS NULL) OR (e.event_type = webhook_missing_deliveries.event_type)) AND (e.event_type <> 'webhook.test'::text) AND (NOT public.webhook_is_operational(e.event_type)) AND p.enabled AND (p.id <> ALL (e.partner_ids)) AND (p.enabled_events && public.webhook_event_patterns(e.event_type)));
END;

CREATE FUNCTION public.webhook_only_operational(deliveries uuid[]) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
    select coalesce(bool_and(webhook_is_operational(j.args->>'event_type')), false)
      from river_job j
     where j.kind = 'webhook_delivery' and j.args->>'delivery_id' = any (deliveries::text[])
$$;

CREATE FUNCTION public.webhook_partner_disabled() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
    perform webhook_emit_operational_event(
        new.user_id, 'partner.disabled', format('partner.disabled:%s:%s', new.id, webhook_time(now())), new.id,
        (select row_to_json(d) from (select new.disabled_reason) as d));
    return null;
exception
    when others then
        raise warning 'partner.disabled not told of partner %: %', new.id, sqlerrm;
        return null;
end
$$;

CREATE FUNCTION public.webhook_partner_failing(partner_id uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
#variable_conflict use_column
declare
    health webhook_partner_health;
begin
    select h.* into health from webhook_partner_health h where h.partner_id = $1 and h.opened_at is not null;
    if not found or webhook_only_operational(health.failed_deliveries) then
        return false;
    end if;
    return webhook_emit_operational_event(
        health.user_id, 'partner.failing', format('partner.failing:%s:%s', $1, webhook_time(health.opened_at)), $1,
        (select row_to_json(d)
           from (select webhook_time(health.failing_since) as failing_since, health.failures, left(health.last_error, 1024) as last_error) as d));
exception
    when others then
        raise warning 'partner.failing not told of partner %: %', $1, sqlerrm;
        return false;
end
$_$;

CREATE FUNCTION public.webhook_partner_recovered(partner_id uuid, opened_at timestamp with time zone, failing_since timestamp with time zone, failed_deliveries uuid[] DEFAULT '{}'::uuid[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
#variable_conflict use_column
begin
    if $2 is null or webhook_only_operational($4) then
        return false;
    end if;
    return coalesce((
        select webhook_emit_operational_event(
                   p.user_id, 'partner.recovered', format('partner.recovered:%s:%s', $1, webhook_time($2)), $1,
                   (select row_to_json(d) from (select webhook_time($3) as failing_since) as d))
          from partner_webhooks p
         where p.id = $1), false);
exception
    when others then
        raise warning 'partner.recovered not told of partner %: %', $1, sqlerrm;
        return false;
end
$_$;

CREATE FUNCTION public.webhook_require_event_type(event_type text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $_$
begin
    if event_type is null or event_type !~ '^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$' then
        raise exception 'event_type % must be parts of letters, digits and underscores with dots between, such as call.completed',
              to_json(left(coalesce(event_type, ''), 80)) using errcode = 'invalid_parameter_value';
    elsif char_length(event_type) > 128 then
        raise exception 'event_type "%…" must have at most 128 characters', left(event_type, 80) using errcode = 'invalid_parameter_value';
    elsif webhook_is_operational(event_type) then
        raise exception 'event_type "%" is reserved for what webhook-worker itself tells', event_type using errcode = 'invalid_parameter_value';
    end if;
end
$_$;

CREATE FUNCTION public.webhook_require_payload(payload json) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
    document text    := payload::text;
    brackets integer := char_length(document) - char_length(translate(document, '{[', ''));
begin
    if octet_length(document) > 262144 then
        raise exception 'payload must have at most 262144 bytes (256 KiB), and has %', octet_length(document)
              using errcode = 'invalid_parameter_value';
    elsif json_typeof(payload) is distinct from 'object' then
        raise exception 'payload must be a JSON object' using errcode = 'invalid_parameter_value';
    end if;
    -- Only a document with many brackets, those in texts included, needs the closer look.
    if brackets > 500 and (
        select max(level) > 500
          from (select sum(case when bracket in ('{', '[') then 1 else -1 end) over (order by place) as level
                  from regexp_split_to_table(regexp_replace(regexp_replace(document, '"(?:[^"\\]|\\.)*"', '', 'g'), '[^][{}]', '', 'g'), '')
                       with ordinality as b (bracket, place)) as levels)
    then
        raise exception 'payload must not nest more than 500 levels deep' using errcode = 'invalid_parameter_value';
    end if;
end
$$;

CREATE FUNCTION public.webhook_require_text(field text, value text, max_chars integer) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
    if value is null or value = '' then
        raise exception '% must not be empty', field using errcode = 'invalid_parameter_value';
    elsif char_length(value) > max_chars then
        raise exception '% % must have at most % characters', field, to_json(left(value, 80) || '…'), max_chars using errcode = 'invalid_parameter_value';
    elsif value ~ '[\u0001-\u001f\u007f-\u009f]' then
        raise exception '% % must not contain control characters', field, to_json(left(value, 80)) using errcode = 'invalid_parameter_value';
    end if;
end
$$;

CREATE FUNCTION public.webhook_require_user(user_id text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
    narrowed text := nullif(current_setting('webhook.user_id', true), '');
begin
    if narrowed <> user_id then
        raise exception 'the setting webhook.user_id does not let this session act for user %', to_json(user_id)
              using errcode = 'insufficient_privilege';
    end if;
    -- session_user is the role that logged in, which a session cannot change; current_user is our owner here.
    if not pg_has_role(session_user, current_user, 'usage') and not exists (
        select
          from webhook_role_users r
         where r.role = session_user
           and r.user_id in ('*', webhook_require_user.user_id))
    then
        raise exception 'role % may not act for user %: it needs a row in webhook_role_users', to_json(session_user::text), to_json(user_id)
              using errcode = 'insufficient_privilege';
    end if;
end
$$;

CREATE FUNCTION public.webhook_session_users() RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    -- session_user is the role that logged in, which a session cannot change; current_user is our owner here.
    select case
               when s.narrowed is null then r.users
               when s.narrowed = '*' then '{}' -- no user: it would stand for all
               when s.narrowed = any (r.users) or '*' = any (r.users) then array[s.narrowed]
               else '{}'
           end
      from (select coalesce(array_agg(may.user_id), '{}') as users
              from (select e.user_id from webhook_role_users e where e.role = session_user
                     union all
                    select '*' from pg_roles p
                     where p.rolname in (current_user, 'webhook_worker') and pg_has_role(session_user, p.oid, 'usage')) as may) as r,
           (select nullif(current_setting('webhook.user_id', true), '') as narrowed) as s
$$;

CREATE FUNCTION public.webhook_time(at timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    RETURN to_char((at AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'::text);

CREATE FUNCTION public.webhook_wake_workers() RETURNS void
    LANGUAGE sql
    SET search_path TO 'public', 'pg_temp'
    AS $$
    -- River's own payload, to the letter: PostgreSQL sends what is said twice in a transaction once.
    select pg_notify(river_schema || '.river_insert', '{"queue": "webhooks"}') from webhook_settings where watched_until < clock_timestamp()
$$;

CREATE TABLE public.river_job (
    id bigint NOT NULL,
    state public.river_job_state DEFAULT 'available'::public.river_job_state NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    max_attempts smallint DEFAULT 25 NOT NULL,
    attempted_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finalized_at timestamp with time zone,
    scheduled_at timestamp with time zone DEFAULT now() NOT NULL,
    priority smallint DEFAULT 1 NOT NULL,
    args jsonb NOT NULL,
    attempted_by text[],
    errors jsonb[],
    kind text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    queue text DEFAULT 'default'::text NOT NULL,
    tags character varying(255)[] DEFAULT '{}'::character varying[] NOT NULL,
    unique_key bytea,
    unique_states bit(8),
    CONSTRAINT finalized_or_finalized_at_null CHECK ((((finalized_at IS NULL) AND (state <> ALL (ARRAY['cancelled'::public.river_job_state, 'completed'::public.river_job_state, 'discarded'::public.river_job_state]))) OR ((finalized_at IS NOT NULL) AND (state = ANY (ARRAY['cancelled'::public.river_job_state, 'completed'::public.river_job_state, 'discarded'::public.river_job_state]))))),
    CONSTRAINT kind_length CHECK (((char_length(kind) > 0) AND (char_length(kind) < 128))),
    CONSTRAINT max_attempts_is_positive CHECK ((max_attempts > 0)),
    CONSTRAINT priority_in_range CHECK (((priority >= 1) AND (priority <= 4))),
    CONSTRAINT queue_length CHECK (((char_length(queue) > 0) AND (char_length(queue) < 128)))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_insert_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02', fillfactor='50');

CREATE SEQUENCE public.river_job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.river_job_id_seq OWNED BY public.river_job.id;

CREATE UNLOGGED TABLE public.river_leader (
    elected_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    leader_id text NOT NULL,
    name text DEFAULT 'default'::text NOT NULL,
    CONSTRAINT leader_id_length CHECK (((char_length(leader_id) > 0) AND (char_length(leader_id) < 128))),
    CONSTRAINT name_length CHECK ((name = 'default'::text))
);

CREATE TABLE public.river_migration (
    line text NOT NULL,
    version bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT line_length CHECK (((char_length(line) > 0) AND (char_length(line) < 128))),
    CONSTRAINT version_gte_1 CHECK ((version >= 1))
);

CREATE TABLE public.river_notification (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    payload text NOT NULL,
    topic text NOT NULL,
    CONSTRAINT topic_length CHECK (((length(topic) > 0) AND (length(topic) < 128)))
);

CREATE SEQUENCE public.river_notification_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.river_notification_id_seq OWNED BY public.river_notification.id;

CREATE TABLE public.river_queue (
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    paused_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

CREATE UNLOGGED TABLE public.webhook_crowd (
    partner_id uuid NOT NULL,
    until timestamp with time zone NOT NULL
);

CREATE VIEW public.webhook_deliveries AS
 SELECT (j.args ->> 'delivery_id'::text) AS id,
    (j.args ->> 'user_id'::text) AS "userId",
    (j.args ->> 'partner_id'::text) AS partner_id,
    (j.args ->> 'event_id'::text) AS event_id,
    (j.args ->> 'event_type'::text) AS event_type,
        CASE
            WHEN (j.state = 'running'::public.river_job_state) THEN 'processing'::text
            WHEN (j.state = 'completed'::public.river_job_state) THEN 'delivered'::text
            WHEN (j.state = 'discarded'::public.river_job_state) THEN 'dead_letter'::text
            WHEN (j.state = 'cancelled'::public.river_job_state) THEN 'cancelled'::text
            WHEN (j.attempt = 0) THEN 'pending'::text
            ELSE 'failed'::text
        END AS status,
    (j.attempt)::integer AS attempt_count,
    (j.max_attempts)::integer AS max_attempts,
        CASE
            WHEN (j.state <> 'completed'::public.river_job_state) THEN COALESCE(((j.metadata -> 'output'::text) ->> 'error'::text), (j.errors[array_upper(j.errors, 1)] ->> 'error'::text))
            ELSE NULL::text
        END AS last_error,
        CASE
            WHEN (j.state <> 'completed'::public.river_job_state) THEN ((j.metadata -> 'output'::text) ->> 'error_kind'::text)
            ELSE NULL::text
        END AS last_error_kind,
    (((j.metadata -> 'output'::text) ->> 'response_status'::text))::integer AS last_response_status,
        CASE
            WHEN (j.state = ANY (ARRAY['available'::public.river_job_state, 'pending'::public.river_job_state, 'retryable'::public.river_job_state, 'scheduled'::public.river_job_state])) THEN j.scheduled_at
            ELSE NULL::timestamp with time zone
        END AS next_attempt_at,
    j.id AS job_id,
    j.created_at AS "createdAt",
    COALESCE(j.finalized_at, j.attempted_at, j.created_at) AS "updatedAt"
   FROM public.river_job j
  WHERE (j.kind = 'webhook_delivery'::text);

CREATE TABLE public.webhook_delivery_log (
    attempt_id uuid NOT NULL,
    delivery_id uuid,
    job_id bigint NOT NULL,
    user_id text,
    partner_id uuid,
    event_id text,
    event_type text,
    attempt smallint NOT NULL,
    trigger text NOT NULL,
    outcome text NOT NULL,
    response_status smallint,
    response_headers json,
    response_body text,
    error_kind text,
    error text,
    url text,
    duration_ms double precision,
    client_id text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    CONSTRAINT webhook_delivery_log_error_kind_known CHECK ((error_kind = ANY (ARRAY['dns'::text, 'connect'::text, 'tls'::text, 'timeout'::text, 'http_status'::text, 'redirect'::text, 'blocked'::text, 'protocol'::text, 'shutdown'::text, 'internal'::text]))),
    CONSTRAINT webhook_delivery_log_outcome_known CHECK ((outcome = ANY (ARRAY['sending'::text, 'delivered'::text, 'failed'::text, 'lost'::text, 'cancelled'::text]))),
    CONSTRAINT webhook_delivery_log_trigger_known CHECK ((trigger = ANY (ARRAY['schedule'::text, 'replay'::text, 'recover'::text, 'manual'::text, 'test'::text])))
)
PARTITION BY RANGE (started_at);

CREATE TABLE public.webhook_delivery_log_20261123 (
    attempt_id uuid NOT NULL,
    delivery_id uuid,
    job_id bigint NOT NULL,
    user_id text,
    partner_id uuid,
    event_id text,
    event_type text,
    attempt smallint NOT NULL,
    trigger text NOT NULL,
    outcome text NOT NULL,
    response_status smallint,
    response_headers json,
    response_body text,
    error_kind text,
    error text,
    url text,
    duration_ms double precision,
    client_id text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    CONSTRAINT webhook_delivery_log_error_kind_known CHECK ((error_kind = ANY (ARRAY['dns'::text, 'connect'::text, 'tls'::text, 'timeout'::text, 'http_status'::text, 'redirect'::text, 'blocked'::text, 'protocol'::text, 'shutdown'::text, 'internal'::text]))),
    CONSTRAINT webhook_delivery_log_outcome_known CHECK ((outcome = ANY (ARRAY['sending'::text, 'delivered'::text, 'failed'::text, 'lost'::text, 'cancelled'::text]))),
    CONSTRAINT webhook_delivery_log_trigger_known CHECK ((trigger = ANY (ARRAY['schedule'::text, 'replay'::text, 'recover'::text, 'manual'::text, 'test'::text])))
)
WITH (fillfactor='60', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.webhook_delivery_log_20261130 (
    attempt_id uuid NOT NULL,
    delivery_id uuid,
    job_id bigint NOT NULL,
    user_id text,
    partner_id uuid,
    event_id text,
    event_type text,
    attempt smallint NOT NULL,
    trigger text NOT NULL,
    outcome text NOT NULL,
    response_status smallint,
    response_headers json,
    response_body text,
    error_kind text,
    error text,
    url text,
    duration_ms double precision,
    client_id text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    CONSTRAINT webhook_delivery_log_error_kind_known CHECK ((error_kind = ANY (ARRAY['dns'::text, 'connect'::text, 'tls'::text, 'timeout'::text, 'http_status'::text, 'redirect'::text, 'blocked'::text, 'protocol'::text, 'shutdown'::text, 'internal'::text]))),
    CONSTRAINT webhook_delivery_log_outcome_known CHECK ((outcome = ANY (ARRAY['sending'::text, 'delivered'::text, 'failed'::text, 'lost'::text, 'cancelled'::text]))),
    CONSTRAINT webhook_delivery_log_trigger_known CHECK ((trigger = ANY (ARRAY['schedule'::text, 'replay'::text, 'recover'::text, 'manual'::text, 'test'::text])))
)
WITH (fillfactor='60', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.webhook_delivery_log_20261207 (
    attempt_id uuid NOT NULL,
    delivery_id uuid,
    job_id bigint NOT NULL,
    user_id text,
    partner_id uuid,
    event_id text,
    event_type text,
    attempt smallint NOT NULL,
    trigger text NOT NULL,
    outcome text NOT NULL,
    response_status smallint,
    response_headers json,
    response_body text,
    error_kind text,
    error text,
    url text,
    duration_ms double precision,
    client_id text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    CONSTRAINT webhook_delivery_log_error_kind_known CHECK ((error_kind = ANY (ARRAY['dns'::text, 'connect'::text, 'tls'::text, 'timeout'::text, 'http_status'::text, 'redirect'::text, 'blocked'::text, 'protocol'::text, 'shutdown'::text, 'internal'::text]))),
    CONSTRAINT webhook_delivery_log_outcome_known CHECK ((outcome = ANY (ARRAY['sending'::text, 'delivered'::text, 'failed'::text, 'lost'::text, 'cancelled'::text]))),
    CONSTRAINT webhook_delivery_log_trigger_known CHECK ((trigger = ANY (ARRAY['schedule'::text, 'replay'::text, 'recover'::text, 'manual'::text, 'test'::text])))
)
WITH (fillfactor='60', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.webhook_delivery_log_default (
    attempt_id uuid NOT NULL,
    delivery_id uuid,
    job_id bigint NOT NULL,
    user_id text,
    partner_id uuid,
    event_id text,
    event_type text,
    attempt smallint NOT NULL,
    trigger text NOT NULL,
    outcome text NOT NULL,
    response_status smallint,
    response_headers json,
    response_body text,
    error_kind text,
    error text,
    url text,
    duration_ms double precision,
    client_id text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    CONSTRAINT webhook_delivery_log_error_kind_known CHECK ((error_kind = ANY (ARRAY['dns'::text, 'connect'::text, 'tls'::text, 'timeout'::text, 'http_status'::text, 'redirect'::text, 'blocked'::text, 'protocol'::text, 'shutdown'::text, 'internal'::text]))),
    CONSTRAINT webhook_delivery_log_outcome_known CHECK ((outcome = ANY (ARRAY['sending'::text, 'delivered'::text, 'failed'::text, 'lost'::text, 'cancelled'::text]))),
    CONSTRAINT webhook_delivery_log_trigger_known CHECK ((trigger = ANY (ARRAY['schedule'::text, 'replay'::text, 'recover'::text, 'manual'::text, 'test'::text])))
);

CREATE VIEW public.webhook_delivery_log_partitions AS
 SELECT (child.oid)::regclass AS partition,
    ((regexp_match(bounds.text, 'FROM \(''(.*?)''\)'::text))[1])::timestamp with time zone AS begins_at,
    ((regexp_match(bounds.text, 'TO \(''(.*?)''\)'::text))[1])::timestamp with time zone AS ends_at
   FROM ((pg_inherits i
     JOIN pg_class child ON ((child.oid = i.inhrelid)))
     CROSS JOIN LATERAL pg_get_expr(child.relpartbound, child.oid) bounds(text))
  WHERE (i.inhparent = ('public.webhook_delivery_log'::regclass)::oid);

CREATE VIEW public.webhook_delivery_queue WITH (security_barrier='true') AS
 SELECT d.id,
    d."userId",
    d.partner_id,
    d.event_id,
    d.event_type,
    d.status,
    d.attempt_count,
    d.max_attempts,
    d.last_error,
    d.last_error_kind,
    d.last_response_status,
    d.next_attempt_at,
    d.job_id,
    d."createdAt",
    d."updatedAt"
   FROM public.webhook_deliveries d
  WHERE (('*'::text = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[])) OR (d."userId" = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[])));

CREATE TABLE public.webhook_partner_health (
    partner_id uuid NOT NULL,
    user_id text NOT NULL,
    failing_since timestamp with time zone NOT NULL,
    last_failed_at timestamp with time zone NOT NULL,
    failures integer NOT NULL,
    failed_deliveries uuid[] NOT NULL,
    last_error text NOT NULL,
    opened_at timestamp with time zone,
    probe_at timestamp with time zone,
    probes integer DEFAULT 0 NOT NULL,
    slowed_until timestamp with time zone,
    CONSTRAINT webhook_partner_health_failures_positive CHECK ((failures > 0)),
    CONSTRAINT webhook_partner_health_probe_at_if_open CHECK (((probe_at IS NULL) = (opened_at IS NULL)))
)
WITH (fillfactor='50');

CREATE TABLE public.webhook_partner_rates (
    partner_id uuid NOT NULL,
    free_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    released_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.webhook_role_users (
    role name NOT NULL,
    user_id text NOT NULL,
    CONSTRAINT webhook_role_users_user_id_length CHECK (((char_length(user_id) >= 1) AND (char_length(user_id) <= 255)))
);

CREATE TABLE public.webhook_schema_version (
    version integer NOT NULL
);

CREATE TABLE public.webhook_settings (
    singleton boolean DEFAULT true NOT NULL,
    retry_max_attempts smallint NOT NULL,
    river_schema text NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    log_settled_until timestamp with time zone DEFAULT now() NOT NULL,
    watched_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT webhook_settings_one_row CHECK (singleton),
    CONSTRAINT webhook_settings_retry_max_attempts_range CHECK (((retry_max_attempts >= 0) AND (retry_max_attempts <= 100)))
);

ALTER TABLE ONLY public.webhook_delivery_log ATTACH PARTITION public.webhook_delivery_log_20261123 FOR VALUES FROM ('2026-11-23 00:00:00+00') TO ('2026-11-30 00:00:00+00');

ALTER TABLE ONLY public.webhook_delivery_log ATTACH PARTITION public.webhook_delivery_log_20261130 FOR VALUES FROM ('2026-11-30 00:00:00+00') TO ('2026-12-07 00:00:00+00');

ALTER TABLE ONLY public.webhook_delivery_log ATTACH PARTITION public.webhook_delivery_log_20261207 FOR VALUES FROM ('2026-12-07 00:00:00+00') TO ('2026-12-14 00:00:00+00');

ALTER TABLE ONLY public.webhook_delivery_log ATTACH PARTITION public.webhook_delivery_log_default DEFAULT;

ALTER TABLE ONLY public.river_job ALTER COLUMN id SET DEFAULT nextval('public.river_job_id_seq'::regclass);

ALTER TABLE ONLY public.river_notification ALTER COLUMN id SET DEFAULT nextval('public.river_notification_id_seq'::regclass);

INSERT INTO public.partner_webhooks VALUES ('7fa64cb5-53a9-4558-bac4-0cb3f7b8002c', 'tenant', 'dead', 'dead', 'http://127.0.0.1:9000/dead', '\xf9f11ef6cbea80c50c3945fc5a7868a76046d02cab0c1b192c2cfbb5f50272e8af91fdd78a0bfe438816cabaf408db534f6faba2c49226343586eef597d732bc22b4ef572fb3bc263b5432148e4e7fa17c1a8ccf9491fb496ad9c7306e', '66687aadf862bd77', '{call.dead}', '{}', 0, true, NULL, NULL, '2026-11-27 21:04:12.326151+00', '2026-11-27 21:04:12.326151+00', '{}', NULL, NULL);
INSERT INTO public.partner_webhooks VALUES ('8a32792f-f2ec-4921-a5fe-ae603df2bbcf', 'tenant', 'retry', 'retry', 'http://127.0.0.1:9000/retry', '\x76254a8624ef46ab4c64fcdcc1ef1b309e26b36e9116d4ed025f77657789b17ee5de6d78567d180c88aefd0405d0d84635151ab830a4ddba39237b42ef095cb126c12319eae776174a5daa480bb9076dd672cca61285c4e2d64ddc80ac', '66687aadf862bd77', '{call.retry}', '{}', NULL, true, NULL, NULL, '2026-11-27 21:04:12.696043+00', '2026-11-27 21:04:12.696043+00', '{}', NULL, NULL);
INSERT INTO public.partner_webhooks VALUES ('2c315d23-a2c6-4646-b82d-9dda7b0b8181', 'tenant', 'hang', 'hang', 'http://127.0.0.1:9000/hang', '\x203cab86485d2610531e628f0383439a5efa30c5628a079df2cc0d8087b2dd1ddde5d5abb5c9589bcf1f2ef5e775bacb26a9efa88418649d982d001127a10eeb5846f69fbc9741502415471f4c84bb176c792722678e50ff30f93233c1', '66687aadf862bd77', '{call.hang}', '{}', NULL, true, NULL, NULL, '2026-11-27 21:04:13.067571+00', '2026-11-27 21:04:13.067571+00', '{}', NULL, NULL);
INSERT INTO public.partner_webhooks VALUES ('29a4eb5a-560c-454b-91ee-5c3250b91570', 'tenant', 'ok', 'ok', 'http://127.0.0.1:9000/ok', '\xaa0893bca300f7468d5525cde7456514c85ef0c64b8ed0a56ab593cbb07dbeb8c060f0673324edcbdc128cab2d25804d242777adce2f4f29e131e0ec876556966b87a87b2bfd47878842fe0229a7908a3a9a1eba0c522014b2f67deb5d', '66687aadf862bd77', '{call.ok}', '{"brand":"AcmeVoice"}', NULL, true, NULL, NULL, '2026-11-27 21:04:13.335714+00', '2026-11-27 21:04:13.335714+00', '{}', NULL, NULL);
INSERT INTO public.partner_webhooks VALUES ('81d7e87e-e13c-44cc-9906-ccc664758b4c', 'tenant', 'last', 'last', 'http://127.0.0.1:9000/last', '\xfd6d4d45a20e6e90e2d9a8894730b31aea269086daf1a09ecbad8156accec67e4e3db23f84a410f3fa1b270a16b1c5f17b47cfac9122c26d3a7bbb1e4d7f77e552141f90177014889d9ce12a75971c10e15028eddb43baaeaaf4ff6158', '66687aadf862bd77', '{call.last}', '{}', 1, true, NULL, NULL, '2026-11-27 21:04:13.521383+00', '2026-11-27 21:04:13.521383+00', '{}', NULL, NULL);
INSERT INTO public.partner_webhooks VALUES ('637ca536-f0fb-43fe-a628-ebdb5fb63e91', 'tenant', 'rotated', 'rotated', 'http://127.0.0.1:9000/rotated', '\x8d825dae877162fb959a58899dd7e9ead7e1946ce505a9870976d68190747af8607f1b7be5075fef1df61841b76ea983fb5db2940356f1aa059968f81be16bb55a2f580728ece58d0227244c664bb0c75812e8cf27d45ddd594569467ee8556a40fa37c537bfd3877f96679bc9f1d1a825705282e4dc8f0e36522e7b82cba961514a2df99185390666a3da49a31b599455bc69f87bcd1f7be0db6fecdaa38a58f9af80659fef39b54aec68d5e8ef5319595d0fd8ee7145731832246d85aa74', '66687aadf862bd77', '{call.rotated}', '{}', NULL, true, NULL, NULL, '2026-11-27 21:04:12.466091+00', '2026-11-27 21:04:13.669041+00', '{}', NULL, NULL);
INSERT INTO public.partner_webhooks VALUES ('13cd6f1c-6a89-4ac4-80dc-d27cfdeceea6', 'tenant', 'paused', 'paused', 'http://127.0.0.1:9000/paused', '\x5db5c0a14e2f3fbd12c2cf1c77c2c0c05a6199883aa90051f0b5e058e8a51787218e1096c1223c5e713b3d3c9be21c2dd577ced3cdc81374920c638332dc78783dfc74e93d039780fee6c25083f7defa2a40587fa6a02ab32170d75fb1', '66687aadf862bd77', '{call.paused}', '{}', NULL, true, NULL, '2026-11-27 21:04:13.870869+00', '2026-11-27 21:04:12.928922+00', '2026-11-27 21:04:13.870869+00', '{}', NULL, NULL);

INSERT INTO public.river_job VALUES (1, 'completed', 1, 6, '2026-11-27 21:04:14.56338+00', '2026-11-27 21:04:14.122792+00', '2026-11-27 21:04:14.754823+00', '2026-11-27 21:04:14.122792+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "ok-1", "event_type": "call.ok", "partner_id": "29a4eb5a-560c-454b-91ee-5c3250b91570", "delivery_id": "cf2ccf20-0a48-4235-88cc-5d764fac97cd"}', '{vm-dies-20261127T210414Z-cq2ooe4i}', NULL, 'webhook_delivery', '{"output": {"outcome": "delivered", "response_status": 200}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (2, 'completed', 1, 6, '2026-11-27 21:04:14.56338+00', '2026-11-27 21:04:14.377209+00', '2026-11-27 21:04:14.751825+00', '2026-11-27 21:04:14.377209+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "rotated-1", "event_type": "call.rotated", "partner_id": "637ca536-f0fb-43fe-a628-ebdb5fb63e91", "delivery_id": "cd8a6502-a219-4427-b624-82b88a71e298"}', '{vm-dies-20261127T210414Z-cq2ooe4i}', NULL, 'webhook_delivery', '{"output": {"outcome": "delivered", "response_status": 200}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (3, 'retryable', 1, 6, '2026-11-27 21:04:14.851599+00', '2026-11-27 21:04:14.816925+00', NULL, '2026-11-27 21:04:44.884915+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "retry-1", "event_type": "call.retry", "partner_id": "8a32792f-f2ec-4921-a5fe-ae603df2bbcf", "delivery_id": "eab742a8-2c80-4b48-aba1-a44653cf6f7d"}', '{vm-dies-20261127T210414Z-cq2ooe4i}', '{"{\"at\": \"2026-11-27T21:04:14.863053657Z\", \"error\": \"the partner answered 500 Internal Server Error\", \"trace\": \"\", \"attempt\": 1}"}', 'webhook_delivery', '{"output": {"error": "the partner answered 500 Internal Server Error", "outcome": "failed", "error_kind": "http_status", "response_status": 500}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (4, 'retryable', 1, 2, '2026-11-27 21:04:15.12879+00', '2026-11-27 21:04:15.088604+00', NULL, '2026-11-27 21:04:45.196399+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "last-1", "event_type": "call.last", "partner_id": "81d7e87e-e13c-44cc-9906-ccc664758b4c", "delivery_id": "aadc6aa7-0606-4ce4-b9bf-e84c0d049458"}', '{vm-dies-20261127T210414Z-cq2ooe4i}', '{"{\"at\": \"2026-11-27T21:04:15.142217829Z\", \"error\": \"the partner answered 500 Internal Server Error\", \"trace\": \"\", \"attempt\": 1}"}', 'webhook_delivery', '{"output": {"error": "the partner answered 500 Internal Server Error", "outcome": "failed", "error_kind": "http_status", "response_status": 500}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (5, 'discarded', 1, 1, '2026-11-27 21:04:15.339852+00', '2026-11-27 21:04:15.324428+00', '2026-11-27 21:04:15.363827+00', '2026-11-27 21:04:15.324428+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "dead-1", "event_type": "call.dead", "partner_id": "7fa64cb5-53a9-4558-bac4-0cb3f7b8002c", "delivery_id": "8f4cdeaf-3730-4ca2-a4a7-17cdefd647c4"}', '{vm-dies-20261127T210414Z-cq2ooe4i}', '{"{\"at\": \"2026-11-27T21:04:15.349975698Z\", \"error\": \"the partner answered 500 Internal Server Error\", \"trace\": \"\", \"attempt\": 1}"}', 'webhook_delivery', '{"output": {"error": "the partner answered 500 Internal Server Error", "outcome": "failed", "error_kind": "http_status", "response_status": 500}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (6, 'scheduled', 0, 6, '2026-11-27 21:04:15.599811+00', '2026-11-27 21:04:15.576501+00', NULL, '2026-11-27 21:05:27.906712+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "paused-1", "event_type": "call.paused", "partner_id": "13cd6f1c-6a89-4ac4-80dc-d27cfdeceea6", "delivery_id": "ba436ebd-8d99-4e0d-b7fe-10faaa881bfb"}', '{vm-dies-20261127T210414Z-cq2ooe4i}', NULL, 'webhook_delivery', '{"snoozes": 1, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (8, 'running', 1, 6, '2026-11-27 21:04:15.98896+00', '2026-11-27 21:04:15.961449+00', NULL, '2026-11-27 21:04:15.961449+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "hang-1", "event_type": "call.hang", "partner_id": "2c315d23-a2c6-4646-b82d-9dda7b0b8181", "delivery_id": "4fe04dc2-5f86-4afe-b400-c7c0588fc4d1"}', '{vm-dies-20261127T210414Z-cq2ooe4i}', NULL, 'webhook_delivery', '{"trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (7, 'cancelled', 0, 6, '2026-11-27 21:04:15.810348+00', '2026-11-27 21:04:15.787825+00', '2026-11-27 21:04:16.154712+00', '2026-11-27 21:05:25.796213+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "cancelled-1", "event_type": "call.paused", "partner_id": "13cd6f1c-6a89-4ac4-80dc-d27cfdeceea6", "delivery_id": "132bedef-95e4-4c9c-b0d8-bf9c4b11e12c"}', '{vm-dies-20261127T210414Z-cq2ooe4i}', NULL, 'webhook_delivery', '{"snoozes": 1, "trigger": "schedule", "cancel_attempted_at": "2026-11-27T21:04:16.170826705Z"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (9, 'available', 0, 6, NULL, '2026-11-27 21:04:16.581177+00', NULL, '2026-11-27 21:04:16.581177+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "ok-2", "event_type": "call.ok", "partner_id": "29a4eb5a-560c-454b-91ee-5c3250b91570", "delivery_id": "90e0090a-f0d9-4ab2-9805-b965d42f4ebf"}', NULL, NULL, 'webhook_delivery', '{"trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (10, 'available', 0, 6, NULL, '2026-11-27 21:04:16.817778+00', NULL, '2026-11-27 21:04:16.817778+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "rotated-2", "event_type": "call.rotated", "partner_id": "637ca536-f0fb-43fe-a628-ebdb5fb63e91", "delivery_id": "b7c201e8-436d-4af8-8ed2-0ba83deb3c33"}', NULL, NULL, 'webhook_delivery', '{"trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (11, 'available', 0, 6, NULL, '2026-11-27 21:04:16.845431+00', NULL, '2026-11-27 21:04:16.845431+00', 2, '{"user_id": "tenant", "version": 1, "event_id": "ok-3", "event_type": "call.ok", "partner_id": "29a4eb5a-560c-454b-91ee-5c3250b91570", "delivery_id": "c5896a37-98ea-42a4-87d6-13deb35bde7a"}', NULL, NULL, 'webhook_delivery', '{"trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);

INSERT INTO public.river_leader VALUES ('2026-11-27 21:04:14.475806+00', '2026-11-27 21:04:29.475806+00', 'vm-dies-20261127T210414Z-cq2ooe4i', 'default');

INSERT INTO public.river_migration VALUES ('main', 1, '2026-11-27 21:04:11.325702+00');
INSERT INTO public.river_migration VALUES ('main', 2, '2026-11-27 21:04:11.360626+00');
INSERT INTO public.river_migration VALUES ('main', 3, '2026-11-27 21:04:11.412001+00');
INSERT INTO public.river_migration VALUES ('main', 4, '2026-11-27 21:04:11.415012+00');
INSERT INTO public.river_migration VALUES ('main', 5, '2026-11-27 21:04:11.427906+00');
INSERT INTO public.river_migration VALUES ('main', 6, '2026-11-27 21:04:11.466375+00');
INSERT INTO public.river_migration VALUES ('main', 7, '2026-11-27 21:04:11.474264+00');
INSERT INTO public.river_migration VALUES ('main', 8, '2026-11-27 21:04:11.507052+00');

INSERT INTO public.river_queue VALUES ('webhook_maintenance', '2026-11-27 21:04:14.490824+00', '{}', NULL, '2026-11-27 21:04:14.490824+00');
INSERT INTO public.river_queue VALUES ('webhooks', '2026-11-27 21:04:14.514345+00', '{}', NULL, '2026-11-27 21:04:14.514345+00');

INSERT INTO public.webhook_delivery_log_20261123 VALUES ('6c601b7a-61a1-4865-8c4e-ce08617ad93a', 'cd8a6502-a219-4427-b624-82b88a71e298', 2, 'tenant', '637ca536-f0fb-43fe-a628-ebdb5fb63e91', 'rotated-1', 'call.rotated', 1, 'schedule', 'delivered', 200, '{"content-length":"0","date":"Fri, 27 Nov 2026 21:04:14 GMT"}', '', NULL, NULL, 'http://127.0.0.1:37133/rotated', 2.212975, 'vm-dies-20261127T210414Z-cq2ooe4i', '2026-11-27 21:04:14.606279+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('605a7235-f977-4b7f-9cdd-5a2fa888e966', 'cf2ccf20-0a48-4235-88cc-5d764fac97cd', 1, 'tenant', '29a4eb5a-560c-454b-91ee-5c3250b91570', 'ok-1', 'call.ok', 1, 'schedule', 'delivered', 200, '{"content-length":"0","date":"Fri, 27 Nov 2026 21:04:14 GMT"}', '', NULL, NULL, 'http://127.0.0.1:37133/ok', 1.348508, 'vm-dies-20261127T210414Z-cq2ooe4i', '2026-11-27 21:04:14.606892+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('ba9c1595-b0ec-4628-9fab-3bfe753289df', 'eab742a8-2c80-4b48-aba1-a44653cf6f7d', 3, 'tenant', '8a32792f-f2ec-4921-a5fe-ae603df2bbcf', 'retry-1', 'call.retry', 1, 'schedule', 'failed', 500, '{"content-length":"0","date":"Fri, 27 Nov 2026 21:04:14 GMT"}', '', 'http_status', 'the partner answered 500 Internal Server Error', 'http://127.0.0.1:37133/retry', 4.649376, 'vm-dies-20261127T210414Z-cq2ooe4i', '2026-11-27 21:04:14.863139+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('9c908a83-b1d6-476a-aa60-b200b797b63e', 'aadc6aa7-0606-4ce4-b9bf-e84c0d049458', 4, 'tenant', '81d7e87e-e13c-44cc-9906-ccc664758b4c', 'last-1', 'call.last', 1, 'schedule', 'failed', 500, '{"content-length":"0","date":"Fri, 27 Nov 2026 21:04:15 GMT"}', '', 'http_status', 'the partner answered 500 Internal Server Error', 'http://127.0.0.1:37133/last', 2.906406, 'vm-dies-20261127T210414Z-cq2ooe4i', '2026-11-27 21:04:15.142667+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('471430f5-045d-4af5-9b7c-77526fa85bfa', '8f4cdeaf-3730-4ca2-a4a7-17cdefd647c4', 5, 'tenant', '7fa64cb5-53a9-4558-bac4-0cb3f7b8002c', 'dead-1', 'call.dead', 1, 'schedule', 'failed', 500, '{"content-length":"0","date":"Fri, 27 Nov 2026 21:04:15 GMT"}', '', 'http_status', 'the partner answered 500 Internal Server Error', 'http://127.0.0.1:37133/dead', 0.828469, 'vm-dies-20261127T210414Z-cq2ooe4i', '2026-11-27 21:04:15.350087+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('40e2b803-0577-4034-9c9f-3dd5cfbd7356', '4fe04dc2-5f86-4afe-b400-c7c0588fc4d1', 8, 'tenant', '2c315d23-a2c6-4646-b82d-9dda7b0b8181', 'hang-1', 'call.hang', 1, 'schedule', 'sending', NULL, NULL, NULL, NULL, NULL, 'http://127.0.0.1:37133/hang', NULL, 'vm-dies-20261127T210414Z-cq2ooe4i', '2026-11-27 21:04:16.000051+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('c0fba9d7-99a6-4fb5-967f-97fe0bf57e8c', '132bedef-95e4-4c9c-b0d8-bf9c4b11e12c', 7, 'tenant', '13cd6f1c-6a89-4ac4-80dc-d27cfdeceea6', 'cancelled-1', 'call.paused', 0, 'manual', 'cancelled', NULL, NULL, NULL, 'internal', 'cancelled by hand', NULL, NULL, 'command line on vm', '2026-11-27 21:04:16.154712+00');

INSERT INTO public.webhook_events VALUES ('tenant', 'ok-1', 'call.ok', '{"z": 1.50, "a": "ok-1"}', '{29a4eb5a-560c-454b-91ee-5c3250b91570}', '{cf2ccf20-0a48-4235-88cc-5d764fac97cd}', '2026-11-27 21:04:14.07684+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'rotated-1', 'call.rotated', '{"z": 1.50, "a": "rotated-1"}', '{637ca536-f0fb-43fe-a628-ebdb5fb63e91}', '{cd8a6502-a219-4427-b624-82b88a71e298}', '2026-11-27 21:04:14.296675+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'retry-1', 'call.retry', '{"z": 1.50, "a": "retry-1"}', '{8a32792f-f2ec-4921-a5fe-ae603df2bbcf}', '{eab742a8-2c80-4b48-aba1-a44653cf6f7d}', '2026-11-27 21:04:14.75721+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'last-1', 'call.last', '{"z": 1.50, "a": "last-1"}', '{81d7e87e-e13c-44cc-9906-ccc664758b4c}', '{aadc6aa7-0606-4ce4-b9bf-e84c0d049458}', '2026-11-27 21:04:15.062003+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'dead-1', 'call.dead', '{"z": 1.50, "a": "dead-1"}', '{7fa64cb5-53a9-4558-bac4-0cb3f7b8002c}', '{8f4cdeaf-3730-4ca2-a4a7-17cdefd647c4}', '2026-11-27 21:04:15.29591+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'paused-1', 'call.paused', '{"z": 1.50, "a": "paused-1"}', '{13cd6f1c-6a89-4ac4-80dc-d27cfdeceea6}', '{ba436ebd-8d99-4e0d-b7fe-10faaa881bfb}', '2026-11-27 21:04:15.543732+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'cancelled-1', 'call.paused', '{"z": 1.50, "a": "cancelled-1"}', '{13cd6f1c-6a89-4ac4-80dc-d27cfdeceea6}', '{132bedef-95e4-4c9c-b0d8-bf9c4b11e12c}', '2026-11-27 21:04:15.76411+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'hang-1', 'call.hang', '{"z": 1.50, "a": "hang-1"}', '{2c315d23-a2c6-4646-b82d-9dda7b0b8181}', '{4fe04dc2-5f86-4afe-b400-c7c0588fc4d1}', '2026-11-27 21:04:15.930189+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'ok-2', 'call.ok', '{"z": 1.50, "a": "ok-2"}', '{29a4eb5a-560c-454b-91ee-5c3250b91570}', '{90e0090a-f0d9-4ab2-9805-b965d42f4ebf}', '2026-11-27 21:04:16.553995+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'rotated-2', 'call.rotated', '{"z": 1.50, "a": "rotated-2"}', '{637ca536-f0fb-43fe-a628-ebdb5fb63e91}', '{b7c201e8-436d-4af8-8ed2-0ba83deb3c33}', '2026-11-27 21:04:16.796288+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'ok-3', 'call.ok', '{"z": 1.50, "a": "ok-3"}', '{29a4eb5a-560c-454b-91ee-5c3250b91570}', '{c5896a37-98ea-42a4-87d6-13deb35bde7a}', '2026-11-27 21:04:16.845431+00');

INSERT INTO public.webhook_schema_version VALUES (17);

INSERT INTO public.webhook_settings VALUES (true, 5, 'public', '2026-11-27 21:04:11.523029+00', '2026-11-27 21:04:11.851833+00', '-infinity');

SELECT pg_catalog.setval('public.river_job_id_seq', 11, true);

SELECT pg_catalog.setval('public.river_notification_id_seq', 1, false);

ALTER TABLE ONLY public.partner_webhooks
    ADD CONSTRAINT partner_webhooks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.partner_webhooks
    ADD CONSTRAINT partner_webhooks_user_id_partner_slug_key UNIQUE (user_id, partner_slug);

ALTER TABLE ONLY public.river_job
    ADD CONSTRAINT river_job_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.river_leader
    ADD CONSTRAINT river_leader_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.river_migration
    ADD CONSTRAINT river_migration_pkey1 PRIMARY KEY (line, version);

ALTER TABLE ONLY public.river_notification
    ADD CONSTRAINT river_notification_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.river_queue
    ADD CONSTRAINT river_queue_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.webhook_crowd
    ADD CONSTRAINT webhook_crowd_pkey PRIMARY KEY (partner_id);

ALTER TABLE ONLY public.webhook_delivery_log
    ADD CONSTRAINT webhook_delivery_log_pkey PRIMARY KEY (started_at, attempt_id);

ALTER TABLE ONLY public.webhook_delivery_log_20261123
    ADD CONSTRAINT webhook_delivery_log_20261123_pkey PRIMARY KEY (started_at, attempt_id);

ALTER TABLE ONLY public.webhook_delivery_log_20261130
    ADD CONSTRAINT webhook_delivery_log_20261130_pkey PRIMARY KEY (started_at, attempt_id);

ALTER TABLE ONLY public.webhook_delivery_log_20261207
    ADD CONSTRAINT webhook_delivery_log_20261207_pkey PRIMARY KEY (started_at, attempt_id);

ALTER TABLE ONLY public.webhook_delivery_log_default
    ADD CONSTRAINT webhook_delivery_log_default_pkey PRIMARY KEY (started_at, attempt_id);

ALTER TABLE ONLY public.webhook_events
    ADD CONSTRAINT webhook_events_pkey PRIMARY KEY (user_id, event_id);

ALTER TABLE ONLY public.webhook_partner_health
    ADD CONSTRAINT webhook_partner_health_pkey PRIMARY KEY (partner_id);

ALTER TABLE ONLY public.webhook_partner_rates
    ADD CONSTRAINT webhook_partner_rates_pkey PRIMARY KEY (partner_id);

ALTER TABLE ONLY public.webhook_role_users
    ADD CONSTRAINT webhook_role_users_pkey PRIMARY KEY (role, user_id);

ALTER TABLE ONLY public.webhook_settings
    ADD CONSTRAINT webhook_settings_pkey PRIMARY KEY (singleton);

CREATE INDEX river_job_kind ON public.river_job USING btree (kind);

CREATE INDEX river_job_prioritized_fetching_index ON public.river_job USING btree (state, queue, priority, scheduled_at, id);

CREATE INDEX river_job_state_and_finalized_at_index ON public.river_job USING btree (state, finalized_at) WHERE (finalized_at IS NOT NULL);

CREATE UNIQUE INDEX river_job_unique_idx ON public.river_job USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (unique_states IS NOT NULL) AND public.river_job_state_in_bitmask(unique_states, state));

CREATE INDEX river_job_webhook_created_idx ON public.river_job USING btree (created_at, id) WHERE (kind = 'webhook_delivery'::text);

CREATE UNIQUE INDEX river_job_webhook_delivery_id_idx ON public.river_job USING btree (((args ->> 'delivery_id'::text))) WHERE (kind = 'webhook_delivery'::text);

CREATE INDEX river_job_webhook_failing_idx ON public.river_job USING btree (COALESCE(finalized_at, attempted_at, created_at)) WHERE ((kind = 'webhook_delivery'::text) AND (
CASE
    WHEN (state = 'running'::public.river_job_state) THEN 'processing'::text
    WHEN (state = 'completed'::public.river_job_state) THEN 'delivered'::text
    WHEN (state = 'discarded'::public.river_job_state) THEN 'dead_letter'::text
    WHEN (state = 'cancelled'::public.river_job_state) THEN 'cancelled'::text
    WHEN (attempt = 0) THEN 'pending'::text
    ELSE 'failed'::text
END = ANY (ARRAY['failed'::text, 'dead_letter'::text])));

CREATE INDEX river_job_webhook_status_idx ON public.river_job USING btree ((
CASE
    WHEN (state = 'running'::public.river_job_state) THEN 'processing'::text
    WHEN (state = 'completed'::public.river_job_state) THEN 'delivered'::text
    WHEN (state = 'discarded'::public.river_job_state) THEN 'dead_letter'::text
    WHEN (state = 'cancelled'::public.river_job_state) THEN 'cancelled'::text
    WHEN (attempt = 0) THEN 'pending'::text
    ELSE 'failed'::text
END), created_at, id) INCLUDE (state, attempt) WHERE ((kind = 'webhook_delivery'::text) AND (
CASE
    WHEN (state = 'running'::public.river_job_state) THEN 'processing'::text
    WHEN (state = 'completed'::public.river_job_state) THEN 'delivered'::text
    WHEN (state = 'discarded'::public.river_job_state) THEN 'dead_letter'::text
    WHEN (state = 'cancelled'::public.river_job_state) THEN 'cancelled'::text
    WHEN (attempt = 0) THEN 'pending'::text
    ELSE 'failed'::text
END = ANY (ARRAY['pending'::text, 'failed'::text, 'dead_letter'::text, 'cancelled'::text])));

CREATE INDEX river_job_webhook_user_idx ON public.river_job USING btree (((args ->> 'user_id'::text)), created_at, id) WHERE (kind = 'webhook_delivery'::text);

CREATE INDEX river_job_webhook_waiting_idx ON public.river_job USING btree (((args ->> 'partner_id'::text))) WHERE ((kind = 'webhook_delivery'::text) AND (queue = 'webhooks'::text) AND (state = ANY (ARRAY['retryable'::public.river_job_state, 'scheduled'::public.river_job_state])));

CREATE INDEX river_notification_created_at_idx ON public.river_notification USING btree (created_at);

CREATE INDEX river_notification_topic_id_idx ON public.river_notification USING btree (topic, id);

CREATE INDEX webhook_delivery_log_delivery_id_idx ON ONLY public.webhook_delivery_log USING btree (delivery_id, started_at);

CREATE INDEX webhook_delivery_log_20261123_delivery_id_started_at_idx ON public.webhook_delivery_log_20261123 USING btree (delivery_id, started_at);

CREATE INDEX webhook_delivery_log_20261130_delivery_id_started_at_idx ON public.webhook_delivery_log_20261130 USING btree (delivery_id, started_at);

CREATE INDEX webhook_delivery_log_20261207_delivery_id_started_at_idx ON public.webhook_delivery_log_20261207 USING btree (delivery_id, started_at);

CREATE INDEX webhook_delivery_log_default_delivery_id_started_at_idx ON public.webhook_delivery_log_default USING btree (delivery_id, started_at);

CREATE INDEX webhook_events_created_at_idx ON public.webhook_events USING btree (created_at);

ALTER INDEX public.webhook_delivery_log_delivery_id_idx ATTACH PARTITION public.webhook_delivery_log_20261123_delivery_id_started_at_idx;

ALTER INDEX public.webhook_delivery_log_pkey ATTACH PARTITION public.webhook_delivery_log_20261123_pkey;

ALTER INDEX public.webhook_delivery_log_delivery_id_idx ATTACH PARTITION public.webhook_delivery_log_20261130_delivery_id_started_at_idx;

ALTER INDEX public.webhook_delivery_log_pkey ATTACH PARTITION public.webhook_delivery_log_20261130_pkey;

ALTER INDEX public.webhook_delivery_log_delivery_id_idx ATTACH PARTITION public.webhook_delivery_log_20261207_delivery_id_started_at_idx;

ALTER INDEX public.webhook_delivery_log_pkey ATTACH PARTITION public.webhook_delivery_log_20261207_pkey;

ALTER INDEX public.webhook_delivery_log_delivery_id_idx ATTACH PARTITION public.webhook_delivery_log_default_delivery_id_started_at_idx;

ALTER INDEX public.webhook_delivery_log_pkey ATTACH PARTITION public.webhook_delivery_log_default_pkey;

CREATE STATISTICS public.river_job_webhook_status ON (CASE WHEN state = 'running'::public.river_job_state THEN 'processing'::text WHEN state = 'completed'::public.river_job_state THEN 'delivered'::text WHEN state = 'discarded'::public.river_job_state THEN 'dead_letter'::text WHEN state = 'cancelled'::public.river_job_state THEN 'cancelled'::text WHEN attempt = 0 THEN 'pending'::text ELSE 'failed'::text END) FROM public.river_job;

CREATE TRIGGER partner_webhooks_disabled AFTER UPDATE OF enabled ON public.partner_webhooks FOR EACH ROW WHEN ((old.enabled AND (NOT new.enabled))) EXECUTE FUNCTION public.webhook_partner_disabled();

CREATE TRIGGER partner_webhooks_health AFTER UPDATE OF url, enabled, paused_at ON public.partner_webhooks FOR EACH ROW WHEN (((old.url <> new.url) OR (old.enabled <> new.enabled) OR (old.paused_at IS DISTINCT FROM new.paused_at))) EXECUTE FUNCTION public.webhook_forget_partner_health();

CREATE TRIGGER river_job_webhook_exhausted AFTER UPDATE OF state ON public.river_job FOR EACH ROW WHEN (((new.state = 'discarded'::public.river_job_state) AND (old.state <> 'discarded'::public.river_job_state) AND (new.kind = 'webhook_delivery'::text))) EXECUTE FUNCTION public.webhook_delivery_exhausted();

CREATE TRIGGER river_job_webhook_exhausted_anew AFTER INSERT ON public.river_job FOR EACH ROW WHEN (((new.state = 'discarded'::public.river_job_state) AND (new.kind = 'webhook_delivery'::text) AND (new.finalized_at > (now() - '01:00:00'::interval)))) EXECUTE FUNCTION public.webhook_delivery_exhausted();

ALTER TABLE ONLY public.webhook_partner_health
    ADD CONSTRAINT webhook_partner_health_partner_id_fkey FOREIGN KEY (partner_id) REFERENCES public.partner_webhooks(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.webhook_partner_rates
    ADD CONSTRAINT webhook_partner_rates_partner_id_fkey FOREIGN KEY (partner_id) REFERENCES public.partner_webhooks(id) ON DELETE CASCADE;

ALTER TABLE public.partner_webhooks ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_crowd ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_delivery_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_delivery_log_20261123 ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_delivery_log_20261130 ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_delivery_log_20261207 ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_delivery_log_default ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_partner_health ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_partner_rates ENABLE ROW LEVEL SECURITY;

CREATE POLICY webhook_reader ON public.partner_webhooks FOR SELECT TO webhook_reader USING ((('*'::text = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[])) OR (user_id = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[]))));

CREATE POLICY webhook_reader ON public.webhook_delivery_log FOR SELECT TO webhook_reader USING ((('*'::text = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[])) OR (user_id = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[]))));

CREATE POLICY webhook_reader ON public.webhook_events FOR SELECT TO webhook_reader USING ((('*'::text = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[])) OR (user_id = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[]))));

CREATE POLICY webhook_reader ON public.webhook_partner_health FOR SELECT TO webhook_reader USING ((('*'::text = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[])) OR (user_id = ANY (( SELECT public.webhook_session_users() AS webhook_session_users)::text[]))));

ALTER TABLE public.webhook_role_users ENABLE ROW LEVEL SECURITY;

CREATE POLICY webhook_worker ON public.partner_webhooks TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_crowd TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_delivery_log TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_delivery_log_20261123 TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_delivery_log_20261130 TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_delivery_log_20261207 TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_delivery_log_default TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_events TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_partner_health TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_partner_rates TO webhook_worker USING (true) WITH CHECK (true);

CREATE POLICY webhook_worker ON public.webhook_role_users TO webhook_worker USING (true) WITH CHECK (true);

GRANT USAGE ON SCHEMA public TO webhook_app;
GRANT USAGE ON SCHEMA public TO webhook_worker;
GRANT USAGE ON SCHEMA public TO webhook_reader;

REVOKE ALL ON FUNCTION public.webhook_store_call_outcome(user_id text, call_id text, outcome_data json) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data json) FROM PUBLIC;
GRANT ALL ON FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data json) TO webhook_app;

REVOKE ALL ON FUNCTION public.webhook_refuse_jsonb() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data jsonb) TO webhook_app;

REVOKE ALL ON FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data text) TO webhook_app;

REVOKE ALL ON FUNCTION public.webhook_store_event(user_id text, event_type text, payload json, event_id text, on_conflict text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload json, event_id text, on_conflict text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload json, event_id text, on_conflict text) TO webhook_app;

REVOKE ALL ON FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload jsonb, event_id text, on_conflict text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload jsonb, event_id text, on_conflict text) TO webhook_app;

REVOKE ALL ON FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload text, event_id text, on_conflict text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.enqueue_webhook_event(user_id text, event_type text, payload text, event_id text, on_conflict text) TO webhook_app;

REVOKE ALL ON FUNCTION public.get_webhook_partner_stats(user_id text, partner_slug text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.get_webhook_partner_stats(user_id text, partner_slug text) TO webhook_worker;

REVOKE ALL ON FUNCTION public.get_webhook_queue_stats() FROM PUBLIC;
GRANT ALL ON FUNCTION public.get_webhook_queue_stats() TO webhook_worker;

REVOKE ALL ON FUNCTION public.recover_webhook_delivery(user_id text, event_id text, partner_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.recover_webhook_delivery(user_id text, event_id text, partner_id uuid) TO webhook_worker;

REVOKE ALL ON FUNCTION public.replay_webhook_delivery(delivery_id uuid, run text, user_id text, event_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.replay_webhook_delivery(delivery_id uuid, run text, user_id text, event_id text) TO webhook_worker;

GRANT ALL ON FUNCTION public.river_job_state_in_bitmask(bitmask bit, state public.river_job_state) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_delivery_exhausted() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_delivery_priority(partner_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_delivery_priority(partner_id uuid) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_drop_log_partitions(before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_drop_log_partitions(before timestamp with time zone) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_emit_operational_event(user_id text, event_type text, event_id text, about uuid, data json) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_is_operational(event_type text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_is_operational(event_type text) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_event_patterns(event_type text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_event_patterns(event_type text) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_forget_partner_health() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_guard_log_partition(partition regclass) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_insert_delivery(delivery_id uuid, user_id text, partner_id uuid, event_id text, event_type text, max_retries integer, metadata jsonb, created_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_insert_delivery(delivery_id uuid, user_id text, partner_id uuid, event_id text, event_type text, max_retries integer, metadata jsonb, created_at timestamp with time zone) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_make_log_partitions() FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_make_log_partitions() TO webhook_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.partner_webhooks TO webhook_worker;

GRANT SELECT(id) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(user_id) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(partner_name) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(partner_slug) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(url) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(enabled_events) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(custom_payload_fields) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(max_retries) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(enabled) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(disabled_reason) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(paused_at) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(created_at) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(updated_at) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(request_headers) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(rate_limit) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT(max_in_flight) ON TABLE public.partner_webhooks TO webhook_reader;

GRANT SELECT,INSERT,DELETE ON TABLE public.webhook_events TO webhook_worker;
GRANT SELECT ON TABLE public.webhook_events TO webhook_reader;

GRANT UPDATE(partner_ids) ON TABLE public.webhook_events TO webhook_worker;

GRANT UPDATE(delivery_ids) ON TABLE public.webhook_events TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_missing_deliveries(since timestamp with time zone, until timestamp with time zone, user_id text, partner_slug text, event_type text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_missing_deliveries(since timestamp with time zone, until timestamp with time zone, user_id text, partner_slug text, event_type text) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_only_operational(deliveries uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_partner_disabled() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_partner_failing(partner_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_partner_failing(partner_id uuid) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_partner_recovered(partner_id uuid, opened_at timestamp with time zone, failing_since timestamp with time zone, failed_deliveries uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_partner_recovered(partner_id uuid, opened_at timestamp with time zone, failing_since timestamp with time zone, failed_deliveries uuid[]) TO webhook_worker;

REVOKE ALL ON FUNCTION public.webhook_require_event_type(event_type text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_require_payload(payload json) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_require_text(field text, value text, max_chars integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_require_user(user_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_session_users() FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_session_users() TO webhook_worker;
GRANT ALL ON FUNCTION public.webhook_session_users() TO webhook_reader;

REVOKE ALL ON FUNCTION public.webhook_time(at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_wake_workers() FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_wake_workers() TO webhook_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.river_job TO webhook_worker;

GRANT USAGE ON SEQUENCE public.river_job_id_seq TO webhook_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.river_leader TO webhook_worker;

GRANT SELECT ON TABLE public.river_migration TO webhook_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.river_notification TO webhook_worker;

GRANT USAGE ON SEQUENCE public.river_notification_id_seq TO webhook_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.river_queue TO webhook_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhook_crowd TO webhook_worker;

GRANT SELECT ON TABLE public.webhook_deliveries TO webhook_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhook_delivery_log TO webhook_worker;
GRANT SELECT ON TABLE public.webhook_delivery_log TO webhook_reader;

GRANT SELECT,DELETE ON TABLE public.webhook_delivery_log_20261123 TO webhook_worker;

GRANT SELECT,DELETE ON TABLE public.webhook_delivery_log_20261130 TO webhook_worker;

GRANT SELECT,DELETE ON TABLE public.webhook_delivery_log_20261207 TO webhook_worker;

GRANT SELECT,DELETE ON TABLE public.webhook_delivery_log_default TO webhook_worker;

GRANT SELECT ON TABLE public.webhook_delivery_log_partitions TO webhook_worker;

GRANT SELECT ON TABLE public.webhook_delivery_queue TO webhook_worker;
GRANT SELECT ON TABLE public.webhook_delivery_queue TO webhook_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhook_partner_health TO webhook_worker;
GRANT SELECT ON TABLE public.webhook_partner_health TO webhook_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhook_partner_rates TO webhook_worker;

GRANT SELECT,DELETE ON TABLE public.webhook_role_users TO webhook_worker;

GRANT SELECT ON TABLE public.webhook_schema_version TO webhook_worker;

GRANT SELECT ON TABLE public.webhook_settings TO webhook_worker;

GRANT UPDATE(retry_max_attempts) ON TABLE public.webhook_settings TO webhook_worker;

GRANT UPDATE(updated_at) ON TABLE public.webhook_settings TO webhook_worker;

GRANT UPDATE(log_settled_until) ON TABLE public.webhook_settings TO webhook_worker;

GRANT UPDATE(watched_until) ON TABLE public.webhook_settings TO webhook_worker;

