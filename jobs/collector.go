package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// collectInterval is how often the queue is looked at for its metrics.
	collectInterval = 15 * time.Second
	// countPause is by how many times longer than a count took the next one waits: what counts rows takes at most a fiftieth
	// of the time of one connection, however many rows there are.
	countPause = 50
	// collectTimeout bounds one look. A count that takes longer is given up.
	collectTimeout = 30 * time.Second
)

// beginCollect begins a look of the collector's. What waits for a lock costs nothing, and is soon tried again.
const beginCollect = beginStats + `;
	set local lock_timeout = '5s'`

// collectorLock is the SQL expression of the advisory lock's key that the worker holds which collects, of those that
// share these tables.
const collectorLock = `hashtextextended('webhook-worker collector ' || ` + ownTables + `, 0)`

// queueCounts are what takes the longer the more there is. Ages are in seconds since the enqueueing; 0: there is none.
type queueCounts struct {
	At                                                time.Time
	Pending, Failed, Delivered, DeadLetter, Cancelled int64
	OldestPending, OldestFailed                       float64
	Due, HeldDue                                      int64 // those of pending and failed that are due
	Enabled, Paused, Disabled                         int64 // partners
}

// queueAges are what indexes find at once. Ages are in seconds; 0: there is none.
type queueAges struct {
	At               time.Time
	Due, HeldDue     float64 // for how long the one has been due that has been so for longest
	Processing       int64
	OldestProcessing float64 // since it was enqueued
	OpenCircuits     int64   // of enabled partners
}

// collector reads how the queue stands, on the one worker of a database that leads.
type collector struct {
	pool   *pgxpool.Pool
	logger *slog.Logger
	leads  func() bool

	mu      sync.Mutex
	counts  *queueCounts // nil: not known, or no longer
	ages    *queueAges
	agesAt  time.Time // when they are due
	countAt time.Time
}

// run collects until ctx ends, while this worker leads.
func (c *collector) run(ctx context.Context) {
	failing := false
	for {
		if c.leads() {
			err := c.turn(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				c.logger.WarnContext(ctx, "metrics of the queue not read", slog.String("error", err.Error()))
			}
			failing = err != nil
		} else {
			c.forget()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(heartbeatInterval):
		}
	}
}

// forget drops what was read, so that another leader's is all there is.
func (c *collector) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts, c.ages, c.agesAt, c.countAt = nil, nil, time.Time{}, time.Time{}
}

// state is what was read last; nil on a worker that does not lead.
func (c *collector) state() (*queueCounts, *queueAges) {
	if !c.leads() {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts, c.ages
}

// turn reads what is due. Ages come first: they tell what is late, and cost next to nothing.
func (c *collector) turn(ctx context.Context) error {
	now := time.Now()
	var agesErr, countsErr error
	if !now.Before(c.agesAt) {
		agesErr = c.age(ctx)
	}
	if !now.Before(c.countAt) {
		countsErr = c.count(ctx)
	}
	return errors.Join(agesErr, countsErr)
}

// age reads the ages. Those before stay if it fails: they have their time.
func (c *collector) age(ctx context.Context) error {
	c.agesAt = time.Now().Add(collectInterval)
	ages, err := readOne[queueAges](ctx, c.pool, agesStatement)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ages = ages
	return nil
}

// count reads the counts. If it fails there are none, since it may be long until the next try. Only what took its time by
// itself costs so much that it has to wait for that.
func (c *collector) count(ctx context.Context) error {
	start := time.Now()
	counts, err := readOne[queueCounts](ctx, c.pool, countsStatement)
	wait := collectInterval
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		wait = max(wait, countPause*time.Since(start))
	}
	c.countAt = start.Add(wait)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts = counts
	return err
}

