package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// flatRoom is a database, with what it holds beside the deliveries that are timed.
type flatRoom struct {
	name, holds string
	bare        bool // a bare worker's, else the product's
	kept        bool // whether upkeep is timed in it
	pool        *pgxpool.Pool
	clear       func(context.Context) error
	enqueue     func(ctx context.Context, deliveries int) error
	start       func() (*process, error)

	runs    []drained
	upkeeps []upkeep
}

// expiredSince is how old the jobs are that are to be removed: older than RETENTION_COMPLETED.
const expiredSince = 48 * time.Hour

// later is when retries come due that are not to come while there is a benchmark.
const later = 24 * time.Hour

// rooms makes the databases and fills them.
func (c *flatCommand) rooms(ctx context.Context, s *stage) ([]*flatRoom, error) {
	plans := []struct {
		name, holds string
		bare        bool
		fill        func(context.Context, *pgxpool.Pool) error
	}{
		{"empty", "nothing", false, nothing},
		{"backlog", fmt.Sprint(c.Backlog, " available"), false, func(ctx context.Context, pool *pgxpool.Pool) error {
			return fillDeliveries(ctx, pool, "available", 0, c.Backlog/c.Partners)
		}},
		{"history", fmt.Sprintf("%d completed, %d dead, %d attempts or more", c.Completed, c.Dead, c.Attempts), false, func(ctx context.Context, pool *pgxpool.Pool) error {
			return fillHistory(ctx, pool, &historySize{Completed: c.Completed, Dead: c.Dead, Attempts: c.Attempts})
		}},
		{"retries", fmt.Sprint(c.Retries, " retryable"), false, func(ctx context.Context, pool *pgxpool.Pool) error {
			return fillDeliveries(ctx, pool, "retryable", later, c.Retries/c.Partners)
		}},
		{"bare, empty", "nothing", true, nothing},
		{"bare, backlog", fmt.Sprint(c.Backlog, " available"), true, func(ctx context.Context, pool *pgxpool.Pool) error {
			return fillBareJobs(ctx, pool, "available", s.url, c.Backlog)
		}},
		{"bare, history", fmt.Sprint(c.Completed+c.Dead, " completed"), true, func(ctx context.Context, pool *pgxpool.Pool) error {
			return fillBareJobs(ctx, pool, "completed", s.url, c.Completed+c.Dead)
		}},
	}
	var rooms []*flatRoom
	filling, filled := errgroup.WithContext(ctx)
	filling.SetLimit(2)
	for i, plan := range plans {
		if plan.bare && !c.Bare {
			continue
		}
		room, err := c.room(ctx, s, fmt.Sprint("flat", i), plan.bare)
		if err != nil {
			return nil, err
		}
		room.name, room.holds, room.bare = plan.name, plan.holds, plan.bare
		room.kept = room.name == "empty" || room.name == "retries"
		room.clear = func(context.Context) error { return nil }
		if plan.holds == "nothing" {
			room.clear = func(ctx context.Context) error { return empty(ctx, room.pool) }
		}
		filling.Go(func() error { return plan.fill(filled, room.pool) })
		rooms = append(rooms, room)
	}
	return rooms, filling.Wait()
}

func nothing(context.Context, *pgxpool.Pool) error { return nil }

// room makes a database, without what it holds.
func (c *flatCommand) room(ctx context.Context, s *stage, name string, bare bool) (*flatRoom, error) {
	create := s.newDatabase
	if bare {
		create = s.newBareDatabase
	}
	made, err := create(ctx, name)
	if err != nil {
		return nil, err
	}
	body := payloadOf(512)
	if bare {
		return &flatRoom{
			pool: made.pool,
			enqueue: func(ctx context.Context, deliveries int) error {
				return fillBare(ctx, made.pool, s.url, body, deliveries)
			},
			start: func() (*process, error) { return s.startBare(made.dsn, fmt.Sprint("--concurrent=", c.Concurrent)) },
		}, nil
	}
	return &flatRoom{
		pool: made.pool,
		enqueue: func(ctx context.Context, deliveries int) error {
			return made.enqueue(ctx, 1, (deliveries+c.Partners-1)/c.Partners, body)
		},
		start: func() (*process, error) {
			return s.startWorker("1", "DATABASE_URL="+made.dsn, fmt.Sprint("MAX_CONCURRENT_DELIVERIES=", c.Concurrent))
		},
	}, made.addPartners(ctx, s.url, 1, c.Partners, "*")
}

// fillDeliveries puts deliveries into a state, by events that go to all partners: due, or ended, that much from now.
func fillDeliveries(ctx context.Context, pool *pgxpool.Pool, state string, from time.Duration, events int) error {
	if _, err := pool.Exec(ctx, `
		with targets as (
		    select array_agg(id order by partner_slug) as ids from partner_webhooks where user_id = $1
		), made as (
		    insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids)
		    select $1, webhook_ordered_id()::text, 'call.completed', $2::json, t.ids,
		           (select array_agg(webhook_ordered_id()) from unnest(t.ids) where n > 0)
		      from generate_series(1, $3::int) as n
		     cross join targets as t
		    returning event_id, partner_ids, delivery_ids
		)
		insert into river_job (state, attempt, max_attempts, created_at, scheduled_at, attempted_at, finalized_at, attempted_by, args, kind, metadata, queue)
		select $4::text::river_job_state, (tried.at is not null)::int, 6, coalesce(tried.at, now()), now() + $5::interval, tried.at,
		       case when $4 = 'completed' then tried.at end,
		       case when tried.at is not null then array['host-1-20260131T100000-abcdefgh'] end,
		       jsonb_build_object('version', 1, 'delivery_id', d.delivery_id, 'user_id', $1::text, 'partner_id', d.partner_id, 'event_id', m.event_id, 'event_type', 'call.completed'),
		       'webhook_delivery', '{"trigger": "schedule"}', 'webhooks'
		  from made as m
		 cross join lateral unnest(m.partner_ids, m.delivery_ids) as d (partner_id, delivery_id)
		 cross join (select case when $4 <> 'available' then least(now(), now() + $5::interval) end) as tried (at)`,
		benchUser(0), payloadOf(512), events, state, from); err != nil {
		return fmt.Errorf("filling the queue: %w", err)
	}
	return tidy(ctx, pool)
}

// fillBareJobs puts jobs of the bare worker into a state.
func fillBareJobs(ctx context.Context, pool *pgxpool.Pool, state, url string, count int) error {
	if _, err := pool.Exec(ctx, `
		insert into river_job (state, attempt, max_attempts, finalized_at, args, kind)
		select $1::text::river_job_state, ($1 = 'completed')::int, 25, case when $1 = 'completed' then now() end,
		       jsonb_build_object('id', gen_random_uuid(), 'url', $2::text, 'body', $3::text), 'bench_post'
		  from generate_series(1, $4::int)`, state, url, payloadOf(512), count); err != nil {
		return fmt.Errorf("filling the queue: %w", err)
	}
	return tidy(ctx, pool)
}

// untilRemoved waits until the jobs are gone that have expired, and returns how long that took from a start.
func untilRemoved(ctx context.Context, room *flatRoom, start time.Time) (time.Duration, error) {
	for {
		var left bool
		if err := room.pool.QueryRow(ctx, `select exists (select from river_job where state = 'completed' and finalized_at < now() - interval '25 h')`).Scan(&left); err != nil {
			return 0, fmt.Errorf("looking for expired jobs: %w", err)
		}
		if !left {
			return time.Since(start), nil
		}
		if err := sleepUntil(ctx, time.Now().Add(50*time.Millisecond)); err != nil {
			return 0, err
		}
	}
}
