create table webhook_delivery_log (
    attempt_id        uuid              not null,
    delivery_id       uuid,
    job_id            bigint            not null,
    user_id           text,
    partner_id        uuid,
    event_id          text,
    event_type        text,
    attempt           smallint          not null,
    trigger           text              not null,
    outcome           text              not null,
    response_status   smallint,
    response_headers  json,
    response_body     text,
    error_kind        text,
    error             text,
    url               text,
    duration_ms       double precision,
    client_id         text              not null,
    started_at        timestamptz       not null,

    -- Closing an attempt names both columns, so that one partition is looked at.
    constraint webhook_delivery_log_pkey primary key (started_at, attempt_id),
    constraint webhook_delivery_log_trigger_known check (trigger in ('schedule', 'replay', 'recover', 'manual', 'test')),
    constraint webhook_delivery_log_outcome_known check (outcome in ('sending', 'delivered', 'failed', 'lost', 'cancelled')),
    constraint webhook_delivery_log_error_kind_known check (error_kind in ('dns', 'connect', 'tls', 'timeout', 'http_status', 'redirect', 'blocked', 'protocol', 'shutdown', 'internal'))
) partition by range (started_at);

create table webhook_delivery_log_default partition of webhook_delivery_log default;

create index webhook_delivery_log_delivery_id_idx on webhook_delivery_log (delivery_id, started_at);

comment on index webhook_delivery_log_delivery_id_idx is 'Serves "deliveries show" and every other look at the attempts of one delivery, oldest first.';

comment on table webhook_delivery_log is
    'The audit log: one row an attempt, opened (outcome "sending") before its POST leaves and closed after the answer, then never touched again.';
comment on table webhook_delivery_log_default is 'Takes the rows of times that have no partition of their own, so that an insert never fails for lack of one.';
comment on column webhook_delivery_log.attempt_id is 'Id of the attempt, this log''s own: River counts attempts of a job, and gives some back.';
comment on column webhook_delivery_log.delivery_id is 'The delivery, which is the webhook-id that the partner saw.';
comment on column webhook_delivery_log.job_id is 'River''s id of the job that made the attempt.';
comment on column webhook_delivery_log.user_id is 'Tenant.';
comment on column webhook_delivery_log.partner_id is 'Partner; it may have been deleted since.';
comment on column webhook_delivery_log.event_id is 'Event that was delivered.';
comment on column webhook_delivery_log.event_type is 'Type of that event.';
comment on column webhook_delivery_log.attempt is 'Which try of the job it was, counted from 1; 0 if the delivery ended before its first.';
comment on column webhook_delivery_log.trigger is 'Why the attempt was made: schedule, replay, recover, manual or test.';
comment on column webhook_delivery_log.outcome is 'sending, delivered, failed, lost (nobody knows how the POST ended), or cancelled (the delivery ended without a POST).';
comment on column webhook_delivery_log.response_status is 'HTTP status of the answer; null if there was none.';
comment on column webhook_delivery_log.response_headers is 'The answer''s headers that help in finding a fault.';
comment on column webhook_delivery_log.response_body is 'The first 16 KiB of the answer''s body, made valid UTF-8 without NUL.';
comment on column webhook_delivery_log.error_kind is 'Why it failed: dns, connect, tls, timeout, http_status, redirect, blocked, protocol, shutdown or internal.';
comment on column webhook_delivery_log.error is 'The same in words.';
comment on column webhook_delivery_log.url is 'Where the POST went; null if there was none.';
comment on column webhook_delivery_log.duration_ms is 'Milliseconds from before the connection to the end of the answer''s body.';
comment on column webhook_delivery_log.client_id is 'River client, which is the worker process, that made the attempt.';
comment on column webhook_delivery_log.started_at is 'When the attempt began, by the worker''s clock.';

---- create above / drop below ----

drop table webhook_delivery_log;
