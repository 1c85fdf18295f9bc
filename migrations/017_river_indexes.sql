-- River's indexes on all of the arguments and metadata serve nothing of ours, and take a tenth of what a delivery costs
-- PostgreSQL. Where other programs' jobs are in the table they stay.
select set_config('lock_timeout', '5s', true);

do $$
declare
    river text := (select quote_ident(n.nspname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = 'river_job'::regclass);
begin
    if not exists (select from river_job where kind not like 'webhook\_%' limit 1) then
        execute format('drop index if exists %1$s.river_job_args_index, %1$s.river_job_metadata_index', river);
    end if;
end
$$;

---- create above / drop below ----

create index if not exists river_job_args_index on river_job using gin (args);
create index if not exists river_job_metadata_index on river_job using gin (metadata);
