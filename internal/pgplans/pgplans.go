// Package pgplans keeps the plans of prepared statements in step with what tables hold.
//
// PostgreSQL keeps the plan of a statement that is used often until the table's statistics change. One that was made while there
// was next to nothing in the table reads all of it, however long it grows, until autovacuum comes by, a minute later at best: in
// a new database, and in each new partition of the log.
package pgplans

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// last is how long a connection's plans last.
	last = 2 * time.Second
	// renewedAt is where a connection notes when its plans were made anew.
	renewedAt = "plans renewed at"
)

// Renew has a pool's connections discard their plans when they are taken from it, once in 2 s at most. A connection that can't
// is not used.
func Renew(config *pgxpool.Config) { config.PrepareConn = renew }

func renew(ctx context.Context, conn *pgx.Conn) (bool, error) {
	data := conn.PgConn().CustomData()
	now := time.Now()
	if at, _ := data[renewedAt].(time.Time); now.Sub(at) < last {
		return true, nil
	}
	data[renewedAt] = now
	_, err := conn.Exec(ctx, `discard plans`, pgx.QueryExecModeSimpleProtocol)
	return err == nil, nil
}