// readOne reads the one row of a statement that looks at large tables.
func readOne[T any](ctx context.Context, pool *pgxpool.Pool, statement string) (*T, error) {
	bounded, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	var read *T
	err := pgx.BeginTxFunc(bounded, pool, pgx.TxOptions{BeginQuery: beginCollect}, func(tx pgx.Tx) error {
		rows, err := tx.Query(bounded, statement)
		if err != nil {
			return err
		}
		read, err = pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByPos[T])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading how the queue stands: %w", err)
	}
	return read, nil
}

// heldQueues are the queues of partners' held deliveries.
const heldQueues = availableQueues + `, held as (
	    select queue from queues where queue like 'webhooks-held-%'
	)`

// countsStatement counts in indexes alone: by status in river_job_webhook_status_idx, what is due in the index that River
// fetches by, all in River's index of kinds. Of the queues of deliveries River fetches and holds nothing else.
const countsStatement = `
	with ` + heldQueues + `, status as (
	    select count(*) filter (where q.status = 'pending') as pending, count(*) filter (where q.status = 'failed') as failed,
	           count(*) filter (where q.status = 'dead_letter') as dead_letter, count(*) filter (where q.status = 'cancelled') as cancelled,
	           min(q."createdAt") filter (where q.status = 'pending') as pending_since, min(q."createdAt") filter (where q.status = 'failed') as failed_since
	      from webhook_deliveries q
	     where q.status in ('pending', 'failed', 'dead_letter', 'cancelled')
	), running as (
	    select count(*) as processing from river_job where state = 'running' and kind = 'webhook_delivery'
	), total as (
	    select count(*) as deliveries from river_job where kind = 'webhook_delivery'
	), due as (
	    select count(*) as due from river_job where state = 'available' and queue = 'webhooks' and scheduled_at <= now()
	), held_due as (
	    select coalesce(sum(of_one.due), 0)::bigint as due
	      from held
	     cross join lateral (select count(*) as due from river_job j
	                          where j.state = 'available' and j.queue = held.queue and j.scheduled_at <= now()) of_one
	), partner as (
	    select count(*) filter (where enabled and paused_at is null) as enabled, count(*) filter (where enabled and paused_at is not null) as paused,
	           count(*) filter (where not enabled) as disabled
	      from partner_webhooks
	)
	select now(), s.pending, s.failed, greatest(t.deliveries - s.pending - s.failed - s.dead_letter - s.cancelled - r.processing, 0), s.dead_letter, s.cancelled,
	       coalesce(extract(epoch from now() - s.pending_since), 0)::double precision, coalesce(extract(epoch from now() - s.failed_since), 0)::double precision,
	       d.due, h.due, p.enabled, p.paused, p.disabled
	  from status s, running r, total t, due d, held_due h, partner p`

// agesStatement reads the first of each order that an index has.
const agesStatement = `
	with ` + heldQueues + `, running as (
	    select count(*) as count, min(created_at) as oldest from river_job where state = 'running' and kind = 'webhook_delivery'
	), due as (
	    select min((select j.scheduled_at from river_job j
	                 where j.state = s.state and j.queue = 'webhooks' and j.priority = p.priority and j.scheduled_at <= now()
	                 order by j.scheduled_at limit 1)) as since
	      from generate_series(1, 4) as p (priority)
	     cross join unnest(array['available', 'retryable', 'scheduled']::river_job_state[]) as s (state)
	), held_due as (
	    select min((select j.scheduled_at from river_job j
	                 where j.state = 'available' and j.queue = held.queue and j.priority = p.priority and j.scheduled_at <= now()
	                 order by j.scheduled_at limit 1)) as since
	      from held cross join generate_series(1, 4) as p (priority)
	)
	select now(),
	       coalesce(extract(epoch from now() - d.since), 0)::double precision, coalesce(extract(epoch from now() - h.since), 0)::double precision,
	       r.count, coalesce(extract(epoch from now() - r.oldest), 0)::double precision,
	       (select count(*) from webhook_partner_health c join partner_webhooks p on p.id = c.partner_id and p.enabled where c.opened_at is not null)
	  from running r, due d, held_due h`
