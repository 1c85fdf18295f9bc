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
		"unknown signatures":     {2, `--signature: "v2" must be v1 (HMAC-SHA256) or v1a (ed25519)`, add + "--url https://example.com/ --signature v2", nil, ""},
		"signature and secret":   {2, "--secret and --signature can't be used together", "partner rotate-secret --user u s --signature v1 --secret 'a_raw_secret'", nil, ""},
		"overlap that ends now":  {2, "--overlap and --expire-now can't be used together", "partner rotate-secret --user u s --overlap 1h --expire-now", nil, ""},
		"a public key signs":     {2, "is a public key, which can't sign", add + "--url https://example.com/ --secret whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", nil, ""},
		"half a private key":     {2, "must have 64 bytes, a seed and its public key, and has 32", add + "--url https://example.com/ --secret whsk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", nil, ""},
		"secret of receive":      {2, "secret must have 8 to 128 bytes, and has 2", "receive --addr 127.0.0.1:0 --secret xx", nil, ""},
		"private key of receive": {2, "is a private key, which a receiver must not have", "receive --addr 127.0.0.1:0 --secret whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==", nil, ""},
		"reserved header":        {2, `request_headers "Host" must not be set`, add + "--url https://example.com/ --header Host=x", nil, ""},
		"header without value":   {2, `--header "X-Env" must be NAME=VALUE`, add + "--url https://example.com/ --header X-Env", nil, ""},
		"header twice":           {2, "--header X-Env is given twice", add + "--url https://example.com/ --header X-Env=1 --header X-Env=2", nil, ""},
		"header in both":         {2, `request_headers "x-env" must be given once`, add + "--url https://example.com/ --header X-Env=1 --secret-header x-env=2", nil, ""},
		"secret header is empty": {2, "--secret-header X-Key has no value", "partner update --user u s --secret-header X-Key=", nil, ""},
		"secret header of none":  {2, `request_headers "X-Key" must have a value`, add + "--url https://example.com/ --secret-header X-Key", nil, ""},
		"colon in secret header": {2, "--secret-header Authorization… has no value", add + "--url https://example.com/ --secret-header 'Authorization:_Basic_aHVudGVyMg='", nil, ""},
		"stdin for two":          {2, "--secret and --secret-header X-Key can't both be read from stdin", add + "--url https://example.com/ --secret - --secret-header X-Key=-", nil, ""},
		"stdin for two headers":  {2, "--secret-header X-Key and --secret-header X-B can't both be read from stdin", "partner update --user u s --secret-header X-Key=- --secret-header X-B=-", nil, ""},
		"empty stdin for header": {2, "--secret-header X-Key: stdin holds no secret", "partner update --user u s --secret-header X-Key=-", nil, ""},
		"line end in header":     {2, `request_headers "X-Key" must have a value of printable ASCII`, add + "--url https://example.com/ --secret-header X-Key=-", nil, "hunter2\tx"},
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
		"exposed pages":          {2, "need credentials (set WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD), and encryption (give --tls-cert", "serve --addr 0.0.0.0:0", nil, ""},
		"unencrypted pages":      {2, "need encryption (give --tls-cert and --tls-key, or --behind-proxy", "serve --addr 0.0.0.0:0", []string{"WEBHOOK_UI_USER=u", "WEBHOOK_UI_PASSWORD=hunter2"}, ""},
		"open pages of a proxy":  {2, "need credentials (set WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD); or", "serve --addr 0.0.0.0:0 --behind-proxy", nil, ""},
		"certificate alone":      {2, "--tls-cert and --tls-key go together", "serve --tls-cert cert.pem", nil, ""},
		"no such certificate":    {2, "no such file", "serve --tls-cert /nowhere.pem --tls-key /nowhere.pem", nil, ""},
		"empty certificate":      {2, "--tls-cert: it must not be empty", "serve --tls-cert '' --tls-key ''", nil, ""},
		"host with a port":       {2, "it must be a name or an address, such as pages.example.com, without scheme and port", "serve --host pages.example.com:443", nil, ""},
		"address of pages":       {2, "--addr must be HOST:PORT", "serve --addr 8080", nil, ""},
		"malformed hash":         {2, "WEBHOOK_UI_PASSWORD is not valid: it begins like an argon2id hash and is none", "serve", []string{"WEBHOOK_UI_USER=u", "WEBHOOK_UI_PASSWORD=$argon2id$x"}, ""},
		"no password to hash":    {2, "stdin holds no password", "keys hash-password", nil, ""},
		"status of receive":      {2, "--status must be between 200 and 599", "receive --status 42", nil, ""},
		"no DATABASE_URL":        {2, "DATABASE_URL is not set", "work", []string{"DATABASE_URL="}, ""},
		"malformed DATABASE_URL": {2, "DATABASE_URL is not valid: it must be a PostgreSQL connection string", "migrate up", []string{"DATABASE_URL=localhost:5432"}, ""},
		"no key":                 {2, "make the first one with `webhook-worker keys generate`", "work", []string{"WEBHOOK_ENCRYPTION_KEY="}, ""},
		"short key":              {2, "WEBHOOK_ENCRYPTION_KEY is not valid: it must be base64 of 32 bytes, and holds 16", "partner list --user u", []string{"WEBHOOK_ENCRYPTION_KEY=AAAAAAAAAAAAAAAAAAAAAA=="}, ""},
		"key in two places":      {2, "WEBHOOK_ENCRYPTION_KEY and WEBHOOK_ENCRYPTION_KEY_FILE are both set", "work", []string{"WEBHOOK_ENCRYPTION_KEY_FILE=/x"}, ""},
		"no key file":            {2, "WEBHOOK_UI_PASSWORD_FILE=/nowhere can't be read: no such file", "serve", []string{"WEBHOOK_UI_PASSWORD_FILE=/nowhere"}, ""},
		"old key":                {2, "WEBHOOK_ENCRYPTION_KEYS_OLD is not valid: key 1 of the list: it must be base64", "keys rotate", []string{"WEBHOOK_ENCRYPTION_KEYS_OLD=x"}, ""},
		"rotate without a key":   {2, "WEBHOOK_ENCRYPTION_KEY is not set", "keys rotate", []string{"WEBHOOK_ENCRYPTION_KEY="}, ""},
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
	open := testdb.NewEmpty(t)
	_, err := open.Exec(t.Context(), `grant create on schema public to public`)
	require.NoError(t, err)
	unknown := "5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11"
	tests := map[string]badCall{
		"database down":        {1, "connection refused", "work", []string{"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/db"}, ""},
		"unknown database":     {1, "does not exist", "deliveries list", []string{"DATABASE_URL=" + strings.Replace(testdb.URL(pool), pool.Config().ConnConfig.Database, "nope", 1)}, ""},
		"migrations missing":   {1, "run `webhook-worker migrate up`", "work", []string{"DATABASE_URL=" + empty}, ""},
		"and for send":         {1, "run `webhook-worker migrate up`", "send --user u --event call.x --data {}", []string{"DATABASE_URL=" + empty}, ""},
		"open schema":          {1, `run "revoke create on schema public from public", then migrate again`, "migrate up", []string{"DATABASE_URL=" + testdb.URL(open)}, ""},
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
		"send call-outcome --help", "deliveries list --help", "receive --help", "keys generate --help", "keys list --help", "keys rotate --help", "keys hash-password --help", "config --help",
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
