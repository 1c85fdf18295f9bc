-- Whoever enqueues in an open transaction holds this up: migrate again when it is done.
select set_config('lock_timeout', '5s', true);
-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- What is in it is worth nothing after a crash, nor a moment later.
create unlogged table webhook_crowd (
    partner_id  uuid         not null,
    until       timestamptz  not null,

    constraint webhook_crowd_pkey primary key (partner_id)
);

comment on table webhook_crowd is
    'Partners that are held back and whose deliveries crowd the head of the queue. While there are any, the others'' deliveries overtake.';
comment on column webhook_crowd.partner_id is 'The partner.';
comment on column webhook_crowd.until is 'When this is over, unless a worker says it again.';

create policy webhook_worker on webhook_crowd to webhook_worker using (true) with check (true);
alter table webhook_crowd enable row level security;

create function webhook_delivery_priority(partner_id uuid) returns smallint
    language plpgsql stable
    set search_path from current
as $$
#variable_conflict use_column
begin
    if not exists (select from webhook_crowd c where c.until > now()) then
        return 2;
    elsif exists (select from webhook_crowd c where c.partner_id = $1 and c.until > now()) then
        return 3;
    end if;
    return 1;
end
$$;

comment on function webhook_delivery_priority is
    'River''s priority of a new delivery: 2, or while some partners'' deliveries crowd the queue 3 for theirs and 1 for all others.';
revoke execute on function webhook_delivery_priority from public;

-- PostgreSQL commits transactions that notify one after another, in the whole database cluster.
alter table webhook_settings add column watched_until timestamptz not null default '-infinity';

comment on column webhook_settings.watched_until is 'Until when workers look for deliveries so often that enqueueing need not wake them.';

create or replace function webhook_wake_workers() returns void
    language sql
    set search_path from current
as $$
    -- River's own payload, to the letter: PostgreSQL sends what is said twice in a transaction once.
    select pg_notify(river_schema || '.river_insert', '{"queue": "webhooks"}') from webhook_settings where watched_until < clock_timestamp()
$$;

comment on function webhook_wake_workers is 'Makes the workers look for deliveries when the transaction commits, unless they do all the time.';

do $$
declare
    inserting regprocedure;
begin
    foreach inserting in array (select array_agg(p.oid::regprocedure) from pg_proc p
                                 where p.pronamespace = (select oid from pg_namespace where nspname = current_schema())
                                   and p.proname in ('webhook_store_event', 'webhook_insert_delivery', 'webhook_emit_operational_event')) loop
        execute replace(replace(replace(pg_get_functiondef(inserting),
                        '(kind, queue, max_attempts', '(kind, queue, priority, max_attempts'),
                        '''webhooks'', max_attempts', '''webhooks'', webhook_delivery_priority(partner_id), max_attempts'),
                        '''webhooks'', 1 + coalesce', '''webhooks'', webhook_delivery_priority($3), 1 + coalesce');
    end loop;
end
$$;

---- create above / drop below ----

select set_config('search_path', format('%I, pg_temp', current_schema()), true);

do $$
declare
    inserting regprocedure;
begin
    foreach inserting in array (select array_agg(p.oid::regprocedure) from pg_proc p
                                 where p.pronamespace = (select oid from pg_namespace where nspname = current_schema())
                                   and p.proname in ('webhook_store_event', 'webhook_insert_delivery', 'webhook_emit_operational_event')) loop
        execute replace(replace(replace(pg_get_functiondef(inserting),
                        '(kind, queue, priority, max_attempts', '(kind, queue, max_attempts'),
                        'webhook_delivery_priority(partner_id), ', ''),
                        'webhook_delivery_priority($3), ', '');
    end loop;
end
$$;

create or replace function webhook_wake_workers() returns void
    language sql
    set search_path from current
as $$
    -- River's own payload, to the letter: PostgreSQL sends what is said twice in a transaction once.
    select pg_notify(river_schema || '.river_insert', '{"queue": "webhooks"}') from webhook_settings
$$;

comment on function webhook_wake_workers is 'Makes the workers look for deliveries when the transaction commits.';

alter table webhook_settings drop column watched_until;
drop function webhook_delivery_priority(uuid);
drop table webhook_crowd;
