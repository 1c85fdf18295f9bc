package partners

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Every worker reads partners all the time: the table is not read from end to end for it.
func TestGetManyLooksUp(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, err := bundle.pool.Exec(t.Context(), `
		insert into partner_webhooks (user_id, partner_name, partner_slug, url, secret_ciphertext, secret_key_id, enabled_events)
		select 'user-' || n, 'P', 'p', 'https://partner.example/', '\x00', 'none', '{call.*}' from generate_series(1, 5000) n`)
	require.NoError(t, err)
	_, err = bundle.pool.Exec(t.Context(), `analyze partner_webhooks`)
	require.NoError(t, err)
	rows, err := bundle.pool.Query(t.Context(), "explain "+getManyStatement, []string{"user-1", "user-2"}, []string{uuid.NewString(), uuid.NewString()})
	require.NoError(t, err)
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotContains(t, strings.Join(plan, "\n"), "Seq Scan", plan)
}
