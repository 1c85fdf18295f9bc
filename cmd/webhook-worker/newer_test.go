package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// While an update is under way, and when it is taken back, this program works on the schema of a later version: that has
// more of everything, and says so.
func TestOnTheSchemaOfANewerVersion(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	endpoint := newEndpoint(t, http.StatusOK)
	terminal.addPartner(t, "u", "acme", endpoint.URL)
	exec := func(statement string) {
		_, err := pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	for _, table := range []string{
		"partner_webhooks", "webhook_events", "webhook_delivery_log", "webhook_settings", "webhook_partner_health", "webhook_partner_rates", "river_job",
	} {
		exec(`alter table ` + table + ` add column later text not null default 'x'`)
	}
	exec(`update webhook_schema_version set version = version + 3`)
	exec(`insert into river_migration (line, version) values ('main', 99)`)

	require.Contains(t, terminal.ok(t, "migrate", "status").stderr, "the database also has 3 of a newer version\n")
	worker := terminal.start(t, "work")
	terminal.ok(t, "send", "--user", "u", "--event", "call.completed", "--id", "e1", "--data", `{"from":"the program"}`)
	exec(`select enqueue_webhook_event('u', 'call.completed', '{"from":"SQL"}')`)
	require.Eventually(t, func() bool { return len(endpoint.received()) == 2 }, waitFor, look)
	require.ElementsMatch(t, []string{`{"from":"the program"}`, `{"from":"SQL"}`}, endpoint.received())
	terminal.ok(t, "partner", "update", "--user", "u", "acme", "--name", "Acme")
	terminal.ok(t, "stats")
	require.Zero(t, worker.stop())
	require.Contains(t, worker.stderr.String(), `level=WARN msg="a newer version of webhook-worker migrated the database: update this worker" instance=1 migrations=3`)

	for _, args := range [][]string{{"up"}, {"down"}, {"down", "--dry-run"}, {"down", "--all"}} {
		refused := terminal.run(t, append([]string{"migrate"}, args...)...)
		require.Equal(t, exitFailure, refused.status, args)
		require.Equal(t, "webhook-worker: migrate "+args[0]+": the database was migrated by a newer version of this program: migrate with that one\n", refused.stderr)
	}

	exec(`update webhook_schema_version set works_from = version`)
	for _, args := range [][]string{
		{"work"},
		{"serve"},
		{"send", "--user", "u", "--event", "a.b", "--data", "{}"},
		{"deliveries", "list"},
		{"replay", "--status", "dead_letter"},
		{"stats"},
		{"doctor"},
		{"partner", "list", "--user", "u"},
		{"migrate", "status"},
	} {
		refused := terminal.run(t, args...)
		require.Equal(t, exitFailure, refused.status, args)
		require.Regexp(t, "^webhook-worker: [^\n]*: a newer version of this program has migrated the database to a schema that this one can't work with: [^\n]*\n$", refused.stderr)
	}
}
