-- Functions keep this search path, whoever calls them: temporary tables, which anybody may make, come last.
select set_config('search_path', format('%I, pg_temp', current_schema()), true);

create function webhook_insert_delivery(delivery_id uuid, user_id text, partner_id uuid, event_id text, event_type text,
                                        max_retries integer, metadata jsonb, created_at timestamptz) returns boolean
    language plpgsql
    set search_path from current
as $$
begin
    insert into river_job (kind, queue, max_attempts, metadata, created_at, args)
    values ('webhook_delivery', 'webhooks', 1 + coalesce($6, (select retry_max_attempts from webhook_settings)), $7, $8,
            jsonb_build_object('version', 1, 'delivery_id', $1, 'user_id', $2, 'partner_id', $3, 'event_id', $4, 'event_type', $5))
    on conflict ((args->>'delivery_id')) where kind = 'webhook_delivery' do nothing;
    if found then
        perform webhook_wake_workers();
        return true;
    end if;
    return false;
end
$$;

comment on function webhook_insert_delivery is 'Makes the job of a delivery, unless it has one, and says whether it did.';

create function replay_webhook_delivery(delivery_id uuid, run text default null, user_id text default null, event_id text default null)
    returns text
    language plpgsql
    set search_path from current
as $$
#variable_conflict use_column
declare
    p_delivery_id uuid := $1;
    p_run         text := $2;
    p_only_user   text := $3;
    p_job_id      bigint;
    p_state       river_job_state;
    p_earlier_run text;
    p_user_id     text;
    p_event_id    text;
    p_created_at  timestamptz;
    event         webhook_events;
    partner       partner_webhooks;
begin
    select j.id, j.state, j.metadata->>'replay_run', j.args->>'user_id', j.args->>'event_id', j.created_at
      into p_job_id, p_state, p_earlier_run, p_user_id, p_event_id, p_created_at
      from river_job j
     where j.kind = 'webhook_delivery' and j.args->>'delivery_id' = p_delivery_id::text
       for update;
    if p_job_id is null then
        -- Its job has been removed. The caller or the log knows its event; else all events are looked through.
        select e.user_id, e.event_id into p_user_id, p_event_id
          from webhook_events e
         where e.user_id = p_only_user and e.event_id = $4 and p_delivery_id = any (e.delivery_ids);
        if not found then
            select l.user_id, l.event_id into p_user_id, p_event_id
              from webhook_delivery_log l
             where l.delivery_id = p_delivery_id
             limit 1;
        end if;
        if not found then
            select e.user_id, e.event_id into p_user_id, p_event_id
              from webhook_events e
             where p_delivery_id = any (e.delivery_ids);
        end if;
        if not found then
            return 'not_found';
        end if;
    end if;
    if p_user_id <> p_only_user then
        return 'not_found';
    elsif p_earlier_run = p_run then
        return 'replayed_before';
    elsif p_state not in ('completed', 'discarded', 'cancelled') then
        return 'under_way';
    end if;

    -- Retention locks an event before it looks for jobs of it: it waits for this transaction, or has won.
    select e.* into event from webhook_events e where e.user_id = p_user_id and e.event_id = p_event_id for key share;
    if not found or array_position(event.delivery_ids, p_delivery_id) is null then
        return 'event_removed';
    end if;
    select p.* into partner
      from partner_webhooks p
     where p.user_id = p_user_id and p.id = event.partner_ids[array_position(event.delivery_ids, p_delivery_id)];
    if not found then
        return 'partner_deleted';
    elsif not partner.enabled then
        return 'partner_disabled';
    end if;

    delete from river_job j where j.id = p_job_id;
    if webhook_insert_delivery(p_delivery_id, p_user_id, partner.id, p_event_id, event.event_type, partner.max_retries,
                               jsonb_strip_nulls(jsonb_build_object('trigger', 'replay', 'replay_run', p_run)),
                               coalesce(p_created_at, event.created_at))
    then
        return 'replayed';
    end if;
    return 'under_way'; -- another replay was faster
end
$$;

comment on function replay_webhook_delivery is
    'Enqueues a delivery that has ended anew, with its id and the full schedule, and returns "replayed"; else why not: under_way (it waits or runs), replayed_before (in the run of this name), not_found (no delivery of the user, if one is named), event_removed, partner_deleted or partner_disabled. event_id, along with user_id, spares the search for the event of a delivery that has neither job nor attempts any more. In the caller''s transaction.';

create function recover_webhook_delivery(user_id text, event_id text, partner_id uuid) returns text
    language plpgsql
    set search_path from current
as $$
#variable_conflict use_column
declare
    p_user_id    text := $1;
    p_event_id   text := $2;
    p_partner_id uuid := $3;
    p_new_id     uuid := gen_random_uuid();
    event        webhook_events;
    partner      partner_webhooks;
begin
    select e.* into event from webhook_events e where e.user_id = p_user_id and e.event_id = p_event_id for no key update;
    if not found then
        return 'not_found';
    end if;
    select p.* into partner from partner_webhooks p where p.user_id = p_user_id and p.id = p_partner_id;
    if not found then
        return 'partner_deleted';
    elsif not partner.enabled then
        return 'partner_disabled';
    elsif p_partner_id = any (event.partner_ids) then
        return 'not_missing';
    elsif not partner.enabled_events && webhook_event_patterns(event.event_type) then
        return 'not_subscribed';
    end if;
    update webhook_events e
       set partner_ids = e.partner_ids || p_partner_id, delivery_ids = e.delivery_ids || p_new_id
     where e.user_id = p_user_id and e.event_id = p_event_id;
    perform webhook_insert_delivery(p_new_id, p_user_id, p_partner_id, p_event_id, event.event_type, partner.max_retries,
                                    '{"trigger": "recover"}', now());
    return 'recovered';
end
$$;

comment on function recover_webhook_delivery is
    'Delivers a stored event to a partner that did not get it, because it was added later or was disabled, and returns "recovered"; else why not: not_missing, not_subscribed, not_found, partner_deleted or partner_disabled. In the caller''s transaction.';

-- Without a search path of its own and with a body that is read now, it becomes part of the query that calls it.
create function webhook_missing_deliveries(since timestamptz, until timestamptz default 'infinity',
                                           user_id text default null, partner_slug text default null, event_type text default null)
    returns table (user_id text, event_id text, event_type text, partner_id uuid, partner_slug text, created_at timestamptz)
    language sql stable
begin atomic
    select e.user_id, e.event_id, e.event_type, p.id, p.partner_slug, e.created_at
      from webhook_events e
      join partner_webhooks p on p.user_id = e.user_id
     where e.created_at >= $1
       and e.created_at < $2
       and ($3 is null or e.user_id = $3)
       and ($4 is null or p.partner_slug = $4)
       and ($5 is null or e.event_type = $5)
       and e.event_type <> 'webhook.test'
       and p.enabled
       and p.id <> all (e.partner_ids)
       and p.enabled_events && webhook_event_patterns(e.event_type);
end;

comment on function webhook_missing_deliveries is
    'Stored events of a time that match an enabled partner''s subscription of today but were not enqueued for it: what recover_webhook_delivery is for.';

revoke execute on function webhook_insert_delivery, replay_webhook_delivery, recover_webhook_delivery, webhook_missing_deliveries from public;

---- create above / drop below ----

drop function webhook_missing_deliveries(timestamptz, timestamptz, text, text, text);
drop function recover_webhook_delivery(text, text, uuid);
drop function replay_webhook_delivery(uuid, text, text, text);
drop function webhook_insert_delivery(uuid, text, uuid, text, text, integer, jsonb, timestamptz);
