-- Delivery ids that begin with the time, so that a million finished deliveries cost new ones less: theirs are
-- neighbours in the indexes, on pages that are in memory, where random ids would touch a page of its own for each.
select set_config('lock_timeout', '5s', true);
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

create function webhook_ordered_id() returns uuid
    language sql volatile
    return encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing
                                          substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
                                  52, 1), 53, 1), 'hex')::uuid;

comment on function webhook_ordered_id is 'A new UUID of version 7: the time in milliseconds, then 74 random bits.';
revoke execute on function webhook_ordered_id from public;

do $$
declare
    making regprocedure;
begin
    foreach making in array (select array_agg(p.oid::regprocedure) from pg_proc p
                              where p.pronamespace = (select oid from pg_namespace where nspname = current_schema())
                                and p.proname in ('webhook_store_event', 'recover_webhook_delivery', 'webhook_emit_operational_event')) loop
        execute replace(pg_get_functiondef(making), 'gen_random_uuid()', 'webhook_ordered_id()');
    end loop;
end
$$;

---- create above / drop below ----

select set_config('search_path', format('%I, pg_temp', current_schema()), true);

do $$
declare
    making regprocedure;
begin
    foreach making in array (select array_agg(p.oid::regprocedure) from pg_proc p
                              where p.pronamespace = (select oid from pg_namespace where nspname = current_schema())
                                and p.proname in ('webhook_store_event', 'recover_webhook_delivery', 'webhook_emit_operational_event')) loop
        execute replace(pg_get_functiondef(making), 'webhook_ordered_id()', 'gen_random_uuid()');
    end loop;
end
$$;

drop function webhook_ordered_id();
