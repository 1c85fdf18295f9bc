package jobs

// reclaimStatement takes running deliveries from the clients @clients, which are dead or never heard of them,
// and puts each back as a job of another id, so that a late word of a worker that was only thought dead
// touches nothing. What the log knows of the attempt decides: an answer that is on record counts, as if
// the worker had lived to tell River; otherwise the attempt is lost, and costs a try only if it is the
// third in a row or later. The attempts on record go along with the job.
const reclaimStatement = "" + //nolint:unqueryvet // each part takes on what the one before has
	`
	with taken as materialized (
	    select j.id, j.args, j.attempt, j.attempted_at, j.attempted_by, j.created_at, j.errors, j.kind, j.max_attempts, j.metadata,
	           j.priority, j.queue, j.scheduled_at, j.tags, j.unique_key, j.unique_states,
	           ` + clientOfJob + ` as client_id,
	           nextval(pg_get_serial_sequence('river_job', 'id')) as new_id,
	           ` + deliveryID + ` as delivery_id,
	           case when j.metadata->'lost'->>'errors' = cardinality(coalesce(j.errors, '{}'))::text and j.metadata->'lost'->>'in_a_row' ~ '^[0-9]{1,4}$'
	                then (j.metadata->'lost'->>'in_a_row')::int else 0 end + 1 as losses
	      from river_job j
	     where j.state = 'running' and j.kind = '` + Kind + `'
	       and ` + clientOfJob + ` = any(@clients)
	       and (@everything or j.id = any(@jobs))
	       for update skip locked
	), judged as materialized (
	    select t.*, a.attempt_id, a.started_at,
	           case when t.metadata ? 'cancel_attempted_at' and a.outcome is distinct from 'delivered' then 'cancelled'
	                when a.outcome in ('delivered', 'failed', 'cancelled') then a.outcome
	                when a.error_kind = 'shutdown' then 'stopped'
	                when t.losses > @free then 'lost'
	                else 'lost for free'
	           end as verdict,
	           case when a.outcome <> 'sending' then a.error
	                when a.outcome = 'sending' then 'the worker ended before the answer was on record'
	                else 'the worker ended before the attempt was on record'
	           end as error,
	           coalesce(a.outcome, 'sending') = 'sending' as is_open,
	           case when a.outcome = 'cancelled' then 'JobCancelError: ' else '' end as prefix, -- as River writes it
	           case when a.outcome <> 'sending' then a.response_status end as response_status,
	           case when a.outcome <> 'sending' then a.error_kind when a.outcome is distinct from 'delivered' then 'internal' end as error_kind,
	           greatest(now(), coalesce(a.started_at + a.duration_ms * interval '1 ms', now())
	                           + least(@base * 2::double precision ^ least(greatest(t.attempt, 1) - 1, 100), @max) * interval '1 s') as retry_at
	      from taken t
	      left join lateral (
	           select l.attempt_id, l.started_at, l.duration_ms, l.outcome, l.response_status, l.error_kind, l.error
	             from webhook_delivery_log l
	            where l.delivery_id = t.delivery_id and l.job_id = t.id and l.attempt = t.attempt and l.client_id = t.client_id
	              and l.started_at >= t.attempted_at - interval '1 s' -- one that was lost before has the same number
	            order by l.started_at desc
	            limit 1) a on true
	), decided as materialized (
	    select g.*,
	           (case verdict
	               when 'delivered' then 'completed'
	               when 'cancelled' then 'cancelled'
	               when 'lost for free' then 'available'
	               when 'stopped' then 'available'
	               else case when attempt >= max_attempts then 'discarded' else 'retryable' end
	           end)::river_job_state as new_state
	      from judged g
	), gone as (
	    delete from river_job j using decided d where j.id = d.id returning j.id
	), back as (
	    insert into river_job
	           (id, args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at, kind, max_attempts,
	            metadata, priority, queue, state, scheduled_at, tags, unique_key, unique_states)
	    select d.new_id, d.args,
	           case when new_state = 'available' then greatest(d.attempt - 1, 0) else d.attempt end,
	           d.attempted_at, d.attempted_by, d.created_at,
	           case when verdict in ('failed', 'lost', 'cancelled')
	                then array_append(d.errors, jsonb_build_object(
	                         'at', coalesce(started_at, attempted_at), 'attempt', d.attempt, 'error', prefix || coalesce(error, 'no more is known'), 'trace', ''))
	                else d.errors end,
	           case when new_state in ('cancelled', 'completed', 'discarded') then now() end,
	           d.kind, d.max_attempts,
	           d.metadata
	               || jsonb_build_object('output', jsonb_strip_nulls(jsonb_build_object(
	                      'outcome', case when is_open or verdict = 'stopped' then 'lost' else verdict end,
	                      'response_status', response_status, 'error_kind', error_kind,
	                      'error', case when verdict <> 'delivered' then error end)))
	               || case when verdict in ('lost', 'lost for free')
	                       then jsonb_build_object('lost', jsonb_build_object('in_a_row', losses,
	                            'errors', cardinality(coalesce(d.errors, '{}')) + (verdict = 'lost')::int))
	                       else '{}' end,
	           d.priority, d.queue, new_state,
	           case new_state when 'retryable' then retry_at when 'available' then now() else d.scheduled_at end,
	           d.tags, d.unique_key, d.unique_states
	      from decided d join gone using (id)
	    returning id
	), moved as (
	    update webhook_delivery_log l
	       set job_id = d.new_id,
	           outcome = case when l.outcome = 'sending' and l.attempt_id = d.attempt_id then 'lost' else l.outcome end,
	           error_kind = case when l.outcome = 'sending' and l.attempt_id = d.attempt_id then 'internal' else l.error_kind end,
	           error = case when l.outcome = 'sending' and l.attempt_id = d.attempt_id then d.error else l.error end
	      from decided d join gone using (id)
	     where l.delivery_id = d.delivery_id and l.job_id = d.id
	    returning l.attempt_id
	), added as (
	    insert into webhook_delivery_log
	           (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger,
	            outcome, error_kind, error, client_id, started_at)
	    select gen_random_uuid(), d.delivery_id, d.new_id, d.args->>'user_id',
	           case when d.args->>'partner_id' ~* ` + uuidPattern + ` then (d.args->>'partner_id')::uuid end,
	           d.args->>'event_id', d.args->>'event_type', d.attempt,
	           case when d.metadata->>'trigger' in ('replay', 'recover', 'manual', 'test') then d.metadata->>'trigger' else 'schedule' end,
	           'lost', 'internal', d.error, d.client_id, coalesce(d.attempted_at, now())
	      from decided d join gone using (id)
	     where @logged and d.attempt_id is null
	    returning attempt_id
	)
	select d.delivery_id, d.new_state::text, d.verdict, ` + wakeWorkers + `
	  from decided d join gone using (id)`
