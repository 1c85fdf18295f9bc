// Package migrations brings a database to the schema that this version of the program works with:
// River's own tables first, then the numbered SQL files of this folder.
package migrations

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/tern/v2/migrate"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed *.sql
var files embed.FS

const (
	// versionTable holds the number of the last migration that ran.
	versionTable = "webhook_schema_version"

	// ourLine is the line of migrations of this folder.
	ourLine = "webhook-worker"

	// lockKey is the session advisory lock that serialises everything here: the bytes of "webhooks".
	lockKey = int64(0x776562686f6f6b73)

	// lockPoll is how often a waiting process looks whether the lock is free. It polls, because a session
	// that waits inside pg_advisory_lock holds a snapshot, which a CREATE INDEX CONCURRENTLY of the
	// process that migrates would wait for.
	lockPoll = 100 * time.Millisecond
)

// Migration is one numbered file, or one of River's, and whether the database has it.
type Migration struct {
	Line    string `json:"line"` // "river" or "webhook-worker"
	Version int    `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// ErrBehind is what [Check] reports when the database lacks migrations.
var ErrBehind = errors.New("the database schema is behind this program: run `webhook-worker migrate up`")

// Up runs every migration that the database lacks, and grants the roles what they need. Any number of processes may call it at
// once: one migrates, the others wait for it. It refuses, and changes nothing, where anybody may create objects in the schema.
// It warns of a database whose encoding is not UTF8.
func Up(ctx context.Context, pool *pgxpool.Pool, logger *slog.Logger) error {
	return locked(ctx, pool, func(conn *pgx.Conn) error {
		if err := checkOwner(ctx, conn); err != nil {
			return err
		}
		if err := checkSchema(ctx, conn); err != nil {
			return err
		}
		if err := checkEncoding(ctx, conn, logger); err != nil {
			return err
		}
		river, err := newRiverMigrator(pool)
		if err != nil {
			return err
		}
		result, err := river.Migrate(ctx, rivermigrate.DirectionUp, nil)
		if err != nil {
			return fmt.Errorf("migrating River's tables: %w", err)
		}
		for _, version := range result.Versions {
			logger.InfoContext(ctx, "migrated up", slog.String("line", "river"), slog.Int("version", version.Version))
		}

		migrator, err := newMigrator(ctx, conn, logger)
		if err != nil {
			return err
		}
		if current, err := migrator.GetCurrentVersion(ctx); err != nil || int(current) > len(migrator.Migrations) {
			return cmp.Or(describe(err), ErrNewer)
		}
		if err := sayAge(ctx, conn, worksFrom); err != nil { // before it is so
			return err
		}
		if err := describe(migrator.Migrate(ctx)); err != nil {
			return err
		}
		return grant(ctx, conn)
	})
}

// Down takes back the last steps migrations of this project, with what they hold; a negative number
// takes back all. River's tables stay, since an application may have jobs of its own in them.
func Down(ctx context.Context, pool *pgxpool.Pool, steps int, logger *slog.Logger) error {
	return locked(ctx, pool, func(conn *pgx.Conn) error {
		if err := checkOwner(ctx, conn); err != nil {
			return err
		}
		migrator, err := newMigrator(ctx, conn, logger)
		if err != nil {
			return err
		}
		current, err := migrator.GetCurrentVersion(ctx)
		if err != nil {
			return fmt.Errorf("reading the schema version: %w", err)
		}
		if int(current) > len(migrator.Migrations) {
			return ErrNewer
		}
		target := int32(0)
		if steps >= 0 && steps < int(current) {
			target = current - int32(steps) //nolint:gosec // less than the number of files
		}
		if err := describe(migrator.MigrateTo(ctx, target)); err != nil {
			return err
		}
		return sayAge(ctx, conn, min(target, worksFrom))
	})
}

// Status lists all migrations, River's first, and whether each has run. It changes nothing.
func Status(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	river, err := newRiverMigrator(pool)
	if err != nil {
		return nil, err
	}
	applied, err := riverVersions(ctx, pool)
	if err != nil {
		return nil, err
	}
	var all []Migration
	for _, version := range river.AllVersions() {
		all = append(all, Migration{Line: "river", Version: version.Version, Name: version.Name, Applied: applied[version.Version]})
	}

	current, err := currentVersion(ctx, pool)
	if err != nil {
		return nil, err
	}
	names, err := migrate.FindMigrations(files)
	if err != nil {
		return nil, fmt.Errorf("listing migrations: %w", err)
	}
	for i, name := range names {
		all = append(all, Migration{Line: ourLine, Version: i + 1, Name: name, Applied: i < current})
	}
	return all, nil
}

// Check returns an error that wraps [ErrBehind] if the database lacks a migration, and [ErrTooOld] if it is too new.
func Check(ctx context.Context, pool *pgxpool.Pool) error {
	all, err := Status(ctx, pool)
	if err != nil {
		return describeDenied(err)
	}
	missing, known := 0, 0
	for _, migration := range all {
		if !migration.Applied {
			missing++
		}
		if migration.Line == ourLine {
			known++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d migrations missing: %w", missing, len(all), ErrBehind)
	}
	if err := checkAge(ctx, pool, known); err != nil {
		return err
	}
	return checkSight(ctx, pool)
}

// riverVersions are the migrations of River that ran. River's own look-up fails on one that this version of
// it does not know, which an application with a newer River may have run.
func riverVersions(ctx context.Context, pool *pgxpool.Pool) (map[int]bool, error) {
	applied := map[int]bool{}
	if exists, err := tableExists(ctx, pool, "river_migration"); err != nil || !exists {
		return applied, err
	}
	// As JSON, because the column line came with a later version.
	rows, err := pool.Query(ctx, `
		select (to_jsonb(m)->>'version')::int from river_migration m where coalesce(to_jsonb(m)->>'line', 'main') = 'main'`)
	if err != nil {
		return nil, fmt.Errorf("reading River's schema version: %w", err)
	}
	var version int
	_, err = pgx.ForEachRow(rows, []any{&version}, func() error {
		applied[version] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading River's schema version: %w", err)
	}
	return applied, nil
}

func tableExists(ctx context.Context, pool *pgxpool.Pool, name string) (bool, error) {
	var exists bool
	if err := pool.QueryRow(ctx, `select to_regclass($1) is not null`, name).Scan(&exists); err != nil {
		return false, fmt.Errorf("looking for table %s: %w", name, err)
	}
	return exists, nil
}

// currentVersion is the number of the last migration of ours that ran; 0 if none did.
func currentVersion(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	if exists, err := tableExists(ctx, pool, versionTable); err != nil || !exists {
		return 0, err
	}
	var version int
	if err := pool.QueryRow(ctx, `select version from `+versionTable).Scan(&version); err != nil {
		return 0, fmt.Errorf("reading the schema version: %w", err)
	}
	return version, nil
}

// locked runs migrate on a connection of its own while that connection holds the advisory lock.
func locked(ctx context.Context, pool *pgxpool.Pool, migrate func(conn *pgx.Conn) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting to migrate: %w", err)
	}
	// The connection is closed and not given back: whatever a migration set on it, and its lock, end with it.
	session := conn.Hijack()
	defer func() { _ = session.Close(context.WithoutCancel(ctx)) }()

	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		var got bool
		if err := session.QueryRow(ctx, `select pg_try_advisory_lock($1)`, lockKey).Scan(&got); err != nil {
			return fmt.Errorf("locking the schema: %w", err)
		}
		if got {
			return migrate(session)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for another migration to end: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// newRiverMigrator makes River's migrator. It keeps its own lines to itself: Up says what was done.
func newRiverMigrator(pool *pgxpool.Pool) (*rivermigrate.Migrator[pgx.Tx], error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("loading River's migrations: %w", err)
	}
	return migrator, nil
}

func newMigrator(ctx context.Context, conn *pgx.Conn, logger *slog.Logger) (*migrate.Migrator, error) {
	migrator, err := migrate.NewMigrator(ctx, conn, versionTable)
	if err != nil {
		return nil, fmt.Errorf("preparing table %s: %w", versionTable, err)
	}
	if err := migrator.LoadMigrations(files); err != nil {
		return nil, fmt.Errorf("loading migrations: %w", err)
	}
	migrator.OnStart = func(version int32, name, direction, _ string) {
		logger.InfoContext(ctx, "migrating "+direction,
			slog.String("line", ourLine), slog.Int("version", int(version)), slog.String("name", name))
	}
	return migrator, nil
}

func describe(err error) error {
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	return nil
}
