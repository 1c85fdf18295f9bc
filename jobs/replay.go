package jobs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"
)

// ReplayResult says what came of replaying or recovering one delivery, in the words of the SQL functions
// replay_webhook_delivery and recover_webhook_delivery.
type ReplayResult string

// The results.
const (
	Replayed        ReplayResult = "replayed"        // enqueued anew
	Recovered       ReplayResult = "recovered"       // enqueued for a partner that had not got it
	UnderWay        ReplayResult = "under_way"       // it waits or runs
	ReplayedBefore  ReplayResult = "replayed_before" // in the same run
	NotMissing      ReplayResult = "not_missing"     // the partner has it
	NotSubscribed   ReplayResult = "not_subscribed"  // the partner does not want it
	ReplayNotFound  ReplayResult = "not_found"       // there is none, or it is another user's
	EventRemoved    ReplayResult = "event_removed"   // after RETENTION_EVENTS
	PartnerDeleted  ReplayResult = "partner_deleted"
	PartnerDisabled ReplayResult = "partner_disabled"
)

const (
	// replayChunk is the most deliveries that are replayed in one transaction.
	replayChunk = 200
	// replayPage is how many are looked up at a time.
	replayPage = 2000
	// replayPace is how many transactions a second share the rate.
	replayPace = 10
)

// ReplayTx enqueues a delivery that has ended anew: a fresh job with the full schedule and the same delivery
// id takes the place of the old one. A userID that is not empty must be its user's. run, if not empty, names
// the undertaking: a delivery is replayed once in each, as long as its job is kept.
func (d *Deliveries) ReplayTx(ctx context.Context, tx pgx.Tx, userID string, id uuid.UUID, run string) (ReplayResult, error) {
	results, err := replayTx(ctx, tx, []candidate{{UserID: userID, DeliveryID: &id}}, run)
	if err != nil {
		return "", err
	}
	return results[0], nil
}

