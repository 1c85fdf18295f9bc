---- tern: disable-tx ----

-- A reader that takes minutes must not make the workers queue up behind this: migrate again when it is done.
set lock_timeout = '5s';
-- A week has as many hours as another, and times are written so that they can be read, wherever the server is.
set timezone = 'UTC';
set datestyle = 'ISO';

-- What the log holds so far becomes the first partition as it stands. Its rows are checked while workers
-- write on; only the exchange at the end locks the log, for a moment.
do $$
declare
    bound timestamptz;
begin
    if exists (select from webhook_delivery_log_default)
       and to_regclass('webhook_delivery_log_first') is null
       and not exists (select from pg_constraint
                        where conname = 'webhook_delivery_log_first_partition' and conrelid = to_regclass('webhook_delivery_log_default')) then
        select date_trunc('week', greatest(now(), max(started_at)), 'UTC') + interval '2 weeks' into bound from webhook_delivery_log_default;
        execute format('alter table webhook_delivery_log_default add constraint webhook_delivery_log_first_partition check (started_at < %L) not valid', bound);
    end if;
end
$$;

do $$
begin
    if exists (select from pg_constraint
                where conname = 'webhook_delivery_log_first_partition' and conrelid = to_regclass('webhook_delivery_log_default') and not convalidated) then
        alter table webhook_delivery_log_default validate constraint webhook_delivery_log_first_partition;
    end if;
end
$$;

do $$
declare
    bound timestamptz;
begin
    select (regexp_match(pg_get_constraintdef(oid), '''(.*?)'''))[1]::timestamptz into bound
      from pg_constraint
     where conname = 'webhook_delivery_log_first_partition' and conrelid = to_regclass('webhook_delivery_log_default');
    if bound is not null then
        alter table webhook_delivery_log detach partition webhook_delivery_log_default;
        alter table webhook_delivery_log_default rename to webhook_delivery_log_first;
        execute format('alter table webhook_delivery_log attach partition webhook_delivery_log_first for values from (minvalue) to (%L)', bound);
        alter table webhook_delivery_log_first drop constraint webhook_delivery_log_first_partition;
        comment on table webhook_delivery_log_first is 'The attempts of the time before the log had a partition for each week.';
        create table webhook_delivery_log_default partition of webhook_delivery_log default;
        comment on table webhook_delivery_log_default is 'Takes the rows of times that have no partition of their own, so that an insert never fails for lack of one.';
    end if;
end
$$;

-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), false);

create or replace view webhook_delivery_log_partitions as
select child.oid::regclass as partition,
       (regexp_match(bounds.text, 'FROM \(''(.*?)''\)'))[1]::timestamptz as begins_at,
       (regexp_match(bounds.text, 'TO \(''(.*?)''\)'))[1]::timestamptz as ends_at
  from pg_inherits i
  join pg_class child on child.oid = i.inhrelid
  cross join lateral pg_get_expr(child.relpartbound, child.oid) as bounds (text)
 where i.inhparent = 'webhook_delivery_log'::regclass;

comment on view webhook_delivery_log_partitions is 'The partitions of webhook_delivery_log: one a week, from Monday to Monday in UTC, and the default one, which has no bounds.';
comment on column webhook_delivery_log_partitions.partition is 'Table that holds the rows.';
comment on column webhook_delivery_log_partitions.begins_at is 'First time in it; null if it has no beginning.';
comment on column webhook_delivery_log_partitions.ends_at is 'First time after it; null for the default partition.';

create or replace function webhook_make_log_partitions() returns integer
    language plpgsql
    set search_path from current
    set timezone = 'UTC'
    set datestyle = 'ISO'
as $$
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

comment on function webhook_make_log_partitions is
    'Makes the partitions of webhook_delivery_log that are missing for this week, the next two, and the rows of the default partition, which move. Returns how many.';

create or replace function webhook_drop_log_partitions(before timestamptz) returns integer
    language plpgsql
    set search_path from current
    set timezone = 'UTC'
    set datestyle = 'ISO'
as $$
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

comment on function webhook_drop_log_partitions is 'Drops the partitions of webhook_delivery_log that hold nothing after the time given. Returns how many.';

revoke execute on function webhook_make_log_partitions, webhook_drop_log_partitions from public;

select webhook_make_log_partitions();

-- Serves the rates and durations of the last hour: the key finds them in its partition, by time.
analyze webhook_delivery_log;

---- create above / drop below ----

drop function webhook_drop_log_partitions(timestamptz);
drop function webhook_make_log_partitions();

-- One table again, with everything in it.
do $$
declare
    part regclass;
begin
    lock table webhook_delivery_log in access exclusive mode;
    for part in select p.partition from webhook_delivery_log_partitions p where p.ends_at is not null loop
        execute format('alter table webhook_delivery_log detach partition %s', part);
        execute format('insert into webhook_delivery_log_default select * from %s', part);
        execute format('drop table %s', part);
    end loop;
end
$$;

drop view webhook_delivery_log_partitions;
