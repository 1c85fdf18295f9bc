---- tern: disable-tx ----

-- River's index on all kinds has one value here, and each of a job's versions an entry. What remains finds jobs that are no
-- deliveries: the worker's own, and other programs'. Where those are in the table River's stays as well.
set lock_timeout = '5s';
drop index concurrently if exists river_job_other_kind_idx;
create index concurrently river_job_other_kind_idx on river_job (kind)
 where kind <> 'webhook_delivery';
comment on index river_job_other_kind_idx is 'Serves the look for jobs of other programs, which a worker warns of when it starts.';

-- What comes after a statement that waits for this lock waits too: so it gives up soon, and tries again.
set lock_timeout = '200ms';
do $$
declare
    river text := (select quote_ident(n.nspname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = 'river_job'::regclass);
begin
    if exists (select from river_job where kind <> 'webhook_delivery' and kind not in ('webhook_retention', 'webhook_settlement') limit 1) then
        return;
    end if;
    for try in 1..25 loop
        begin
            execute format('drop index if exists %s.river_job_kind', river);
            return;
        exception when lock_not_available then
            if try = 25 then
                raise;
            end if;
            perform pg_sleep(0.2);
        end;
    end loop;
end
$$;
reset lock_timeout;

---- create above / drop below ----

---- tern: disable-tx ----

set lock_timeout = '5s';
drop index concurrently if exists river_job_kind;
create index concurrently river_job_kind on river_job (kind);
drop index concurrently if exists river_job_other_kind_idx;
