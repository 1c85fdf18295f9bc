package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

// RiverSchema reads which schema River's tables were migrated into.
func RiverSchema(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	var schema string
	if err := pool.QueryRow(ctx, `select river_schema from webhook_settings`).Scan(&schema); err != nil {
		return "", fmt.Errorf("reading River's schema: %w", err)
	}
	return schema, nil
}

// foreignKind names the kind of deliveries itself, not a parameter: so river_job_other_kind_idx serves it.
const foreignKind = `select kind from river_job where kind <> '` + Kind + `' and kind <> all ($1) limit 1`

// ForeignKind looks whether River's tables hold jobs of another program too, and returns the kind of one;
// empty if there are none.
func ForeignKind(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	var kind string
	err := pool.QueryRow(ctx, foreignKind, []string{retentionArgs{}.Kind(), settlementArgs{}.Kind()}).Scan(&kind)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("looking for jobs of other programs: %w", err)
	}
	return kind, nil
}

// indexesToRebuild are the indexes that River's leader rebuilds each night: those of River's choice that are there, if the
// connection's role owns the tables, and else none, because only the owner can.
func indexesToRebuild(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	rows, err := pool.Query(ctx, `
		select i.relname::text
		  from pg_class t
		  join pg_index x on x.indrelid = t.oid
		  join pg_class i on i.oid = x.indexrelid
		 where t.oid = 'river_job'::regclass and pg_has_role(t.relowner, 'usage') and i.relname = any ($1)`, river.ReindexerIndexNamesDefault())
	if err != nil {
		return nil, fmt.Errorf("looking for River's indexes: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("looking for River's indexes: %w", err)
	}
	return names, nil
}

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
