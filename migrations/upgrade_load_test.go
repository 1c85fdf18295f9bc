package migrations_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/migrations"
)

// What the programs of the release before say to the database, for every event and for every delivery.
const (
	storeEvent = `
		with subscribed as materialized (
		    select p.id as partner_id, p.partner_slug, gen_random_uuid() as delivery_id,
		           1 + coalesce(p.max_retries, (select retry_max_attempts from webhook_settings)) as max_attempts
		      from partner_webhooks p
		     where p.user_id = $1 and p.enabled and p.enabled_events && $2::text[]
		), stored as (
		    insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids)
		    select $1, $3, 'call.completed', '{"call_id":"c"}',
		           coalesce(array_agg(partner_id order by partner_slug), '{}'), coalesce(array_agg(delivery_id order by partner_slug), '{}')
		      from subscribed
		    on conflict (user_id, event_id) do nothing
		    returning true
		)
		select delivery_id, partner_id, max_attempts, (select pg_notify(river_schema || '.river_insert', '{"queue": "webhooks"}')::text from webhook_settings)
		  from subscribed
		 where exists (select from stored)`
	insertJob = `
		insert into river_job (kind, queue, max_attempts, metadata, args)
		values ('webhook_delivery', 'webhooks', $1, '{"trigger": "schedule"}',
		        jsonb_build_object('version', 1, 'delivery_id', $2::text, 'user_id', $3::text, 'partner_id', $4::text, 'event_id', $5::text, 'event_type', 'call.completed'))`
	fetchJobs = `
		with locked as (
		    select id from river_job
		     where state = 'available' and queue = 'webhooks' and priority >= 0 and scheduled_at <= now() and id > $1
		     order by priority, scheduled_at, id
		     limit 5
		       for update skip locked
		)
		update river_job j
		   set state = 'running', attempt = j.attempt + 1, attempted_at = now(), attempted_by = array_append(j.attempted_by, 'load')
		  from locked
		 where j.id = locked.id
		returning j.id, j.args->>'delivery_id', j.args->>'user_id', j.args->>'partner_id', j.args->>'event_id'`
	openDeliveries = `
		insert into webhook_delivery_log
		       (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger, outcome, client_id, started_at)
		select a.attempt_id, a.delivery_id, a.job_id, a.user_id, a.partner_id, a.event_id, 'call.completed', 1, 'schedule', 'sending', 'load', a.started_at
		  from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::timestamptz[])
		       as a (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, started_at)`
	completeJobs = `
		update river_job
		   set state = 'completed', finalized_at = now(), metadata = metadata || '{"output": {"outcome": "delivered", "response_status": 200}}'
		 where id = any ($1) and state = 'running'`
)

// mostWait is the longest that any statement may take while the schema changes.
const mostWait = 10 * time.Second

// load is applications and workers of the release before.
type load struct {
	pool      *pgxpool.Pool
	stop      chan struct{}
	enqueued  atomic.Int64
	delivered atomic.Int64
	slowest   atomic.Int64 // nanoseconds
	after     int64        // jobs up to this id are no concern of it
}

// timed runs statements that may not take longer than mostWait.
func (l *load) timed(ctx context.Context, what func(ctx context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, mostWait)
	defer cancel()
	start := time.Now()
	err := what(bounded)
	for took := time.Since(start).Nanoseconds(); ; {
		before := l.slowest.Load()
		if took <= before || l.slowest.CompareAndSwap(before, took) {
			return err
		}
	}
}

// loop repeats something until the load ends.
func (l *load) loop(t *testing.T, what func(ctx context.Context) error) {
	t.Helper()

	for {
		select {
		case <-l.stop:
			return
		default:
		}
		if err := what(t.Context()); err != nil {
			t.Errorf("under load: %v", err)
			return
		}
	}
}

// enqueue stores an event and its jobs in one transaction.
func (l *load) enqueue(ctx context.Context) error {
	return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		userID, eventID := fmt.Sprintf("user-%d", 1+l.enqueued.Load()%20), uuid.NewString()
		var deliveries, partners []string
		var tries []int
		err := l.timed(ctx, func(ctx context.Context) error {
			rows, err := tx.Query(ctx, storeEvent, userID, []string{"call.*"}, eventID)
			if err != nil {
				return err
			}
			var delivery, partner uuid.UUID
			var most int
			_, err = pgx.ForEachRow(rows, []any{&delivery, &partner, &most, nil}, func() error {
				deliveries, partners, tries = append(deliveries, delivery.String()), append(partners, partner.String()), append(tries, most)
				return nil
			})
			return err
		})
		if err != nil {
			return err
		}
		for i := range deliveries {
			if err := l.timed(ctx, func(ctx context.Context) error {
				_, err := tx.Exec(ctx, insertJob, tries[i], deliveries[i], userID, partners[i], eventID)
				return err
			}); err != nil {
				return err
			}
		}
		l.enqueued.Add(1)
		return nil
	})
}

