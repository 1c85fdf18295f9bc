package main

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestMigrateUpDownStatus(t *testing.T) {
	t.Parallel()
	terminal := &terminal{environ: []string{"DATABASE_URL=" + testdb.URL(testdb.NewEmpty(t)), "RETRY_MAX_ATTEMPTS=3"}}
	require.Equal(t, 1, terminal.run(t, "migrate", "status").status)
	terminal.ok(t, "migrate", "up")
	terminal.ok(t, "migrate", "up")
	var status []map[string]any
	terminal.json(t, &status, "migrate", "status")
	require.Equal(t, true, status[len(status)-1]["applied"])

	dry := terminal.ok(t, "migrate", "down", "--all", "--dry-run").stdout
	ours := 0
	for _, migration := range status {
		if migration["line"] == "webhook-worker" {
			ours++
		}
	}
	require.Equal(t, ours, strings.Count(dry, "would take back"))
	terminal.ok(t, "migrate", "status")
	refused := terminal.run(t, "migrate", "down", "--steps", "1", "--all")
	require.Equal(t, exitUsage, refused.status)
	require.Equal(t, "webhook-worker: --steps and --all can't be used together (see webhook-worker migrate down --help)\n", refused.stderr)
	require.Equal(t, exitUsage, terminal.run(t, "migrate", "down", "--steps", "0").status)
	terminal.ok(t, "migrate", "status")
	terminal.ok(t, "migrate", "down")
	require.Equal(t, 1, terminal.run(t, "migrate", "status").status)
	terminal.ok(t, "migrate", "down", "--all")
	terminal.ok(t, "migrate", "up")
	terminal.ok(t, "migrate", "status")
}

