package main

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
)

// What internal/gen makes its databases with.
const (
	releaseKey     = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	releaseSecret  = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	releaseRotated = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
)

// releaseBundle is a database that an earlier release left, with the program of now.
type releaseBundle struct {
	*terminal

	pool    *pgxpool.Pool
	version int // of its schema

	mu       sync.Mutex
	requests map[string][]string // by path: the ids that arrived, in order
	refused  []string            // what was wrong with requests
}

// newRelease restores the database of a file, with its partners at a receiver of the test's.
func newRelease(t *testing.T, file string) *releaseBundle {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	b := &releaseBundle{pool: testdb.NewEmpty(t), requests: map[string][]string{}}
	conn, err := pgx.Connect(t.Context(), testdb.URL(b.pool)) // one of its own, for the file changes its settings
	require.NoError(t, err)
	_, err = conn.PgConn().Exec(t.Context(), string(text)).ReadAll()
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))

	receiver := httptest.NewServer(b)
	t.Cleanup(receiver.Close)
	b.exec(t, `update partner_webhooks set url = replace(url, 'http://127.0.0.1:9000', $1)`, receiver.URL)
	require.NoError(t, b.pool.QueryRow(t.Context(), `select version from webhook_schema_version`).Scan(&b.version))
	b.terminal = &terminal{environ: []string{
		"DATABASE_URL=" + testdb.URL(b.pool), "WEBHOOK_ENCRYPTION_KEY=" + releaseKey, "WEBHOOK_ALLOW_HTTP=true", "WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8",
		// The file is as old as it is.
		"RETENTION_COMPLETED=-1", "RETENTION_DEAD_LETTERS=-1", "RETENTION_CANCELLED=-1", "RETENTION_EVENTS=-1", "RETENTION_ATTEMPTS=-1",
	}}
	return b
}

func (b *releaseBundle) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	_, err := b.pool.Exec(t.Context(), statement, args...)
	require.NoError(t, err)
}

