package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// SaveRetryMaxAttempts writes how many retries a delivery gets (0 to 100) to where enqueueing reads it,
// since an application can't see the workers' environment. It returns the value before, and whether that
// was another.
func SaveRetryMaxAttempts(ctx context.Context, pool *pgxpool.Pool, retries int) (int, bool, error) {
	var before int
	err := pool.QueryRow(ctx, `
		update webhook_settings new
		   set retry_max_attempts = $1, updated_at = now()
		  from webhook_settings old
		 where new.retry_max_attempts <> $1
		returning old.retry_max_attempts`, retries).Scan(&before)
	if errors.Is(err, pgx.ErrNoRows) {
		return retries, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("saving RETRY_MAX_ATTEMPTS: %w", err)
	}
	return before, true, nil
}
