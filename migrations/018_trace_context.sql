-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

create or replace function webhook_store_event(user_id text, event_type text, payload json, event_id text, on_conflict text) returns setof uuid
    language plpgsql
    set search_path from current
as $$
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
    job_metadata jsonb   := '{"trigger": "schedule"}';
    trace_parent text    := current_setting('webhook.traceparent', true);
    trace_state  text    := current_setting('webhook.tracestate', true);
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

    -- What is no trace context is left out: tracing must not keep an event from being stored.
    if trace_parent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' then
        job_metadata := job_metadata || jsonb_build_object('traceparent', trace_parent);
        if trace_state ~ '^[ -~]+$' and length(trace_state) <= 512 then
            job_metadata := job_metadata || jsonb_build_object('tracestate', trace_state);
        end if;
    end if;

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
        select 'webhook_delivery', 'webhooks', webhook_delivery_priority(partner_id), max_attempts, job_metadata,
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
$$;

comment on function webhook_store_event is
    'What enqueue_webhook_event and enqueue_call_outcome_webhook share. The settings webhook.traceparent and webhook.tracestate, as W3C Trace Context writes them, go into the deliveries'' metadata.';

---- create above / drop below ----

select set_config('search_path', format('%I, pg_temp', current_schema()), true);

create or replace function webhook_store_event(user_id text, event_type text, payload json, event_id text, on_conflict text) returns setof uuid
    language plpgsql
    set search_path from current
as $$
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
$$;

comment on function webhook_store_event is 'What enqueue_webhook_event and enqueue_call_outcome_webhook share.';
