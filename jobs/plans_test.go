package jobs

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/partners"
)

// TestPlansAreCheap looks at the plans of what runs for each event and each delivery, on tables without
// statistics, as a new installation has them: a plan that PostgreSQL takes for expensive is compiled (JIT)
// each time it runs.
func TestPlansAreCheap(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	columns, err := closeColumns([]*Attempt{newTestAttempt()})
	require.NoError(t, err)
	for name, statement := range map[string]struct {
		sql  string
		args []any
	}{
		"storing an event":   {storeEventStatement, []any{"u", "e", "call.x", "{}", partners.PatternsFor("call.x"), (*uuid.UUID)(nil)}},
		"opening attempts":   {insertAttempts, insertColumns([]*Attempt{newTestAttempt()})},
		"closing attempts":   {closeAttempts, columns},
		"due deliveries":     {dueStatement, []any{Queue, dueInterval.Seconds()}},
		"withdrawing":        {withdrawAttempts, []any{[]time.Time{time.Now()}, []uuid.UUID{uuid.New()}}},
		"loading an event":   {loadEventStatement, []any{"u", "e"}},
		"repeating an event": {repeatedEventStatement, []any{"u", "e", "call.x", "{}"}},
	} {
		var plan []byte
		require.NoError(t, pool.QueryRow(t.Context(), "explain (format json) "+statement.sql, statement.args...).Scan(&plan), name)
		var decoded []struct {
			Plan struct {
				Cost float64 `json:"Total Cost"`
			} `json:"Plan"`
		}
		require.NoError(t, json.Unmarshal(plan, &decoded))
		require.Less(t, decoded[0].Plan.Cost, 5000.0, "%s: %s", name, plan)
	}
}
