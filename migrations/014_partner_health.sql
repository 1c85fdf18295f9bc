---- tern: disable-tx ----

-- Each statement locks one table, for a moment, and may be repeated. Whoever has read a partner in an open transaction
-- holds this up, and this then all deliveries: migrate again when it is done.
set lock_timeout = '5s';
-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), false);

alter table partner_webhooks
    add column if not exists rate_limit integer,
    add column if not exists max_in_flight integer,
    drop constraint if exists partner_webhooks_rate_limit_range,
    add constraint partner_webhooks_rate_limit_range check (rate_limit between 1 and 10000),
    drop constraint if exists partner_webhooks_max_in_flight_range,
    add constraint partner_webhooks_max_in_flight_range check (max_in_flight between 1 and 10000);

comment on column partner_webhooks.rate_limit is 'Most requests a second to this partner, of all workers together; null: no limit.';
comment on column partner_webhooks.max_in_flight is 'Most requests to this partner under way at once, of each worker process; null: PARTNER_MAX_IN_FLIGHT.';

create table if not exists webhook_partner_health (
    partner_id         uuid         not null,
    user_id            text         not null,
    failing_since      timestamptz  not null,
    last_failed_at     timestamptz  not null,
    failures           integer      not null,
    failed_deliveries  uuid[]       not null,
    last_error         text         not null,
    opened_at          timestamptz,
    probe_at           timestamptz,
    probes             integer      not null default 0,
    slowed_until       timestamptz,

    constraint webhook_partner_health_pkey primary key (partner_id),
    constraint webhook_partner_health_partner_id_fkey foreign key (partner_id) references partner_webhooks (id) on delete cascade,
    constraint webhook_partner_health_failures_positive check (failures > 0),
    constraint webhook_partner_health_probe_at_if_open check ((probe_at is null) = (opened_at is null))
) with (fillfactor = 50);

comment on table webhook_partner_health is
    'Partners whose last try failed: one row from the first failure until one is delivered. The workers share their circuit breakers in it.';
comment on column webhook_partner_health.partner_id is 'The partner.';
comment on column webhook_partner_health.user_id is 'Tenant that owns the partner.';
comment on column webhook_partner_health.failing_since is 'When the first of the tries failed that failed in a row.';
comment on column webhook_partner_health.last_failed_at is 'When the last of them did.';
comment on column webhook_partner_health.failures is 'How many they are.';
comment on column webhook_partner_health.failed_deliveries is 'Up to three of the deliveries that they belong to.';
comment on column webhook_partner_health.last_error is 'What was wrong with the last one, in words.';
comment on column webhook_partner_health.opened_at is 'Since when the circuit is open: its deliveries are held back, but for probes. Null: closed.';
comment on column webhook_partner_health.probe_at is 'When the next probe may go.';
comment on column webhook_partner_health.probes is 'How many probes have gone since the circuit opened.';
comment on column webhook_partner_health.slowed_until is 'Until when the partner asked to be left alone, by Retry-After or by answering 429, 502, 503 or 504.';

create table if not exists webhook_partner_rates (
    partner_id   uuid         not null,
    free_at      timestamptz  not null default '-infinity',
    released_at  timestamptz  not null default '-infinity',

    constraint webhook_partner_rates_pkey primary key (partner_id),
    constraint webhook_partner_rates_partner_id_fkey foreign key (partner_id) references partner_webhooks (id) on delete cascade
) with (fillfactor = 50);

comment on table webhook_partner_rates is 'Partners with a rate limit: what their requests have used up of it, of all workers together.';
comment on column webhook_partner_rates.partner_id is 'The partner.';
comment on column webhook_partner_rates.free_at is 'When the next request may be made: each takes its share of a second.';
comment on column webhook_partner_rates.released_at is 'When deliveries that were held back were last let go.';

-- A partner that changes begins anew: its owner may have mended it.
create or replace function webhook_forget_partner_health() returns trigger
    language plpgsql
    set search_path from current
as $$
begin
    delete from webhook_partner_health h where h.partner_id = new.id;
    return null;
end
$$;

comment on function webhook_forget_partner_health is 'Lets a partner whose URL changed, or that was enabled, disabled, paused or resumed, begin with a closed circuit.';
revoke execute on function webhook_forget_partner_health from public;

create or replace trigger partner_webhooks_health
    after update of url, enabled, paused_at on partner_webhooks
    for each row when (old.url <> new.url or old.enabled <> new.enabled or old.paused_at is distinct from new.paused_at)
    execute function webhook_forget_partner_health();

do $$
declare
    ours text;
begin
    foreach ours in array array['webhook_partner_health', 'webhook_partner_rates'] loop
        execute format('drop policy if exists webhook_worker on %I', ours);
        execute format('create policy webhook_worker on %I to webhook_worker using (true) with check (true)', ours);
        execute format('alter table %I enable row level security', ours);
    end loop;
end
$$;
drop policy if exists webhook_reader on webhook_partner_health;
create policy webhook_reader on webhook_partner_health for select to webhook_reader
    using ('*' = any ((select webhook_session_users())::text[]) or user_id = any ((select webhook_session_users())::text[]));

-- Deliveries that succeed at once are never in it.
drop index concurrently if exists river_job_webhook_waiting_idx;
create index concurrently river_job_webhook_waiting_idx on river_job ((args->>'partner_id'))
 where kind = 'webhook_delivery' and queue = 'webhooks' and state in ('retryable', 'scheduled');
comment on index river_job_webhook_waiting_idx is 'Finds what waits for a partner that is held back, and what was put off for one that is resumed.';

---- create above / drop below ----

---- tern: disable-tx ----

set lock_timeout = '5s';

-- An earlier version does not know of the queues of partners that are held back.
update river_job set queue = 'webhooks' where queue like 'webhooks-held-%';
drop index concurrently if exists river_job_webhook_waiting_idx;
drop trigger if exists partner_webhooks_health on partner_webhooks;
drop function if exists webhook_forget_partner_health();
drop table if exists webhook_partner_rates;
drop table if exists webhook_partner_health;
alter table partner_webhooks drop column if exists max_in_flight, drop column if exists rate_limit;
