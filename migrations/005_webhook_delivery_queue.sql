-- One job a delivery. The look-up by delivery id uses it too.
create unique index river_job_webhook_delivery_id_idx on river_job ((args->>'delivery_id')) where kind = 'webhook_delivery';

comment on index river_job_webhook_delivery_id_idx is 'Keeps one job a delivery, and serves look-ups of a delivery by its id.';

create view webhook_delivery_queue as
select j.args->>'delivery_id' as id,
       j.args->>'user_id' as "userId",
       j.args->>'partner_id' as partner_id,
       j.args->>'event_id' as event_id,
       j.args->>'event_type' as event_type,
       case
           when j.state = 'running' then 'processing'
           when j.state = 'completed' then 'delivered'
           when j.state = 'discarded' then 'dead_letter'
           when j.state = 'cancelled' then 'cancelled'
           when j.attempt = 0 then 'pending'
           else 'failed'
       end as status,
       j.attempt::integer as attempt_count,
       j.max_attempts::integer as max_attempts,
       case when j.state <> 'completed' then coalesce(j.metadata->'output'->>'error', j.errors[array_upper(j.errors, 1)]->>'error') end as last_error,
       case when j.state <> 'completed' then j.metadata->'output'->>'error_kind' end as last_error_kind,
       (j.metadata->'output'->>'response_status')::integer as last_response_status,
       case when j.state in ('available', 'pending', 'retryable', 'scheduled') then j.scheduled_at end as next_attempt_at,
       j.id as job_id,
       j.created_at as "createdAt",
       coalesce(j.finalized_at, j.attempted_at, j.created_at) as "updatedAt"
  from river_job j
 where j.kind = 'webhook_delivery';

comment on view webhook_delivery_queue is 'One row a delivery: its River job in the words of this product. Delivered ones leave after RETENTION_COMPLETED.';
comment on column webhook_delivery_queue.id is 'Delivery id, the webhook-id that the partner sees.';
comment on column webhook_delivery_queue."userId" is 'Tenant.';
comment on column webhook_delivery_queue.partner_id is 'Partner that receives it.';
comment on column webhook_delivery_queue.event_id is 'Event that is delivered.';
comment on column webhook_delivery_queue.event_type is 'Type of that event.';
comment on column webhook_delivery_queue.status is 'pending (no try yet), processing (a try is running), failed (waits for its next try), delivered, dead_letter (out of tries) or cancelled.';
comment on column webhook_delivery_queue.attempt_count is 'Tries so far, a running one included.';
comment on column webhook_delivery_queue.max_attempts is 'Tries in all before it is a dead letter.';
comment on column webhook_delivery_queue.last_error is 'What went wrong at the last try; null if it was delivered.';
comment on column webhook_delivery_queue.last_error_kind is 'Kind of that error, as in webhook_delivery_log.error_kind.';
comment on column webhook_delivery_queue.last_response_status is 'HTTP status of the last answer; null if the last try had none.';
comment on column webhook_delivery_queue.next_attempt_at is 'When the next try is due; null if none is.';
comment on column webhook_delivery_queue.job_id is 'River''s id of the job.';
comment on column webhook_delivery_queue."createdAt" is 'When it was enqueued.';
comment on column webhook_delivery_queue."updatedAt" is 'When it last changed: the end, else the last try, else the enqueueing.';

---- create above / drop below ----

drop view webhook_delivery_queue;
drop index river_job_webhook_delivery_id_idx;
