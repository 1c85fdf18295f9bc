package migrations

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/tern/v2/migrate"
)

// worksFrom is the migration that a program must know to work with the schema of this one: while workers and applications are
// updated, and when that is taken back, earlier ones go on. Raise it with a migration that they can't work with.
const worksFrom = 10

// ErrTooOld is what [Check] reports when a newer version of this program has made a schema that this one can't work with.
var ErrTooOld = errors.New("a newer version of this program has migrated the database to a schema that this one can't work with: " +
	"update this program, or take the migrations back with the newer one's `webhook-worker migrate down`")

// ErrNewer is what [Up] and [Down] report when a newer version of this program has migrated the database.
var ErrNewer = errors.New("the database was migrated by a newer version of this program: migrate with that one")

// Ahead is how many migrations the database has that this program does not know, since a newer version made them.
func Ahead(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	current, err := currentVersion(ctx, pool)
	if err != nil {
		return 0, err
	}
	names, err := migrate.FindMigrations(files)
	if err != nil {
		return 0, fmt.Errorf("listing migrations: %w", err)
	}
	return max(current-len(names), 0), nil
}

// checkAge returns [ErrTooOld] if the database's schema is for programs that know more than the first known migrations.
func checkAge(ctx context.Context, pool *pgxpool.Pool, known int) error {
	var from int
	// As JSON, because earlier versions did not say.
	if err := pool.QueryRow(ctx, `select coalesce((to_jsonb(v)->>'works_from')::int, 0) from `+versionTable+` v`).Scan(&from); err != nil {
		return fmt.Errorf("reading which programs the schema is for: %w", err)
	}
	if from > known {
		return ErrTooOld
	}
	return nil
}

// addAge adds the column that sayAge writes. Earlier versions made the table without. Whoever reads it for long, as a backup
// does, holds this up, and this then whoever starts: migrate again later.
const addAge = `
	do $$
	begin
	    if not exists (select from pg_attribute where attrelid = '` + versionTable + `'::regclass and attname = 'works_from') then
	        set local lock_timeout = '5s';
	        alter table ` + versionTable + ` add column works_from integer not null default 0;
	    end if;
	end
	$$`

// sayAge writes for programs of which age the schema is from now on: those that know as many migrations.
func sayAge(ctx context.Context, conn *pgx.Conn, from int32) error {
	if _, err := conn.Exec(ctx, addAge); err != nil {
		return fmt.Errorf("preparing table %s: %w", versionTable, err)
	}
	if _, err := conn.Exec(ctx, `update `+versionTable+` set works_from = $1 where works_from <> $1`, from); err != nil {
		return fmt.Errorf("saying which programs the schema is for: %w", err)
	}
	return nil
}
