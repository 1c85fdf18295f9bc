---- tern: disable-tx ----

-- Each statement locks one table, for a moment, and may be repeated. A transaction that takes minutes must not
-- make the workers queue up behind this: migrate again when it is done.
set lock_timeout = '5s';
-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), false);

-- Roles belong to the cluster: another database's migration may make them at the same moment, and they stay
-- when this is taken back.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['webhook_worker', 'webhook_reader'] loop
        begin
            if not exists (select from pg_roles where rolname = wanted) then
                execute format('create role %I nologin', wanted);
            end if;
        exception
            when duplicate_object or unique_violation then
                null;
            when insufficient_privilege then
                raise exception 'role % is missing and % may not create roles: have an administrator run "create role webhook_worker nologin; create role webhook_reader nologin", then migrate again', wanted, current_user
                      using errcode = 'insufficient_privilege';
        end;
    end loop;
end
$$;

create or replace function webhook_session_users() returns text[]
    language sql stable security definer
    set search_path from current
as $$
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

comment on function webhook_session_users is
    'The users whose rows the session''s login role may see: its entries in webhook_role_users, * for all, as for the owner and workers; narrowed by the setting webhook.user_id. Policies call it once a statement.';

create or replace function webhook_guard_log_partition(partition regclass) returns void
    language plpgsql
    set search_path from current
as $$
begin
    -- Those who read the log do so through its table, whose policies apply then. Retention and erasure name a
    -- partition.
    execute format('drop policy if exists webhook_worker on %s', partition);
    execute format('create policy webhook_worker on %s to webhook_worker using (true) with check (true)', partition);
    execute format('alter table %s enable row level security', partition);
    execute format('grant select, delete on %s to webhook_worker', partition);
end
$$;

comment on function webhook_guard_log_partition is 'Gives a partition of webhook_delivery_log its row security, and workers what they need there.';

revoke execute on function webhook_session_users, webhook_guard_log_partition from public;

-- A worker that was let work by grants of its own would see no partner any more, and take its deliveries for those of
-- deleted ones.
do $$
declare
    blind name;
begin
    select r.rolname into blind
      from pg_roles r
     where not r.rolsuper and not r.rolbypassrls and r.rolname not like 'pg\_%'
       and has_table_privilege(r.oid, 'partner_webhooks', 'select') and has_table_privilege(r.oid, 'river_job', 'update')
       and not pg_has_role(r.oid, current_user, 'usage') and not pg_has_role(r.oid, 'webhook_worker', 'usage')
     limit 1;
    if blind is not null then
        raise exception 'role % may work by rights of its own, and would see no partners from now on: run "grant webhook_worker to %", then migrate again', blind, quote_ident(blind);
    end if;
end
$$;

-- The owner is not subject to row security, and neither are functions that run as the owner. Whoever has no policy
-- sees no row, whatever he is granted.
do $$
declare
    ours text;
begin
    foreach ours in array array['partner_webhooks', 'webhook_events', 'webhook_delivery_log', 'webhook_role_users'] loop
        execute format('drop policy if exists webhook_worker on %I', ours);
        execute format('create policy webhook_worker on %I to webhook_worker using (true) with check (true)', ours);
        if ours <> 'webhook_role_users' then
            execute format('drop policy if exists webhook_reader on %I', ours);
            execute format('create policy webhook_reader on %I for select to webhook_reader using (''*'' = any ((select webhook_session_users())::text[]) or user_id = any ((select webhook_session_users())::text[]))', ours);
        end if;
        execute format('alter table %I enable row level security', ours);
        commit;
    end loop;
end
$$;

do $$
declare
    part regclass;
begin
    foreach part in array (select array_agg(partition) from webhook_delivery_log_partitions) loop
        perform webhook_guard_log_partition(part);
        commit;
    end loop;
end
$$;

-- River's table has no row security: with it, PostgreSQL would not trust the order of River's indexes for anybody
-- but the owner, and sort all waiting jobs at each fetch. So the queue's view is a wall of its own. Inside of a security
-- barrier nothing is sorted and limited by an index: what lists deliveries reads the view below it, as its owner and
-- workers may.
do $$
begin
    if to_regclass('webhook_deliveries') is null then
        alter view webhook_delivery_queue rename to webhook_deliveries;
    end if;
