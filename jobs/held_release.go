package jobs

import (
	"context"
	"fmt"
	"math"
	"time"
)

const (
	// letGoAhead is for how long what is let go at once should last: a little longer than until the next time.
	letGoAhead = 3 * heldInterval
	// letGoMost is how many go at once of a partner whose deliveries are not made any more.
	letGoMost = 200
	// overdueInterval is how often it is looked for what has been held back for too long, which reads all that is.
	overdueInterval = 10 * time.Second
)

// letGo lets go what there is room for.
func (h *holder) letGo(ctx context.Context) error {
	some := false
	left := h.queues[:0]
	overdue := time.Since(h.overdueAt) >= min(overdueInterval, h.maxHold)
	if overdue {
		h.overdueAt = time.Now()
	}
	for _, held := range h.queues {
		count, err := h.letGoOf(ctx, held, overdue)
		if err != nil {
			return err
		}
		if count >= 0 {
			left = append(left, held)
		}
		some = some || count > 0
	}
	h.queues = left
	if !some {
		return nil
	}
	return wake(ctx, h.pool)
}

// letGoOf lets go deliveries of one partner, and returns how many; -1: it has none left that are due.
func (h *holder) letGoOf(ctx context.Context, held *heldQueue, overdue bool) (int, error) {
	if !held.Enabled {
		return h.move(ctx, held, letGoMost, letGoDue)
	}
	ahead := letGoAhead
	if held.RateLimit != nil {
		ahead = max(ahead, held.rateTurn()+rateSlack)
	}
	room, alone := h.gate.let(held, letGoMost, ahead)
	switch {
	case alone && h.gate.mayLetProbe(held):
		return h.move(ctx, held, 1, letGoDue)
	case alone && !overdue:
		return 0, nil
	case alone:
		count, err := h.move(ctx, held, room, letGoOverdue)
		return max(count, 0), err
	case room == 0:
		return 0, nil
	case held.RateLimit != nil:
		turn, err := h.takeTurn(ctx, held)
		if err != nil || !turn {
			return 0, err
		}
		room = min(room, int(math.Ceil(float64(*held.RateLimit)*ahead.Seconds())))
	}
	return h.move(ctx, held, room, letGoDue)
}

const (
	// letGoDue moves the deliveries of a queue that have been due for longest.
	letGoDue = `
		update river_job
		   set queue = 'webhooks', priority = 1
		 where id in (select id from river_job
		               where state = 'available' and queue = $1 and scheduled_at <= now()
		               order by priority, scheduled_at, id
		               limit $2 for update skip locked)`
	// letGoOverdue moves those of a partner that fails which have waited for too long: their tries count.
	letGoOverdue = `
		update river_job
		   set queue = 'webhooks', priority = 1, metadata = metadata || '{"held_too_long": true}'
		 where id in (select id from river_job
		               where state = 'available' and queue = $1 and scheduled_at <= now() - $3 * interval '1 second'
		               order by priority, scheduled_at, id
		               limit $2 for update skip locked)`
)

// move moves up to count deliveries back, and returns how many; -1: there were none.
func (h *holder) move(ctx context.Context, held *heldQueue, count int, statement string) (int, error) {
	if count == 0 {
		return 0, nil
	}
	args := []any{plannedAnew, held.Queue, count}
	if statement == letGoOverdue {
		args = append(args, h.maxHold.Seconds())
	}
	tag, err := h.pool.Exec(ctx, statement, args...)
	if err != nil {
		return 0, fmt.Errorf("letting deliveries go: %w", err)
	}
	moved := int(tag.RowsAffected())
	if moved == 0 {
		return -1, nil
	}
	h.gate.went(held.PartnerID, moved)
	return moved, nil
}

const (
	// minRateTurn is for how long at least one worker lets go deliveries of a partner with a rate limit, for all workers:
	// so short that what goes at once can wait for its turn in memory.
	minRateTurn = 250 * time.Millisecond
	// rateSlack is by how much the next turn may come later, for which some more go.
	rateSlack = heldInterval + heldInterval/2
)

// rateTurn is for how long one worker lets go deliveries of a partner with a rate limit.
func (q *heldQueue) rateTurn() time.Duration {
	return max(minRateTurn, time.Second/time.Duration(*q.RateLimit))
}

// takeTurn says whether this worker is the one that lets deliveries of a partner with a rate limit go now.
func (h *holder) takeTurn(ctx context.Context, held *heldQueue) (bool, error) {
	tag, err := h.pool.Exec(ctx, `
		insert into webhook_partner_rates as r (partner_id, released_at) values ($1, clock_timestamp())
		on conflict (partner_id) do update set released_at = excluded.released_at
		 where r.released_at <= excluded.released_at - $2 * interval '1 second'`, held.PartnerID, held.rateTurn().Seconds())
	if err != nil {
		return false, fmt.Errorf("letting deliveries go by a rate limit: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}
