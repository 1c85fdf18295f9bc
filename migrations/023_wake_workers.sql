-- PostgreSQL keeps the plans of a PL/pgSQL function in each session, and plans one in SQL anew for each call: 8 % of what an
-- event costs.
-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

create or replace function webhook_wake_workers() returns void
    language plpgsql
    set search_path from current
as $$
begin
    -- River's own payload, to the letter: PostgreSQL sends what is said twice in a transaction once.
    perform pg_notify(river_schema || '.river_insert', '{"queue": "webhooks"}') from webhook_settings where watched_until < clock_timestamp();
end
$$;

---- create above / drop below ----

select set_config('search_path', format('%I, pg_temp', current_schema()), true);

create or replace function webhook_wake_workers() returns void
    language sql
    set search_path from current
as $$
    -- River's own payload, to the letter: PostgreSQL sends what is said twice in a transaction once.
    select pg_notify(river_schema || '.river_insert', '{"queue": "webhooks"}') from webhook_settings where watched_until < clock_timestamp()
$$;
