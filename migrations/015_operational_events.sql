---- tern: disable-tx ----

-- Each statement locks one table, for a moment, and may be repeated. Whoever has changed a delivery or a partner in an
-- open transaction holds this up, and this then all deliveries: migrate again when it is done.
set lock_timeout = '5s';
-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), false);

create or replace function webhook_is_operational(event_type text) returns boolean
    language sql immutable
    return event_type in ('partner.disabled', 'delivery.exhausted', 'partner.failing', 'partner.recovered');

comment on function webhook_is_operational is 'Whether events of a type are what webhook-worker itself tells, as the Go API has it.';
-- Whoever replays calls it, also if this ends here.
grant execute on function webhook_is_operational to webhook_worker;
revoke execute on function webhook_is_operational from public;

-- Who takes everything that happens does not ask for these: they are about other partners.
create or replace function webhook_event_patterns(event_type text) returns text[]
    language sql immutable
    return case when webhook_is_operational(event_type) then array[event_type] else array[event_type, '*'] end
           || array(select left(event_type, place) || '*'
                      from generate_series(1, char_length(event_type)) as places (place)
                     where substr(event_type, place, 1) = '.');

comment on function webhook_event_patterns is
    'Every entry of enabled_events that subscribes to an event type: for a.b.c itself, *, a.* and a.b.*; * is none for operational events.';
comment on column partner_webhooks.enabled_events is
    'Event types that the partner receives: exact names, "*" for all but operational events, "call.*" for all that begin with "call.".';

create or replace function webhook_require_event_type(event_type text) returns void
    language plpgsql immutable
    set search_path from current
as $$
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
$$;

-- What was told of a partner is no news later, and must not come to that partner itself.
do $$
begin
    create or replace function webhook_missing_deliveries(since timestamptz, until timestamptz default 'infinity',
                                                          user_id text default null, partner_slug text default null, event_type text default null)
        returns table (user_id text, event_id text, event_type text, partner_id uuid, partner_slug text, created_at timestamptz)
        language sql stable
    begin atomic
        select e.user_id, e.event_id, e.event_type, p.id, p.partner_slug, e.created_at
          from webhook_events e
          join partner_webhooks p on p.user_id = e.user_id
         where e.created_at >= $1
           and e.created_at < $2
           and ($3 is null or e.user_id = $3)
           and ($4 is null or p.partner_slug = $4)
           and ($5 is null or e.event_type = $5)
           and e.event_type <> 'webhook.test'
           and not webhook_is_operational(e.event_type)
           and p.enabled
           and p.id <> all (e.partner_ids)
           and p.enabled_events && webhook_event_patterns(e.event_type);
    end;
    execute replace(pg_get_functiondef('recover_webhook_delivery(text, text, uuid)'::regprocedure),
                    'elsif not partner.enabled_events &&', 'elsif webhook_is_operational(event.event_type) or not partner.enabled_events &&');
end
$$;

create or replace function webhook_time(at timestamptz) returns text
    language sql stable
    return to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

comment on function webhook_time is 'A time as operational events say it: ISO 8601, UTC.';
revoke execute on function webhook_time from public;

-- No URL: it often holds a token, and is for the one partner alone.
create or replace function webhook_emit_operational_event(user_id text, event_type text, event_id text, about uuid, data json) returns boolean
    language plpgsql
    set search_path from current
as $$
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
        insert into river_job (kind, queue, max_attempts, metadata, args)
        select 'webhook_delivery', 'webhooks', max_attempts, '{"trigger": "schedule"}',
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
$$;

comment on function webhook_emit_operational_event is
    'Stores an operational event about a partner for the user''s other partners that subscribe to its type, if there are any, with their deliveries, once an id. Says whether it did.';
revoke execute on function webhook_emit_operational_event from public;

create or replace function webhook_only_operational(deliveries uuid[]) returns boolean
    language sql stable
    set search_path from current
as $$
    select coalesce(bool_and(webhook_is_operational(j.args->>'event_type')), false)
      from river_job j
     where j.kind = 'webhook_delivery' and j.args->>'delivery_id' = any (deliveries::text[])
$$;

comment on function webhook_only_operational is
    'Whether deliveries are of operational events alone. A partner that fails with these is not told of, or two that fail would keep each other failing.';
revoke execute on function webhook_only_operational from public;

-- What can't be told must not stop what happened: it is a warning in the server's log.
create or replace function webhook_partner_disabled() returns trigger
    language plpgsql security definer
    set search_path from current
as $$
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

comment on function webhook_partner_disabled is 'Tells partner.disabled.';
revoke execute on function webhook_partner_disabled from public;

create or replace trigger partner_webhooks_disabled
    after update of enabled on partner_webhooks
    for each row when (old.enabled and not new.enabled)
    execute function webhook_partner_disabled();

create or replace function webhook_delivery_exhausted() returns trigger
    language plpgsql security definer
    set search_path from current
