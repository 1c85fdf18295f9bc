---- tern: disable-tx ----

-- Each version of a job's row has an entry in every index that has no condition on its state, and a delivery that succeeds
-- has three versions. Lists find what is delivered by its event instead: what remains has an entry for what waits, failed or
-- ended otherwise. Each statement may be repeated, also where a transaction that is open for long has kept one from its end.
set lock_timeout = '5s';
drop index concurrently if exists river_job_webhook_created_idx;

drop index concurrently if exists river_job_webhook_user_idx;
create index concurrently river_job_webhook_user_idx on river_job ((args->>'user_id'), created_at, id)
 where kind = 'webhook_delivery' and (case
    when state = 'running' then 'processing'
    when state = 'completed' then 'delivered'
    when state = 'discarded' then 'dead_letter'
    when state = 'cancelled' then 'cancelled'
    when attempt = 0 then 'pending'
    else 'failed'
end) in ('pending', 'failed', 'dead_letter', 'cancelled');
comment on index river_job_webhook_user_idx is
    'Serves lists and counts of a user''s pending, failed, dead and cancelled deliveries, the newest first ("deliveries list --user --status", "stats --user").';

---- create above / drop below ----

---- tern: disable-tx ----

set lock_timeout = '5s';
drop index concurrently if exists river_job_webhook_user_idx;
create index concurrently river_job_webhook_user_idx on river_job ((args->>'user_id'), created_at, id)
 where kind = 'webhook_delivery';
comment on index river_job_webhook_user_idx is 'Serves lists of a user''s deliveries, the newest first ("deliveries list --user").';

drop index concurrently if exists river_job_webhook_created_idx;
create index concurrently river_job_webhook_created_idx on river_job (created_at, id)
 where kind = 'webhook_delivery';
comment on index river_job_webhook_created_idx is
    'Serves lists of all deliveries, the newest first ("deliveries list"), and the count of all of them.';
