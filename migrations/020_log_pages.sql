-- An attempt that ends is longer than one that begins. With 40 in 100 of a page filled, the second version of each row
-- has room on its page, and no index changes; of 60 only half had.
select set_config('lock_timeout', '5s', true);
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

do $$
declare
    partition regclass;
begin
    execute replace(pg_get_functiondef('webhook_make_log_partitions()'::regprocedure), 'fillfactor = 60', 'fillfactor = 40');
    for partition in select c.oid from pg_inherits join pg_class c on c.oid = inhrelid
                      where inhparent = 'webhook_delivery_log'::regclass and 'fillfactor=60' = any (c.reloptions) loop
        execute format('alter table %s set (fillfactor = 40)', partition);
    end loop;
end
$$;

---- create above / drop below ----

select set_config('lock_timeout', '5s', true);
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

do $$
declare
    partition regclass;
begin
    execute replace(pg_get_functiondef('webhook_make_log_partitions()'::regprocedure), 'fillfactor = 40', 'fillfactor = 60');
    for partition in select c.oid from pg_inherits join pg_class c on c.oid = inhrelid
                      where inhparent = 'webhook_delivery_log'::regclass and 'fillfactor=40' = any (c.reloptions) loop
        execute format('alter table %s set (fillfactor = 60)', partition);
    end loop;
end
$$;
