package migrations_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/migrations"
)

// An open schema is how databases were made before PostgreSQL 15.
func TestUpRefusesAnOpenSchema(t *testing.T) {
	t.Parallel()

	pool := testdb.NewEmpty(t)
	exec := func(statement string) {
		_, err := pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	refused := func() {
		before := objects(t, pool)
		require.EqualError(t, migrations.Up(t.Context(), pool, quiet()),
			`anybody may create objects in schema "public", and could so act as the owner of these tables: `+
				`run "revoke create on schema public from public", then migrate again`)
		require.Equal(t, before, objects(t, pool), "nothing has changed")
	}
	exec(`grant create on schema public to public`)
	refused()
	require.Empty(t, objects(t, pool))
	exec(`revoke create on schema public from public`)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))

	// What was migrated before can be taken back, and goes no further.
	exec(`grant create on schema public to public`)
	require.NoError(t, migrations.Down(t.Context(), pool, 1, quiet()))
	refused()
	requireApplied(t, pool, len(ours(t, pool))-1)
	exec(`revoke create on schema public from public`)

	// What somebody was granted by name is doctor's to warn of.
	exec(`grant create on schema public to webhook_app`)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	requireApplied(t, pool, len(ours(t, pool)))
}

// An owner of tables that creates them as anybody may could make no partition of the log after the revoke alone.
func TestUpInASchemaOfAnother(t *testing.T) {
	t.Parallel()

	admin := testdb.NewEmpty(t)
	name := fmt.Sprintf("guest_%d", time.Now().UnixNano())
	exec := func(statement string) {
		_, err := admin.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	exec(`create role ` + name + ` login createrole password 'guest'`)
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), `drop owned by `+name+` cascade; drop role `+name) })
	var owner string
	require.NoError(t, admin.QueryRow(t.Context(), `
		select datdba::regrole::text from pg_database where datname = current_database()`).Scan(&owner))
	guest := inSchema(t, testdb.URL(admin), "public", name, "guest")
	refused := func(statements string) {
		require.ErrorContains(t, migrations.Up(t.Context(), guest, quiet()),
			fmt.Sprintf(`run "%s" as %s, then migrate again`, statements, owner))
	}

	exec(`grant create on schema public to public`)
	grant, revoke := `grant create on schema public to `+name, `revoke create on schema public from public`
	refused(grant + "; " + revoke)
	exec(grant)
	refused(revoke)
	exec(revoke)
	require.NoError(t, migrations.Up(t.Context(), guest, quiet()))
}
