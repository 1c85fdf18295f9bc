create table webhook_settings (
    singleton           boolean      not null default true,
    retry_max_attempts  smallint     not null,
    river_schema        text         not null,
    updated_at          timestamptz  not null default now(),

    constraint webhook_settings_pkey primary key (singleton),
    constraint webhook_settings_one_row check (singleton),
    constraint webhook_settings_retry_max_attempts_range check (retry_max_attempts between 0 and 100)
);

comment on table webhook_settings is
    'One row: what enqueueing must know of the workers'' configuration, because an application and a SQL function cannot see a worker''s environment. Written by "migrate up" and by every worker at its start.';
comment on column webhook_settings.singleton is 'Always true: the key that keeps this a table of one row.';
comment on column webhook_settings.retry_max_attempts is 'RETRY_MAX_ATTEMPTS: how many times a failed delivery is tried again, unless its partner says otherwise.';
comment on column webhook_settings.river_schema is 'Schema of River''s tables, which names its notification topics too.';
comment on column webhook_settings.updated_at is 'When a value last changed.';

-- Five retries are the default of RETRY_MAX_ATTEMPTS; "migrate up" and the workers write the configured number.
insert into webhook_settings (retry_max_attempts, river_schema) values (5, current_schema());

---- create above / drop below ----

drop table webhook_settings;
