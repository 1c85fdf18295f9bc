package jobs_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/migrations"
	"github.com/epicvoice/webhook-worker/partners"
)

// connect opens a connection of its own, with what the session starts with set.
func connect(t *testing.T, pool *pgxpool.Pool, settings map[string]string) *pgx.Conn {
	t.Helper()
	config := pool.Config().ConnConfig.Copy() // with the pool's role, which its URL may not name
	maps.Copy(config.RuntimeParams, settings)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// requireSQLState checks PostgreSQL's code of an error, and what its message says.
func requireSQLState(t *testing.T, err error, code string, words ...string) {
	t.Helper()
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, code, pgErr.Code, pgErr.Message)
	for _, word := range words {
		require.Contains(t, pgErr.Message, word)
	}
}

// committed runs one way's enqueueing in a transaction of its own.
func (b *testBundle) committed(ctx context.Context, way enqueueWay, event *jobs.Event) (ids []uuid.UUID, err error) {
	err = pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		ids, err = way.event(ctx, tx, event)
		return err
	})
	return ids, err
}

func TestEnqueueOneWayAndTheOther(t *testing.T) {
	t.Parallel()
	for _, from := range []int{0, 1} {
		b := setup(t)
		first, second := b.bothWays()[from], b.bothWays()[1-from]
		b.partner(t, user, "zeta", nowhere, "*")
		b.partner(t, user, "acme", nowhere, "call.*")
		event := completed("e1")
		event.Payload = json.RawMessage(" {\"b\":1.0,\n\"a\":\"\\u0000é\"} ")
		ids, err := b.committed(t.Context(), first, event)
		require.NoError(t, err)
		require.Len(t, ids, 2)
		b.partner(t, user, "late", nowhere, "*")

		for _, way := range []enqueueWay{second, first, second} {
			again, err := b.committed(t.Context(), way, event)
			require.NoError(t, err)
			require.Equal(t, ids, again, "%s after %s", way.name, first.name)
			other := completed("e1")
			_, err = b.committed(t.Context(), way, other)
			requireConflict(t, err)
			other.OnConflict = jobs.OnConflictFirst
			again, err = b.committed(t.Context(), way, other)
			require.NoError(t, err)
			require.Equal(t, ids, again)
		}
		theirs := completed("e1")
		theirs.UserID = "somebody-else"
		again, err := b.committed(t.Context(), second, theirs)
		require.NoError(t, err, "another user's event of the same id is another event")
		require.Empty(t, again)
		require.Equal(t, 2, b.count(t, "river_job"))

		call := func(way enqueueWay, outcome string) (ids []uuid.UUID) {
			require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) (err error) {
				ids, err = way.outcome(t.Context(), tx, user, "call_1", outcome)
				return err
			}))
			return ids
		}
		ids = call(first, `{"event_type":"call.completed","timestamp":"t1"}`)
		require.Len(t, ids, 3)
		require.Equal(t, ids, call(second, `{"event_type":"call.completed","timestamp":"t2"}`))
		require.Equal(t, 5, b.count(t, "river_job"))
	}
}

func TestEnqueueConcurrentlyBothWaysMakesOneDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	b.partner(t, user, "zeta", nowhere, "*")
	const callers, rounds = 8, 10
	for round := range rounds {
		event := completed("e" + strings.Repeat("1", round))
		results, failures := make([][]uuid.UUID, callers), make([]error, callers)
		start := make(chan struct{})
		var group sync.WaitGroup
		for i := range callers {
			way := b.bothWays()[i%2]
			group.Go(func() {
				<-start
				results[i], failures[i] = b.committed(t.Context(), way, event)
			})
		}
		close(start)
		group.Wait()
		for i := range callers {
			require.NoError(t, failures[i])
			require.Len(t, results[i], 2)
			require.Equal(t, results[0], results[i])
		}
		require.Equal(t, 2*(round+1), b.count(t, "river_job"))
	}
}

