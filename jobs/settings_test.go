package jobs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestForeignKind(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	for _, kind := range []string{Kind, retentionArgs{}.Kind(), settlementArgs{}.Kind()} {
		_, err := pool.Exec(t.Context(), `insert into river_job (args, kind, max_attempts) values ('{}', $1, 1)`, kind)
		require.NoError(t, err)
	}
	found, err := ForeignKind(t.Context(), pool)
	require.NoError(t, err)
	require.Empty(t, found)
	for _, kind := range []string{"app_report", "webhook_other", "webhook_set", "zip"} {
		_, err := pool.Exec(t.Context(), `insert into river_job (args, kind, max_attempts) values ('{}', $1, 1)`, kind)
		require.NoError(t, err)
		found, err := ForeignKind(t.Context(), pool)
		require.NoError(t, err)
		require.Equal(t, kind, found)
		_, err = pool.Exec(t.Context(), `delete from river_job where kind = $1`, kind)
		require.NoError(t, err)
	}
}
