package main

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	good, bad := newEndpoint(t, http.StatusOK), newEndpoint(t, http.StatusInternalServerError)
	terminal.addPartner(t, "u", "good", good.URL)
	terminal.addPartner(t, "u", "bad", bad.URL, "--max-retries", "0")
	healthy := terminal.ok(t, "doctor")
	require.Equal(t, "22 checks, 0 breaches\n", healthy.stdout)
	require.Empty(t, healthy.stderr)

	worker := terminal.start(t, "work")
	for range 20 {
		terminal.ok(t, "send", "--user", "u", "--event", "call.completed", "--data", "{}")
		require.Equal(t, "22 checks, 0 breaches\n", terminal.ok(t, "doctor").stdout)
	}
	require.Eventually(t, func() bool {
		var ended []map[string]any
		terminal.json(t, &ended, "deliveries", "list", "--status", "dead_letter", "--limit", "100")
		return len(ended) == 20 && len(good.received()) == 20
	}, waitFor, look)
	require.Zero(t, worker.stop())
	terminal.ok(t, "doctor", "--user", "u")

	// A person deletes some jobs in River UI, and edits tables.
	_, err := pool.Exec(t.Context(), `delete from river_job where kind = 'webhook_delivery' and state <> 'completed'`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `update webhook_settings set river_schema = 'elsewhere'`)
	require.NoError(t, err)

	_, err = pool.Exec(t.Context(), `insert into webhook_role_users values (E'a \x1b[31mrole\n', 'u')`)
	require.NoError(t, err)

	sick := terminal.run(t, "doctor", "--limit", "2")
	require.Equal(t, 1, sick.status)
	require.Contains(t, sick.stdout, "event_without_delivery: 20\n")
	require.Contains(t, sick.stdout, "  and 18 more; --limit shows more\n")
	require.Contains(t, sick.stdout, "river_schema: 1\n")
	require.Contains(t, sick.stdout, "schema elsewhere has no table river_job")
	require.Regexp(t, `\n22 checks, 22 breaches\n$`, sick.stdout)
	require.Equal(t, "webhook-worker: doctor: 22 things are not as they should be\n", sick.stderr)
	whole := terminal.run(t, "doctor", "--limit", "20")
	require.NotContains(t, whole.stdout, "--limit shows more")
	require.NotContains(t, whole.stdout, "\x1b")

	other := terminal.run(t, "doctor", "--user", "other", "--json")
	require.Equal(t, 1, other.status)
	require.Equal(t, "webhook-worker: doctor: 1 things are not as they should be\n", other.stderr)
	var diagnosis jobs.Diagnosis
	require.NoError(t, json.Unmarshal([]byte(other.stdout), &diagnosis))
	require.Len(t, diagnosis.Checks, 22)
	for _, finding := range diagnosis.Checks {
		require.NotNil(t, finding.Breaches)
		if finding.Name == "river_schema" {
			require.Equal(t, 1, finding.Count)
			require.Equal(t, "schema elsewhere has no table river_job", finding.Breaches[0].Problem)
			continue
		}
		require.Zero(t, finding.Count)
		require.Empty(t, finding.Breaches)
	}
}

func TestDoctorSaysWhatItDoesNotLookAt(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	partly := terminal.with("AUDIT_LOG_ENABLED=false", "WEBHOOK_ENCRYPTION_KEY=").ok(t, "doctor")
	require.Equal(t, "15 checks, 0 breaches\n", partly.stdout)
	require.Contains(t, partly.stderr, "AUDIT_LOG_ENABLED=false: attempts were not looked at")
	require.Contains(t, partly.stderr, "WEBHOOK_ENCRYPTION_KEY is not set")

	terminal.addPartner(t, "u", "acme", "https://example.com")
	wrong := terminal.with("WEBHOOK_ENCRYPTION_KEY="+newKey()).run(t, "doctor")
	require.Equal(t, 1, wrong.status)
	require.Contains(t, wrong.stdout, "partner_sealed_with_another_key: 1")

	for _, args := range [][]string{{"doctor", "--limit", "0"}, {"doctor", "--user", ""}, {"doctor", "more"}} {
		require.Equal(t, 2, terminal.run(t, args...).status, args)
	}
}
