package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// partitionLockTimeout bounds how long the attempt log may stand still behind a change of its partitions
	// that waits for somebody's long query: partitionTries times, partitionPause apart.
	partitionLockTimeout = "1s"
	partitionTries       = 5
	partitionPause       = 10 * time.Second

	lockNotAvailable = "55P03" // SQLSTATE
)

// makePartitions makes the log's partitions of the coming weeks, and those of rows in the default partition.
func (w *retentionWorker) makePartitions(ctx context.Context) (int, error) {
	made, err := w.changePartitions(ctx, `select webhook_make_log_partitions()`)
	if err != nil {
		return 0, fmt.Errorf("making partitions of webhook_delivery_log: %w", err)
	}
	return made, nil
}

// dropPartitions drops the log's partitions that hold nothing young enough to be kept.
func (w *retentionWorker) dropPartitions(ctx context.Context) (int, error) {
	if w.retention.Attempts < 0 {
		return 0, nil
	}
	dropped, err := w.changePartitions(ctx, `select webhook_drop_log_partitions(now() - $1::interval)`, w.retention.Attempts)
	if err != nil {
		return 0, fmt.Errorf("dropping partitions of webhook_delivery_log: %w", err)
	}
	return dropped, nil
}

// changePartitions calls a function that locks the log, and gives up soon and tries again if it can't.
func (w *retentionWorker) changePartitions(ctx context.Context, statement string, args ...any) (int, error) {
	for try := 1; ; try++ {
		var changed int
		err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `set local lock_timeout = '`+partitionLockTimeout+`'`); err != nil {
				return err
			}
			return tx.QueryRow(ctx, statement, args...).Scan(&changed)
		})
		refused, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || refused.Code != lockNotAvailable || try == partitionTries {
			return changed, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(partitionPause):
		}
	}
}

// removeAttempts removes old attempts row by row where no dropped partition removes them soon: from the
// default partition, from the one of the time before there were weeks, and, if they are kept for a short
// time, from the week in which that time ends.
func (w *retentionWorker) removeAttempts(ctx context.Context) (int64, error) {
	if w.retention.Attempts < 0 {
		return 0, nil
	}
	partitions, err := collect(ctx, w.pool, pgx.RowTo[string], `
		select partition::text
		  from webhook_delivery_log_partitions
		 where begins_at is null or ($2 and begins_at < now() - $1::interval)`,
		w.retention.Attempts, w.retention.Attempts < exactRetention)
	if err != nil {
		return 0, fmt.Errorf("reading the partitions of webhook_delivery_log: %w", err)
	}
	var removed int64
	for _, partition := range partitions { // their names come quoted as they need it
		count, err := deleteBatches(ctx, w.pool, `
			delete from `+partition+`
			 where (started_at, attempt_id) in (
			       select started_at, attempt_id
			         from `+partition+`
			        where started_at < now() - $1::interval
			        order by started_at
			        limit $2)`, w.retention.Attempts)
		removed += count
		if err != nil {
			return removed, fmt.Errorf("removing old attempts: %w", err)
		}
	}
	return removed, nil
}
