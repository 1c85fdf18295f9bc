package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

func TestStatsWatch(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	terminal.addPartner(t, "ann", "good", newEndpoint(t, http.StatusOK).URL)
	asJSON := terminal.start(t, "stats", "--watch", "--every", "100ms", "--json")
	asText := terminal.start(t, "stats", "--watch", "--every", "0.1", "--user", "ann")
	latest := func() *jobs.Stats {
		lines := strings.Split(asJSON.stdout.String(), "\n")
		require.Greater(t, len(lines), 1)
		return parseStats(t, lines[len(lines)-2]) // what follows the last end of a line is not whole
	}
	require.Eventually(t, func() bool {
		return strings.Contains(asJSON.stdout.String(), "\n") && strings.Contains(asText.stdout.String(), "No partner has dead letters.\n")
	}, waitFor, look)
	require.Empty(t, counts(latest()))

	terminal.start(t, "work")
	terminal.ok(t, "send", "--user", "ann", "--event", "call.completed", "--data", "{}")
	require.Eventually(t, func() bool { return counts(latest())[jobs.StatusDelivered] == 1 }, waitFor, look)
	require.Eventually(t, func() bool { return strings.Contains(asText.stdout.String(), "100% of 1 attempts succeeded") }, waitFor, look)
	require.Zero(t, asJSON.stop())
	require.Zero(t, asText.stop())
	require.Empty(t, asJSON.stderr.String()+asText.stderr.String())
	for line := range strings.Lines(asJSON.stdout.String()) {
		parseStats(t, line)
	}
	blocks := strings.Split(strings.TrimSuffix(asText.stdout.String(), "\n"), ".\n\n20")
	require.Greater(t, len(blocks), 1, "an empty line between one and the next, which begins with the time")
}

func TestStatsWatchOutlivesErrors(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	change := func(sql string) {
		_, err := pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	asJSON := terminal.start(t, "stats", "--watch", "--every", "100ms", "--json")
	asText := terminal.start(t, "stats", "--watch", "--every", "100ms")
	documents := func() int { return strings.Count(asJSON.stdout.String(), "\n") }
	blocks := func() int { return strings.Count(asText.stdout.String(), "STATUS") }
	goesOn := func() {
		t.Helper()
		seenDocuments, seenBlocks := documents(), blocks()
		require.Eventually(t, func() bool { return documents() > seenDocuments+1 && blocks() > seenBlocks+1 }, waitFor, look)
	}
	goesOn()
	change(`alter function get_webhook_queue_stats rename to away`)
	const said = "reading statistics: ERROR: function get_webhook_queue_stats() does not exist (SQLSTATE 42883); trying again\n"
	require.Eventually(t, func() bool {
		return strings.Contains(asText.stdout.String(), "\n\n"+said) && strings.Contains(asJSON.stderr.String(), said)
	}, waitFor, look)
	first := terminal.run(t, "stats", "--watch")
	require.Equal(t, 1, first.status, "an error at the first look")
	require.Equal(t, 1, strings.Count(first.stderr, "\n"))
	change(`alter function away rename to get_webhook_queue_stats`)
	goesOn()
	change(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
	goesOn()
	require.Zero(t, asJSON.stop())
	require.Zero(t, asText.stop())
	for line := range strings.Lines(asJSON.stdout.String()) {
		parseStats(t, line)
	}
}

func TestStatsRedrawsInPlace(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	shown := &screen{app: &app{stdout: &stdout}, watch: true, inPlace: true}
	seen := &picture{draw: func(out io.Writer) error { return printStats(out, &jobs.Stats{}, true) }}
	require.NoError(t, shown.show(seen))
	require.NoError(t, shown.showError(context.DeadlineExceeded))
	require.NoError(t, shown.show(seen))
	drawn := strings.Split(stdout.String(), "\x1b[H\x1b[J")
	require.Len(t, drawn, 4)
	require.Empty(t, drawn[0])
	require.Regexp(t, `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n\nSTATUS`, drawn[1])
	require.Equal(t, "context deadline exceeded; trying again\n", drawn[2])
	require.Regexp(t, `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n\nSTATUS`, drawn[3])
}
