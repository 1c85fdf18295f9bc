-- PostgreSQL keeps the plans of PL/pgSQL functions in each session. What an event is enqueued with was in SQL in part, which it
-- planned anew for each event: a sixth of what that takes.
-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

create or replace function webhook_event_patterns(event_type text) returns text[]
    language plpgsql immutable strict
    set search_path from current
as $$
declare
    parts    text[] := string_to_array(event_type, '.');
    patterns text[] := case when webhook_is_operational(event_type) then array[event_type] else array[event_type, '*'] end;
begin
    for i in 1 .. cardinality(parts) - 1 loop
        patterns := patterns || (array_to_string(parts[:i], '.') || '.*');
    end loop;
    return patterns;
end
$$;

create or replace function enqueue_webhook_event(user_id text, event_type text, payload json, event_id text default null, on_conflict text default 'error')
    returns setof uuid
    language plpgsql security definer
    set search_path from current set standard_conforming_strings = on
as $$
begin
    return query select webhook_store_event($1, $2, $3, $4, $5);
end
$$;

create or replace function enqueue_webhook_event(user_id text, event_type text, payload text, event_id text default null, on_conflict text default 'error')
    returns setof uuid
    language plpgsql security definer
    set search_path from current set standard_conforming_strings = on
as $$
begin
    return query select webhook_store_event($1, $2, $3::json, $4, $5);
end
$$;

create or replace function enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data json)
    returns setof uuid
    language plpgsql security definer
    set search_path from current set standard_conforming_strings = on
as $$
begin
    return query select webhook_store_call_outcome($1, $2, $3);
end
$$;

create or replace function enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data text)
    returns setof uuid
    language plpgsql security definer
    set search_path from current set standard_conforming_strings = on
as $$
begin
    return query select webhook_store_call_outcome($1, $2, $3::json);
end
$$;

---- create above / drop below ----

select set_config('search_path', format('%I, pg_temp', current_schema()), true);

create or replace function webhook_event_patterns(event_type text) returns text[]
    language sql immutable
    return case when webhook_is_operational(event_type) then array[event_type] else array[event_type, '*'] end
           || array(select left(event_type, place) || '*'
                      from generate_series(1, char_length(event_type)) as places (place)
                     where substr(event_type, place, 1) = '.');

create or replace function enqueue_webhook_event(user_id text, event_type text, payload json, event_id text default null, on_conflict text default 'error')
    returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select webhook_store_event($1, $2, $3, $4, $5);
end;

create or replace function enqueue_webhook_event(user_id text, event_type text, payload text, event_id text default null, on_conflict text default 'error')
    returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select webhook_store_event($1, $2, $3::json, $4, $5);
end;

create or replace function enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data json)
    returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select webhook_store_call_outcome($1, $2, $3);
end;

create or replace function enqueue_call_outcome_webhook(user_id text, call_id text, outcome_data text)
    returns setof uuid
    language sql security definer
    set search_path from current set standard_conforming_strings = on
begin atomic
    select webhook_store_call_outcome($1, $2, $3::json);
end;
