package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// crowdLasts is how long a crowd lasts that no worker sees any more, crowdInterval how often workers say that they do.
	crowdLasts    = 3 * time.Second
	crowdInterval = time.Second
	// overtakeLook is how many deliveries are looked at each time for those that may overtake.
	overtakeLook = 5000
	// lateCommit is how long ago a delivery may have been enqueued that is seen only now.
	lateCommit = 5 * time.Second
	// overtakeBudget is how long that goes on without a pause, until all have been looked at.
	overtakeBudget = 500 * time.Millisecond
	// overtakeAnew is how often it is looked from the start, for what comes still later.
	overtakeAnew = 10 * time.Second
)

// crowd lets the deliveries of other partners overtake while those of partners that are held back crowd the head of the
// queue. Moving tens of thousands of those away takes seconds, in which nobody else would get anything: so new deliveries
// of others are enqueued with a higher priority, those that wait are given it, and workers that are stuck in the crowd
// fetch nothing else. What is held back is then moved little by little.
type crowd struct {
	pool   *pgxpool.Pool
	logger *slog.Logger
	gate   *gate

	until atomic.Int64 // when it is over unless it is said again, in Unix nanoseconds of this host; 0: there is none
	stuck atomic.Bool  // this process is held up by it
	fresh atomic.Bool  // it may be, for all that is known: this process has begun with it
	cut   atomic.Bool  // the last fetch took less than it could

	foreseen []uuid.UUID           // what this process said of it when it began, as long as that lasts
	freshAt  time.Time             // when that was
	stuckAt  time.Time             // when it was last held up
	said     time.Time             // when the database was last told and asked
	partners []uuid.UUID           // those that crowd, as all workers say
	seen     map[int]*overtakeSeen // how far it was looked, by priority
	anew     time.Time             // when that last began from the start
}

// overtakeSeen is how far it was looked for deliveries that may overtake.
type overtakeSeen struct {
	at time.Time
	id int64
}

// there says whether there is a crowd that holds this process up.
func (c *crowd) there() bool { return c.lasts() && c.stuck.Load() }

