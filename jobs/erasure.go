package jobs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// erasurePoll is how often to look whether what an erasure waits for has come.
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
// partners go first, so that nothing new is enqueued, and transactions that saw them are waited for, and tries
// that are under way; waiting is told what for. Applications should have stopped to enqueue for the user. It
// works in small transactions: one that is interrupted is taken up by calling it again.
func (d *Deliveries) EraseUser(ctx context.Context, userID string, waiting func(what string)) (*Erasure, error) {
	var e Erasure
	if _, err := d.pool.Exec(ctx, `delete from webhook_role_users where user_id = $1`, userID); err != nil {
		return &e, fmt.Errorf("removing the roles of user %q: %w", userID, err)
	}
	tag, err := d.pool.Exec(ctx, `delete from partner_webhooks where user_id = $1`, userID)
	if err != nil {
		return &e, fmt.Errorf("removing the partners of user %q: %w", userID, err)
	}
	e.Partners = tag.RowsAffected()
	if err := d.awaitOpenTransactions(ctx, waiting); err != nil {
		return &e, err
	}
	if e.Deliveries, err = d.eraseDeliveries(ctx, userID, waiting); err != nil {
		return &e, fmt.Errorf("removing the deliveries of user %q: %w", userID, err)
	}
	e.Events, err = deleteBatches(ctx, d.pool, `
		delete from webhook_events
		 where user_id = $1 and event_id in (select event_id from webhook_events where user_id = $1 limit $2)`, userID)
	if err != nil {
		return &e, fmt.Errorf("removing the events of user %q: %w", userID, err)
	}
	if e.Attempts, err = d.eraseAttempts(ctx, userID); err != nil {
		return &e, fmt.Errorf("removing the attempts of user %q: %w", userID, err)
	}
	return &e, nil
}

// awaitOpenTransactions waits until every transaction that has written and is open now has ended: one of them
// may have enqueued for a partner that it still saw.
func (d *Deliveries) awaitOpenTransactions(ctx context.Context, waiting func(what string)) error {
	var now string
	if err := d.pool.QueryRow(ctx, `select pg_snapshot_xmax(pg_current_snapshot())::text`).Scan(&now); err != nil {
		return fmt.Errorf("looking for open transactions: %w", err)
	}
	return d.await(ctx, func() { waiting("transactions that are open") }, func() (ended bool, err error) {
		err = d.pool.QueryRow(ctx, `select pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8`, now).Scan(&ended)
		return ended, err
	})
}

// await looks until what it waits for has come, and says once that it waits if it has to.
func (d *Deliveries) await(ctx context.Context, waiting func(), look func() (bool, error)) error {
	ticker := time.NewTicker(erasurePoll)
	defer ticker.Stop()
	for first := true; ; first = false {
		if done, err := look(); err != nil || done {
			return err
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// eraseAttempts goes through the log once, a partition in a transaction: no index leads to a user's attempts.
func (d *Deliveries) eraseAttempts(ctx context.Context, userID string) (int64, error) {
	partitions, err := collect(ctx, d.pool, pgx.RowTo[string], `select partition::text from webhook_delivery_log_partitions`)
	if err != nil {
		return 0, err
	}
	var erased int64
	for _, partition := range partitions { // their names come quoted as they need it
		tag, err := d.pool.Exec(ctx, `delete from `+partition+` where user_id = $1`, userID)
		erased += tag.RowsAffected()
		if err != nil {
			return erased, err
		}
	}
	return erased, nil
}

// eraseDeliveries removes the jobs of a user until there is none: those that are being tried when they have ended, because
// their workers write to the log until then. No index leads to all of them: the table is read, and once more at the end,
// since one whose worker died goes on under another id.
func (d *Deliveries) eraseDeliveries(ctx context.Context, userID string, waiting func(what string)) (int64, error) {
	var erased int64
	var left []int64
	err := d.await(ctx, func() { waiting("tries that are under way") }, func() (bool, error) {
		for {
			var count int64
			var err error
			left, count, err = d.eraseJobs(ctx, left)
			erased += count
			if err != nil || len(left) > 0 {
				return false, err
			}
			left, err = collect(ctx, d.pool, pgx.RowTo[int64], `
				select id from river_job where kind = 'webhook_delivery' and args->>'user_id' = $1`, userID)
			if err != nil || len(left) == 0 {
				return err == nil, err
			}
		}
	})
	return erased, err
}

// eraseJobs removes jobs but for those that run, and returns which are left and how many it removed.
func (d *Deliveries) eraseJobs(ctx context.Context, jobs []int64) (left []int64, erased int64, err error) {
	for batch := range slices.Chunk(jobs, retentionBatch) {
		tag, err := d.pool.Exec(ctx, `delete from river_job where id = any ($1) and state <> 'running'`, batch)
		erased += tag.RowsAffected()
		if err != nil {
			return jobs, erased, err
		}
		running, err := collect(ctx, d.pool, pgx.RowTo[int64], `select id from river_job where id = any ($1)`, batch)
		if err != nil {
			return jobs, erased, err
		}
		left = append(left, running...)
	}
	return left, erased, nil
}
