-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- Roles belong to the cluster: another database's migration may make them at the same moment, and they stay
-- when this is taken back.
do $$
begin
    if not exists (select from pg_roles where rolname = 'webhook_app') then
        create role webhook_app nologin;
    end if;
exception
    when duplicate_object or unique_violation then
        null;
    when insufficient_privilege then
        raise exception 'role webhook_app is missing and % may not create roles: have an administrator run "create role webhook_app nologin", then migrate again', current_user
              using errcode = 'insufficient_privilege';
end
$$;

create table webhook_role_users (
    role     name  not null,
    user_id  text  not null,

    constraint webhook_role_users_pkey primary key (role, user_id),
    constraint webhook_role_users_user_id_length check (char_length(user_id) between 1 and 255)
);

comment on table webhook_role_users is
    'Which database roles may act for which users: the login role of a session is looked up here. The owner of these tables, and whoever inherits from it, needs no entry.';
comment on column webhook_role_users.role is 'Login role of an application, as session_user names it. Dropping the role leaves the entry.';
comment on column webhook_role_users.user_id is 'Tenant that it may act for; * for all of them, which is for the platform''s own role.';

create function webhook_require_text(field text, value text, max_chars integer) returns void
    language plpgsql immutable
    set search_path from current
as $$
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

comment on function webhook_require_text is 'Refuses text that is empty, too long, or holds control characters, as the Go API does.';

create function webhook_require_event_type(event_type text) returns void
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

comment on function webhook_require_event_type is 'Refuses what is no event type, as the Go API does.';

create function webhook_require_payload(payload json) returns void
    language plpgsql immutable
    set search_path from current
as $$
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

comment on function webhook_require_payload is 'Refuses what is no JSON object, or is too large or nested too deeply, as the Go API does.';

create function webhook_require_user(user_id text) returns void
    language plpgsql stable
    set search_path from current
as $$
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

comment on function webhook_require_user is
    'Refuses a user that the session''s login role has no entry for in webhook_role_users, or that the setting webhook.user_id, if set, does not name.';

create function webhook_event_patterns(event_type text) returns text[]
    language sql immutable
as $$
    select array[$1, '*'] || coalesce(array_agg(left($1, place) || '*'), '{}')
      from generate_series(1, char_length($1)) as places (place)
     where substr($1, place, 1) = '.'
$$;

comment on function webhook_event_patterns is 'Every entry of enabled_events that subscribes to an event type: for a.b.c itself, *, a.* and a.b.*';

create function webhook_store_event(user_id text, event_type text, payload json, event_id text, on_conflict text) returns setof uuid
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
$$;

comment on function webhook_store_event is 'What enqueue_webhook_event and enqueue_call_outcome_webhook share.';

create function webhook_wake_workers() returns void
    language sql
    set search_path from current
as $$
    -- River's own payload, to the letter: PostgreSQL sends what is said twice in a transaction once.
    select pg_notify(river_schema || '.river_insert', '{"queue": "webhooks"}') from webhook_settings
$$;

comment on function webhook_wake_workers is 'Makes the workers look for deliveries when the transaction commits.';

-- The functions that applications call also set how texts in the functions below are read, which a session can
-- change.
create function enqueue_webhook_event(user_id text, event_type text, payload json, event_id text default null, on_conflict text default 'error')
    returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select webhook_store_event($1, $2, $3, $4, $5);
end;

comment on function enqueue_webhook_event(text, text, json, text, text) is
    'Stores an event and one delivery for each partner of the user that is subscribed to its type, in the caller''s transaction, and returns the delivery ids. The same event_id with the same payload returns the first time''s ids and creates nothing; with another one it is SQLSTATE WH001, or with on_conflict ''first'' a notice. No event_id: one is made.';

-- With this one, a payload that the client sends without a type finds a function.
create function enqueue_webhook_event(user_id text, event_type text, payload text, event_id text default null, on_conflict text default 'error')
    returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select webhook_store_event($1, $2, $3::json, $4, $5);
end;

comment on function enqueue_webhook_event(text, text, text, text, text) is 'The same with the payload as text.';

create function webhook_refuse_jsonb() returns void
    language plpgsql
    set search_path from current
as $$
begin
    raise exception 'the payload is jsonb: pass json instead, because jsonb has lost the order of keys and the form of numbers'
          using errcode = 'invalid_parameter_value';
end
$$;

comment on function webhook_refuse_jsonb is 'Says what to pass instead of jsonb.';

create function enqueue_webhook_event(user_id text, event_type text, payload jsonb, event_id text default null, on_conflict text default 'error')
    returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select null::uuid from webhook_refuse_jsonb();
end;

comment on function enqueue_webhook_event(text, text, jsonb, text, text) is 'Refuses: says that the payload must be json.';

create function webhook_store_call_outcome(user_id text, call_id text, outcome_data json) returns setof uuid
    language plpgsql
    set search_path from current
as $$
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

comment on function webhook_store_call_outcome is 'What the forms of enqueue_call_outcome_webhook share.';

create function enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data json) returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select webhook_store_call_outcome($1, $2, $3);
end;

comment on function enqueue_call_outcome_webhook(text, text, json) is
    'enqueue_webhook_event for the outcome of a call, whose event_type is the type. The event id is made of call_id and that type, and the first outcome wins, so that a handler that runs again neither fails nor delivers twice.';

create function enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data text) returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select webhook_store_call_outcome($1, $2, $3::json);
end;

comment on function enqueue_call_outcome_webhook(text, text, text) is 'The same with the outcome as text.';

create function enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data jsonb) returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select null::uuid from webhook_refuse_jsonb();
end;

comment on function enqueue_call_outcome_webhook(text, text, jsonb) is 'Refuses: says that the outcome must be json.';

do $$
declare
    routine text;
begin
    execute format('grant usage on schema %I to webhook_app', current_schema());
    for routine in select p.oid::regprocedure::text from pg_proc p
                    where p.pronamespace = (select oid from pg_namespace where nspname = current_schema())
                      and (p.proname like 'webhook\_%' or p.proname in ('enqueue_webhook_event', 'enqueue_call_outcome_webhook'))
    loop
        execute 'revoke execute on function ' || routine || ' from public';
        if routine like '%enqueue\_%' then
            execute 'grant execute on function ' || routine || ' to webhook_app';
        end if;
    end loop;
end
$$;

---- create above / drop below ----

drop function enqueue_webhook_event(text, text, json, text, text);
drop function enqueue_webhook_event(text, text, text, text, text);
drop function enqueue_webhook_event(text, text, jsonb, text, text);
drop function enqueue_call_outcome_webhook(text, text, json);
drop function enqueue_call_outcome_webhook(text, text, text);
drop function enqueue_call_outcome_webhook(text, text, jsonb);
drop function webhook_store_call_outcome(text, text, json);
drop function webhook_refuse_jsonb();
drop function webhook_store_event(text, text, json, text, text);
drop function webhook_wake_workers();
drop function webhook_require_user(text);
drop function webhook_require_payload(json);
drop function webhook_require_event_type(text);
drop function webhook_event_patterns(text);
drop function webhook_require_text(text, text, integer);
drop table webhook_role_users;

-- The role stays: other databases of the cluster may use it.
do $$
begin
    if exists (select from pg_roles where rolname = 'webhook_app') then
        execute format('revoke usage on schema %I from webhook_app', current_schema());
    end if;
end
$$;
