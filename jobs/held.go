package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// heldInterval is how often deliveries are held back and let go, heldListInterval how often it is looked for which
	// partners any are held.
	heldInterval     = 100 * time.Millisecond
	heldListInterval = time.Second
	// heldLook is how many deliveries at the head of the queue are looked at each time, and heldBatch how many are held
	// back: few enough to leave the database to those that are sent.
	heldLook  = 500
	heldBatch = 100
	// heldWaitingBatch is how many that wait for a retry are held back each time: they come due all at once.
	heldWaitingBatch = 1000
)

// holder keeps deliveries that may not be made now out of the workers' way. They wait in a River queue of their
// partner's own, which nobody fetches from, and go back to the common queue when there is room.
type holder struct {
	pool    *pgxpool.Pool
	logger  *slog.Logger
	gate    *gate
	maxHold time.Duration // the longest that a delivery waits for a partner that fails

	crowd *crowd

	queues    []*heldQueue // as of the last look
	listed    time.Time
	overdueAt time.Time // when it was last looked for what is held back for too long
}

// heldQueue is the queue of one partner's deliveries that are held back.
type heldQueue struct {
	Queue       string
	PartnerID   uuid.UUID
	UserID      string
	Enabled     bool // else, or if it was deleted, its deliveries go and are cancelled
	RateLimit   *int
	MaxInFlight *int
}

// run holds back and lets go until ctx ends.
func (h *holder) run(ctx context.Context) {
	failure := complaint{logger: h.logger, text: "deliveries neither held back nor let go"}
	for {
		failure.about(ctx, h.turn(ctx))
		select {
		case <-ctx.Done():
			return
		case <-time.After(h.crowd.pause()):
		case <-h.gate.refusals:
		}
	}
}

// turn does each thing once. What fails does not keep the others from being done.
func (h *holder) turn(ctx context.Context) error {
	isNew := h.crowd.fresh.Load() && h.gate.isNew() // before the others: what it has seen by then they tell
	all, alone := h.gate.heldBack()
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return h.holdCrowd(ctx, isNew, all) },
	}
	if now := time.Now(); now.Sub(h.listed) >= heldListInterval {
		h.listed = now
		steps = append(steps,
			func(ctx context.Context) error { return h.holdWaiting(ctx, alone) },
			func(ctx context.Context) error { return h.list(ctx) })
	}
	steps = append(steps, h.letGo)
	var errs []error
	for _, step := range steps {
		bounded, cancel := context.WithTimeout(ctx, writeTimeout)
		errs = append(errs, step(bounded))
		cancel()
	}
	return errors.Join(errs...)
}

// holdCrowd holds back what is due for partners to whom it may not go now, and lets others overtake a crowd of it.
func (h *holder) holdCrowd(ctx context.Context, isNew bool, partners []uuid.UUID) error {
	h.crowd.look(ctx, isNew, partners)
	crowding, err := h.holdDue(ctx, partners, priorityFirst)
	if err == nil && h.crowd.there() {
		var behind []uuid.UUID
		behind, err = h.holdDue(ctx, partners, priorityUsual)
		for _, partner := range behind {
			if !slices.Contains(crowding, partner) {
				crowding = append(crowding, partner)
			}
		}
	}
	return errors.Join(err, h.crowd.turn(ctx, isNew, partners, crowding))
}

