package jobs

// schemaChecks are about what deliveries need around them.
func schemaChecks() []check {
	return []check{
		{
			name:        "maintenance_failing",
			description: "The last three runs of a job failed that removes what is old and makes partitions (webhook_retention), or closes what dead workers left (webhook_settlement).",
			advice:      "The error says why. A job of kind webhook_delivery that webhook-worker did not write, with args of another form, is to be deleted.",
			// A run whose worker died says nothing.
			sql: `
				with runs as (
				    select j.kind, j.state, j.finalized_at, j.errors[array_upper(j.errors, 1)]->>'error' as error,
				           row_number() over (partition by j.kind order by j.finalized_at desc) as ago
				      from river_job j
				     where j.kind in ('` + retentionArgs{}.Kind() + `', '` + settlementArgs{}.Kind() + `') and j.finalized_at is not null
				)
				select max(finalized_at) as at, format('%s: %s', kind, (array_agg(error order by ago))[1]) as problem
				  from runs
				 where ago <= 3
				 group by kind
				having count(*) filter (where state = 'discarded' and error <> ` + rescued + `) = 3`,
		},
		{
			name:        "job_not_removed",
			description: "A delivery that ended is kept two days longer than its retention: River's cleaning does not run, or not as configured.",
			advice: "See whether a worker runs. Where another program shares River's tables and leads, its retention counts: give webhook-worker a " +
				"schema of its own.",
			sql: `
				select ` + idsOfJob + `, j.finalized_at as at,
				       format('job %s (%s) ended before its retention', j.id, j.state) as problem
				  from (values ('completed'::river_job_state, now() - @completed::interval),
				               ('discarded', now() - @dead_letters::interval),
				               ('cancelled', now() - @cancelled::interval)) as kept (state, since)
				  join river_job j on j.state = kept.state and j.finalized_at < kept.since - @cleaning_grace::interval
				 where ` + jobOfUser,
		},
		{
			name:        "event_not_removed",
			description: "An event that no delivery needs is kept two days longer than RETENTION_EVENTS: its removal does not run.",
			advice:      "See whether a worker runs, and: select errors from river_job where kind = 'webhook_retention' order by id desc limit 3.",
			sql: `
				select e.event_id, e.user_id, e.created_at as at, 'it is older than RETENTION_EVENTS, and no delivery needs it' as problem
				  from webhook_events e
				 where e.created_at < now() - @events::interval - @cleaning_grace::interval
				   and (@user::text = '' or e.user_id = @user)
				   and not exists (
				       select
				         from unnest(e.delivery_ids) as d (id)
				         join river_job j on j.kind = 'webhook_delivery' and j.args->>'delivery_id' = d.id::text)`,
		},
		{
			name:        "log_partition_not_removed",
			description: "A partition of webhook_delivery_log is kept a week longer than RETENTION_ATTEMPTS: its removal does not run.",
			advice:      "See whether a worker runs, and: select errors from river_job where kind = 'webhook_retention' order by id desc limit 3.",
			sql: `
				select p.ends_at as at, format('partition %s ended before RETENTION_ATTEMPTS', p.partition) as problem
				  from webhook_delivery_log_partitions p
				 where p.ends_at < now() - @attempts::interval - @partition_grace::interval`,
		},
		{
			name:        "log_partition_missing",
			description: "webhook_delivery_log has no partition for this week or the next: rows go to the default partition, which grows.",
			advice:      "Make them: select webhook_make_log_partitions(). A worker does it every hour; see whether one runs.",
			needsLog:    true,
			sql: `
				select week as at, format('no partition for the week from %s', to_char(week at time zone 'UTC', 'YYYY-MM-DD')) as problem
				  from generate_series(0, 1) as n
				 cross join lateral (select date_trunc('week', now(), 'UTC') + n * interval '7 days') as w (week)
				 where not exists (
				       select
				         from webhook_delivery_log_partitions p
				        where p.ends_at > week and (p.begins_at is null or p.begins_at <= week))`,
		},
		{
			name:        "attempt_in_default_partition",
			description: "An attempt of more than a day ago is in the default partition of webhook_delivery_log: nothing moved it to its week's.",
			advice:      "Move them: select webhook_make_log_partitions(). A worker does it every hour; see whether one runs, and whether its clock is right.",
			needsLog:    true,
			sql: `
				select l.delivery_id, l.event_id, l.user_id, l.partner_id, l.attempt_id, l.started_at as at,
				       'it is in the default partition' as problem
				  from webhook_delivery_log_default l
				 where l.started_at < now() - interval '1 day' and (@user::text = '' or l.user_id = @user)`,
		},
		{
			name:        "invalid_index",
			description: "An index is invalid, because its making was cut short: it costs writes and serves nobody, or does not keep apart what it should.",
			advice: "If its name ends in _ccnew or _ccold, drop it: drop index concurrently <name>. Otherwise make it anew: reindex index concurrently <name>, " +
				"and if that fails for duplicates, remove them first.",
			sql: `
				select null::timestamptz as at, format('index %s of %s is invalid', i.indexrelid::regclass, i.indrelid::regclass) as problem
				  from pg_index i
				 where not (i.indisvalid and i.indisready and i.indislive)
				   and (i.indrelid in (select to_regclass(name)::oid
				                         from unnest(array['river_job', 'river_queue', 'river_leader', 'webhook_settings', 'partner_webhooks', 'webhook_events',
				                                           'webhook_delivery_log', 'webhook_role_users', 'webhook_partner_health', 'webhook_partner_rates', 'webhook_crowd']) as ours (name))
				        or i.indrelid in (select p.partition::oid from webhook_delivery_log_partitions p))
				   -- One that is being made is invalid until it is done. To a role without pg_read_all_stats the table is null.
				   and not exists (
				       select
				         from pg_stat_progress_create_index b
				        where b.datname = current_database() and (b.relid = i.indrelid) is not false)`,
		},
		{
			name:        "river_schema",
			description: "webhook_settings does not name the schema of River's tables that this connection finds: enqueueing and workers miss each other.",
			advice: "Set webhook_settings.river_schema to the schema that has the deliveries' river_job, or put that schema first in the " +
				"search_path of DATABASE_URL.",
			sql: `
				select s.updated_at as at,
				       case when s.river_schema is null then 'webhook_settings has no row'
				            when named.job is null then format('schema %s has no table river_job', s.river_schema)
				            else format('deliveries are worked in schema %s, and this connection finds %s', s.river_schema, found.job)
				       end as problem
				  from (select) as always
				  left join webhook_settings s on true
				 cross join lateral (select to_regclass(quote_ident(s.river_schema) || '.river_job')) as named (job)
				 cross join (select to_regclass('river_job')) as found (job)
				 where named.job is distinct from found.job`,
		},
		{
			name:        "grant_missing",
			description: "The role webhook_worker lacks a right on a table that workers and commands use: they fail with \"permission denied\".",
			advice:      "Run `webhook-worker migrate up` as the tables' owner: it grants what is missing.",
			sql: `
				select null::timestamptz as at, format('webhook_worker may not %s %s', lower(wanted), c.oid::regclass) as problem
				  from pg_roles r
				  join pg_class c on c.relnamespace = (select relnamespace from pg_class where oid = 'river_job'::regclass)
				   and c.relkind in ('r', 'p') and not c.relispartition
				   and (c.relname like 'river\_%' and c.relname <> 'river_migration'
				        or c.relname in ('partner_webhooks', 'webhook_events', 'webhook_delivery_log',
				                          'webhook_partner_health', 'webhook_partner_rates', 'webhook_crowd'))
				 cross join unnest(array['SELECT', 'INSERT', 'DELETE', 'UPDATE']) as wanted
				 where r.rolname = 'webhook_worker'
				   and not case wanted when 'UPDATE' then has_any_column_privilege(r.oid, c.oid, wanted) else has_table_privilege(r.oid, c.oid, wanted) end`,
		},
		{
			name:        "row_security_off",
			description: "A table of several users' rows has no row security: a reader's role that is granted it sees all of them.",
			advice:      "Turn it on: alter table <name> enable row level security.",
			sql: `
				select null::timestamptz as at, format('row security of %s is off', c.oid::regclass) as problem
				  from pg_class c
				 where not c.relrowsecurity
				   and (c.oid in ('partner_webhooks'::regclass, 'webhook_events'::regclass, 'webhook_delivery_log'::regclass, 'webhook_role_users'::regclass,
				                'webhook_partner_health'::regclass)
				        or c.oid in (select p.partition::oid from webhook_delivery_log_partitions p))`,
		},
		{
			name: "schema_open",
			description: "A role that does not own the tables may create things in their schema: functions and operators of its own then run with the rights of " +
				"workers, and of the owner where enqueueing calls them.",
			advice: "As the schema's owner: revoke create on schema <name> from <role>. If it is everybody, `webhook-worker migrate up` says what to run.",
			sql: `
				select null::timestamptz as at,
				       format('%s may create things in schema %s', case a.grantee when 0 then 'everybody' else a.grantee::regrole::text end, n.oid::regnamespace) as problem
				  from pg_class c
				  join pg_namespace n on n.oid = c.relnamespace
				 cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
				  left join pg_roles r on r.oid = a.grantee
				 where c.oid in ('partner_webhooks'::regclass, 'river_job'::regclass)
				   and a.privilege_type = 'CREATE'
				   and a.grantee <> n.nspowner
				   and (r.oid is null or not r.rolsuper and not pg_has_role(r.oid, c.relowner, 'usage'))
				 group by a.grantee, n.oid`,
		},
		{
			name:        "role_missing",
			description: "A row of webhook_role_users names a database role that does not exist; whoever makes a role of that name may act for the user.",
			advice:      "Delete the row, or make the role.",
			sql: `
				select r.user_id, null::timestamptz as at, format('role %s does not exist', r.role) as problem
				  from webhook_role_users r
				 where (@user::text = '' or r.user_id = @user)
				   and not exists (select from pg_roles p where p.rolname = r.role)`,
		},
		{
			name:        "partner_sealed_with_another_key",
			description: "A partner's secrets were sealed with a key that is neither WEBHOOK_ENCRYPTION_KEY nor in WEBHOOK_ENCRYPTION_KEYS_OLD: nothing can be signed for it, and its deliveries wait.",
			advice:      "Give every process that key, in WEBHOOK_ENCRYPTION_KEYS_OLD. If it is lost, delete the partner and add it again.",
			needsKey:    true,
			sql: `
				select p.user_id, p.id as partner_id, p.updated_at as at,
				       format('the secrets of %s are sealed with key %s; at hand: %s', p.partner_slug, p.secret_key_id, array_to_string(@keys::text[], ', ')) as problem
				  from partner_webhooks p
				 where p.secret_key_id <> all (@keys::text[]) and (@user::text = '' or p.user_id = @user)`,
		},
	}
}
