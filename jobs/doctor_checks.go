package jobs

// idsOfJob are the columns of [Breach] that job j fills.
const idsOfJob = `j.args->>'delivery_id' as delivery_id, j.args->>'event_id' as event_id, j.args->>'user_id' as user_id, j.args->>'partner_id' as partner_id`

// jobOfUser says whether job j is a delivery, and one of @user if there is one.
const jobOfUser = `j.kind = 'webhook_delivery' and (@user::text = '' or j.args->>'user_id' = @user)`

// logSince is the time since when every attempt should be in the log, with a little to spare: before it, rows
// have been removed, or attempts were not recorded yet.
const logSince = `(greatest(coalesce(now() - @attempts::interval, '-infinity'),
	               (select coalesce(min(started_at), 'infinity') from webhook_delivery_log)) + @grace::interval)`

// sameDelivery compares an attempt l with a job j, for two of the same job id. It is written so that no hash
// is made of it: that of the job id does.
const sameDelivery = `(l.delivery_id::text = j.args->>'delivery_id') is true`

// settledUntil is the time until when the settlement has compared the log with its jobs, or had every
// opportunity to.
const settledUntil = `(select greatest(log_settled_until, now() - @unsettled::interval) from webhook_settings)`

// checks are all checks, those about deliveries first. In each statement @user narrows to one user, and
// intervals of what is kept for ever are null.
func checks() []check {
	return append(deliveryChecks(), schemaChecks()...)
}