// ServeHTTP verifies as a partner does, and fails where the partners of the release did for a while.
func (b *releaseBundle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	secrets := []string{releaseSecret}
	if r.URL.Path == "/rotated" {
		secrets = append(secrets, releaseRotated)
	}
	for _, secret := range secrets {
		webhook, err := standardwebhooks.NewWebhook(secret)
		if err == nil {
			err = webhook.Verify(body, r.Header)
		}
		if err != nil {
			b.refused = append(b.refused, r.URL.Path+": "+err.Error())
		}
	}
	if !strings.HasPrefix(string(body), `{"z": 1.50, "a": "`) || strings.HasSuffix(string(body), `,"brand":"AcmeVoice"}`) != (r.URL.Path == "/ok") {
		b.refused = append(b.refused, r.URL.Path+": "+string(body))
	}
	b.requests[r.URL.Path] = append(b.requests[r.URL.Path], r.Header.Get("webhook-id"))
	if r.URL.Path == "/retry" || r.URL.Path == "/last" {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// arrived is how many requests came to each path.
func (b *releaseBundle) arrived() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := map[string]int{}
	for path, ids := range b.requests {
		counts[path] = len(ids)
	}
	return counts
}

// deliveries are all, by the ids of their events.
func (b *releaseBundle) deliveries(t *testing.T) map[string]jobs.DeliveryState {
	t.Helper()
	var list []jobs.DeliveryState
	b.json(t, &list, "deliveries", "list")
	states := map[string]jobs.DeliveryState{}
	for _, state := range list {
		states[state.EventID] = state
	}
	require.Len(t, states, len(list))
	return states
}

// statuses are their statuses with the tries made.
func (b *releaseBundle) statuses(t *testing.T) map[string]string {
	t.Helper()
	statuses := map[string]string{}
	for event, state := range b.deliveries(t) {
		statuses[event] = string(state.Status) + " " + strconv.Itoa(state.AttemptCount)
	}
	return statuses
}

// await waits until all deliveries have the statuses and tries given.
func (b *releaseBundle) await(t *testing.T, want map[string]string) {
	t.Helper()
	for deadline := time.Now().Add(waitFor); !maps.Equal(want, b.statuses(t)) && time.Now().Before(deadline); {
		time.Sleep(10 * look)
	}
	require.Equal(t, want, b.statuses(t))
}

// Each release leaves a database with deliveries in every state (`make release-database`). This program brings it up to
// date and goes on with them as that one would have.
func TestDeliveriesOfEarlierReleases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/releases/*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			goOnWith(t, newRelease(t, file))
		})
	}
}

func goOnWith(t *testing.T, b *releaseBundle) {
	t.Helper()
	for _, args := range [][]string{{"work"}, {"deliveries", "list"}, {"send", "--user", "tenant", "--event", "call.ok", "--data", "{}"}} {
		if b.run(t, "migrate", "status").status == exitOK {
			break // that release's schema is this one's
		}
		early := b.run(t, args...)
		require.Equal(t, exitFailure, early.status)
		require.Regexp(t, "^webhook-worker: [^\n]*: the database schema is behind this program: run `webhook-worker migrate up`\n$", early.stderr)
	}
	b.ok(t, "migrate", "up")
	b.exec(t, `update webhook_settings set log_settled_until = now()`) // the file is as old as it is: doctor would complain
	require.Equal(t, map[string]string{
		"ok-1": "delivered 1", "ok-2": "pending 0", "ok-3": "pending 0", "rotated-1": "delivered 1", "rotated-2": "pending 0",
		"retry-1": "failed 1", "last-1": "failed 1", "dead-1": "dead_letter 1", "paused-1": "pending 0", "cancelled-1": "cancelled 0", "hang-1": "processing 1",
	}, b.statuses(t))

	// A retry that is not due yet stays where it is, and the others go on.
	before := b.deliveries(t)
	b.exec(t, `update river_job set scheduled_at = now() + interval '1 hour' where args->>'event_id' = 'retry-1'`)
	worker := b.start(t, "work")
	want := map[string]string{
		"ok-1": "delivered 1", "ok-2": "delivered 1", "ok-3": "delivered 1", "rotated-1": "delivered 1", "rotated-2": "delivered 1",
		"retry-1": "failed 1", "last-1": "dead_letter 2", "dead-1": "dead_letter 1", "paused-1": "pending 0", "cancelled-1": "cancelled 0", "hang-1": "delivered 1",
	}
	b.await(t, want)
	require.Equal(t, map[string]int{"/ok": 2, "/rotated": 1, "/last": 1, "/hang": 1}, b.arrived())

	// The schedule goes on where it was.
	b.exec(t, `update river_job set scheduled_at = now(), state = 'available' where args->>'event_id' = 'retry-1'`)
	want["retry-1"] = "failed 2"
	b.await(t, want)
	retry := b.deliveries(t)["retry-1"]
	require.Equal(t, 6, retry.MaxAttempts)
	require.WithinDuration(t, retry.UpdatedAt.Add(60*time.Second), *retry.NextAttemptAt, 10*time.Second)

	// What was held, ended or asked for again.
	b.ok(t, "partner", "resume", "--user", "tenant", "paused")
	b.ok(t, "replay", before["dead-1"].ID)
	b.ok(t, "replay", before["cancelled-1"].ID)
	var sent []map[string]any
	b.json(t, &sent, "send", "--user", "tenant", "--event", "call.ok", "--id", "ok-1", "--data", `{"z": 1.50, "a": "ok-1"}`)
	require.Len(t, sent, 1)
	require.Equal(t, before["ok-1"].ID, sent[0]["id"], "the event is known")
	want["dead-1"], want["paused-1"], want["cancelled-1"] = "delivered 1", "delivered 1", "delivered 1"
	b.await(t, want)
	require.Equal(t, map[string]int{"/ok": 2, "/rotated": 1, "/last": 1, "/hang": 1, "/retry": 1, "/dead": 1, "/paused": 2}, b.arrived())
	require.Empty(t, b.refused)
	for event, path := range map[string]string{"hang-1": "/hang", "dead-1": "/dead", "last-1": "/last"} {
		require.Equal(t, []string{before[event].ID}, b.requests[path], "the id stays")
	}

	require.Equal(t, map[string]string{
		"ok-1": "delivered", "ok-2": "delivered", "ok-3": "delivered", "rotated-1": "delivered", "rotated-2": "delivered", "retry-1": "failed failed",
		"last-1": "failed failed", "dead-1": "failed delivered", "paused-1": "delivered", "cancelled-1": "cancelled delivered", "hang-1": "lost delivered",
	}, b.attempts(t))
	require.Zero(t, worker.stop(), worker.stderr)
	b.ok(t, "doctor")

	// The way back keeps them all.
	if steps := b.schemaVersion(t) - b.version; steps > 0 {
		b.ok(t, "migrate", "down", "--steps", strconv.Itoa(steps))
	}
	require.Equal(t, b.version, b.schemaVersion(t))
	back := map[string]string{}
	rows, _ := b.pool.Query(t.Context(), `select event_id, status || ' ' || attempt_count from webhook_delivery_queue`)
	var event, status string
	_, err := pgx.ForEachRow(rows, []any{&event, &status}, func() error {
		back[event] = status
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, want, back)
	b.ok(t, "migrate", "up")
	require.Equal(t, want, b.statuses(t))
}

func (b *releaseBundle) schemaVersion(t *testing.T) (version int) {
	t.Helper()
	require.NoError(t, b.pool.QueryRow(t.Context(), `select version from webhook_schema_version`).Scan(&version))
	return version
}

// attempts are the outcomes on record, by the ids of the events.
func (b *releaseBundle) attempts(t *testing.T) map[string]string {
	t.Helper()
	outcomes := map[string]string{}
	rows, _ := b.pool.Query(t.Context(), `select event_id, string_agg(outcome, ' ' order by started_at) from webhook_delivery_log group by event_id`)
	var event, list string
	_, err := pgx.ForEachRow(rows, []any{&event, &list}, func() error {
		outcomes[event] = list
		return nil
	})
	require.NoError(t, err)
	return outcomes
}
