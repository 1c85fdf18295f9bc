create table webhook_events (
    user_id       text         not null,
    event_id      text         not null,
    event_type    text         not null,
    payload       json         not null,
    partner_ids   uuid[]       not null,
    delivery_ids  uuid[]       not null,
    created_at    timestamptz  not null default now(),

    -- The gate of idempotent enqueueing; serves the worker's look-up of a payload as well.
    constraint webhook_events_pkey primary key (user_id, event_id),
    constraint webhook_events_user_id_length check (char_length(user_id) between 1 and 255),
    constraint webhook_events_event_id_length check (char_length(event_id) between 1 and 255),
    constraint webhook_events_event_type_format check (event_type ~ '^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$' and char_length(event_type) <= 128),
    constraint webhook_events_payload_object check (json_typeof(payload) = 'object'),
    constraint webhook_events_payload_size check (octet_length(payload::text) <= 262144),
    constraint webhook_events_partner_and_delivery_ids_pair check (cardinality(partner_ids) = cardinality(delivery_ids))
);

create index webhook_events_created_at_idx on webhook_events (created_at);

comment on index webhook_events_created_at_idx is 'Serves the removal of events that are older than RETENTION_EVENTS.';

comment on table webhook_events is 'Events: what happened, stored once however many partners receive it.';
comment on column webhook_events.user_id is 'Tenant whose event it is.';
comment on column webhook_events.event_id is 'The application''s id of the event, unique within its user; the same id again enqueues nothing.';
comment on column webhook_events.event_type is 'Dot-separated type, such as call.completed.';
comment on column webhook_events.payload is 'The payload as the application wrote it: json, not jsonb, keeps the order of keys and the form of numbers.';
comment on column webhook_events.partner_ids is 'Partners that were subscribed when the event was enqueued, in the order of their slugs.';
comment on column webhook_events.delivery_ids is 'Ids of the deliveries, one for each of partner_ids.';
comment on column webhook_events.created_at is 'When the event was enqueued: the start of its transaction.';

---- create above / drop below ----

drop table webhook_events;