// lasts says whether there is a crowd, as any worker says. Where the database can't be asked it is over soon.
func (c *crowd) lasts() bool {
	until := c.until.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// narrows says whether less may be fetched than there are places.
func (c *crowd) narrows() bool { return c.lasts() && (c.stuck.Load() || c.fresh.Load()) }

// fetchLimit is how many deliveries may be fetched then, of as many as wanted, where as many overtake: nothing else in a
// crowd that holds this process up. Where that is not known yet, as many others as a user may have under way, which leaves
// places for those that overtake.
func (c *crowd) fetchLimit(wanted, overtaking int) int {
	limit := overtaking
	if !c.there() {
		underWay := c.gate.most - wanted
		limit += max(0, c.gate.userLimit-underWay)
	}
	c.cut.Store(limit < wanted)
	return min(limit, wanted)
}

// foreseeStatement lists the partners that a full head of the queue is of, $1 deliveries; see holdDueStatement.
const foreseeStatement = `
	with head as materialized (
	    select case when kind = 'webhook_delivery' and args->>'partner_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
	                then (args->>'partner_id')::uuid end as partner
	      from river_job
	     where state = 'available' and queue = 'webhooks'
	     order by priority, scheduled_at, id
	     limit $1
	)
	select partner
	  from head
	 where (select count(*) from head) = $1 and partner is not null
	 group by partner
	having 4 * count(*) * (select count(distinct partner) from head) >= $1
	 order by partner`

// foresee is for the start of a process. Whoever has a full head of the queue may turn out to hang, which takes a moment
// to see: until then others overtake who come.
func (c *crowd) foresee(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	partners, err := collect(bounded, c.pool, pgx.RowTo[uuid.UUID], foreseeStatement, plannedAnew, heldLook)
	if err != nil {
		return fmt.Errorf("looking at the head of the queue: %w", err)
	}
	if len(partners) == 0 {
		return nil
	}
	c.foreseen, c.freshAt = partners, time.Now()
	c.fresh.Store(true)
	return c.share(bounded, partners)
}

// unforeseeStatement makes what was enqueued meanwhile like any other.
const unforeseeStatement = `
	update river_job
	   set priority = $2
	 where id in (select id from river_job
	               where state = 'available' and queue = 'webhooks' and priority = $3 and args->>'partner_id' = any ($1::text[])
	                 for update skip locked)`

// unforesee does that when what was foreseen is over, unless it has come.
func (c *crowd) unforesee(ctx context.Context) error {
	if len(c.foreseen) == 0 || time.Since(c.freshAt) < crowdLasts {
		return nil
	}
	if !c.there() {
		if _, err := c.pool.Exec(ctx, unforeseeStatement, plannedAnew, c.foreseen, priorityUsual, priorityLast); err != nil {
			return fmt.Errorf("taking back what was foreseen: %w", err)
		}
	}
	c.foreseen = nil
	return nil
}

// turn is told whether this process has seen anything yet, which partners it holds back, and which of them crowd the queue.
func (c *crowd) turn(ctx context.Context, isNew bool, held, crowding []uuid.UUID) error {
	news := slices.ContainsFunc(crowding, func(partner uuid.UUID) bool { return !slices.Contains(c.partners, partner) })
	if news || time.Since(c.said) >= crowdInterval {
		if err := c.share(ctx, crowding); err != nil {
			return err
		}
	}
	c.look(ctx, isNew, held)
	if err := c.unforesee(ctx); err != nil {
		return err
	}
	if !c.there() {
		return c.catchUp(ctx)
	}
	return c.letOvertake(ctx, held)
}

// look sees whether the crowd holds this process up: it has held some of it back lately, and does not know that all of
// it would get its turn now.
func (c *crowd) look(ctx context.Context, isNew bool, held []uuid.UUID) {
	if slices.ContainsFunc(held, func(partner uuid.UUID) bool { return slices.Contains(c.partners, partner) }) {
		c.stuckAt = time.Now()
	}
	was := c.stuck.Load()
	stuck := c.lasts() && time.Since(c.stuckAt) < crowdLasts && !c.gate.areSwift(c.partners)
	c.stuck.Store(stuck)
	if !isNew || !c.lasts() || time.Since(c.freshAt) >= crowdLasts {
		c.fresh.Store(false)
	}
	switch {
	case stuck && !was:
		c.logger.InfoContext(ctx, "deliveries of partners that are held back crowd the queue: others overtake them", slog.Int("partners", len(c.partners)))
	case was && !stuck:
		c.logger.InfoContext(ctx, "the queue is no longer crowded")
	}
}

// catchUp has fetched what was left when less was fetched than could be: River does not look again by itself.
func (c *crowd) catchUp(ctx context.Context) error {
	if c.narrows() || !c.cut.Swap(false) {
		return nil
	}
	if err := wake(ctx, c.pool); err != nil {
		c.cut.Store(true)
		return err
	}
	return nil
}

// pause is how long it is until the next turn.
func (c *crowd) pause() time.Duration {
	if c.fresh.Load() {
		return coldPatience / 2
	}
	return heldInterval
}

// share tells the other workers, and those who enqueue, of a crowd, and asks what others have said.
func (c *crowd) share(ctx context.Context, crowding []uuid.UUID) error {
	if len(crowding) > 0 {
		if _, err := c.pool.Exec(ctx, `
			insert into webhook_crowd as c (partner_id, until)
			select partner, now() + $2 * interval '1 second' from unnest($1::uuid[]) as partner order by partner
			on conflict (partner_id) do update set until = excluded.until`, crowding, crowdLasts.Seconds()); err != nil {
			return fmt.Errorf("telling of a crowd: %w", err)
		}
	}
	partners, err := collect(ctx, c.pool, pgx.RowTo[uuid.UUID], `
		with over as (delete from webhook_crowd where until < now() - interval '1 minute')
		select partner_id from webhook_crowd where until > now() order by partner_id`)
	if err != nil {
		return fmt.Errorf("asking for a crowd: %w", err)
	}
	c.said = time.Now()
	if slices.ContainsFunc(c.partners, func(before uuid.UUID) bool { return !slices.Contains(partners, before) }) {
		c.anew = time.Time{} // who crowds no more may overtake from where he is
	}
	c.partners = partners
	until := int64(0)
	if len(partners) > 0 {
		until = c.said.Add(crowdLasts).UnixNano()
	}
	c.until.Store(until)
	return nil
}

// overtakeStatement gives priority to deliveries of others than $1 among the next $4 of priority $5 after what was looked
// at before. See holdDueStatement for its form.
const overtakeStatement = `
	with next as materialized (
	    select id, scheduled_at, args->>'partner_id' as partner
	      from river_job
	     where state = 'available' and queue = 'webhooks' and priority = $5 and (scheduled_at, id) > ($2, $3)
	     order by scheduled_at, id
	     limit $4
	), locked as materialized (
	    select j.id
	      from next n
	     cross join lateral (select id from river_job where id = n.id and (state = 'available') is true and (queue = 'webhooks') is true
	                            for update skip locked) j
	     where n.partner is null or n.partner <> all ($1::text[])
	), raised as (
	    update river_job set priority = 1 where id in (select id from locked) returning 1
	), last as (
	    select scheduled_at, id from next order by scheduled_at desc, id desc limit 1
	)
	select (select count(*) from next), (select count(*) from raised), (select scheduled_at from last), (select id from last), now()`

// letOvertake gives priority to what those have in line who are not held back.
func (c *crowd) letOvertake(ctx context.Context, held []uuid.UUID) error {
	if time.Since(c.anew) >= overtakeAnew { // what came late, or was let go
		c.anew = time.Now()
		c.seen = map[int]*overtakeSeen{priorityUsual: {}, priorityLast: {}}
	}
	others := slices.Concat(c.partners, held)
	start := time.Now()
	for priority, seen := range c.seen {
		for more := true; more && time.Since(start) < overtakeBudget; {
			var raised int
			var err error
			if raised, more, err = c.raise(ctx, others, priority, seen); err != nil {
				return fmt.Errorf("letting deliveries overtake: %w", err)
			}
			if raised == 0 {
				continue
			}
			if err := wake(ctx, c.pool); err != nil {
				return err
			}
		}
	}
	return nil
}

// raise gives priority to what others than certain partners have in line of one priority, from where it was looked before,
// and says whether there is more.
func (c *crowd) raise(ctx context.Context, partners []uuid.UUID, priority int, seen *overtakeSeen) (raised int, more bool, err error) {
	var (
		looked int
		lastAt *time.Time
		lastID *int64
		now    time.Time
	)
	if err := c.pool.QueryRow(ctx, overtakeStatement, plannedAnew, partners, seen.at, seen.id, overtakeLook, priority).
		Scan(&looked, &raised, &lastAt, &lastID, &now); err != nil {
		return 0, false, err
	}
	if lastAt != nil {
		seen.at, seen.id = *lastAt, *lastID
	}
	if late := now.Add(-lateCommit); looked < overtakeLook && seen.at.After(late) {
		seen.at, seen.id = late, 0
	}
	return raised, looked == overtakeLook, nil
}
