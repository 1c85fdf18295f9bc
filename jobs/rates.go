package jobs

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// rateAhead is how far ahead requests to a partner with a rate limit may reserve their time: so long one waits in memory.
const rateAhead = 1500 * time.Millisecond

// rates reserves times for requests to partners with a rate limit, which all workers of the database share: each
// request takes its share of a second, after those that others have reserved.
type rates struct {
	pool     *pgxpool.Pool
	gatherer gatherer[reservation, time.Duration]
	last     atomic.Uint64
}

// reservation is one request's; number tells those of one partner apart.
type reservation struct {
	partner uuid.UUID
	rate    int
	number  uint64
}

func newRates(pool *pgxpool.Pool) *rates {
	r := &rates{pool: pool}
	r.gatherer = gatherer[reservation, time.Duration]{read: r.reserveMany, most: maxRead}
	return r
}

// reserve returns how long to wait before a request, and whether there is a time for it.
func (r *rates) reserve(ctx context.Context, partner uuid.UUID, rate int) (time.Duration, bool, error) {
	return r.gatherer.ask(reservation{partner, rate, r.last.Add(1)}).wait(ctx)
}

// reserveStatement takes up to so many times for each partner as there are within $4 seconds, and returns how many it
// took and how far away the first is.
const reserveStatement = `
	with wanted as (
	    select partner_id, count, rate from unnest($1::uuid[], $2::integer[], $3::integer[]) as w (partner_id, count, rate)
	), locked as (
	    select r.partner_id, w.count, w.rate, clock_timestamp() as now, r.free_at
	      from webhook_partner_rates r join wanted w using (partner_id)
	     order by r.partner_id
	       for update of r
	), granted as (
	    select partner_id, rate, now, greatest(free_at, now) as first,
	           least(count, greatest(0, 1 + floor(extract(epoch from now + $4 * interval '1 second' - greatest(free_at, now)) * rate)))::integer as count
	      from locked
	)
	update webhook_partner_rates r
	   set free_at = g.first + g.count * interval '1 second' / g.rate
	  from granted g
	 where r.partner_id = g.partner_id
	returning r.partner_id, g.count, extract(epoch from g.first - g.now)::double precision`

// reserveMany reserves for many requests at once.
func (r *rates) reserveMany(ctx context.Context, wanted []reservation) (map[reservation]time.Duration, error) {
	byPartner := map[uuid.UUID][]reservation{}
	for _, one := range wanted {
		byPartner[one.partner] = append(byPartner[one.partner], one)
	}
	var (
		partnerIDs    []uuid.UUID
		counts, rates []int
	)
	for partner, its := range byPartner {
		partnerIDs, counts, rates = append(partnerIDs, partner), append(counts, len(its)), append(rates, its[0].rate)
	}
	var (
		times   = make(map[reservation]time.Duration, len(wanted))
		partner uuid.UUID
		count   int
		first   float64
	)
	err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
			insert into webhook_partner_rates (partner_id)
			select p.id from partner_webhooks p where p.id = any ($1) order by p.id
			on conflict do nothing`, partnerIDs); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, reserveStatement, partnerIDs, counts, rates, rateAhead.Seconds())
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&partner, &count, &first}, func() error {
			its := byPartner[partner]
			for i, one := range its[:min(count, len(its))] {
				times[one] = time.Duration((first + float64(i)/float64(one.rate)) * float64(time.Second))
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reserving by rate limits: %w", err)
	}
	return times, nil
}
