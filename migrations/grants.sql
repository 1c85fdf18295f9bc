-- What the roles may do, said anew by every "migrate up", because a migration of River may bring tables. Row security
-- says of which rows: see 012_row_security.sql. What webhook_app may do is in 006_sql_enqueueing.sql.
do $$
declare
    river  regnamespace := (select relnamespace from pg_class where oid = 'river_job'::regclass);
    thing  record;
begin
    execute format('grant usage on schema %I, %s to webhook_worker, webhook_reader', current_schema(), river);
    for thing in select c.relname, c.relkind, c.oid::regclass as name
                   from pg_class c
                  where c.relnamespace = river and c.relname like 'river\_%' and c.relkind in ('r', 'p', 'S')
                  order by c.relname
    loop
        execute format(case
                           when thing.relkind = 'S' then 'grant usage on sequence %s to webhook_worker'
                           when thing.relname = 'river_migration' then 'grant select on %s to webhook_worker'
                           else 'grant select, insert, update, delete on %s to webhook_worker'
                       end, thing.name);
    end loop;
    for thing in select p.oid::regprocedure as name
                   from pg_proc p
                  where p.pronamespace = river and p.proname like 'river\_%'
                  order by p.proname
    loop
        execute format('grant execute on function %s to webhook_worker', thing.name);
    end loop;
end
$$;

grant select, insert, update, delete on partner_webhooks, webhook_delivery_log, webhook_partner_health, webhook_partner_rates, webhook_crowd to webhook_worker;
grant select, insert, delete, update (partner_ids, delivery_ids) on webhook_events to webhook_worker;
grant select, update (retry_max_attempts, log_settled_until, watched_until, updated_at) on webhook_settings to webhook_worker;
grant select, delete on webhook_role_users to webhook_worker;
grant select on webhook_schema_version, webhook_delivery_queue, webhook_deliveries, webhook_delivery_log_partitions to webhook_worker;
grant execute on function
    get_webhook_queue_stats, get_webhook_partner_stats, replay_webhook_delivery, recover_webhook_delivery, webhook_missing_deliveries,
    webhook_insert_delivery, webhook_ordered_id, webhook_delivery_priority, webhook_wake_workers, webhook_event_patterns, webhook_is_operational,
    webhook_partner_failing, webhook_partner_recovered,
    webhook_make_log_partitions, webhook_drop_log_partitions, webhook_session_users
    to webhook_worker;

-- Without the secrets.
grant select (id, user_id, partner_name, partner_slug, url, enabled_events, custom_payload_fields, request_headers, max_retries,
              rate_limit, max_in_flight, enabled, disabled_reason, paused_at, created_at, updated_at) on partner_webhooks to webhook_reader;
grant select on webhook_events, webhook_delivery_log, webhook_delivery_queue, webhook_partner_health to webhook_reader;
grant execute on function webhook_session_users to webhook_reader;
