package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplayByID(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	terminal.addPartner(t, "u", "acme", "https://acme.example/")
	dead := past(t, pool, "u", "acme", "discarded", 4)
	waits := past(t, pool, "u", "acme", "retryable", 1)[0]
	const unknown = "5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11"

	got := terminal.ok(t, "replay", dead[0], dead[1], "--dry-run")
	require.Equal(t, "delivery "+dead[0]+" would be replayed\ndelivery "+dead[1]+" would be replayed\n", got.stderr)
	require.Zero(t, countRows(t, pool, replayedJobs))
	require.Equal(t, "delivery "+dead[0]+" replayed\n", terminal.ok(t, "replay", dead[0]).stderr)
	require.Equal(t, 1, countRows(t, pool, replayedJobs))

	got = terminal.run(t, "replay", unknown, dead[1], waits, dead[2], dead[0])
	require.Equal(t, 1, got.status)
	require.Equal(t, "delivery "+dead[1]+" replayed\ndelivery "+dead[2]+" replayed\n"+
		"webhook-worker: replay: delivery "+unknown+" not found; "+
		"delivery "+waits+" waits for a try or is being tried: it is not replayed; "+
		"delivery "+dead[0]+" waits for a try or is being tried: it is not replayed\n", got.stderr)
	require.Empty(t, got.stdout)
	require.Equal(t, 3, countRows(t, pool, replayedJobs))

	got = terminal.run(t, "replay", dead[3], "--user", "other")
	require.Equal(t, 1, got.status)
	require.Equal(t, "webhook-worker: replay: delivery "+dead[3]+" not found\n", got.stderr)
	terminal.ok(t, "partner", "disable", "--user", "u", "acme")
	for _, flag := range []string{"--dry-run", "--json"} {
		got = terminal.run(t, "replay", dead[3], flag)
		require.Equal(t, 1, got.status)
		require.Contains(t, got.stderr, "its partner is disabled; enable it first")
	}
	require.JSONEq(t, `{"`+dead[3]+`": "partner_disabled"}`, got.stdout)
	terminal.ok(t, "partner", "enable", "--user", "u", "acme")
	var results map[string]string
	terminal.json(t, &results, "replay", dead[3], "--user", "u", "--dry-run")
	require.Equal(t, map[string]string{dead[3]: "replayed"}, results)
	require.Equal(t, 3, countRows(t, pool, replayedJobs))
	terminal.json(t, &results, "replay", dead[3], "--user", "u")
	require.Equal(t, map[string]string{dead[3]: "replayed"}, results)
	require.Equal(t, 4, countRows(t, pool, replayedJobs))

	_, err := pool.Exec(t.Context(), `delete from webhook_events; update river_job set state = 'discarded', finalized_at = now()`)
	require.NoError(t, err)
	require.Contains(t, terminal.run(t, "replay", dead[3]).stderr, "its event has been removed (RETENTION_EVENTS)")
}

func TestReplayDryRunOfASelection(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	for _, partner := range []string{"acme", "zeta", "gone"} {
		terminal.addPartner(t, "u", partner, "https://"+partner+".example/")
	}
	terminal.addPartner(t, "other", "acme", "https://other.example/")
	past(t, pool, "u", "acme", "discarded", 5)
	past(t, pool, "u", "acme", "cancelled", 2)
	past(t, pool, "u", "zeta", "discarded", 7)
	past(t, pool, "u", "gone", "discarded", 3)
	past(t, pool, "other", "acme", "discarded", 4)
	past(t, pool, "other", "acme", "retryable", 9)
	var gone map[string]any
	terminal.json(t, &gone, "partner", "show", "--user", "u", "gone")
	terminal.ok(t, "partner", "delete", "--user", "u", "gone")

	table := terminal.ok(t, "replay", "--status", "dead_letter", "--dry-run")
	require.Equal(t, [][]string{
		{"USER", "PARTNER", "DELIVERIES"},
		{"u", "zeta", "7"},
		{"u", "acme", "5"},
		{"other", "acme", "4"},
		{"u", gone["id"].(string), "(deleted)", "3"},
	}, words(table.stdout))
	require.Equal(t, "16 deliveries would be replayed\n3 would be left out: partner_deleted\n", table.stderr)

	type counts struct {
		Count    int
		Partners []struct {
			UserID      string  `json:"user_id"`
			PartnerSlug *string `json:"partner_slug"`
			Count       int
			LeftOut     string `json:"left_out"`
		}
	}
	for args, want := range map[string]int{
		"--user u":                                  5 + 7, // and not what went to the deleted one
		"--user u --partner acme":                   5,
		"--partner acme --status cancelled":         2,
		"--event call.failed":                       0,
		"--error-kind timeout":                      16,
		"--error-kind dns":                          0,
		"--since 1h --until 5m":                     16,
		"--until 1h":                                0,
		"--since 5m":                                0,
		"--missing --since 1h":                      10 + 10, // to acme what zeta and the deleted one got, to zeta what acme and the deleted one got
		"--missing --since 1h --user other":         0,
		"--missing --since 1h --partner zeta":       5 + 2 + 3,
		"--status delivered --since 1h":             0,
		"--user nobody --status dead_letter":        0,
		"--status dead_letter --rate 5/m --run any": 16,
	} {
		var got counts
		terminal.json(t, &got, append([]string{"replay", "--dry-run"}, fields(args)...)...)
		require.Equal(t, want, got.Count, args)
		sum := 0
		for _, partner := range got.Partners {
			if partner.LeftOut == "" {
				sum += partner.Count
			}
		}
		require.Equal(t, want, sum, args)
	}
	require.Equal(t, "0 deliveries would be made\n", terminal.ok(t, "replay", "--missing", "--since", "1m", "--dry-run").stderr)
	require.Zero(t, countRows(t, pool, `river_job where metadata ? 'trigger'`))
	require.Equal(t, 30, countRows(t, pool, "river_job"))
}

