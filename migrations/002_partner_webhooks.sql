create table partner_webhooks (
    id                     uuid         not null default gen_random_uuid(),
    user_id                text         not null,
    partner_name           text         not null,
    partner_slug           text         not null,
    url                    text         not null,
    secret_ciphertext      bytea        not null,
    secret_key_id          text         not null,
    enabled_events         text[]       not null,
    custom_payload_fields  json         not null default '{}',
    max_retries            smallint,
    enabled                boolean      not null default true,
    disabled_reason        text,
    paused_at              timestamptz,
    created_at             timestamptz  not null default now(),
    updated_at             timestamptz  not null default now(),

    constraint partner_webhooks_pkey primary key (id),
    -- Serves every look-up of a partner by its owner, and the fan-out of an event to a user's partners.
    constraint partner_webhooks_user_id_partner_slug_key unique (user_id, partner_slug),
    constraint partner_webhooks_user_id_length check (char_length(user_id) between 1 and 255),
    constraint partner_webhooks_partner_name_length check (char_length(partner_name) between 1 and 200),
    constraint partner_webhooks_partner_slug_format check (partner_slug ~ '^[a-z0-9]+([-_][a-z0-9]+)*$' and char_length(partner_slug) <= 63),
    constraint partner_webhooks_url_format check (url ~ '^https?://' and char_length(url) <= 2048),
    constraint partner_webhooks_enabled_events_count check (cardinality(enabled_events) between 1 and 100),
    constraint partner_webhooks_custom_payload_fields_object check (json_typeof(custom_payload_fields) = 'object'),
    constraint partner_webhooks_max_retries_range check (max_retries between 0 and 100),
    constraint partner_webhooks_disabled_reason_if_disabled check (disabled_reason is null or not enabled)
);

comment on table partner_webhooks is 'Partners: the endpoints of a user that receive its events.';
comment on column partner_webhooks.id is 'Partner id. The ciphertext of the secrets is bound to it.';
comment on column partner_webhooks.user_id is 'Tenant that owns the partner.';
comment on column partner_webhooks.partner_name is 'Name for people.';
comment on column partner_webhooks.partner_slug is 'Name for commands and URLs, unique within its user.';
comment on column partner_webhooks.url is 'Where deliveries are posted.';
comment on column partner_webhooks.secret_ciphertext is 'The signing secrets as a JSON array, sealed with AES-256-GCM; opened only by a process that holds the key.';
comment on column partner_webhooks.secret_key_id is 'Which encryption key sealed the secrets: the first 8 bytes of its SHA-256, in hex.';
comment on column partner_webhooks.enabled_events is 'Event types that the partner receives: exact names, "*" for all, "call.*" for all that begin with "call.".';
comment on column partner_webhooks.custom_payload_fields is 'JSON object whose members are appended to each payload, unless the event has a member of that name.';
comment on column partner_webhooks.max_retries is 'How many times a failed delivery to this partner is tried again; null: webhook_settings.retry_max_attempts.';
comment on column partner_webhooks.enabled is 'Whether events are enqueued for the partner and its waiting deliveries are sent.';
comment on column partner_webhooks.disabled_reason is 'Why the partner is disabled, in words; null while it is enabled.';
comment on column partner_webhooks.paused_at is 'Since when its deliveries are held back, without using tries; null while they are sent. Events are enqueued for it meanwhile.';
comment on column partner_webhooks.created_at is 'When the partner was added.';
comment on column partner_webhooks.updated_at is 'When the row last changed.';

---- create above / drop below ----

drop table partner_webhooks;
