---- tern: disable-tx ----

-- Built while workers run, which a transaction would not allow. Each statement may be repeated: a build that
-- was cut short leaves an index that is invalid. The case expressions are the status of the view
-- webhook_delivery_queue, to the letter, or PostgreSQL would not use the indexes for it.

drop index concurrently if exists river_job_webhook_created_idx;
create index concurrently river_job_webhook_created_idx on river_job (created_at, id)
 where kind = 'webhook_delivery';
comment on index river_job_webhook_created_idx is
    'Serves lists of all deliveries, the newest first ("deliveries list"), and the count of all of them.';

drop index concurrently if exists river_job_webhook_user_idx;
create index concurrently river_job_webhook_user_idx on river_job ((args->>'user_id'), created_at, id)
 where kind = 'webhook_delivery';
comment on index river_job_webhook_user_idx is 'Serves lists of a user''s deliveries, the newest first ("deliveries list --user").';

-- Without those under way and those delivered, so that a delivery which succeeds at once costs one entry.
drop index concurrently if exists river_job_webhook_status_idx;
create index concurrently river_job_webhook_status_idx on river_job ((case
    when state = 'running' then 'processing'
    when state = 'completed' then 'delivered'
    when state = 'discarded' then 'dead_letter'
    when state = 'cancelled' then 'cancelled'
    when attempt = 0 then 'pending'
    else 'failed'
end), created_at, id) include (state, attempt)
 where kind = 'webhook_delivery' and (case
    when state = 'running' then 'processing'
    when state = 'completed' then 'delivered'
    when state = 'discarded' then 'dead_letter'
    when state = 'cancelled' then 'cancelled'
    when attempt = 0 then 'pending'
    else 'failed'
end) in ('pending', 'failed', 'dead_letter', 'cancelled');
comment on index river_job_webhook_status_idx is
    'Serves counts of pending, failed, dead and cancelled deliveries, and lists of each, the newest first ("deliveries list --status", replay).';

drop index concurrently if exists river_job_webhook_failing_idx;
create index concurrently river_job_webhook_failing_idx on river_job ((coalesce(finalized_at, attempted_at, created_at)))
 where kind = 'webhook_delivery' and (case
    when state = 'running' then 'processing'
    when state = 'completed' then 'delivered'
    when state = 'discarded' then 'dead_letter'
    when state = 'cancelled' then 'cancelled'
    when attempt = 0 then 'pending'
    else 'failed'
end) in ('failed', 'dead_letter');
comment on index river_job_webhook_failing_idx is 'Serves the look at what failed last: failed and dead deliveries by "updatedAt".';

drop statistics if exists river_job_webhook_status;
create statistics river_job_webhook_status on (case
    when state = 'running' then 'processing'
    when state = 'completed' then 'delivered'
    when state = 'discarded' then 'dead_letter'
    when state = 'cancelled' then 'cancelled'
    when attempt = 0 then 'pending'
    else 'failed'
end) from river_job;
comment on statistics river_job_webhook_status is 'How many deliveries have which status, so that PostgreSQL picks the right index for one.';
analyze river_job;

-- Each delivery leaves two or three dead versions of its row: the default, a fifth of the table, would let a
-- large table bloat for hours, and index-only counts read the visibility map that vacuum writes.
alter table river_job set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
                           autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
-- Events are only added and, much later, removed: what they need is fresh statistics.
alter table webhook_events set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
                                autovacuum_analyze_scale_factor = 0.02);

---- create above / drop below ----

---- tern: disable-tx ----

alter table webhook_events reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor);
alter table river_job reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
                             autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor);
drop statistics if exists river_job_webhook_status;
drop index concurrently if exists river_job_webhook_failing_idx;
drop index concurrently if exists river_job_webhook_status_idx;
drop index concurrently if exists river_job_webhook_user_idx;
drop index concurrently if exists river_job_webhook_created_idx;