// holdDueStatement moves up to $3 of those of the next $2 deliveries in line that are for certain partners, from
// priority $4 on. It locks only those, and waits for nobody. What was held for too long passes, and so does a test of a
// partner. It returns how many it looked at, how many were for the partners, of which partners a quarter of the average
// or more, and how many it moved: one that is merely busy beside others is no crowd.
//
// The conditions on the rows that are locked are written so that PostgreSQL takes them for nothing to look rows up by, and
// the statement is planned each time: with statistics from before a burst it would compare all with all.
const holdDueStatement = `
	with head as materialized (
	    select id, case when kind = 'webhook_delivery' and not metadata ? 'held_too_long' and metadata->>'trigger' is distinct from 'test'
	                    then args->>'partner_id' end as partner
	      from river_job
	     where state = 'available' and queue = 'webhooks' and priority >= $4
	     order by priority, scheduled_at, id
	     limit $2
	), theirs as materialized (
	    select id, partner from head where partner = any ($1::text[])
	), locked as materialized (
	    select j.id
	      from theirs t
	     cross join lateral (select id from river_job where id = t.id and (state = 'available') is true and (queue = 'webhooks') is true
	                            for update skip locked) j
	     limit $3
	), held as (
	    update river_job j
	       set queue = 'webhooks-held-' || (j.args->>'partner_id')
	     where j.id in (select id from locked)
	    returning 1
	)
	select (select count(*) from head), (select count(*) from theirs),
	       array(select partner::uuid from theirs group by partner
	             having 4 * count(*) * (select count(distinct partner) from theirs) >= (select count(*) from theirs)
	              order by partner),
	       (select count(*) from held)`

// holdDue does that, and returns the partners that crowd what is in line: those of a majority of it.
func (h *holder) holdDue(ctx context.Context, partners []uuid.UUID, priority int) (crowding []uuid.UUID, err error) {
	if len(partners) == 0 {
		return nil, nil
	}
	var looked, theirs, held int
	if err := h.pool.QueryRow(ctx, holdDueStatement, plannedAnew, partners, heldLook, heldBatch, priority).
		Scan(&looked, &theirs, &crowding, &held); err != nil {
		return nil, fmt.Errorf("holding deliveries back: %w", err)
	}
	if looked < heldLook || theirs <= looked/2 {
		return nil, nil
	}
	return crowding, nil
}

// plannedAnew makes PostgreSQL plan a statement each time, with what it is given: a plan that was kept from a time when the
// tables were small reads all of them later.
const plannedAnew = pgx.QueryExecModeCacheDescribe

// holdWaitingStatement moves what waits for a retry, which so comes due where it is to wait.
const holdWaitingStatement = `
	update river_job
	   set queue = 'webhooks-held-' || (args->>'partner_id')
	 where id in (select id from river_job
	               where args->>'partner_id' = any ($1::text[]) and kind = 'webhook_delivery' and queue = 'webhooks'
	                 and state in ('retryable', 'scheduled') and not metadata ? 'held_too_long' and metadata->>'trigger' is distinct from 'test'
	               limit $2 for update skip locked)`

// holdWaiting does the same with what waits for a retry, for partners that are left alone.
func (h *holder) holdWaiting(ctx context.Context, partners []uuid.UUID) error {
	if len(partners) == 0 {
		return nil
	}
	if _, err := h.pool.Exec(ctx, holdWaitingStatement, plannedAnew, partners, heldWaitingBatch); err != nil {
		return fmt.Errorf("holding retries back: %w", err)
	}
	return nil
}

// availableQueues jumps from one queue to the next on the index that River fetches by, so that it costs the same however
// many deliveries wait.
const availableQueues = `
	recursive queues as (
	    (select queue from river_job where state = 'available' order by queue limit 1)
	    union all
	    select (select j.queue from river_job j where j.state = 'available' and j.queue > q.queue order by j.queue limit 1)
	      from queues q
	     where q.queue is not null
	)`

// listHeldStatement lists the partners that have deliveries in queues of their own.
const listHeldStatement = `
	with ` + availableQueues + `, held as (
	    select queue, substr(queue, length('webhooks-held-') + 1)::uuid as partner_id
	      from queues
	     where queue ~ '^webhooks-held-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
	)
	select h.queue, h.partner_id, coalesce(p.user_id, ''), coalesce(p.enabled, false), p.rate_limit, p.max_in_flight
	  from held h
	  left join partner_webhooks p on p.id = h.partner_id
	 where p.paused_at is null`

// list looks which partners any deliveries are held back of. Those of a paused partner stay where they are.
func (h *holder) list(ctx context.Context) error {
	queues, err := collect(ctx, h.pool, pgx.RowToAddrOfStructByPos[heldQueue], listHeldStatement, plannedAnew)
	if err != nil {
		return fmt.Errorf("looking for deliveries that are held back: %w", err)
	}
	h.queues = queues
	return nil
}