as $$
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

comment on function webhook_delivery_exhausted is 'Tells delivery.exhausted.';
revoke execute on function webhook_delivery_exhausted from public;

create or replace trigger river_job_webhook_exhausted
    after update of state on river_job
    for each row when (new.state = 'discarded' and old.state <> 'discarded' and new.kind = 'webhook_delivery')
    execute function webhook_delivery_exhausted();

-- The delivery of a dead worker may come back as a new row that has given up. Rows that are brought in from elsewhere gave
-- up long ago.
create or replace trigger river_job_webhook_exhausted_anew
    after insert on river_job
    for each row when (new.state = 'discarded' and new.kind = 'webhook_delivery' and new.finalized_at > now() - interval '1 hour')
    execute function webhook_delivery_exhausted();

create or replace function webhook_partner_failing(partner_id uuid) returns boolean
    language plpgsql security definer
    set search_path from current
as $$
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
$$;

comment on function webhook_partner_failing is
    'Tells partner.failing of a partner whose circuit has opened, once an opening, and says whether it was told. In the statement that opens it, call it on what that returns.';
revoke execute on function webhook_partner_failing from public;

create or replace function webhook_partner_recovered(partner_id uuid, opened_at timestamptz, failing_since timestamptz, failed_deliveries uuid[] default '{}')
    returns boolean
    language plpgsql security definer
    set search_path from current
as $$
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
$$;

comment on function webhook_partner_recovered is
    'Tells partner.recovered of a partner whose circuit was open, once an opening, and says whether it was told. The arguments are what its row of webhook_partner_health had.';
revoke execute on function webhook_partner_recovered from public;

---- create above / drop below ----

---- tern: disable-tx ----

set lock_timeout = '5s';
select set_config('search_path', format('%I, pg_temp', current_schema()), false);

drop trigger if exists river_job_webhook_exhausted_anew on river_job;
drop trigger if exists river_job_webhook_exhausted on river_job;
drop trigger if exists partner_webhooks_disabled on partner_webhooks;
drop function if exists webhook_partner_recovered(uuid, timestamptz, timestamptz, uuid[]);
drop function if exists webhook_partner_failing(uuid);
drop function if exists webhook_delivery_exhausted();
drop function if exists webhook_partner_disabled();
drop function if exists webhook_only_operational(uuid[]);
drop function if exists webhook_emit_operational_event(text, text, text, uuid, json);
drop function if exists webhook_time(timestamptz);

do $$
begin
    create or replace function webhook_missing_deliveries(since timestamptz, until timestamptz default 'infinity',
                                                          user_id text default null, partner_slug text default null, event_type text default null)
        returns table (user_id text, event_id text, event_type text, partner_id uuid, partner_slug text, created_at timestamptz)
        language sql stable
    begin atomic
        select e.user_id, e.event_id, e.event_type, p.id, p.partner_slug, e.created_at
          from webhook_events e
          join partner_webhooks p on p.user_id = e.user_id
         where e.created_at >= $1
           and e.created_at < $2
           and ($3 is null or e.user_id = $3)
           and ($4 is null or p.partner_slug = $4)
           and ($5 is null or e.event_type = $5)
           and e.event_type <> 'webhook.test'
           and p.enabled
           and p.id <> all (e.partner_ids)
           and p.enabled_events && webhook_event_patterns(e.event_type);
    end;
    execute replace(pg_get_functiondef('recover_webhook_delivery(text, text, uuid)'::regprocedure),
                    'elsif webhook_is_operational(event.event_type) or not partner.enabled_events &&', 'elsif not partner.enabled_events &&');
end
$$;

create or replace function webhook_require_event_type(event_type text) returns void
    language plpgsql immutable
    set search_path from current
as $$
begin
    if event_type is null or event_type !~ '^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$' then
        raise exception 'event_type % must be parts of letters, digits and underscores with dots between, such as call.completed',
              to_json(left(coalesce(event_type, ''), 80)) using errcode = 'invalid_parameter_value';
    elsif char_length(event_type) > 128 then
        raise exception 'event_type "%…" must have at most 128 characters', left(event_type, 80) using errcode = 'invalid_parameter_value';
    end if;
end
$$;

create or replace function webhook_event_patterns(event_type text) returns text[]
    language sql immutable
as $$
    select array[$1, '*'] || coalesce(array_agg(left($1, place) || '*'), '{}')
      from generate_series(1, char_length($1)) as places (place)
     where substr($1, place, 1) = '.'
$$;

comment on function webhook_event_patterns is 'Every entry of enabled_events that subscribes to an event type: for a.b.c itself, *, a.* and a.b.*';
comment on column partner_webhooks.enabled_events is 'Event types that the partner receives: exact names, "*" for all, "call.*" for all that begin with "call.".';
drop function if exists webhook_is_operational(text);
