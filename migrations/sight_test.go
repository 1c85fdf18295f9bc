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

// A worker that works by grants of its own would take what row security hides for deleted: it is not made blind
// while it runs, and does not start blind.
func TestWorkersAreNotMadeBlind(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	require.NoError(t, migrations.Down(t.Context(), pool, len(ours(t, pool))-11, quiet()))
	role := fmt.Sprintf("by_hand_%d", time.Now().UnixNano())
	exec := func(statement string) {
		_, err := pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	exec(`create role ` + role + ` login password 'hand'; grant select, insert, update, delete on all tables in schema public to ` + role)
	t.Cleanup(func() { _, _ = pool.Exec(context.Background(), `drop owned by `+role+`; drop role `+role) })
	require.ErrorContains(t, migrations.Up(t.Context(), pool, quiet()), `run "grant webhook_worker to `+role+`", then migrate again`)
	exec(`grant webhook_worker to ` + role)
	require.NoError(t, migrations.Up(t.Context(), pool, quiet()))
	hand := inSchema(t, testdb.URL(pool), "public", role, "hand")
	require.NoError(t, migrations.Check(t.Context(), hand))
	exec(`revoke webhook_worker from ` + role)
	require.ErrorContains(t, migrations.Check(t.Context(), hand), "role "+role+" sees no partners, events or attempts")
}

// What somebody else than the owner made, the owner's functions could not use.
func TestOnlyTheOwnerMigrates(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	name := fmt.Sprintf("other_super_%d", time.Now().UnixNano())
	_, err := pool.Exec(t.Context(), `create role `+name+` login superuser password 'other'`)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = pool.Exec(context.Background(), `drop owned by `+name+`; drop role `+name) })
	other := inSchema(t, testdb.URL(pool), "public", name, "other")
	require.ErrorContains(t, migrations.Up(t.Context(), other, quiet()), "may not migrate: the tables belong to")
	require.NoError(t, migrations.Check(t.Context(), other), "but it may work")
}