func TestPartnerCommands(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	added := terminal.addPartner(t, "u", "acme", "https://acme.example/hook",
		"--field", "brand=AcmeVoice", "--field", "tier:=[1, 2]", "--field", "a=x=y", "--max-retries", "2")
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=$`, added["secret"])
	require.Len(t, added["id"], 36)

	var shown map[string]any
	terminal.json(t, &shown, "partner", "show", "--user", "u", "acme")
	require.Equal(t, map[string]any{"brand": "AcmeVoice", "tier": []any{1.0, 2.0}, "a": "x=y"}, shown["custom_payload_fields"])
	require.NotContains(t, shown, "secrets")
	require.InDelta(t, 2.0, shown["max_retries"], 0)

	human := terminal.ok(t, "partner", "show", "--user", "u", "acme").stdout
	require.NotContains(t, human, "whsec_")
	require.Contains(t, terminal.ok(t, "partner", "show", "--user", "u", "acme", "--reveal").stdout, added["secret"])

	terminal.ok(t, "partner", "update", "--user", "u", "acme", "--name", "Acme Corp", "--event", "*", "--no-fields", "--max-retries", "7")
	terminal.json(t, &shown, "partner", "show", "--user", "u", "acme")
	require.InDelta(t, 7.0, shown["max_retries"], 0)
	terminal.ok(t, "partner", "update", "--user", "u", "acme", "--max-retries", "default")
	terminal.json(t, &shown, "partner", "show", "--user", "u", "acme")
	require.Equal(t, "Acme Corp", shown["partner_name"])
	require.Equal(t, []any{"*"}, shown["enabled_events"])
	require.Empty(t, shown["custom_payload_fields"])
	require.Nil(t, shown["max_retries"])
	require.Equal(t, "https://acme.example/hook", shown["url"])

	terminal.ok(t, "partner", "disable", "--user", "u", "acme", "--dry-run")
	require.Contains(t, terminal.ok(t, "partner", "list", "--user", "u").stdout, "enabled")
	terminal.ok(t, "partner", "disable", "--user", "u", "acme", "--reason", "moving house")
	require.Contains(t, terminal.ok(t, "partner", "show", "--user", "u", "acme").stdout, "moving house")
	terminal.ok(t, "partner", "enable", "--user", "u", "acme")

	terminal.ok(t, "partner", "pause", "--user", "u", "acme")
	require.Contains(t, terminal.ok(t, "partner", "list", "--user", "u").stdout, "paused")
	require.Contains(t, terminal.ok(t, "partner", "resume", "--user", "u", "acme").stderr, "0 deliveries released")
	require.Contains(t, terminal.ok(t, "partner", "list", "--user", "u").stdout, "enabled")

	var rotated map[string]string
	terminal.json(t, &rotated, "partner", "rotate-secret", "--user", "u", "acme")
	revealed := terminal.ok(t, "partner", "show", "--user", "u", "acme", "--reveal").stdout
	require.Contains(t, revealed, added["secret"], "the old one signs too for a while")
	require.Contains(t, revealed, rotated["secret"])
	terminal.stdin = "a secret that was wrapped\nwhen it was pasted\n"
	refused := terminal.run(t, "partner", "rotate-secret", "--user", "u", "acme", "--secret", "-")
	require.Equal(t, exitUsage, refused.status)
	require.Contains(t, refused.stderr, "stdin holds more than one line")
	terminal.stdin = "a secret of our own, from stdin\n"
	terminal.ok(t, "partner", "rotate-secret", "--user", "u", "acme", "--secret", "-", "--expire-now")
	revealed = terminal.ok(t, "partner", "show", "--user", "u", "acme", "--reveal").stdout
	require.NotContains(t, revealed, "whsec_")
	require.Contains(t, revealed, "a secret of our own, from stdin")

	terminal.ok(t, "partner", "add", "--user", "u", "--name", "n", "--slug", "acme", "--url", "https://other.example/", "--event", "*", "--if-not-exists")
	require.NotContains(t, terminal.ok(t, "partner", "list", "--user", "u").stdout, "other.example")

	terminal.ok(t, "partner", "delete", "--user", "u", "acme", "--dry-run")
	terminal.ok(t, "partner", "delete", "--user", "u", "acme")
	var list []any
	terminal.json(t, &list, "partner", "list", "--user", "u")
	require.Empty(t, list)
}

func TestUsersNeverSeeEachOther(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	for _, user := range []string{"ann", "bob"} {
		terminal.addPartner(t, user, "acme", "https://"+user+".example/")
	}
	deliveries := map[string]string{}
	for _, user := range []string{"ann", "bob"} {
		var sent []map[string]any
		terminal.json(t, &sent, "send", "call-outcome", "--user", user, "--call", "call_1")
		require.Len(t, sent, 1)
		deliveries[user] = sent[0]["id"].(string)
	}
	require.NotEqual(t, deliveries["ann"], deliveries["bob"])

	for _, args := range [][]string{
		{"partner", "list", "--user", "ann"},
		{"partner", "show", "--user", "ann", "acme", "--reveal"},
		{"deliveries", "list", "--user", "ann"},
		{"deliveries", "list", "--user", "ann", "--partner", "acme"},
		{"deliveries", "show", deliveries["ann"], "--user", "ann"},
	} {
		got := terminal.ok(t, args...).stdout
		require.NotContains(t, got, "bob", args)
		require.NotContains(t, got, deliveries["bob"], args)
	}
	for _, args := range [][]string{
		{"deliveries", "show", deliveries["bob"], "--user", "ann"},
		{"deliveries", "cancel", deliveries["bob"], "--user", "ann"},
	} {
		got := terminal.run(t, args...)
		require.Equal(t, 1, got.status)
		require.Contains(t, got.stderr, "delivery not found: "+deliveries["bob"])
	}
	terminal.ok(t, "partner", "disable", "--user", "ann", "acme")
	terminal.ok(t, "partner", "delete", "--user", "ann", "acme")
	require.Contains(t, terminal.ok(t, "partner", "list", "--user", "bob").stdout, "enabled")
	require.Contains(t, terminal.ok(t, "deliveries", "show", deliveries["bob"], "--user", "bob").stdout, "pending")
}

func TestSendAndCancel(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	terminal.addPartner(t, "u", "acme", "https://acme.example/")
	var first, again []map[string]any
	terminal.stdin = `{"from":"stdin"}`
	terminal.json(t, &first, "send", "--user", "u", "--event", "call.completed", "--id", "e1", "-")
	terminal.json(t, &again, "send", "--user", "u", "--event", "call.completed", "--id", "e1", "--file", "-")
	require.Equal(t, first, again)
	require.Contains(t, terminal.ok(t, "send", "event", "--user", "u", "--event", "sms.sent", "--data", "{}").stderr, "no partner of this user is subscribed")
	conflict := terminal.run(t, "send", "--user", "u", "--event", "call.completed", "--id", "e1", "--data", "{}")
	require.Equal(t, 1, conflict.status)
	require.Contains(t, conflict.stderr, "an event of this id exists with another type or payload")
	reserved := terminal.run(t, "send", "--user", "u", "--event", "partner.disabled", "--data", "{}")
	require.Equal(t, exitUsage, reserved.status)
	require.Contains(t, reserved.stderr, `event_type "partner.disabled" is reserved for what webhook-worker itself tells`)

	id := first[0]["id"].(string)
	require.Contains(t, terminal.ok(t, "deliveries", "cancel", id, "--dry-run").stderr, "would be cancelled")
	require.Contains(t, terminal.ok(t, "deliveries", "show", id).stdout, "pending")
	terminal.ok(t, "deliveries", "cancel", id)
	var shown map[string]any
	terminal.json(t, &shown, "deliveries", "show", id)
	require.Equal(t, "cancelled", shown["status"])
	require.Equal(t, map[string]any{"from": "stdin"}, shown["payload"])
	require.Equal(t, "cancelled", shown["attempts"].([]any)[0].(map[string]any)["outcome"])
	twice := terminal.run(t, "deliveries", "cancel", id)
	require.Equal(t, 1, twice.status)
	require.Contains(t, twice.stderr, "is cancelled already")

	var list []map[string]any
	terminal.json(t, &list, "deliveries", "list", "--status", "cancelled", "--since", "1h")
	require.Len(t, list, 1)
	terminal.json(t, &list, "deliveries", "list", "--since", "2100-01-01")
	require.Empty(t, list)
}

func TestKeysGenerate(t *testing.T) {
	t.Parallel()
	terminal := &terminal{}
	one, other := terminal.ok(t, "keys", "generate").stdout, terminal.ok(t, "keys", "generate").stdout
	require.NotEqual(t, one, other)
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(one))
	require.NoError(t, err)
	require.Len(t, key, 32)
}
