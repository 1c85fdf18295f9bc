package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// badCall is a call that must fail with one clear line.
type badCall struct {
	status  int
	says    string
	args    string
	environ []string
	stdin   string
}

func (b *badCall) check(t *testing.T, terminal *terminal) {
	t.Helper()
	with := terminal.with(b.environ...)
	with.stdin = b.stdin
	got := with.run(t, fields(b.args)...)
	require.Equal(t, b.status, got.status, "%s: %s", b.args, got.stderr)
	require.Contains(t, got.stderr, b.says)
	require.Equal(t, 1, strings.Count(got.stderr, "\n"), "one line: %s", got.stderr)
	require.True(t, strings.HasPrefix(got.stderr, "webhook-worker: "), got.stderr)
	require.Empty(t, got.stdout)
}

// fields splits at spaces; an underscore in a word of quotes stands for a space.
func fields(text string) []string {
	words := strings.Fields(text)
	for i, word := range words {
		if strings.HasPrefix(word, "'") {
			words[i] = strings.ReplaceAll(strings.Trim(word, "'"), "_", " ")
		}
	}
	return words
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	const add = "partner add --user u --name n --slug s --event call.completed "
	tests := map[string]badCall{
		"no command":             {2, "expected one of", "", nil, ""},
		"unknown command":        {2, "unexpected argument delivr", "delivr", nil, ""},
		"unknown flag":           {2, "unknown flag --instnce", "work --instnce 1", nil, ""},
		"flag missing":           {2, "missing flags: --user", "partner list", nil, ""},
		"help is named":          {2, "(see webhook-worker partner list --help)", "partner list", nil, ""},
		"http URL":               {2, `url "http://example.com/" must begin with https://`, add + "--url http://example.com/", []string{"WEBHOOK_ALLOW_HTTP=false"}, ""},
		"ftp URL":                {2, `url "ftp://example.com/" must begin with https://`, add + "--url ftp://example.com/", nil, ""},
		"no URL":                 {2, `url "example.com/hook" must be an absolute URL`, add + "--url example.com/hook", nil, ""},
		"URL with password":      {2, "must not contain a user name or password", add + "--url https://u:hunter2@example.com/", nil, ""},
		"URL with fragment":      {2, "must not contain a fragment", add + "--url https://example.com/#x", nil, ""},
		"malformed slug":         {2, `partner_slug "Acme_Corp!" must be lower-case`, "partner add --user u --name n --slug Acme_Corp! --event call.x --url https://example.com/", nil, ""},
		"malformed event":        {2, `enabled_events "call..x" must be an event type`, "partner add --user u --name n --slug s --event call..x --url https://example.com/", nil, ""},
		"field without value":    {2, `--field "brand" must be key=text or key:=json`, add + "--url https://example.com/ --field brand", nil, ""},
		"field that is not JSON": {2, `--field n: "{" is not JSON`, add + "--url https://example.com/ --field n:={", nil, ""},
		"field twice":            {2, "--field n is given twice", add + "--url https://example.com/ --field n=1 --field n=2", nil, ""},
		"short secret":           {2, "secret must have 8 to 128 bytes, and has 5", add + "--url https://example.com/ --secret short", nil, ""},
		"empty stdin for secret": {2, "stdin holds no secret", add + "--url https://example.com/ --secret -", nil, ""},
		"max retries":            {2, `max_retries "101" must be between 0 and 100`, add + "--url https://example.com/ --max-retries 101", nil, ""},
		"nothing to change":      {2, "nothing to change", "partner update --user u s", nil, ""},
		"malformed event type":   {2, `event_type "call completed" must be parts`, "send --user u --event 'call_completed' --data {}", nil, ""},
		"no payload":             {2, "no payload: give it with --data, --file or -", "send --user u --event call.x", nil, ""},
		"payload is an array":    {2, "payload must be a JSON object", "send --user u --event call.x --data []", nil, ""},
		"payload is not JSON":    {2, "payload must be a JSON object, and is not JSON", "send --user u --event call.x --data {", nil, ""},
		"payload too big":        {2, "payload must have at most 262144 bytes (256 KiB)", "send --user u --event call.x -", nil, `{"a":"` + strings.Repeat("x", 256<<10) + `"}`},
		"payload file missing":   {2, "no such file", "send --user u --event call.x --file /nowhere.json", nil, ""},
		"payload twice":          {2, "given twice", "send --user u --event call.x --data {} -", nil, ""},
		"outcome without type":   {2, "event_type must be in the outcome", "send call-outcome --user u --call c --data {}", nil, ""},
		"not a delivery id":      {2, `"7" is not a delivery id`, "deliveries show 7", nil, ""},
		"unknown status":         {2, "--status must be pending, processing, failed", "deliveries list --status lost", nil, ""},
		"malformed since":        {2, `--since "yesterday" must be a day`, "deliveries list --since yesterday", nil, ""},
		"empty user":             {2, "--user: it must not be empty", "deliveries list --user ''", nil, ""},
		"empty user of show":     {2, "--user: it must not be empty", "deliveries show 5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11 --user ''", nil, ""},
		"empty id":               {2, "--id: it must not be empty", "send --user u --event call.x --data {} --id ''", nil, ""},
		"empty secret":           {2, "--secret: it must not be empty", add + "--url https://example.com/ --secret ''", nil, ""},
		"invalid UTF-8":          {2, "is not valid UTF-8", "deliveries list --user u\xff", nil, ""},
		"huge stdin":             {2, "holds more than 1048576 bytes", "send --user u --event call.x -", nil, strings.Repeat("x", 2<<20)},
		"limit":                  {2, "--limit must be at least 1", "deliveries list --limit 0", nil, ""},
		"steps":                  {2, "--steps must be at least 1", "migrate down --steps 0", nil, ""},
		"exposed pages":          {2, "set WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD", "serve --addr 0.0.0.0:0", nil, ""},
		"status of receive":      {2, "--status must be between 200 and 599", "receive --status 42", nil, ""},
		"no DATABASE_URL":        {2, "DATABASE_URL is not set", "work", []string{"DATABASE_URL="}, ""},
		"malformed DATABASE_URL": {2, "DATABASE_URL is not valid: it must be a PostgreSQL connection string", "migrate up", []string{"DATABASE_URL=localhost:5432"}, ""},
		"no key":                 {2, "make the first one with `webhook-worker keys generate`", "work", []string{"WEBHOOK_ENCRYPTION_KEY="}, ""},
		"short key":              {2, "WEBHOOK_ENCRYPTION_KEY is not valid: it must be base64 of 32 bytes, and holds 16", "partner list --user u", []string{"WEBHOOK_ENCRYPTION_KEY=AAAAAAAAAAAAAAAAAAAAAA=="}, ""},
		"unknown format":         {2, "LOG_FORMAT=xml is not valid: it must be text or json", "work", []string{"LOG_FORMAT=xml"}, ""},
		"timeouts":               {2, "WORKER_TIMEOUT (10s) must not be below HTTP_TIMEOUT (30s)", "work", []string{"WORKER_TIMEOUT=10"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.check(t, terminal)
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	terminal.addPartner(t, "u", "taken", "https://example.com/")
	empty := testdb.URL(testdb.NewEmpty(t))
	unknown := "5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11"
	tests := map[string]badCall{
		"database down":        {1, "connection refused", "work", []string{"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/db"}, ""},
		"unknown database":     {1, "does not exist", "deliveries list", []string{"DATABASE_URL=" + strings.Replace(testdb.URL(pool), pool.Config().ConnConfig.Database, "nope", 1)}, ""},
		"migrations missing":   {1, "run `webhook-worker migrate up`", "work", []string{"DATABASE_URL=" + empty}, ""},
		"and for send":         {1, "run `webhook-worker migrate up`", "send --user u --event call.x --data {}", []string{"DATABASE_URL=" + empty}, ""},
		"duplicate slug":       {1, `"taken": slug is taken by another partner of this user`, "partner add --user u --name n --slug taken --event call.x --url https://example.com/", nil, ""},
		"unknown partner":      {1, "partner not found: nobody", "partner show --user u nobody", nil, ""},
		"another's partner":    {1, "partner not found: taken", "partner show --user other taken", nil, ""},
		"unknown delivery":     {1, "delivery not found: " + unknown, "deliveries show " + unknown, nil, ""},
		"cancel of an unknown": {1, "delivery not found: " + unknown, "deliveries cancel " + unknown, nil, ""},
		"wrong key":            {1, "WEBHOOK_ENCRYPTION_KEY opens none of the stored secrets", "work", []string{"WEBHOOK_ENCRYPTION_KEY=" + newKey()}, ""},
		"wrong key for add":    {1, "WEBHOOK_ENCRYPTION_KEY opens none of the stored secrets", "partner add --user u --name n --slug s --event call.x --url https://example.com/", []string{"WEBHOOK_ENCRYPTION_KEY=" + newKey()}, ""},
		"port taken":           {1, "address already in use", "receive --addr " + newEndpoint(t, 200).Listener.Addr().String(), nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.check(t, terminal)
			require.NotContains(t, terminal.with(test.environ...).run(t, fields(test.args)...).stderr, "hunter2")
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	terminal := &terminal{}
	for _, args := range []string{
		"--help", "dev --help", "migrate up --help", "work --help", "serve --help", "partner add --help", "send --help",
		"send call-outcome --help", "deliveries list --help", "receive --help", "keys generate --help", "config --help",
	} {
		require.Contains(t, terminal.ok(t, strings.Fields(args)...).stdout, "Usage: webhook-worker", args)
	}
	require.Equal(t, "dev\n", terminal.ok(t, "--version").stdout)
}

func TestConfigRedactsSecrets(t *testing.T) {
	t.Parallel()
	terminal := &terminal{environ: []string{
		"DATABASE_URL=postgres://u:canary-1@localhost/db?password=canary-2", "WEBHOOK_ENCRYPTION_KEY=" + newKey(),
		"WEBHOOK_UI_USER=admin", "WEBHOOK_UI_PASSWORD=canary-3", "RETRY_BASE_DELAY=1m30s",
	}}
	for _, args := range [][]string{{"config"}, {"config", "--json"}} {
		got := terminal.ok(t, args...)
		require.NotContains(t, got.stdout+got.stderr, "canary")
		require.NotContains(t, got.stdout, terminal.environ[1])
		require.Contains(t, got.stdout, "1m30s")
		require.Contains(t, got.stdout, "[redacted]")
	}
}
