package jobs

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/migrations"
)

// What /readyz and /healthz may answer is in the runbook, with what to do.
func TestAnswersAreInTheRunbook(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(content), "### WebhookNoWorkerReady\n")
	section, _, _ = strings.Cut(section, "\n### ")
	for _, answer := range []error{
		errStarting, errStopping, errSilent, errRefused, errReadOnly, errElsewhere, ErrPaused, errNotFetched, errQueueSlow, errQueueFails,
		migrations.ErrBehind, migrations.ErrTooOld,
	} {
		said := answer.Error()
		for _, long := range []string{": DATABASE_DIRECT_URL must", ": run `webhook", " to a schema that"} {
			said, _, _ = strings.Cut(said, long)
		}
		require.Contains(t, section, said)
	}
	require.Contains(t, section, "`the worker is stuck: …`")
}