// words splits a table.
func words(table string) (rows [][]string) {
	for line := range strings.Lines(table) {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}

func TestReplayOfASelection(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	sinks := map[string]*sink{}
	for _, partner := range []string{"acme", "zeta", "off"} {
		sinks[partner] = newSink(t)
		terminal.addPartner(t, "u", partner, sinks[partner].URL)
	}
	acme, zeta := past(t, pool, "u", "acme", "discarded", 30), past(t, pool, "u", "zeta", "discarded", 20)
	past(t, pool, "u", "off", "discarded", 3)
	terminal.ok(t, "partner", "disable", "--user", "u", "off")
	terminal.start(t, "work")

	got := terminal.ok(t, "replay", "--user", "u", "--partner", "acme", "--rate", "1000/s")
	require.Regexp(t, `^30 deliveries in run replay-\d{8}-\d{6}-[a-z2-7]{6}\n30 deliveries replayed\n$`, got.stderr)
	require.Empty(t, got.stdout)
	var printed struct {
		Selected int
		Run      string
		Results  map[string]int
	}
	terminal.json(t, &printed, "replay", "--status", "dead_letter", "--run", "monday")
	require.Equal(t, 23, printed.Selected)
	require.Equal(t, "monday", printed.Run)
	require.Equal(t, map[string]int{"replayed": 20, "partner_disabled": 3}, printed.Results)
	require.Eventually(t, func() bool { return sinks["acme"].received() == 30 && sinks["zeta"].received() == 20 }, waitFor, look)
	sinks["acme"].requireEachOnce(t, acme)
	sinks["zeta"].requireEachOnce(t, zeta)

	got = terminal.ok(t, "replay", "--status", "dead_letter")
	require.Regexp(t, `^3 deliveries in run \S+\n0 deliveries replayed\n3 left out: partner_disabled\n$`, got.stderr)
	terminal.ok(t, "partner", "enable", "--user", "u", "off")
	require.Equal(t, "0 deliveries replayed\n", terminal.ok(t, "replay", "--until", "1h").stderr)
	require.Equal(t, "50 deliveries made\n", terminal.ok(t, "replay", "--missing", "--since", "1h", "--partner", "off").stderr)
	require.Eventually(t, func() bool { return sinks["off"].received() == 50 }, waitFor, look)
	require.Equal(t, "0 deliveries made\n", terminal.ok(t, "replay", "--missing", "--since", "1h", "--partner", "off").stderr)
}

func TestReplayUsageErrors(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	terminal.addPartner(t, "u", "acme", "https://acme.example/")
	past(t, pool, "u", "acme", "discarded", 1)
	const id = "replay 5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11 "
	tests := map[string]badCall{
		"nothing":                 {2, "name deliveries by their ids, or select them, such as with --status dead_letter", "replay", nil, ""},
		"nothing but a rate":      {2, "name deliveries by their ids", "replay --rate 5/s", nil, ""},
		"nothing but a run":       {2, "name deliveries by their ids", "replay --run monday --dry-run", nil, ""},
		"not an id":               {2, `"7" is not a delivery id`, "replay 7", nil, ""},
		"one is not an id":        {2, `"" is not a delivery id`, id + "''", nil, ""},
		"missing, since when":     {2, "--missing needs --since", "replay --missing", nil, ""},
		"missing and a status":    {2, "--status, --error-kind and --run don't go with it", "replay --missing --since 1h --status dead_letter", nil, ""},
		"missing and a kind":      {2, "--status, --error-kind and --run don't go with it", "replay --missing --since 1h --error-kind dns", nil, ""},
		"missing and a run":       {2, "--status, --error-kind and --run don't go with it", "replay --missing --since 1h --run monday", nil, ""},
		"waiting ones":            {2, `--status must be dead_letter, cancelled or delivered, and is "failed"`, "replay --status failed", nil, ""},
		"running ones":            {2, `--status must be dead_letter, cancelled or delivered, and is "processing"`, "replay --status processing", nil, ""},
		"unknown status":          {2, `--status must be dead_letter, cancelled or delivered, and is "lost"`, "replay --status lost", nil, ""},
		"delivered, since when":   {2, "--status delivered needs --since", "replay --status delivered", nil, ""},
		"delivered with errors":   {2, "--error-kind does not go with --status delivered", "replay --status delivered --since 1h --error-kind dns", nil, ""},
		"unknown kind":            {2, `--error-kind must be one of dns, connect, tls, timeout, http_status, redirect, blocked, protocol, shutdown, internal, and is "bogus"`, "replay --error-kind bogus", nil, ""},
		"rate of nothing":         {2, `--rate: must be a number a second or a minute, such as 500/s or 30/m, and is "0"`, "replay --user u --rate 0", nil, ""},
		"rate of nothing a day":   {2, `--rate: must be a number`, "replay --user u --rate 0/m", nil, ""},
		"rate in words":           {2, `and is "abc"`, "replay --user u --rate abc", nil, ""},
		"rate of another time":    {2, `and is "5/x"`, "replay --user u --rate 5/x", nil, ""},
		"rate below nothing":      {2, `and is "-5/s"`, "replay --user u --rate=-5/s", nil, ""},
		"rate of no number":       {2, `and is "nan"`, "replay --user u --rate nan", nil, ""},
		"rate beyond all":         {2, `and is "inf/s"`, "replay --user u --rate inf/s", nil, ""},
		"empty rate":              {2, "--rate: ", "replay --user u --rate ''", nil, ""},
		"ids and a filter":        {2, "delivery ids go with --user, --dry-run and --json only", id + "--partner acme", nil, ""},
		"ids and a status":        {2, "delivery ids go with --user, --dry-run and --json only", id + "--status dead_letter", nil, ""},
		"ids and a time":          {2, "delivery ids go with --user, --dry-run and --json only", id + "--since 1h", nil, ""},
		"ids and missing":         {2, "delivery ids go with --user, --dry-run and --json only", id + "--missing", nil, ""},
		"ids and a rate":          {2, "delivery ids go with --user, --dry-run and --json only", id + "--rate 5/s", nil, ""},
		"ids and a run":           {2, "delivery ids go with --user, --dry-run and --json only", id + "--run monday", nil, ""},
		"until before since":      {2, `--until "2h" is before --since "1h"`, "replay --since 1h --until 2h", nil, ""},
		"days in the wrong order": {2, `--until "2026-01-01" is before --since "2026-01-31"`, "replay --since 2026-01-31 --until 2026-01-01", nil, ""},
		"malformed since":         {2, `--since "yesterday" must be a day`, "replay --since yesterday", nil, ""},
		"malformed until":         {2, `--until "90" must be a day`, "replay --until 90", nil, ""},
		"empty user":              {2, "--user: it must not be empty", "replay --user '' --status dead_letter", nil, ""},
		"empty user with an id":   {2, "--user: it must not be empty", id + "--user ''", nil, ""},
		"empty partner":           {2, "--partner: it must not be empty", "replay --user u --partner ''", nil, ""},
		"empty status":            {2, "--status: it must not be empty", "replay --user u --status ''", nil, ""},
		"empty event":             {2, "--event: it must not be empty", "replay --user u --event ''", nil, ""},
		"empty kind":              {2, "--error-kind: it must not be empty", "replay --user u --error-kind ''", nil, ""},
		"empty since":             {2, "--since: it must not be empty", "replay --user u --since ''", nil, ""},
		"empty until":             {2, "--until: it must not be empty", "replay --user u --until ''", nil, ""},
		"empty run":               {2, "--run: it must not be empty", "replay --user u --run ''", nil, ""},
		"no database":             {1, "SQLSTATE 3D000", "replay --user u", []string{"DATABASE_URL=" + strings.Replace(pool.Config().ConnString(), pool.Config().ConnConfig.Database, "nope", 1)}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.check(t, terminal)
		})
	}
}
