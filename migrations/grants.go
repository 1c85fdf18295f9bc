package migrations

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// grantStatements say what the roles may do; they may be repeated.
//
//go:embed grants.sql
var grantStatements string

// sqlInsufficientPrivilege is the SQLSTATE of what a role may not do.
const sqlInsufficientPrivilege = "42501"

// grant gives the roles what they need, in one transaction.
func grant(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.PgConn().Exec(ctx, grantStatements).ReadAll(); err != nil {
		return fmt.Errorf("granting the roles what they need: %w", err)
	}
	return nil
}

// checkOwner returns an error that says who may migrate, if the connection's role may not.
func checkOwner(ctx context.Context, conn *pgx.Conn) error {
	var role string
	var owner, schema *string
	// What another role than the owner made, a superuser or a member of it, the owner's functions could not use.
	err := conn.QueryRow(ctx, `
		select current_user, (select pg_get_userbyid(c.relowner)
		                        from pg_class c
		                       where c.oid = to_regclass($1) and pg_get_userbyid(c.relowner) <> current_user
		                          or c.oid = to_regclass('river_job') and not pg_has_role(c.relowner, 'usage')
		                       limit 1),
		       (select current_schema()
		         where to_regclass($1) is null and not has_schema_privilege(current_schema(), 'create'))`, versionTable).
		Scan(&role, &owner, &schema)
	switch {
	case err != nil:
		return fmt.Errorf("looking who may migrate: %w", err)
	case owner != nil:
		return fmt.Errorf("role %s may not migrate: the tables belong to %s, so run `webhook-worker migrate` with a DATABASE_URL of that role, or with options=-c%%20role%%3D%s in this one's query if it is a member", role, *owner, *owner)
	case schema != nil:
		return fmt.Errorf("role %s may not migrate: it may not create tables in schema %s, for which it needs `grant create on schema %s to %s`",
			role, *schema, pgx.Identifier{*schema}.Sanitize(), pgx.Identifier{role}.Sanitize())
	}
	return nil
}

// checkSchema returns an error that says what to run, if anybody may create objects in the schema of the tables: an operator
// made there for the very types of its operands beats PostgreSQL's in the functions that run as the owner.
func checkSchema(ctx context.Context, conn *pgx.Conn) error {
	var schema, statements, as string
	// Who creates there only as anybody may needs a right of its own first, for each week's partition of the log.
	err := conn.QueryRow(ctx, `
		select n.nspname,
		       case when not exists (select from aclexplode(n.nspacl) as a
		                              where a.privilege_type = 'CREATE' and a.grantee <> 0 and pg_has_role(a.grantee, 'usage'))
		            then format('grant create on schema %I to %I; ', n.nspname, current_user) else '' end
		         || format('revoke create on schema %I from public', n.nspname),
		       case when pg_has_role(n.nspowner, 'usage') then ''
		            else format(' as %s', case n.nspowner when to_regrole('pg_database_owner') then d.datdba else n.nspowner end::regrole) end
		  from pg_namespace n
		  join pg_database d on d.datname = current_database()
		 where (n.nspname = current_schema()
		        or n.oid in (select relnamespace from pg_class where oid in (to_regclass($1), to_regclass('river_job'))))
		   and exists (select from aclexplode(n.nspacl) as a where a.privilege_type = 'CREATE' and a.grantee = 0)
		 limit 1`, versionTable).
		Scan(&schema, &statements, &as)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking who may create objects in the schema: %w", err)
	}
	return fmt.Errorf("anybody may create objects in schema %s, and could so act as the owner of these tables: run \"%s\"%s, then migrate again",
		pgx.Identifier{schema}.Sanitize(), statements, as)
}

// checkEncoding warns of a database that holds text in another encoding than UTF-8: there PostgreSQL fails on an escape such as
// \u00e9 when it reads a call's outcome, in the application's transaction.
func checkEncoding(ctx context.Context, conn *pgx.Conn, logger *slog.Logger) error {
	var encoding string
	if err := conn.QueryRow(ctx, `show server_encoding`).Scan(&encoding); err != nil {
		return fmt.Errorf("looking at the database's encoding: %w", err)
	}
	if encoding != "UTF8" {
		logger.WarnContext(ctx, "the database's encoding is not UTF8: events with characters that it lacks, or with escapes of them, fail",
			slog.String("encoding", encoding),
			slog.String("advice", "make a database with create database … encoding 'UTF8' template template0, and restore a dump of this one into it"))
	}
	return nil
}

// checkSight returns an error if row security hides everything from the role: it would take what it does not see for
// deleted.
func checkSight(ctx context.Context, pool *pgxpool.Pool) error {
	var role string
	var blind bool
	if err := pool.QueryRow(ctx, `
		select current_user, row_security_active('partner_webhooks')
		                     and not exists (select from pg_roles r where r.rolname = 'webhook_worker' and pg_has_role(r.oid, 'usage'))`).
		Scan(&role, &blind); err != nil {
		return fmt.Errorf("looking what the role sees: %w", describeDenied(err))
	}
	if blind {
		return fmt.Errorf("role %s sees no partners, events or attempts: it needs the role webhook_worker (`grant webhook_worker to %s`)",
			role, pgx.Identifier{role}.Sanitize())
	}
	return nil
}

// describeDenied says what a role needs that may not read what every command reads first.
func describeDenied(err error) error {
	if denied, ok := errors.AsType[*pgconn.PgError](err); ok && denied.Code == sqlInsufficientPrivilege {
		return fmt.Errorf("%w: the role of DATABASE_URL is none of a worker's or an operator's, which have the role webhook_worker (`grant webhook_worker to …`)", err)
	}
	return err
}
