package docstest

import (
	"crypto/rand"
	"encoding/json"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

var queries = regexp.MustCompile("(?ms)^```sql\n(.*?)^```$")

// TestQueriesRun runs each block of SQL in the pages for operators and programmers as it stands, one after the other.
func TestQueriesRun(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"docs/api.md", "docs/operations.md"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			pool := testdb.New(t)
			furnish(t, pool)
			blocks := queries.FindAllStringSubmatch(read(t, path), -1)
			require.NotEmpty(t, blocks)
			connection, err := pool.Acquire(t.Context())
			require.NoError(t, err)
			defer connection.Release()
			for _, block := range blocks {
				_, err := connection.Conn().PgConn().Exec(t.Context(), block[1]).ReadAll()
				require.NoError(t, err, block[1])
				require.EqualValues(t, 'I', connection.Conn().PgConn().TxStatus(), "a transaction was left open: %s", block[1])
			}
		})
	}
}

// furnish adds the partner that the pages speak of, and a delivery to it.
func furnish(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	key := make([]byte, partners.KeySize)
	_, _ = rand.Read(key)
	keyring, err := partners.NewKeyring(key)
	require.NoError(t, err)
	_, _, err = partners.NewStore(&partners.StoreConfig{Pool: pool, Keyring: keyring}).Create(t.Context(), "user_123", &partners.Params{
		Name: "Acme Corp", Slug: "acme-corp", URL: "https://acme.example/webhooks", EnabledEvents: []string{"call.*"},
	})
	require.NoError(t, err)
	enqueuer, err := jobs.NewEnqueuer(nil)
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := enqueuer.EnqueueCallOutcomeTx(t.Context(), tx, "user_123", "call_1", json.RawMessage(`{"call_id":"call_1","event_type":"call.completed"}`))
		return err
	}))
}