end
$$;

-- Whoever was let read the view by hand may not look behind the wall.
do $$
declare
    reader text;
begin
    for reader in select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end
                    from pg_class c, aclexplode(c.relacl) a
                   where c.oid = 'webhook_deliveries'::regclass and a.grantee <> c.relowner
    loop
        execute format('revoke all on webhook_deliveries from %s', reader);
    end loop;
end
$$;

create or replace view webhook_delivery_queue with (security_barrier) as
select d.id, d."userId", d.partner_id, d.event_id, d.event_type, d.status, d.attempt_count, d.max_attempts,
       d.last_error, d.last_error_kind, d.last_response_status, d.next_attempt_at, d.job_id, d."createdAt", d."updatedAt"
  from webhook_deliveries d
 where '*' = any ((select webhook_session_users())::text[]) or d."userId" = any ((select webhook_session_users())::text[]);

do $$
declare
    col record;
begin
    execute format('comment on view webhook_delivery_queue is %L',
                   'One row a delivery: its River job in the words of this product. Delivered ones leave after RETENTION_COMPLETED. Shows the users that the session''s login role may see.');
    for col in select attname, col_description(attrelid, attnum) as said from pg_attribute where attrelid = 'webhook_deliveries'::regclass and attnum > 0 loop
        execute format('comment on column webhook_delivery_queue.%I is %L', col.attname, col.said);
    end loop;
end
$$;

-- The statistics count behind the wall: they are for the owner and workers, and indexes alone answer them there.
do $$
declare
    counting regprocedure;
begin
    foreach counting in array array['get_webhook_queue_stats()', 'get_webhook_partner_stats(text, text)']::regprocedure[] loop
        execute replace(pg_get_functiondef(counting), 'from webhook_delivery_queue q', 'from webhook_deliveries q');
    end loop;
end
$$;

comment on view webhook_deliveries is 'webhook_delivery_queue as its owner and workers may read it, whose indexes also sort.';

-- Workers may not create tables, and drop none but old partitions.
alter function webhook_drop_log_partitions(timestamptz) security definer;

create or replace function webhook_make_log_partitions() returns integer
    language plpgsql security definer
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

---- create above / drop below ----

---- tern: disable-tx ----

set lock_timeout = '5s';
select set_config('search_path', format('%I, pg_temp', current_schema()), false);

alter function webhook_drop_log_partitions(timestamptz) security invoker;

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

do $$
declare
    counting regprocedure;
begin
    foreach counting in array array['get_webhook_queue_stats()', 'get_webhook_partner_stats(text, text)']::regprocedure[] loop
        execute replace(pg_get_functiondef(counting), 'from webhook_deliveries q', 'from webhook_delivery_queue q');
    end loop;
end
$$;

do $$
begin
    if to_regclass('webhook_deliveries') is not null then
        drop view webhook_delivery_queue;
        alter view webhook_deliveries rename to webhook_delivery_queue;
    end if;
end
$$;

comment on view webhook_delivery_queue is 'One row a delivery: its River job in the words of this product. Delivered ones leave after RETENTION_COMPLETED.';

do $$
declare
    ours text;
begin
    foreach ours in array array['webhook_role_users', 'webhook_delivery_log', 'webhook_events', 'partner_webhooks']
                          || (select array_agg(partition::text) from webhook_delivery_log_partitions) loop
        execute format('alter table %s disable row level security', ours);
        execute format('drop policy if exists webhook_reader on %s', ours);
        execute format('drop policy if exists webhook_worker on %s', ours);
        commit;
    end loop;
end
$$;

drop function if exists webhook_guard_log_partition(regclass);
drop function if exists webhook_session_users();

-- The roles stay: other databases of the cluster may use them.
do $$
declare
    given text;
begin
    for given in select rolname from pg_roles where rolname in ('webhook_worker', 'webhook_reader') loop
        execute format('revoke all on all tables in schema %I from %I', current_schema(), given);
        execute format('revoke all on all sequences in schema %I from %I', current_schema(), given);
        execute format('revoke all on all functions in schema %I from %I', current_schema(), given);
        execute format('revoke all on schema %I from %I', current_schema(), given);
    end loop;
end
$$;