func deliveryChecks() []check {
	return []check{
		{
			name:        "event_without_delivery",
			description: "An event lists a delivery that has no job, and that has not ended as far as anybody knows: it vanished.",
			advice: "Replay it: webhook-worker replay <delivery>. Somebody deleted the job by hand, or an application's River client put it into " +
				"another schema. What was sent in a time of AUDIT_LOG_ENABLED=false looks the same, and so does a job that was removed under a " +
				"shorter retention than now.",
			compares: true,
			// The event and its jobs come in one transaction, and a replay changes jobs in one. A job that has
			// ended is removed after its retention; its last attempt is on record before it ends.
			sql: `
				with jobs as materialized (
				    select j.args->>'delivery_id' as delivery_id
				      from river_job j
				     where ` + jobOfUser + `
				), listed as (
				    select e.user_id, e.event_id, e.created_at, unnest(e.delivery_ids) as delivery_id, unnest(e.partner_ids) as partner_id
				      from webhook_events e
				     where @user = '' or e.user_id = @user
				), jobless as materialized (
				    select d.user_id, d.event_id, d.created_at, d.delivery_id, d.partner_id
				      from listed d
				     where not exists (select from jobs j where j.delivery_id = d.delivery_id::text)
				), missing as (
				    select d.user_id, d.event_id, d.created_at, d.delivery_id, d.partner_id
				      from jobless d
				     where not exists (select from webhook_delivery_log l where l.delivery_id = d.delivery_id and l.outcome = 'delivered')
				), ends as (
				    -- The times until when the removal of a job of each end explains that it is gone.
				    select coalesce(now() - @cancelled::interval, '-infinity') + @grace::interval as cancelled,
				           coalesce(now() - least(@cancelled::interval, @dead_letters::interval), '-infinity') + @grace::interval as failed,
				           coalesce(now() - least(@cancelled::interval, @dead_letters::interval, @completed::interval), '-infinity') + @grace::interval as any,
				           ` + logSince + ` as log
				)
				select m.delivery_id, m.event_id, m.user_id, m.partner_id, l.attempt_id, m.created_at as at,
				       case when l.outcome is null then 'its event lists it, but it has no job, and no attempt is on record'
				            else format('its event lists it, but it has no job; its last attempt is on record as %s', l.outcome)
				       end as problem
				  from missing m
				  join partner_webhooks p on p.user_id = m.user_id and p.id = m.partner_id -- nobody sends to one that was deleted
				 cross join ends
				  left join lateral (
				       select l.attempt_id, l.outcome, l.started_at
				         from webhook_delivery_log l
				        where l.delivery_id = m.delivery_id
				        order by l.job_id desc, l.started_at desc
				        limit 1) l on true
				 where l.outcome is distinct from 'sending' -- attempt_left_open has those
				   and (m.created_at > ends.any
				        or @audit and case l.outcome
				               when 'cancelled' then l.started_at > ends.cancelled
				               when 'failed' then l.started_at > ends.failed
				               when 'lost' then l.started_at > ends.failed
				               else m.created_at > ends.log
				           end)`,
		},
		{
			name:        "two_deliveries",
			description: "An event lists a delivery or a partner twice: the partner gets it twice, or one delivery is mistaken for another.",
			advice:      "Correct partner_ids and delivery_ids of the row in webhook_events; nothing in webhook-worker writes such a row.",
			sql: `
				select e.event_id, e.user_id, e.created_at as at, 'it lists a delivery or a partner twice' as problem
				  from webhook_events e
				 where (@user::text = '' or e.user_id = @user)
				   and case cardinality(e.delivery_ids)
				           when 0 then false
				           when 1 then false
				           when 2 then e.delivery_ids[1] = e.delivery_ids[2] or e.partner_ids[1] = e.partner_ids[2]
				           else exists (
				               select
				                 from generate_subscripts(e.delivery_ids, 1) as place
				                where array_position(e.delivery_ids, e.delivery_ids[place]) < place
				                   or array_position(e.partner_ids, e.partner_ids[place]) < place)
				       end`,
		},
		{
			name:        "delivery_without_event",
			description: "A delivery that is to be sent, or a dead letter, has no event that lists it for its partner: its payload is gone, or another's.",
			advice: "If the event is gone the delivery ends as cancelled at its next try; cancel it, or let it. Otherwise see who wrote the job: " +
				"webhook-worker writes a job and its event in one transaction, and keeps the event as long as the job.",
			compares: true,
			sql: `
				select ` + idsOfJob + `, j.created_at as at,
				       format(case when e.user_id is null then 'job %s (%s) has no event'
				                   when e.event_type is distinct from j.args->>'event_type' then 'job %s (%s) has another type than its event'
				                   else 'job %s (%s) is not in its event''s list with this partner'
				              end, j.id, j.state) as problem
				  from river_job j
				  left join webhook_events e on e.user_id = j.args->>'user_id' and e.event_id = j.args->>'event_id'
				 where ` + jobOfUser + `
				   and j.state not in ('completed', 'cancelled')
				   and (e.user_id is null
				        or e.event_type is distinct from j.args->>'event_type'
				        or e.partner_ids[array_position(e.delivery_ids::text[], j.args->>'delivery_id')]::text is distinct from j.args->>'partner_id')`,
		},
		{
			name:        "delivered_without_attempt",
			description: "A delivery counts as delivered, but no attempt of its job that was delivered is on record.",
			advice: "See webhook-worker deliveries show <delivery>, and the workers' logs for \"attempts not written\"; or something else completed the " +
				"job. If AUDIT_LOG_ENABLED was false when it was sent, nothing is wrong.",
			needsLog: true,
			compares: true,
			// The outcome is committed before the job is completed, or stays open until it is: attempt_left_open.
			sql: `
				select ` + idsOfJob + `, j.finalized_at as at,
				       format('job %s is completed, but no attempt of it is on record as delivered', j.id) as problem
				  from river_job j
				 where ` + jobOfUser + `
				   and j.state = 'completed'
				   and j.finalized_at < now() - @grace::interval
				   and j.attempted_at > ` + logSince + `
				   and not exists (
				       select
				         from webhook_delivery_log l
				        where l.job_id = j.id
				          and ` + sameDelivery + `
				          and l.outcome in ('delivered', 'sending')
				          -- Far fewer partitions: no attempt begins a day before the first of these jobs ended.
				          and l.started_at > (select min(c.finalized_at) from river_job c where c.state = 'completed') - interval '1 day')`,
		},
		{
			name:        "dead_letter_disagrees",
			description: "A dead letter's last attempt is not on record, was delivered, or ended otherwise than the job says.",
			advice: "See webhook-worker deliveries show <delivery>. If it was delivered, the partner has it, and a worker died before the job was " +
				"completed: do not replay it. If AUDIT_LOG_ENABLED was false when it was tried, nothing is wrong.",
			needsLog: true,
			compares: true,
			// River writes the output with the end of a try: what it rescued from a dead worker has that of an
			// earlier one. The settlement adds what has no row, and knows no address of it.
			sql: `
				with disagreeing as (
				    select j.id, j.args, j.attempt, j.finalized_at, j.metadata->'output' as output
				      from river_job j
				     where ` + jobOfUser + `
				       and j.state = 'discarded'
				       and j.finalized_at < now() - @grace::interval
				       and j.attempted_at > ` + logSince + `
				       and not exists (
				           select
				             from webhook_delivery_log l
				            where l.job_id = j.id
				              and ` + sameDelivery + `
				              and l.attempt = j.attempt
				              and l.error_kind is distinct from 'shutdown'
				              and l.outcome <> 'delivered'
				              and (l.outcome in ('sending', 'lost')
				                   or l.url is null
				                   or j.errors[array_upper(j.errors, 1)]->>'error' = ` + rescued + `
				                   or l.outcome = coalesce(j.metadata->'output'->>'outcome', 'failed')
				                      and l.response_status::text is not distinct from j.metadata->'output'->>'response_status'))
				), found as (
				    select j.args, j.finalized_at, l.attempt_id,
				           case when l.outcome = 'delivered' then format('the last attempt of job %s was delivered', j.id)
				                when l.outcome is not null then format('the last attempt of job %s is on record as %s, HTTP status %s, and in the job as %s, HTTP status %s', j.id,
				                     l.outcome, coalesce(l.response_status::text, 'none'),
				                     coalesce(j.output->>'outcome', 'nothing'), coalesce(j.output->>'response_status', 'none'))
				                when j.finalized_at < ` + settledUntil + ` then format('the last attempt of job %s is not on record', j.id)
				           end as problem
				      from disagreeing j
				      left join lateral (
				           select l.attempt_id, l.outcome, l.response_status
				             from webhook_delivery_log l
				            where l.delivery_id = ` + deliveryID + ` and l.job_id = j.id and l.attempt = j.attempt and l.error_kind is distinct from 'shutdown'
				            order by l.started_at desc
				            limit 1) l on true
				)
				select ` + idsOfJob + `, j.attempt_id, j.finalized_at as at, j.problem
				  from found j
				 where j.problem is not null`,
		},
		{
			name:        "attempt_left_open",
			description: "An attempt was begun and never closed, although its worker does not work on it any more: nobody knows how it ended.",
			advice: "Workers close what dead ones left, within minutes: see whether one runs. If so, set webhook_settings.log_settled_until to a time " +
				"before the oldest, and it looks again.",
			needsLog: true,
			sql: `
				select l.delivery_id, l.event_id, l.user_id, l.partner_id, l.attempt_id, l.started_at as at,
				       format('worker %s left it open; %s', l.client_id,
				              case when j.id is null then 'its job is gone' else format('its job %s is %s', j.id, j.state) end) as problem
				  from webhook_delivery_log l
				  left join river_job j on j.id = l.job_id and j.kind = 'webhook_delivery'
				 where l.outcome = 'sending'
				   and l.started_at < now() - @stuck::interval
				   and l.started_at < ` + settledUntil + `
				   and (@user::text = '' or l.user_id = @user)
				   -- running_without_worker has those that count as running
				   and (j.state = 'running' and j.attempt = l.attempt
				        and ` + clientOfJob + ` = l.client_id) is not true`,
		},
		{
			name:        "log_not_settled",
			description: "For long nothing has compared the attempts with their jobs: what dead workers left open stays open.",
			advice: "See whether a worker runs. Where another program shares River's tables and leads, nothing starts the job webhook_settlement: " +
				"give webhook-worker a schema of its own.",
			needsLog: true,
			sql: `
				select s.log_settled_until as at, 'nothing has settled the attempts since' as problem
				  from webhook_settings s
				 where s.log_settled_until < now() - @unsettled::interval
				   and exists (
				       select
				         from webhook_delivery_log l
				        where l.started_at >= s.log_settled_until and l.started_at < now() - @unsettled::interval)`,
		},
		{
			name:        "running_without_worker",
			description: "A delivery counts as running for longer than any try may take: its worker died, and no other has taken it over.",
			advice:      "Start a worker: it takes over what dead ones left.",
			sql: `
				select ` + idsOfJob + `, j.attempted_at as at,
				       format('job %s is running on worker %s', j.id, ` + clientOfJob + `) as problem
				  from river_job j
				 where ` + jobOfUser + `
				   and j.state = 'running'
				   and (j.attempted_at < now() - @stuck::interval) is not false`,
		},
		{
			name:        "due_but_waiting",
			description: "A delivery has been due for more than five minutes, and no worker has taken it: none runs, or they are too few or too slow.",
			advice: "See whether workers run, whether the queue is paused (river_queue.paused_at), and in webhook-worker stats which partners answer " +
				"slowly; raise MAX_CONCURRENT_DELIVERIES or start more workers.",
			sql: `
				select ` + idsOfJob + `, j.scheduled_at as at,
				       format('job %s is due and %s', j.id, j.state) as problem
				  from river_job j
				 where ` + jobOfUser + `
				   and j.state in ('available', 'retryable', 'scheduled', 'pending')
				   -- What is held back has a reason: its partner fails, has a limit or is paused.
				   and (j.queue not like 'webhooks-held-%'
				        or not exists (select
				                         from partner_webhooks p
				                         left join webhook_partner_health h on h.partner_id = p.id
				                        where 'webhooks-held-' || p.id = j.queue
				                          and (h.partner_id is not null or p.rate_limit is not null or p.max_in_flight is not null or p.paused_at is not null)))
				   and j.scheduled_at < now() - @grace::interval`,
		},
	}
}
