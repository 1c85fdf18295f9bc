package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/migrations"
)

// database is a freshly migrated one.
type database struct {
	server *devpg.Server
	pool   *pgxpool.Pool
}

func openDatabase(ctx context.Context) (*database, error) {
	server, err := devpg.Start(ctx, &devpg.Config{})
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, server.URL("postgres"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connecting: %w", err), server.Stop())
	}
	db := &database{server: server, pool: pool}
	if err := migrations.Up(ctx, pool, slog.New(slog.DiscardHandler)); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

func (d *database) close() error {
	d.pool.Close()
	return d.server.Stop()
}

// columns is a table of a relation's columns, with what their comments say.
func (d *database) columns(ctx context.Context, relation string) (string, error) {
	rows, err := d.pool.Query(ctx, `
		select a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum)
		  from pg_attribute a
		 where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped
		 order by a.attnum`, relation)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	text.WriteString("| Column | Type | Meaning |\n|---|---|---|\n")
	var (
		name, kind string
		comment    *string
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &kind, &comment}, func() error {
		if comment == nil {
			return fmt.Errorf("column %s of %s has no comment", name, relation)
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s |\n", name, kind, strings.ReplaceAll(*comment, "|", `\|`))
		return nil
	})
	return text.String(), err
}

// function is the signature of a function and what its comment says; of several forms that which takes json.
func (d *database) function(ctx context.Context, name string) (string, error) {
	var arguments, result, comment string
	err := d.pool.QueryRow(ctx, `
		select pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), obj_description(p.oid, 'pg_proc')
		  from pg_proc p
		 where p.proname = $1
		   and obj_description(p.oid, 'pg_proc') is not null
		 order by pg_get_function_arguments(p.oid) ~ '\mjson\M' desc
		 limit 1`, name).Scan(&arguments, &result, &comment)
	if err != nil {
		return "", fmt.Errorf("reading function %s: %w", name, err)
	}
	arguments = strings.NewReplacer("DEFAULT", "default", "NULL::text", "null", "::text", "", "::timestamp with time zone", "",
		"timestamp with time zone", "timestamptz").Replace(arguments)
	result = strings.NewReplacer("timestamp with time zone", "timestamptz", "TABLE", "table ", "SETOF", "setof").Replace(result)
	const wide = ",\n    "
	if len(arguments) > len("a line of a page that is narrow enough to be read on a telephone") {
		arguments = "\n    " + strings.ReplaceAll(arguments, ", ", wide) + "\n"
	}
	if strings.HasPrefix(result, "table ") {
		result = strings.NewReplacer("(", "(\n    ", ")", "\n)", ", ", wide).Replace(result)
	}
	return fmt.Sprintf("```\n%s(%s) returns %s\n```\n\n%s\n", name, arguments, result, comment), nil
}
