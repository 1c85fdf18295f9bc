-- A database of webhook-worker 96c7213, made by `make release-database`.
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
        insert into river_job (kind, queue, max_attempts, metadata, args)
        select 'webhook_delivery', 'webhooks', max_attempts, '{"trigger": "schedule"}',
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
    elsif not partner.enabled_events && webhook_event_patterns(event.event_type) then
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

CREATE FUNCTION public.webhook_drop_log_partitions(before timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
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

CREATE FUNCTION public.webhook_event_patterns(event_type text) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    AS $_$
    select array[$1, '*'] || coalesce(array_agg(left($1, place) || '*'), '{}')
      from generate_series(1, char_length($1)) as places (place)
     where substr($1, place, 1) = '.'
$_$;

CREATE FUNCTION public.webhook_insert_delivery(delivery_id uuid, user_id text, partner_id uuid, event_id text, event_type text, max_retries integer, metadata jsonb, created_at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
begin
    insert into river_job (kind, queue, max_attempts, metadata, created_at, args)
    values ('webhook_delivery', 'webhooks', 1 + coalesce($6, (select retry_max_attempts from webhook_settings)), $7, $8,
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
    LANGUAGE plpgsql
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
    CONSTRAINT partner_webhooks_custom_payload_fields_object CHECK ((json_typeof(custom_payload_fields) = 'object'::text)),
    CONSTRAINT partner_webhooks_disabled_reason_if_disabled CHECK (((disabled_reason IS NULL) OR (NOT enabled))),
    CONSTRAINT partner_webhooks_enabled_events_count CHECK (((cardinality(enabled_events) >= 1) AND (cardinality(enabled_events) <= 100))),
    CONSTRAINT partner_webhooks_max_retries_range CHECK (((max_retries >= 0) AND (max_retries <= 100))),
    CONSTRAINT partner_webhooks_partner_name_length CHECK (((char_length(partner_name) >= 1) AND (char_length(partner_name) <= 200))),
    CONSTRAINT partner_webhooks_partner_slug_format CHECK (((partner_slug ~ '^[a-z0-9]+([-_][a-z0-9]+)*$'::text) AND (char_length(partner_slug) <= 63))),
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
   WHERE ((e.created_at >= webhook_missing_deliveries.since) AND (e.created_at < webhook_missing_deliveries.until) AND ((webhook_missing_deliveries.user_id IS NULL) OR (e.user_id = webhook_missing_deliveries.user_id)) AND ((webhook_missing_deliveries.partner_slug IS NULL) OR (p.partner_slug = webhook_missing_deliveries.partner_slug)) AND ((webhook_missing_deliveries.event_type IS NULL) OR (e.event_type = webhook_missing_deliveries.event_type)) AND (e.event_type <> 'webhook.test'::text) AND p.enabled AND (p.id <> ALL (e.partner_ids)) AND (p.enabled_events && public.webhook_event_patterns(e.event_type)));
END;

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

CREATE FUNCTION public.webhook_wake_workers() RETURNS void
    LANGUAGE sql
    SET search_path TO 'public', 'pg_temp'
    AS $$
    -- River's own payload, to the letter: PostgreSQL sends what is said twice in a transaction once.
    select pg_notify(river_schema || '.river_insert', '{"queue": "webhooks"}') from webhook_settings
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
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_insert_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');

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

CREATE VIEW public.webhook_delivery_queue AS
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
    CONSTRAINT webhook_settings_one_row CHECK (singleton),
    CONSTRAINT webhook_settings_retry_max_attempts_range CHECK (((retry_max_attempts >= 0) AND (retry_max_attempts <= 100)))
);

ALTER TABLE ONLY public.webhook_delivery_log ATTACH PARTITION public.webhook_delivery_log_20261123 FOR VALUES FROM ('2026-11-23 00:00:00+00') TO ('2026-11-30 00:00:00+00');

ALTER TABLE ONLY public.webhook_delivery_log ATTACH PARTITION public.webhook_delivery_log_20261130 FOR VALUES FROM ('2026-11-30 00:00:00+00') TO ('2026-12-07 00:00:00+00');

ALTER TABLE ONLY public.webhook_delivery_log ATTACH PARTITION public.webhook_delivery_log_20261207 FOR VALUES FROM ('2026-12-07 00:00:00+00') TO ('2026-12-14 00:00:00+00');

ALTER TABLE ONLY public.webhook_delivery_log ATTACH PARTITION public.webhook_delivery_log_default DEFAULT;

ALTER TABLE ONLY public.river_job ALTER COLUMN id SET DEFAULT nextval('public.river_job_id_seq'::regclass);

ALTER TABLE ONLY public.river_notification ALTER COLUMN id SET DEFAULT nextval('public.river_notification_id_seq'::regclass);

INSERT INTO public.partner_webhooks VALUES ('81f910c1-783b-411d-a055-f76ef0251e83', 'tenant', 'retry', 'retry', 'http://127.0.0.1:9000/retry', '\x52559afc54f1a8358f3c1d34574a2ae39b2950d94f8b7ed90ee5d2c8339aa3234de7416d59ec25d5fc51e027071d8b9a28e6f6fcecded8c3d75fd886dd176ced83ec0a7038b60715a29cf03c53d070e480', '66687aadf862bd77', '{call.retry}', '{}', NULL, true, NULL, NULL, '2026-11-27 20:52:13.9821+00', '2026-11-27 20:52:13.9821+00');
INSERT INTO public.partner_webhooks VALUES ('706204a0-91dd-4691-bd92-7366e76fb202', 'tenant', 'hang', 'hang', 'http://127.0.0.1:9000/hang', '\x0729457fb5ea4dc24f5cf5ae8cec0d4afdb4f403d91c3a575bbe3ee6ee2a56e29f13fe909417b742c8bada6b0f0239666005a3ce9af94fc50cda9d37524d89d27d60f50e0626262352d1da18d614ff2045', '66687aadf862bd77', '{call.hang}', '{}', NULL, true, NULL, NULL, '2026-11-27 20:52:14.281273+00', '2026-11-27 20:52:14.281273+00');
INSERT INTO public.partner_webhooks VALUES ('0b378f22-6fb5-476b-9661-7d5b2b2bc3fd', 'tenant', 'ok', 'ok', 'http://127.0.0.1:9000/ok', '\x004bf2608d7393b895e2fea55fa4d8897f196c22b619fdd63100f9d9a11468fa5c29f43386681d9c72c1ff485d7ed982a889a45cc931c90be53c6d702ad1f0e6d1b32583391437e245a7046c3d563d4601', '66687aadf862bd77', '{call.ok}', '{"brand":"AcmeVoice"}', NULL, true, NULL, NULL, '2026-11-27 20:52:14.497804+00', '2026-11-27 20:52:14.497804+00');
INSERT INTO public.partner_webhooks VALUES ('74085b7a-7b7a-4234-b135-2276b6c85580', 'tenant', 'last', 'last', 'http://127.0.0.1:9000/last', '\x1ce9a95386db403597d289a545bc5b8b12758282f22750335dfdeadf1e01409e80592fedd9e8f9a6fef3dcd9155d68b94bb40af296b4289869b541719163bec525ecb86890342bdd71a1931ca1c7b013e6', '66687aadf862bd77', '{call.last}', '{}', 1, true, NULL, NULL, '2026-11-27 20:52:14.656924+00', '2026-11-27 20:52:14.656924+00');
INSERT INTO public.partner_webhooks VALUES ('4ca9e9b5-fed0-44b5-9192-49e195257fd4', 'tenant', 'dead', 'dead', 'http://127.0.0.1:9000/dead', '\x6a4b18e235e9aed832cad7e57dce71d1ac232e69dd217f1506e420b603d5bc51ea1817039cc54d09f49059625ae3a891959c0c707abd302a98e3c6bf437589fcb89bce9026fda1f971c748c6a19fd754a9', '66687aadf862bd77', '{call.dead}', '{}', 0, true, NULL, NULL, '2026-11-27 20:52:14.809818+00', '2026-11-27 20:52:14.809818+00');
INSERT INTO public.partner_webhooks VALUES ('cb7cc1f6-f6fa-4ee2-b4fe-c45f6ff0fbe1', 'tenant', 'rotated', 'rotated', 'http://127.0.0.1:9000/rotated', '\x5906eba56a4040ad92dfbfe0c7dfb2799ddf1928e5d03fce7136e6faa58b79c8f93894bac82c2fe905c6205413c8eb46f5d408b577d1d5b29ac8ccf3b764e0363ef24188c541222fae7ffc0744d6ca1f72433d0e63e659a35d3c387c5565b4e58ea7463a2f6c7906ea33ce1759f92e8b9f6e7a1450fb5782386a8346a429d0cf190f4697683d3a4dfa2294f11af8d4c40320a75a69024d08ca5fe62466ad83df89f3c5aeb32abb55f474c369d4996e6b5eb2cc', '66687aadf862bd77', '{call.rotated}', '{}', NULL, true, NULL, NULL, '2026-11-27 20:52:13.786504+00', '2026-11-27 20:52:14.928284+00');
INSERT INTO public.partner_webhooks VALUES ('7114c605-519f-432d-89d2-b0a9de51681c', 'tenant', 'paused', 'paused', 'http://127.0.0.1:9000/paused', '\x8491308bb4c4699dec3079932dcb865489d4a46f7ba880bffc6780846e345f5f29339bf565a70ad9168eb2614104e9183feb5ce12d09333a37cb4d01c665e0b4a4dc6f4bc27c2cb03e57727051a1120735', '66687aadf862bd77', '{call.paused}', '{}', NULL, true, NULL, '2026-11-27 20:52:15.088091+00', '2026-11-27 20:52:14.12763+00', '2026-11-27 20:52:15.088091+00');

INSERT INTO public.river_job VALUES (1, 'completed', 1, 6, '2026-11-27 20:52:15.804853+00', '2026-11-27 20:52:15.303071+00', '2026-11-27 20:52:15.909862+00', '2026-11-27 20:52:15.303071+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "ok-1", "event_type": "call.ok", "partner_id": "0b378f22-6fb5-476b-9661-7d5b2b2bc3fd", "delivery_id": "4f96387e-6bc9-4112-87fc-2fde813f354b"}', '{vm-dies-20261127T205215Z-ud7xoevn}', NULL, 'webhook_delivery', '{"output": {"outcome": "delivered", "response_status": 200}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (2, 'completed', 1, 6, '2026-11-27 20:52:15.804853+00', '2026-11-27 20:52:15.624332+00', '2026-11-27 20:52:15.876728+00', '2026-11-27 20:52:15.624332+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "rotated-1", "event_type": "call.rotated", "partner_id": "cb7cc1f6-f6fa-4ee2-b4fe-c45f6ff0fbe1", "delivery_id": "3bf10466-e898-4b06-8db3-3ddc49e89bc7"}', '{vm-dies-20261127T205215Z-ud7xoevn}', NULL, 'webhook_delivery', '{"output": {"outcome": "delivered", "response_status": 200}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (3, 'retryable', 1, 6, '2026-11-27 20:52:16.029076+00', '2026-11-27 20:52:16.006648+00', NULL, '2026-11-27 20:52:46.108579+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "retry-1", "event_type": "call.retry", "partner_id": "81f910c1-783b-411d-a055-f76ef0251e83", "delivery_id": "dafe6c3f-b322-4e00-ae5a-7e087b3a5d7d"}', '{vm-dies-20261127T205215Z-ud7xoevn}', '{"{\"at\": \"2026-11-27T20:52:16.043929632Z\", \"error\": \"the partner answered 500 Internal Server Error\", \"trace\": \"\", \"attempt\": 1}"}', 'webhook_delivery', '{"output": {"error": "the partner answered 500 Internal Server Error", "outcome": "failed", "error_kind": "http_status", "response_status": 500}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (4, 'retryable', 1, 2, '2026-11-27 20:52:16.220011+00', '2026-11-27 20:52:16.199135+00', NULL, '2026-11-27 20:52:46.270647+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "last-1", "event_type": "call.last", "partner_id": "74085b7a-7b7a-4234-b135-2276b6c85580", "delivery_id": "3f7615ca-6a25-40cf-89cd-f2199101fead"}', '{vm-dies-20261127T205215Z-ud7xoevn}', '{"{\"at\": \"2026-11-27T20:52:16.223267428Z\", \"error\": \"the partner answered 500 Internal Server Error\", \"trace\": \"\", \"attempt\": 1}"}', 'webhook_delivery', '{"output": {"error": "the partner answered 500 Internal Server Error", "outcome": "failed", "error_kind": "http_status", "response_status": 500}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (5, 'discarded', 1, 1, '2026-11-27 20:52:16.349077+00', '2026-11-27 20:52:16.331474+00', '2026-11-27 20:52:16.362892+00', '2026-11-27 20:52:16.331474+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "dead-1", "event_type": "call.dead", "partner_id": "4ca9e9b5-fed0-44b5-9192-49e195257fd4", "delivery_id": "55412f10-7c00-414b-b32e-74572372ed81"}', '{vm-dies-20261127T205215Z-ud7xoevn}', '{"{\"at\": \"2026-11-27T20:52:16.353529195Z\", \"error\": \"the partner answered 500 Internal Server Error\", \"trace\": \"\", \"attempt\": 1}"}', 'webhook_delivery', '{"output": {"error": "the partner answered 500 Internal Server Error", "outcome": "failed", "error_kind": "http_status", "response_status": 500}, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (6, 'scheduled', 0, 6, '2026-11-27 20:52:16.536422+00', '2026-11-27 20:52:16.520249+00', NULL, '2026-11-27 20:53:24.470488+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "paused-1", "event_type": "call.paused", "partner_id": "7114c605-519f-432d-89d2-b0a9de51681c", "delivery_id": "0f63c4f9-5133-46ab-b70f-850469417431"}', '{vm-dies-20261127T205215Z-ud7xoevn}', NULL, 'webhook_delivery', '{"snoozes": 1, "trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (8, 'running', 1, 6, '2026-11-27 20:52:16.907941+00', '2026-11-27 20:52:16.891945+00', NULL, '2026-11-27 20:52:16.891945+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "hang-1", "event_type": "call.hang", "partner_id": "706204a0-91dd-4691-bd92-7366e76fb202", "delivery_id": "3242cc46-a0ab-4fa6-8b14-d96fcbb8c0b9"}', '{vm-dies-20261127T205215Z-ud7xoevn}', NULL, 'webhook_delivery', '{"trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (7, 'cancelled', 0, 6, '2026-11-27 20:52:16.70702+00', '2026-11-27 20:52:16.680963+00', '2026-11-27 20:52:17.046954+00', '2026-11-27 20:53:27.053954+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "cancelled-1", "event_type": "call.paused", "partner_id": "7114c605-519f-432d-89d2-b0a9de51681c", "delivery_id": "f2e3198b-3e23-42d5-b016-b76f3c1e29c7"}', '{vm-dies-20261127T205215Z-ud7xoevn}', NULL, 'webhook_delivery', '{"snoozes": 1, "trigger": "schedule", "cancel_attempted_at": "2026-11-27T20:52:17.058899573Z"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (9, 'available', 0, 6, NULL, '2026-11-27 20:52:17.340823+00', NULL, '2026-11-27 20:52:17.340823+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "ok-2", "event_type": "call.ok", "partner_id": "0b378f22-6fb5-476b-9661-7d5b2b2bc3fd", "delivery_id": "8e940ccf-8ccb-487c-ba63-476e150bb8fe"}', NULL, NULL, 'webhook_delivery', '{"trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (10, 'available', 0, 6, NULL, '2026-11-27 20:52:17.504481+00', NULL, '2026-11-27 20:52:17.504481+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "rotated-2", "event_type": "call.rotated", "partner_id": "cb7cc1f6-f6fa-4ee2-b4fe-c45f6ff0fbe1", "delivery_id": "fb889fea-d316-4ba2-9b7a-291f761a231f"}', NULL, NULL, 'webhook_delivery', '{"trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);
INSERT INTO public.river_job VALUES (11, 'available', 0, 6, NULL, '2026-11-27 20:52:17.520902+00', NULL, '2026-11-27 20:52:17.520902+00', 1, '{"user_id": "tenant", "version": 1, "event_id": "ok-3", "event_type": "call.ok", "partner_id": "0b378f22-6fb5-476b-9661-7d5b2b2bc3fd", "delivery_id": "96f22174-fa4c-4a13-818b-af347644cf00"}', NULL, NULL, 'webhook_delivery', '{"trigger": "schedule"}', 'webhooks', '{}', NULL, NULL);

INSERT INTO public.river_leader VALUES ('2026-11-27 20:52:15.714531+00', '2026-11-27 20:52:30.714531+00', 'vm-dies-20261127T205215Z-ud7xoevn', 'default');

INSERT INTO public.river_migration VALUES ('main', 1, '2026-11-27 20:52:13.275146+00');
INSERT INTO public.river_migration VALUES ('main', 2, '2026-11-27 20:52:13.295405+00');
INSERT INTO public.river_migration VALUES ('main', 3, '2026-11-27 20:52:13.320233+00');
INSERT INTO public.river_migration VALUES ('main', 4, '2026-11-27 20:52:13.322843+00');
INSERT INTO public.river_migration VALUES ('main', 5, '2026-11-27 20:52:13.332017+00');
INSERT INTO public.river_migration VALUES ('main', 6, '2026-11-27 20:52:13.369093+00');
INSERT INTO public.river_migration VALUES ('main', 7, '2026-11-27 20:52:13.37292+00');
INSERT INTO public.river_migration VALUES ('main', 8, '2026-11-27 20:52:13.380575+00');

INSERT INTO public.river_queue VALUES ('webhook_maintenance', '2026-11-27 20:52:15.71984+00', '{}', NULL, '2026-11-27 20:52:15.71984+00');
INSERT INTO public.river_queue VALUES ('webhooks', '2026-11-27 20:52:15.770669+00', '{}', NULL, '2026-11-27 20:52:15.770669+00');

INSERT INTO public.webhook_delivery_log_20261123 VALUES ('f3697c75-7de3-4e29-a95b-7aa63aa2d8a4', '3bf10466-e898-4b06-8db3-3ddc49e89bc7', 2, 'tenant', 'cb7cc1f6-f6fa-4ee2-b4fe-c45f6ff0fbe1', 'rotated-1', 'call.rotated', 1, 'schedule', 'delivered', 200, '{"content-length":"0","date":"Fri, 27 Nov 2026 20:52:15 GMT"}', '', NULL, NULL, 'http://127.0.0.1:38971/rotated', 4.157859, 'vm-dies-20261127T205215Z-ud7xoevn', '2026-11-27 20:52:15.828422+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('0ff70ce9-a0bc-4d77-bee4-476e5973c95c', '4f96387e-6bc9-4112-87fc-2fde813f354b', 1, 'tenant', '0b378f22-6fb5-476b-9661-7d5b2b2bc3fd', 'ok-1', 'call.ok', 1, 'schedule', 'delivered', 200, '{"content-length":"0","date":"Fri, 27 Nov 2026 20:52:15 GMT"}', '', NULL, NULL, 'http://127.0.0.1:38971/ok', 1.372134, 'vm-dies-20261127T205215Z-ud7xoevn', '2026-11-27 20:52:15.828531+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('2b77d0f7-6706-4a9f-b1f5-97c559115f7c', 'dafe6c3f-b322-4e00-ae5a-7e087b3a5d7d', 3, 'tenant', '81f910c1-783b-411d-a055-f76ef0251e83', 'retry-1', 'call.retry', 1, 'schedule', 'failed', 500, '{"content-length":"0","date":"Fri, 27 Nov 2026 20:52:16 GMT"}', '', 'http_status', 'the partner answered 500 Internal Server Error', 'http://127.0.0.1:38971/retry', 1.088534, 'vm-dies-20261127T205215Z-ud7xoevn', '2026-11-27 20:52:16.044597+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('a828c745-746f-4c2a-aa82-843f18fc10d8', '3f7615ca-6a25-40cf-89cd-f2199101fead', 4, 'tenant', '74085b7a-7b7a-4234-b135-2276b6c85580', 'last-1', 'call.last', 1, 'schedule', 'failed', 500, '{"content-length":"0","date":"Fri, 27 Nov 2026 20:52:16 GMT"}', '', 'http_status', 'the partner answered 500 Internal Server Error', 'http://127.0.0.1:38971/last', 1.461424, 'vm-dies-20261127T205215Z-ud7xoevn', '2026-11-27 20:52:16.223804+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('3ea62efa-7bbc-4b61-89e9-2a3c30d41d13', '55412f10-7c00-414b-b32e-74572372ed81', 5, 'tenant', '4ca9e9b5-fed0-44b5-9192-49e195257fd4', 'dead-1', 'call.dead', 1, 'schedule', 'failed', 500, '{"content-length":"0","date":"Fri, 27 Nov 2026 20:52:16 GMT"}', '', 'http_status', 'the partner answered 500 Internal Server Error', 'http://127.0.0.1:38971/dead', 1.003922, 'vm-dies-20261127T205215Z-ud7xoevn', '2026-11-27 20:52:16.353624+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('9ce63d5c-5755-4b70-b8a8-194abd226cb3', '3242cc46-a0ab-4fa6-8b14-d96fcbb8c0b9', 8, 'tenant', '706204a0-91dd-4691-bd92-7366e76fb202', 'hang-1', 'call.hang', 1, 'schedule', 'sending', NULL, NULL, NULL, NULL, NULL, 'http://127.0.0.1:38971/hang', NULL, 'vm-dies-20261127T205215Z-ud7xoevn', '2026-11-27 20:52:16.913635+00');
INSERT INTO public.webhook_delivery_log_20261123 VALUES ('ec96d972-3a9b-462e-990d-3542b9febdba', 'f2e3198b-3e23-42d5-b016-b76f3c1e29c7', 7, 'tenant', '7114c605-519f-432d-89d2-b0a9de51681c', 'cancelled-1', 'call.paused', 0, 'manual', 'cancelled', NULL, NULL, NULL, 'internal', 'cancelled by hand', NULL, NULL, 'command line on vm', '2026-11-27 20:52:17.046954+00');

INSERT INTO public.webhook_events VALUES ('tenant', 'ok-1', 'call.ok', '{"z": 1.50, "a": "ok-1"}', '{0b378f22-6fb5-476b-9661-7d5b2b2bc3fd}', '{4f96387e-6bc9-4112-87fc-2fde813f354b}', '2026-11-27 20:52:15.292837+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'rotated-1', 'call.rotated', '{"z": 1.50, "a": "rotated-1"}', '{cb7cc1f6-f6fa-4ee2-b4fe-c45f6ff0fbe1}', '{3bf10466-e898-4b06-8db3-3ddc49e89bc7}', '2026-11-27 20:52:15.591132+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'retry-1', 'call.retry', '{"z": 1.50, "a": "retry-1"}', '{81f910c1-783b-411d-a055-f76ef0251e83}', '{dafe6c3f-b322-4e00-ae5a-7e087b3a5d7d}', '2026-11-27 20:52:15.989775+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'last-1', 'call.last', '{"z": 1.50, "a": "last-1"}', '{74085b7a-7b7a-4234-b135-2276b6c85580}', '{3f7615ca-6a25-40cf-89cd-f2199101fead}', '2026-11-27 20:52:16.188835+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'dead-1', 'call.dead', '{"z": 1.50, "a": "dead-1"}', '{4ca9e9b5-fed0-44b5-9192-49e195257fd4}', '{55412f10-7c00-414b-b32e-74572372ed81}', '2026-11-27 20:52:16.320137+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'paused-1', 'call.paused', '{"z": 1.50, "a": "paused-1"}', '{7114c605-519f-432d-89d2-b0a9de51681c}', '{0f63c4f9-5133-46ab-b70f-850469417431}', '2026-11-27 20:52:16.504868+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'cancelled-1', 'call.paused', '{"z": 1.50, "a": "cancelled-1"}', '{7114c605-519f-432d-89d2-b0a9de51681c}', '{f2e3198b-3e23-42d5-b016-b76f3c1e29c7}', '2026-11-27 20:52:16.66311+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'hang-1', 'call.hang', '{"z": 1.50, "a": "hang-1"}', '{706204a0-91dd-4691-bd92-7366e76fb202}', '{3242cc46-a0ab-4fa6-8b14-d96fcbb8c0b9}', '2026-11-27 20:52:16.879236+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'ok-2', 'call.ok', '{"z": 1.50, "a": "ok-2"}', '{0b378f22-6fb5-476b-9661-7d5b2b2bc3fd}', '{8e940ccf-8ccb-487c-ba63-476e150bb8fe}', '2026-11-27 20:52:17.332261+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'rotated-2', 'call.rotated', '{"z": 1.50, "a": "rotated-2"}', '{cb7cc1f6-f6fa-4ee2-b4fe-c45f6ff0fbe1}', '{fb889fea-d316-4ba2-9b7a-291f761a231f}', '2026-11-27 20:52:17.488046+00');
INSERT INTO public.webhook_events VALUES ('tenant', 'ok-3', 'call.ok', '{"z": 1.50, "a": "ok-3"}', '{0b378f22-6fb5-476b-9661-7d5b2b2bc3fd}', '{96f22174-fa4c-4a13-818b-af347644cf00}', '2026-11-27 20:52:17.520902+00');

INSERT INTO public.webhook_schema_version VALUES (10);

INSERT INTO public.webhook_settings VALUES (true, 5, 'public', '2026-11-27 20:52:13.394757+00', '2026-11-27 20:52:13.630789+00');

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

ALTER TABLE ONLY public.webhook_role_users
    ADD CONSTRAINT webhook_role_users_pkey PRIMARY KEY (role, user_id);

ALTER TABLE ONLY public.webhook_settings
    ADD CONSTRAINT webhook_settings_pkey PRIMARY KEY (singleton);

CREATE INDEX river_job_args_index ON public.river_job USING gin (args);

CREATE INDEX river_job_kind ON public.river_job USING btree (kind);

CREATE INDEX river_job_metadata_index ON public.river_job USING gin (metadata);

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

GRANT USAGE ON SCHEMA public TO webhook_app;

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

REVOKE ALL ON FUNCTION public.get_webhook_queue_stats() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.recover_webhook_delivery(user_id text, event_id text, partner_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.replay_webhook_delivery(delivery_id uuid, run text, user_id text, event_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_drop_log_partitions(before timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_event_patterns(event_type text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_insert_delivery(delivery_id uuid, user_id text, partner_id uuid, event_id text, event_type text, max_retries integer, metadata jsonb, created_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_make_log_partitions() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_missing_deliveries(since timestamp with time zone, until timestamp with time zone, user_id text, partner_slug text, event_type text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_require_event_type(event_type text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_require_payload(payload json) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_require_text(field text, value text, max_chars integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_require_user(user_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.webhook_wake_workers() FROM PUBLIC;

