package jobs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/partners"
)

// Go and SQL agree about what is a call's outcome, and make the same event of it.
func FuzzCallOutcome(f *testing.F) {
	for _, outcome := range []string{
		`{"event_type":"call.completed"}`, " \n{ \"event\\u005ftype\" :\t\"call\\u002ecompleted\" , \"event_type\":\"a\" } \n", `{"event_type":["call"]}`, `{}`, `[]`, ``,
		`{"a":"\u0000\\u0000\\\ud800","event_type":"call.completed","\udfff":1E400}`, `{"event_type\u0000":1,"event_type":"a.b.c.d"}`,
		`{"event_type":"call.completed\n"}`, `{"event_type":"ｃall"}`, `{"event_type":"` + strings.Repeat("x", 129) + `"}`, strings.Repeat(`{"event_type":`, 501) + `"a"` + strings.Repeat("}", 501),
	} {
		f.Add("call_1", outcome)
	}
	for _, callID := range []string{"", "\x00", "\x7f", "\u0085", "\u00a0", "\xff", strings.Repeat("😀", 126), strings.Repeat("x", 127)} {
		f.Add(callID, `{"event_type":"call.completed"}`)
	}
	pool, rolledBack := testdb.Fuzz(f, testdb.New), 0
	f.Fuzz(func(t *testing.T, callID, outcome string) {
		if rolledBack++; rolledBack%1000 == 0 { // dead rows take room too
			_, err := pool.Exec(t.Context(), `truncate webhook_events`)
			require.NoError(t, err)
		}
		event, refused := callOutcomeEvent("anna", callID, json.RawMessage(outcome))

		tx, err := pool.Begin(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
		_, err = tx.Exec(t.Context(), `select enqueue_call_outcome_webhook('anna', $1, $2::json)`, callID, outcome)
		if err != nil {
			var pgErr *pgconn.PgError
			require.ErrorAs(t, err, &pgErr)
			require.True(t, strings.HasPrefix(pgErr.Code, "22"), "%s: %s", pgErr.Code, pgErr.Message)
			require.Error(t, refused, "SQL says %s", pgErr.Message)
			return
		}
		require.NoError(t, refused, "SQL accepts it")
		stored, err := collect(t.Context(), tx, pgx.RowToStructByPos[storedOutcome],
			`select event_id, event_type, payload::text, webhook_event_patterns(event_type) from webhook_events`)
		require.NoError(t, err)
		patterns := partners.PatternsFor(event.Type)
		slices.Sort(patterns)
		slices.Sort(stored[0].Patterns)
		require.Equal(t, []storedOutcome{{event.ID, event.Type, outcome, patterns}}, stored)
	})
}

// storedOutcome is an event as SQL stored it, with what subscribes to it.
type storedOutcome struct {
	ID, Type, Payload string
	Patterns          []string
}
