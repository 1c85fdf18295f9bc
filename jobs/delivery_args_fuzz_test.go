package jobs

import (
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// Whatever a job's arguments and metadata are, its attempt has a row in the log. What decodes comes back from
// its encoding as it was.
func FuzzDeliveryArgs(f *testing.F) {
	for _, args := range []string{
		`{"version":1,"delivery_id":"5f0c6f0e-8b0a-4a55-9d0f-000000000001","user_id":"anna","partner_id":"5f0c6f0e-8b0a-4a55-9d0f-000000000002","event_id":"call_1:call.completed","event_type":"call.completed"}`,
		`{"version":2,"DELIVERY_ID":"urn:uuid:5f0c6f0e-8b0a-4a55-9d0f-000000000001","delivery_id":null,"user_id":"\n😀"}`,
		`{"version":"1","delivery_id":7,"user_id":"anna","partner_id":"{5f0c6f0e-8b0a-4a55-9d0f-000000000002}","event_id":[],"event_type":{}}`,
		`{"version":1e99,"user_id":"anna"}`, `{}`, `null`, `[]`, `"text"`, `0`, ``, `{"user_id":"\ud800"}`,
	} {
		f.Add([]byte(args), []byte(`{"trigger":"replay"}`))
	}
	for _, metadata := range []string{`{"trigger":"by hand"}`, `{"trigger":1}`, `{"TRIGGER":""}`, `[]`, `null`} {
		f.Add([]byte(`{"version":1}`), []byte(metadata))
	}
	pool, written := testdb.Fuzz(f, testdb.New), 0
	worker := &DeliveryWorker{now: time.Now, clientID: "fuzz", logger: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, encoded, metadata []byte) {
		row := &rivertype.JobRow{ID: 1, Attempt: 1, Kind: Kind}
		row.EncodedArgs, row.Metadata = stored(t, pool, encoded), stored(t, pool, metadata)
		if row.EncodedArgs == nil || row.Metadata == nil {
			return
		}
		job := &river.Job[DeliveryArgs]{JobRow: row}
		err := json.Unmarshal(row.EncodedArgs, &job.Args)
		if err != nil {
			job.Args = readableArgs(row.EncodedArgs)
		} else {
			requireSameAgain(t, job.Args)
		}
		require.Nil(t, (&undecodable{worker}).HandleError(t.Context(), row, errors.Join(err, errors.New("reason"))), "River goes on as with every error")

		attempt := worker.newAttempt(job)
		require.NoError(t, writeEntries(t.Context(), pool, []*logEntry{{kind: entryOpen, attempt: *attempt}}))
		attempt.finish(&Verdict{Outcome: OutcomeFailed, ErrorKind: "internal", Error: string(encoded)}, nil)
		require.NoError(t, writeEntries(t.Context(), pool, []*logEntry{{kind: entryClose, attempt: *attempt}}))

		if written++; written%1000 == 0 { // rows of an hour are many
			_, err := pool.Exec(t.Context(), `truncate webhook_delivery_log`)
			require.NoError(t, err)
		}
	})
}

// stored is JSON as a column of type jsonb, such as River's, gives it back; nil if it does not take it.
func stored(t *testing.T, pool *pgxpool.Pool, document []byte) []byte {
	t.Helper()

	var text string
	err := pool.QueryRow(t.Context(), `select convert_from($1, 'UTF8')::jsonb::text`, document).Scan(&text)
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return nil
	}
	require.NoError(t, err)
	return []byte(text)
}

func requireSameAgain(t *testing.T, args DeliveryArgs) {
	t.Helper()

	encoded, err := json.Marshal(args)
	require.NoError(t, err)
	var again DeliveryArgs
	require.NoError(t, json.Unmarshal(encoded, &again))
	require.Equal(t, args, again)
}