func TestEnqueueLoserUnderRepeatableReadBothWays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	for _, isolation := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		for _, winner := range b.bothWays() {
			for _, loser := range b.bothWays() {
				event := completed(string(isolation) + winner.name + loser.name)
				tx, err := b.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: isolation})
				require.NoError(t, err)
				_, err = tx.Exec(t.Context(), `select 1`) // takes the snapshot
				require.NoError(t, err)
				ids, err := b.committed(t.Context(), winner, event)
				require.NoError(t, err)

				_, err = loser.event(t.Context(), tx, event)
				requireSQLState(t, err, "40001")
				require.NoError(t, tx.Rollback(t.Context()))
				again, err := b.committed(t.Context(), loser, event)
				require.NoError(t, err)
				require.Equal(t, ids, again)
			}
		}
	}
}

func migrate(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	require.NoError(t, migrations.Up(t.Context(), pool, slog.New(slog.DiscardHandler)))
}

// elsewhere makes a database where our tables are in the schema given, with a partner of user, and returns a
// pool that finds them and one whose search path leads elsewhere.
func elsewhere(t *testing.T, schema string) (ours, theirs *pgxpool.Pool) {
	t.Helper()
	empty := testdb.NewEmpty(t)
	_, err := empty.Exec(t.Context(), "create schema app; create schema if not exists "+pgx.Identifier{schema}.Sanitize())
	require.NoError(t, err)
	open := func(searchPath string) *pgxpool.Pool {
		config, err := pgxpool.ParseConfig(testdb.URL(empty))
		require.NoError(t, err)
		config.ConnConfig.RuntimeParams["search_path"] = searchPath
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		return pool
	}
	ours, theirs = open(pgx.Identifier{schema}.Sanitize()), open("app")
	migrate(t, ours)
	_, _, err = newStore(t, ours).Create(t.Context(), user, &partners.Params{Name: "Acme", Slug: "acme", URL: nowhere, EnabledEvents: []string{"*"}})
	require.NoError(t, err)
	return ours, theirs
}

// It works from any search path, and wakes the workers when the transaction commits, and only if there is
// something to do.
func TestEnqueueSQLWakesWorkersAtCommit(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"public", "hooks", `Our "web" hooks`} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			ours, theirs := elsewhere(t, schema)
			quoted := pgx.Identifier{schema}.Sanitize()
			listener := connect(t, theirs, nil)
			_, err := listener.Exec(t.Context(), "listen "+pgx.Identifier{schema + ".river_insert"}.Sanitize())
			require.NoError(t, err)
			exec := func(query string, args ...any) {
				_, err := theirs.Exec(t.Context(), query, args...)
				require.NoError(t, err)
			}
			say := func(text string) { exec(`select pg_notify($1, $2)`, schema+".river_insert", text) }
			event := "select " + quoted + ".enqueue_webhook_event($1, 'call.completed', $2, $3)"

			tx, err := theirs.Begin(t.Context())
			require.NoError(t, err)
			for _, id := range []string{"e1", "e2"} {
				_, err = tx.Exec(t.Context(), event, user, `{}`, id)
				require.NoError(t, err)
			}
			say("the transaction is open")
			require.NoError(t, tx.Commit(t.Context()))
			say("it was one transaction")
			exec(event, user, `{}`, "e3")
			exec(event, user, `{}`, "e4")
			say("those were two")
			exec(event, "somebody-else", `{}`, "e1")
			say("nobody wants it")
			exec(event, user, `{}`, "e1")
			say("it had been enqueued before")
			tx, err = theirs.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), event, user, `{}`, "e5")
			require.NoError(t, err)
			require.NoError(t, tx.Rollback(t.Context()))
			say("it was rolled back")
			exec("select "+quoted+".enqueue_call_outcome_webhook($1, 'call_1', $2)", user, `{"event_type":"call.completed"}`)
			say("it was a call's outcome")

			const wake = `{"queue": "webhooks"}`
			for _, want := range []string{
				"the transaction is open", wake, "it was one transaction", wake, wake, "those were two", "nobody wants it",
				"it had been enqueued before", "it was rolled back", wake, "it was a call's outcome",
			} {
				bounded, cancel := context.WithTimeout(t.Context(), waitFor)
				notification, err := listener.WaitForNotification(bounded)
				cancel()
				require.NoError(t, err)
				require.Equal(t, want, notification.Payload) // River's to the letter
			}
			for table, want := range map[string]int{"river_job": 5, "webhook_events": 6} {
				var n int
				require.NoError(t, ours.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n))
				require.Equal(t, want, n, table)
			}
		})
	}
}
