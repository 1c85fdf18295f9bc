package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// candidate is what may be replayed: a delivery that has ended, or one that was never made.
type candidate struct {
	CreatedAt  time.Time // of the delivery or, if there is none, of the event
	UserID     string
	EventID    string
	PartnerID  uuid.UUID
	DeliveryID *uuid.UUID // nil: to be recovered
}

// page reads the next candidates after last, the oldest first.
func (r *replayer) page(ctx context.Context, last *candidate) ([]candidate, error) {
	statement, selected := r.selection()
	after := &conditions{args: selected.args}
	if last != nil {
		after.add(`created_at >= $?`, last.CreatedAt) // which an index serves; the row says where it goes on
		after.add(`(created_at, user_id, event_id, partner_id) > ($?, `+
			after.arg(last.UserID)+`, `+after.arg(last.EventID)+`, `+after.arg(last.PartnerID)+`)`, last.CreatedAt)
	}
	statement = `
		select created_at, user_id, event_id, partner_id, delivery_id from (` + statement + `) as selected` + after.where() + `
		 order by created_at, user_id, event_id, partner_id
		 limit ` + after.arg(replayPage)
	page, err := collect(ctx, r.pool, pgx.RowToStructByPos[candidate], statement, after.args...)
	if err != nil {
		return nil, fmt.Errorf("looking for what to replay: %w", err)
	}
	return page, nil
}

// selection is the statement that finds the candidates, and its parameters.
func (r *replayer) selection() (string, *conditions) {
	switch {
	case r.Missing:
		return r.missing()
	case r.Filter.Status == StatusDelivered:
		return r.delivered()
	default:
		where := r.Filter.ofQueue()
		// What is no delivery of ours can't be replayed.
		where.all = append(where.all, `q.id like '________-____-____-____-____________' and q.partner_id like '________-____-____-____-____________'`)
		// The addition keeps PostgreSQL from finding them by that time, which is true of nearly all.
		where.add(`q."updatedAt" + interval '0' <= $?`, r.started)
		return `
			select q."createdAt" as created_at, q."userId" as user_id, q.event_id, q.partner_id::uuid as partner_id, q.id::uuid as delivery_id
			  from webhook_deliveries q` + where.where(), where
	}
}

// delivered finds deliveries by their events, because their jobs are the first to be removed. One that has
// neither job nor attempt on record any more counts as delivered: all others are kept for longer.
func (r *replayer) delivered() (string, *conditions) {
	events := r.Filter
	events.Until = r.until()
	where := events.ofEvents()
	where.add(`coalesce(
			       (select j.state = 'completed' and j.finalized_at <= $?
			          from river_job j
			         where j.kind = 'webhook_delivery' and j.args->>'delivery_id' = d.delivery_id::text),
			       (select l.outcome = 'delivered'
			          from webhook_delivery_log l
			         where l.delivery_id = d.delivery_id
			         order by l.started_at desc
			         limit 1),
			       true)`, r.started)
	if r.Filter.PartnerSlug != "" {
		where.add(`(e.user_id, d.partner_id) in (select user_id, id from partner_webhooks where partner_slug = $?)`, r.Filter.PartnerSlug)
	}
	return `
		select e.created_at, e.user_id, e.event_id, d.partner_id, d.delivery_id
		  from webhook_events e
		 cross join lateral unnest(e.partner_ids, e.delivery_ids) as d (partner_id, delivery_id)` + where.where(), where
}

// until is the end of the selection: what is enqueued from now on is not part of it.
func (r *replayer) until() time.Time {
	if r.Filter.Until.IsZero() || r.Filter.Until.After(r.started) {
		return r.started
	}
	return r.Filter.Until
}

func (r *replayer) missing() (string, *conditions) {
	f, args := &r.Filter, &conditions{}
	return `
		select m.created_at, m.user_id, m.event_id, m.partner_id, null::uuid as delivery_id
		  from webhook_missing_deliveries(` + args.arg(f.Since) + `, ` + args.arg(r.until()) + `, ` +
		args.arg(optional(f.UserID)) + `, ` + args.arg(optional(f.PartnerSlug)) + `, ` + args.arg(optional(f.EventType)) + `) as m`, args
}

// The functions are called in the order given, which is the same in every run, so that two runs wait for
// each other instead of deadlocking.
const (
	replayStatement = `
		select replay_webhook_delivery(asked.id, nullif($2, ''), nullif(asked.user_id, ''), nullif(asked.event_id, ''))
		  from unnest($1::uuid[], $3::text[], $4::text[]) with ordinality as asked (id, user_id, event_id, place)
		 order by place`
	recoverStatement = `
		select recover_webhook_delivery(asked.user_id, asked.event_id, asked.partner_id)
		  from unnest($1::text[], $2::text[], $3::uuid[]) with ordinality as asked (user_id, event_id, partner_id, place)
		 order by place`
)

// replayTx replays deliveries. Their users and events may be empty: then any user will do, and the event is
// searched for if it must be.
func replayTx(ctx context.Context, tx pgx.Tx, part []candidate, run string) ([]ReplayResult, error) {
	ids, users, events := make([]string, len(part)), make([]string, len(part)), make([]string, len(part))
	for i := range part {
		ids[i], users[i], events[i] = part[i].DeliveryID.String(), part[i].UserID, part[i].EventID
	}
	return results(ctx, tx, replayStatement, ids, run, users, events)
}

func recoverTx(ctx context.Context, tx pgx.Tx, part []candidate) ([]ReplayResult, error) {
	users, events, partnerIDs := make([]string, len(part)), make([]string, len(part)), make([]string, len(part))
	for i := range part {
		users[i], events[i], partnerIDs[i] = part[i].UserID, part[i].EventID, part[i].PartnerID.String()
	}
	return results(ctx, tx, recoverStatement, users, events, partnerIDs)
}

// results runs a statement that returns one result for each delivery. Ids go as texts, which every way of
// sending a statement can encode.
func results(ctx context.Context, tx pgx.Tx, statement string, args ...any) ([]ReplayResult, error) {
	list, err := collect(ctx, tx, pgx.RowTo[ReplayResult], statement, args...)
	if err != nil {
		return nil, fmt.Errorf("replaying: %w", err)
	}
	return list, nil
}
