package jobs

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// querier is met by a pool and by a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// execer is met by both.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, db querier, row pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, row)
}

// beginMuch begins what readMuch does. Compiling such a statement takes longer than it saves, and the rows come
// to few: PostgreSQL's usual price of parallel work does not hold.
const beginMuch = `
	begin read only isolation level repeatable read;
	set local jit = off;
	set local parallel_setup_cost = 0;
	set local parallel_tuple_cost = 0`

// readMuch reads in one snapshot what an operator asks for, which may be a large part of the queue.
func readMuch(ctx context.Context, pool *pgxpool.Pool, read func(tx pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: beginMuch}, read)
}
