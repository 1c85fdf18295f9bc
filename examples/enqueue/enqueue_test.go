//go:build examples

// Package enqueue_test runs each example against a real database and a real worker.
package enqueue_test

import (
	"cmp"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// Debian's modules are for its own interpreters, and others may come first on PATH. PYTHON and RUBY name others.
var (
	python = cmp.Or(os.Getenv("PYTHON"), "/usr/bin/python3")
	ruby   = cmp.Or(os.Getenv("RUBY"), "/usr/bin/ruby")
)

var (
	psycopg    = []string{python, "python/enqueue_psycopg.py"}
	sqlalchemy = []string{python, "python/enqueue_sqlalchemy.py"}
	node       = []string{"node", "node/enqueue.mjs"}
	rubyPg     = []string{ruby, "ruby/enqueue.rb"}
)

func TestExamplesEnqueue(t *testing.T) {
	t.Parallel()
	program := build(t)

	for name, example := range map[string][]string{
		"psycopg": psycopg, "sqlalchemy": sqlalchemy, "node": node, "ruby": rubyPg,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, program)

			stdout, stderr, err := b.run(t, append(example, "--fail"))
			require.Error(t, err)
			require.Contains(t, stderr, "failing before the commit", "it fails where it is meant to, and not earlier")
			require.Empty(t, stdout)
			require.Equal(t, rows{}, b.rows(t), "what was done before the failure is rolled back")

			stdout, stderr, err = b.run(t, example)
			require.NoError(t, err, stderr)
			ids := strings.Fields(stdout)
			require.Len(t, ids, 1, "one partner is subscribed")
			stored := b.rows(t)
			require.Equal(t, ids, stored.Deliveries)
			require.Len(t, stored.Calls, 1)
			require.Len(t, stored.Payloads, 1)
			require.Equal(t, 1, stored.Jobs)

			body := b.receiver.await(t, ids)[ids[0]].body
			require.Equal(t, stored.Payloads[0], body)
			require.JSONEq(t, `{"event_type":"call.completed","call_id":"`+stored.Calls[0]+`","status":"completed","agent":"Zoë"}`, body)
		})
	}
}

// rows is what an application's transaction leaves.
type rows struct {
	Calls      []string // ids
	Payloads   []string // of the events
	Deliveries []string // ids
	Jobs       int
}

func (b *bundle) rows(t *testing.T) rows {
	t.Helper()
	var r rows
	require.NoError(t, b.pool.QueryRow(t.Context(), `
		select (select array_agg(id) from calls),
		       (select array_agg(payload::text) from webhook_events),
		       (select array_agg(id) from webhook_delivery_queue),
		       (select count(*) from river_job where kind = 'webhook_delivery')`).
		Scan(&r.Calls, &r.Payloads, &r.Deliveries, &r.Jobs))
	return r
}

// The examples' role is what the README tells to make: this is all that it may do.
func TestRoleOfExamples(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	connection, err := pgx.Connect(t.Context(), b.roleURL)
	require.NoError(t, err)
	defer connection.Close(t.Context())

	for _, statement := range []string{
		"select from webhook_events", "select from webhook_delivery_queue", "select from river_job", "select from partner_webhooks",
		"insert into webhook_role_users values (session_user, '*')",
		`select enqueue_webhook_event('user_456', 'call.completed', json '{}')`,
	} {
		_, err := connection.Exec(t.Context(), statement)
		require.ErrorContains(t, err, "SQLSTATE 42501", statement)
	}
	_, err = connection.Exec(t.Context(), `select enqueue_webhook_event('user_123', 'call.completed', json '{}')`)
	require.NoError(t, err)
}

// How long it takes from the commit to the request, by the clock of this machine, when nothing else is to be
// done. It is told and not judged.
//
//nolint:paralleltest // nothing else is to be done
func TestLatency(t *testing.T) {
	const count = 50
	program := build(t)

	for name, example := range map[string][]string{"psycopg": psycopg, "node": node} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, program)
			stdout, stderr, err := b.run(t, append(example, "--count", strconv.Itoa(count)))
			require.NoError(t, err, stderr)

			committed := map[string]float64{}
			for line := range strings.Lines(stdout) {
				id, seconds, _ := strings.Cut(strings.TrimSpace(line), " ")
				committed[id], err = strconv.ParseFloat(seconds, 64)
				require.NoError(t, err, line)
			}
			require.Len(t, committed, count)

			var latencies []time.Duration
			for id, received := range b.receiver.await(t, slices.Collect(maps.Keys(committed))) {
				at := float64(received.at.UnixMicro()) / 1e6
				latencies = append(latencies, time.Duration((at-committed[id])*1e9).Round(100*time.Microsecond))
			}
			slices.Sort(latencies)
			t.Logf("%s, %d commits to arrivals: p50 %s, p95 %s, most %s",
				name, count, latencies[count/2], latencies[count*95/100], latencies[count-1])
		})
	}
}
