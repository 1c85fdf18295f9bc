package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// erasurePoll is how often to look whether a user's last tries have ended.
const erasurePoll = 200 * time.Millisecond

// Erasure is what there is of a user, or was.
type Erasure struct {
	Partners   int64 `json:"partners"`
	Deliveries int64 `json:"deliveries"` // jobs; those removed by retention before do not count
	Events     int64 `json:"events"`
	Attempts   int64 `json:"attempts"`
}

// CountUser counts what [Deliveries.EraseUser] would remove.
func (d *Deliveries) CountUser(ctx context.Context, userID string) (*Erasure, error) {
	var e Erasure
	err := readMuch(ctx, d.pool, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			select (select count(*) from partner_webhooks where user_id = $1),
			       (select count(*) from river_job where kind = 'webhook_delivery' and args->>'user_id' = $1),
			       (select count(*) from webhook_events where user_id = $1),
			       (select count(*) from webhook_delivery_log where user_id = $1)`,
			userID).Scan(&e.Partners, &e.Deliveries, &e.Events, &e.Attempts)
	})
	if err != nil {
		return nil, fmt.Errorf("counting what there is of user %q: %w", userID, err)
	}
	return &e, nil
}

// EraseUser removes all there is of a user: partners and entries of roles, deliveries, events and attempts. The
// partners go first, so that nothing new is enqueued; it waits for tries that are under way. It works in small
// transactions: one that is interrupted is taken up by calling it again.
func (d *Deliveries) EraseUser(ctx context.Context, userID string) (*Erasure, error) {
	var e Erasure
	if _, err := d.pool.Exec(ctx, `delete from webhook_role_users where user_id = $1`, userID); err != nil {
		return &e, fmt.Errorf("removing the roles of user %q: %w", userID, err)
	}
	tag, err := d.pool.Exec(ctx, `delete from partner_webhooks where user_id = $1`, userID)
	if err != nil {
		return &e, fmt.Errorf("removing the partners of user %q: %w", userID, err)
	}
	e.Partners = tag.RowsAffected()
	if e.Deliveries, err = d.eraseDeliveries(ctx, userID); err != nil {
		return &e, fmt.Errorf("removing the deliveries of user %q: %w", userID, err)
	}
	e.Events, err = d.eraseBatches(ctx, `
		delete from webhook_events
		 where user_id = $1 and event_id in (select event_id from webhook_events where user_id = $1 limit $2)`, userID)
	if err != nil {
		return &e, fmt.Errorf("removing the events of user %q: %w", userID, err)
	}
	e.Attempts, err = d.eraseBatches(ctx, `
		delete from webhook_delivery_log
		 where (started_at, attempt_id) in (select started_at, attempt_id from webhook_delivery_log where user_id = $1 limit $2)`, userID)
	if err != nil {
		return &e, fmt.Errorf("removing the attempts of user %q: %w", userID, err)
	}
	return &e, nil
}

// eraseDeliveries removes the jobs of a user until there is none: those that are being tried when they have
// ended, because their workers write to the log until then.
func (d *Deliveries) eraseDeliveries(ctx context.Context, userID string) (int64, error) {
	ticker := time.NewTicker(erasurePoll)
	defer ticker.Stop()
	var erased int64
	for {
		count, err := d.eraseBatches(ctx, `
			delete from river_job
			 where id in (select id from river_job
			               where kind = 'webhook_delivery' and args->>'user_id' = $1 and state <> 'running'
			               limit $2 for update)`, userID)
		erased += count
		if err != nil {
			return erased, err
		}
		var left bool
		err = d.pool.QueryRow(ctx, `
			select exists (select from river_job where kind = 'webhook_delivery' and args->>'user_id' = $1)`, userID).Scan(&left)
		if err != nil || !left {
			return erased, err
		}
		select {
		case <-ctx.Done():
			return erased, ctx.Err()
		case <-ticker.C:
		}
	}
}

// eraseBatches repeats a statement until it finds no full batch, and counts the rows.
func (d *Deliveries) eraseBatches(ctx context.Context, statement, userID string) (int64, error) {
	var erased int64
	for {
		tag, err := d.pool.Exec(ctx, statement, userID, retentionBatch)
		erased += tag.RowsAffected()
		if err != nil || tag.RowsAffected() < retentionBatch {
			return erased, err
		}
	}
}
