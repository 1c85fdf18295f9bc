package jobs_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// asWorker is a bundle on the same database whose role is a member of webhook_worker and no more.
func (b *testBundle) asWorker(t *testing.T) *testBundle {
	t.Helper()
	_, pool := newRole(t, b.pool, "in role webhook_worker")
	worker := *b
	worker.pool, worker.store = pool, newStore(t, pool)
	return &worker
}

// runWorker is run with the bundle's role.
func (b *testBundle) runWorker(t *testing.T, change func(*jobs.RunnerConfig)) (stop func() error) {
	t.Helper()
	riverPool, err := pgxpool.NewWithConfig(t.Context(), b.pool.Config())
	require.NoError(t, err)
	t.Cleanup(riverPool.Close)
	return b.run(t, func(cfg *jobs.RunnerConfig) {
		cfg.RiverPool, cfg.DirectConn = riverPool, riverPool.Config().ConnConfig
		if change != nil {
			change(cfg)
		}
	})
}

func TestWorkerRoleDoesEverything(t *testing.T) {
	t.Parallel()
	owner := setup(t)
	b := owner.asWorker(t)
	var working atomic.Bool
	e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		if !working.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	b.partner(t, user, "acme", e.URL, "*")
	old := b.enqueue(t, completed("old"))[0]
	b.ran(t, old, deadClient(), "")
	b.logged(t, old, deadClient(), "sending", nil, nil, nil)

	// Something for each part of the maintenance: attempts of last year and of next week, and events of last year.
	owner.exec(t, `insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids, created_at)
	               values ('anna', 'last-year', 'call.completed', '{}', '{}', '{}', now() - interval '1 year')`)
	owner.exec(t, `insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
	               select gen_random_uuid(), 1, 1, 'schedule', 'sending', 'test', at
	                 from unnest(array[now() - interval '1 year', now() + interval '40 days']) as at`)
	owner.exec(t, `select webhook_make_log_partitions()`)
	partitions := b.count(t, "webhook_delivery_log_partitions")
	owner.exec(t, `insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
	               values (gen_random_uuid(), 1, 1, 'schedule', 'failed', 'test', now() + interval '60 days')`)
	owner.exec(t, `update webhook_settings set log_settled_until = now() - interval '2 years'`)

	stop := b.runWorker(t, nil)
	second := b.runWorker(t, func(cfg *jobs.RunnerConfig) { cfg.Name += "-second" })
	dead := b.enqueue(t, completed("dead"))[0]
	b.await(t, dead, jobs.StatusDeadLetter)
	working.Store(true)
	b.await(t, old, jobs.StatusDelivered) // its worker was dead
	operator := b.operator(t)
	result, err := operator.ReplayOne(t.Context(), user, dead.ID, false)
	require.NoError(t, err)
	require.Equal(t, jobs.Replayed, result)
	b.await(t, dead, jobs.StatusDelivered)
	require.Eventually(t, func() bool {
		return b.count(t, "webhook_events where event_id = 'last-year'") == 0 &&
			b.count(t, "webhook_delivery_log_partitions") == partitions && // one dropped, one made
			b.count(t, "webhook_delivery_log where outcome = 'lost' and job_id = 1") == 0
	}, waitFor, look)
	require.NoError(t, stop())
	require.NoError(t, second())

	late := b.partner(t, user, "late", e.URL, "*")
	counts, err := operator.CountReplay(t.Context(), &jobs.Replay{Missing: true, Filter: jobs.Filter{UserID: user, Since: time.Now().Add(-day)}})
	require.NoError(t, err)
	require.Len(t, counts, 1)
	err = pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		result, err = operator.RecoverTx(t.Context(), tx, user, "dead", late.ID)
		return err
	})
	require.NoError(t, err)
	require.Equal(t, jobs.Recovered, result)
	page, err := operator.List(t.Context(), &jobs.Filter{Status: jobs.StatusPending}, &jobs.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, page, 1)
	_, err = operator.Cancel(t.Context(), user, uuid.MustParse(page[0].ID), "a person", true)
	require.NoError(t, err)
	_, err = jobs.ReadStats(t.Context(), b.pool, &jobs.StatsFilter{})
	require.NoError(t, err)
	diagnosis, err := jobs.NewDoctor(b.doctorConfig(t)).Examine(t.Context(), "", 10)
	require.NoError(t, err)
	require.Zero(t, diagnosis.Breaches())
	erasure, err := operator.EraseUser(t.Context(), user, func(string) {})
	require.NoError(t, err)
	require.Equal(t, int64(2), erasure.Partners)
	require.Zero(t, b.count(t, "webhook_delivery_log where user_id = $1", user))
}

func TestWorkerRoleMayNoMore(t *testing.T) {
	t.Parallel()
	b := setup(t).asWorker(t)
	for _, attempt := range []string{
		`create table public.mine ()`, `create function public.mine() returns void language sql as ''`, `create schema mine`, `create role mine`,
		`alter table webhook_events disable row level security`, `drop policy webhook_reader on webhook_events`, `drop table webhook_delivery_log`,
		`truncate webhook_events`, `create index on river_job (id)`, `reindex table river_job`, `create trigger mine before insert on river_job execute function suppress_redundant_updates_trigger()`,
		`insert into webhook_role_users values (session_user, '*')`, `update webhook_role_users set user_id = '*'`,
		`update webhook_settings set river_schema = 'mine'`, `insert into webhook_settings (retry_max_attempts, river_schema) values (1, 'mine')`,
		`update webhook_events set payload = '{}'`, `update webhook_schema_version set version = 0`, `delete from river_migration`,
		`select webhook_guard_log_partition('webhook_events')`, `select webhook_emit_operational_event('anna', 'partner.disabled', 'e1', gen_random_uuid(), '{}')`, `insert into webhook_delivery_log_default select * from webhook_delivery_log`,
		`set role webhook_reader`,
	} {
		requireDenied(t, b.pool, attempt)
	}
}

// Whatever migration made a table or a partition, workers have rights on it, and row security is on.
func TestRolesAreGrantedAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	worker := b.asWorker(t)
	b.exec(t, `create table river_of_a_later_version (id bigserial primary key)`)
	b.exec(t, `revoke all on river_job, webhook_events from webhook_worker`)
	requireDenied(t, worker.pool, `insert into river_of_a_later_version default values`)
	migrate(t, b.pool)
	worker.exec(t, `insert into river_of_a_later_version default values`)
	worker.exec(t, `delete from river_job`)

	b.exec(t, `insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
	           values (gen_random_uuid(), 1, 1, 'schedule', 'failed', 'test', now() + interval '200 days')`)
	worker.exec(t, `select webhook_make_log_partitions()`)
	require.Empty(t, b.column(t, `
		select c.oid::regclass::text from pg_class c
		 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relname not like 'river\_%'
		   and c.relname not in ('webhook_settings', 'webhook_schema_version') and not c.relrowsecurity`))
	require.Equal(t, []string{"webhook_worker DELETE", "webhook_worker SELECT"}, b.column(t, `
		select distinct a.grantee::regrole || ' ' || a.privilege_type
		  from webhook_delivery_log_partitions p
		  join pg_class c on c.oid = p.partition
		 cross join lateral aclexplode(c.relacl) as a
		 where a.grantee <> c.relowner
		 order by 1`))
}