// ReplayOne is [Deliveries.ReplayTx] in a transaction of its own. With dryRun it says what would come of it, and
// changes nothing.
func (d *Deliveries) ReplayOne(ctx context.Context, userID string, id uuid.UUID, dryRun bool) (ReplayResult, error) {
	tx, err := d.pool.Begin(ctx)
	if err != nil {
		return "", fmt.Errorf("replaying delivery %s: %w", id, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	result, err := d.ReplayTx(ctx, tx, userID, id, "")
	if err != nil || dryRun {
		return result, err
	}
	if err := commit(ctx, tx); err != nil {
		return "", fmt.Errorf("replaying delivery %s: %w", id, err)
	}
	return result, nil
}

// commit commits even if ctx ends meanwhile: an interruption comes before it or after it, so that what is
// said to be replayed is what was.
func commit(ctx context.Context, tx pgx.Tx) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return tx.Commit(bounded)
}

// RecoverTx delivers a stored event to a partner that is subscribed to its type and did not get it, because
// it was added later or was disabled.
func (d *Deliveries) RecoverTx(ctx context.Context, tx pgx.Tx, userID, eventID string, partnerID uuid.UUID) (ReplayResult, error) {
	results, err := recoverTx(ctx, tx, []candidate{{UserID: userID, EventID: eventID, PartnerID: partnerID}})
	if err != nil {
		return "", err
	}
	return results[0], nil
}

// Replay says what to replay, and how.
type Replay struct {
	// Filter selects what has ended; its Status is [StatusDeadLetter], [StatusCancelled] or [StatusDelivered].
	Filter Filter
	// Missing recovers instead: Filter selects stored events, and Status and ErrorKind do not count.
	Missing bool
	// Run names the undertaking, so that it can be taken up again: see [Deliveries.ReplayTx].
	Run string
	// Rate is the most deliveries a second; 0: as many as the database takes.
	Rate float64
	// Report is called after each transaction with what came of its deliveries.
	Report func([]ReplayResult)
}

// replayer pages through what a Replay selects. The end of the selection is fixed at its start, so that what
// dies again meanwhile is not taken again.
type replayer struct {
	*Deliveries
	*Replay

	started time.Time // by the database's clock
}

func (d *Deliveries) newReplayer(ctx context.Context, replay *Replay) (*replayer, error) {
	r := &replayer{Deliveries: d, Replay: replay}
	if err := d.pool.QueryRow(ctx, `select now()`).Scan(&r.started); err != nil {
		return nil, fmt.Errorf("reading the time: %w", err)
	}
	return r, nil
}

// ReplayCount is how many deliveries of a partner a Replay selects.
type ReplayCount struct {
	UserID      string    `json:"user_id"`
	PartnerID   uuid.UUID `json:"partner_id"`
	PartnerSlug *string   `json:"partner_slug"` // nil: the partner was deleted
	Count       int64     `json:"count"`

	// LeftOut says why none of them would be replayed; empty: they would.
	LeftOut ReplayResult `json:"left_out,omitempty"`
}

// CountReplay counts what [Deliveries.Replay] would take, by partner, most first.
func (d *Deliveries) CountReplay(ctx context.Context, replay *Replay) ([]ReplayCount, error) {
	r, err := d.newReplayer(ctx, replay)
	if err != nil {
		return nil, err
	}
	statement, where := r.selection()
	var counts []ReplayCount
	err = readMuch(ctx, d.pool, func(tx pgx.Tx) error {
		counts, err = collect(ctx, tx, pgx.RowToStructByPos[ReplayCount], `
			with counted as (select user_id, partner_id, count(*) as count from (`+statement+`) as selected group by user_id, partner_id)
			select c.user_id, c.partner_id, p.partner_slug, c.count,
			       case when p.id is null then 'partner_deleted' when not p.enabled then 'partner_disabled' else '' end
			  from counted c
			  left join partner_webhooks p on p.user_id = c.user_id and p.id = c.partner_id
			 order by c.count desc, c.user_id, p.partner_slug`, where.args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counting what to replay: %w", err)
	}
	return counts, nil
}

// Replay replays what is selected, the oldest first. Each transaction takes some deliveries whole: whenever
// it ends, by ctx or by a kill, each delivery has been replayed or has not been touched.
func (d *Deliveries) Replay(ctx context.Context, replay *Replay) error {
	r, err := d.newReplayer(ctx, replay)
	if err != nil {
		return err
	}
	limiter, chunk := r.limiter()
	var last *candidate
	for {
		page, err := r.page(ctx, last)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(page, chunk) {
			if err := limiter.WaitN(ctx, len(part)); err != nil {
				return fmt.Errorf("waiting to replay: %w", err)
			}
			if err := r.take(ctx, part); err != nil {
				return err
			}
		}
		if len(page) < replayPage {
			return nil
		}
		last = &page[len(page)-1]
	}
}

// limiter is what keeps to the rate, and how many deliveries to take at once for that.
func (r *replayer) limiter() (*rate.Limiter, int) {
	if r.Rate <= 0 {
		return rate.NewLimiter(rate.Inf, replayChunk), replayChunk
	}
	chunk := min(max(int(r.Rate/replayPace), 1), replayChunk)
	return rate.NewLimiter(rate.Limit(r.Rate), chunk), chunk
}

// take replays or recovers some deliveries in one transaction.
func (r *replayer) take(ctx context.Context, part []candidate) error {
	tx, err := r.pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("replaying: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	var results []ReplayResult
	if r.Missing {
		results, err = recoverTx(ctx, tx, part)
	} else {
		results, err = replayTx(ctx, tx, part, r.Run)
	}
	if err != nil {
		return err
	}
	if err := commit(ctx, tx); err != nil {
		return fmt.Errorf("replaying: %w", err)
	}
	if r.Report != nil {
		r.Report(results)
	}
	return nil
}