// work fetches jobs, opens their attempts, closes them, and completes the jobs.
func (l *load) work(ctx context.Context) error {
	var ids []int64
	var deliveries, users, partners, events, attempts []string
	var times []time.Time
	if err := l.timed(ctx, func(ctx context.Context) error {
		rows, err := l.pool.Query(ctx, fetchJobs, l.after)
		if err != nil {
			return err
		}
		var id int64
		var delivery, user, partner, event string
		_, err = pgx.ForEachRow(rows, []any{&id, &delivery, &user, &partner, &event}, func() error {
			ids, deliveries, users = append(ids, id), append(deliveries, delivery), append(users, user)
			partners, events = append(partners, partner), append(events, event)
			attempts = append(attempts, uuid.NewString())
			times = append(times, time.Now().Add(time.Duration(len(ids))*20*time.Second).UTC().Truncate(time.Microsecond)) // not all clocks are right
			return nil
		})
		return err
	}); err != nil {
		return err
	}
	if len(ids) == 0 {
		return nil
	}
	for _, statement := range []struct {
		sql  string
		args []any
	}{
		{openDeliveries, []any{attempts, deliveries, ids, users, partners, events, times}},
		{closeAttempts, []any{times, attempts}},
		{completeJobs, []any{ids}},
	} {
		if err := l.timed(ctx, func(ctx context.Context) error {
			tag, err := l.pool.Exec(ctx, statement.sql, statement.args...)
			if err == nil && tag.RowsAffected() != int64(len(ids)) {
				err = fmt.Errorf("%d rows instead of %d: %s", tag.RowsAffected(), len(ids), statement.sql)
			}
			return err
		}); err != nil {
			return err
		}
	}
	l.delivered.Add(int64(len(ids)))
	return nil
}

// Applications enqueue and workers deliver while the schema changes under them.
func TestUpgradeWhileWorkersRun(t *testing.T) {
	t.Parallel()

	pool := newAtVersion(t, released)
	fill(t, pool, 3000)
	busy, err := pgxpool.New(t.Context(), testdb.URL(pool)+"&pool_max_conns=8")
	require.NoError(t, err)
	defer busy.Close()
	l := &load{pool: busy, stop: make(chan struct{}), after: scalar[int64](t, pool, `select max(id) from river_job`)}
	logged := scalar[int64](t, pool, `select count(*) from webhook_delivery_log`)
	stored := scalar[int64](t, pool, `select count(*) from webhook_events`)

	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { l.loop(t, l.enqueue) })
	}
	for range 3 {
		group.Go(func() { l.loop(t, l.work) })
	}
	more := func() {
		enqueued, delivered := l.enqueued.Load(), l.delivered.Load()
		require.Eventually(t, func() bool {
			return t.Failed() || (l.enqueued.Load() > enqueued+50 && l.delivered.Load() > delivered+50)
		}, waitFor, look)
	}
	more()
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	more()
	require.NoError(t, migrations.Down(t.Context(), pool, len(ours(t, pool))-released, quiet()))
	more()
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	more()
	close(l.stop)
	group.Wait()
	require.False(t, t.Failed())
	t.Logf("%d events, %d deliveries, slowest statement %s", l.enqueued.Load(), l.delivered.Load(), time.Duration(l.slowest.Load()))
	for err := l.work(t.Context()); scalar[bool](t, pool, `select exists (select from river_job where id > $1 and state = 'available')`, l.after); err = l.work(t.Context()) {
		require.NoError(t, err)
	}

	require.Equal(t, stored+l.enqueued.Load(), scalar[int64](t, pool, `select count(*) from webhook_events`))
	require.Equal(t, 2*l.enqueued.Load(), l.delivered.Load(), "two of a user's three partners are enabled")
	require.Equal(t, l.delivered.Load(), scalar[int64](t, pool, `select count(*) from webhook_delivery_queue where status = 'delivered' and job_id > $1`, l.after))
	require.Equal(t, logged+l.delivered.Load(), scalar[int64](t, pool, `select count(*) from webhook_delivery_log`))
	require.Zero(t, scalar[int](t, pool, `select count(*) from webhook_delivery_log where client_id = 'load' and outcome <> 'delivered'`))
	require.Equal(t, l.delivered.Load(), scalar[int64](t, pool, `
		select count(distinct l.delivery_id) from webhook_delivery_log l join webhook_delivery_queue q on q.id = l.delivery_id::text where l.client_id = 'load'`))
	requireValidIndexes(t, pool)
}

// An application's transaction that stays open for long may keep the schema from changing, for as long as the
// migration says that it waits, but not everybody else from working.
func TestUpgradeBehindALongTransaction(t *testing.T) {
	t.Parallel()

	for _, table := range []string{"webhook_delivery_log", "webhook_events", "partner_webhooks", "river_job", "webhook_settings"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			pool := newAtVersion(t, released)
			fill(t, pool, 100)
			long, err := pool.Begin(t.Context())
			require.NoError(t, err)
			defer func() { _ = long.Rollback(t.Context()) }()
			_, err = long.Exec(t.Context(), fmt.Sprintf(`select from %s limit 1`, table))
			require.NoError(t, err)

			l := &load{pool: pool, stop: make(chan struct{}), after: scalar[int64](t, pool, `select max(id) from river_job`)}
			var group sync.WaitGroup
			group.Go(func() { l.loop(t, l.enqueue) })
			group.Go(func() { l.loop(t, l.work) })
			waiting, cancel := context.WithTimeout(t.Context(), 2*mostWait)
			defer cancel()
			upErr := migrations.Up(waiting, pool, quiet())
			t.Logf("Up: %v", upErr)
			close(l.stop)
			group.Wait()
			require.False(t, t.Failed())
			require.NoError(t, waiting.Err())

			require.NoError(t, long.Rollback(t.Context()))
			require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
		})
	}
}
