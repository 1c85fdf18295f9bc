package config

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/epicvoice/webhook-worker/partners"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testKey is a good value of WEBHOOK_ENCRYPTION_KEY, and testKeyBytes what it stands for.
const testKey = "bGVha3ktbGVha3ktbGVha3ktbGVha3ktbGVha3ktLTI="

func testKeyBytes() EncryptionKey { return EncryptionKey("leaky-leaky-leaky-leaky-leaky--2") }

func load(t *testing.T, environ ...string) *Config {
	t.Helper()

	cfg, err := Load(environ)
	require.NoError(t, err)
	return cfg
}

// requireValues compares what two configurations say, wherever they have it from.
func requireValues(t *testing.T, want, got *Config) {
	t.Helper()

	wanted, gotten := *want, *got
	wanted.origins, gotten.origins = nil, nil
	require.Equal(t, wanted, gotten)
}

func defaults() *Config {
	const day = 24 * time.Hour
	return &Config{
		WorkerPollInterval:   Duration(5 * time.Second),
		WorkerBatchSize:      1000,
		WorkerTimeout:        Duration(30 * time.Second),
		MaxConcurrent:        500,
		RetryBaseDelay:       Duration(30 * time.Second),
		RetryMaxDelay:        Duration(time.Hour),
		RetryMaxAttempts:     5,
		HTTPTimeout:          Duration(30 * time.Second),
		ShutdownTimeout:      Duration(30 * time.Second),
		CircuitFailures:      20,
		CircuitMaxHold:       Duration(day),
		DisableAfter:         Retention(5 * day),
		AllowPorts:           partners.Ports{{First: 80, Last: 80}, {First: 443, Last: 443}, {First: 8000, Last: 9999}},
		AuditLogEnabled:      true,
		RetentionCompleted:   Retention(day),
		RetentionDeadLetters: Retention(90 * day),
		RetentionCancelled:   Retention(90 * day),
		RetentionEvents:      Retention(90 * day),
		RetentionAttempts:    Retention(90 * day),
		LogLevel:             LogLevel(slog.LevelInfo),
		LogFormat:            LogText,
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()

	requireValues(t, defaults(), load(t))

	// An empty value counts as unset, and other variables are none of ours.
	environ := []string{"PATH=/bin", "=odd", "odd", ""}
	for _, variable := range variables() {
		environ = append(environ, variable.Name+"=")
	}
	requireValues(t, defaults(), load(t, environ...))
}

// Load reads what it is given and not the process's environment.
func TestLoadIsPure(t *testing.T) {
	t.Setenv("WORKER_BATCH_SIZE", "7")
	t.Setenv("LOG_LEVEL", "nonsense")
	requireValues(t, defaults(), load(t))
}

func TestInFlightBounds(t *testing.T) {
	t.Parallel()

	for environ, want := range map[string][2]int{
		"MAX_CONCURRENT_DELIVERIES=500": {100, 250},
		"MAX_CONCURRENT_DELIVERIES=15":  {3, 7},
		"MAX_CONCURRENT_DELIVERIES=1":   {1, 1},
		"PARTNER_MAX_IN_FLIGHT=7":       {7, 250},
		"USER_MAX_IN_FLIGHT=7":          {100, 7},
	} {
		partner, user := load(t, environ).InFlightBounds()
		require.Equal(t, want, [2]int{partner, user}, environ)
	}
}

func TestEveryVariable(t *testing.T) {
	t.Parallel()

	for entry, change := range map[string]func(*Config){
		"DATABASE_URL=postgres://u@h/db":    func(c *Config) { c.DatabaseURL = "postgres://u@h/db" },
		"WORKER_POLL_INTERVAL=0.5":          func(c *Config) { c.WorkerPollInterval = Duration(500 * time.Millisecond) },
		"WORKER_BATCH_SIZE=10000":           func(c *Config) { c.WorkerBatchSize = 10_000 },
		"WORKER_TIMEOUT=1m":                 func(c *Config) { c.WorkerTimeout = Duration(time.Minute) },
		"MAX_CONCURRENT_DELIVERIES=1":       func(c *Config) { c.MaxConcurrent = 1 },
		"PARTNER_MAX_IN_FLIGHT=7":           func(c *Config) { c.PartnerInFlight = 7 },
		"USER_MAX_IN_FLIGHT=70":             func(c *Config) { c.UserInFlight = 70 },
		"CIRCUIT_FAILURES=0":                func(c *Config) { c.CircuitFailures = 0 },
		"CIRCUIT_MAX_HOLD=1h":               func(c *Config) { c.CircuitMaxHold = Duration(time.Hour) },
		"PARTNER_DISABLE_AFTER=-1":          func(c *Config) { c.DisableAfter = Forever },
		"RETRY_BASE_DELAY=1ms":              func(c *Config) { c.RetryBaseDelay = Duration(time.Millisecond) },
		"RETRY_MAX_DELAY=1d":                func(c *Config) { c.RetryMaxDelay = Duration(24 * time.Hour) },
		"RETRY_MAX_ATTEMPTS=0":              func(c *Config) { c.RetryMaxAttempts = 0 },
		"RETRY_JITTER=0.25":                 func(c *Config) { c.RetryJitter = 0.25 },
		"HTTP_TIMEOUT=29.5s":                func(c *Config) { c.HTTPTimeout = Duration(29500 * time.Millisecond) },
		"SHUTDOWN_TIMEOUT=0":                func(c *Config) { c.ShutdownTimeout = 0 },
		"WEBHOOK_ENCRYPTION_KEY=" + testKey: func(c *Config) { c.EncryptionKey = testKeyBytes() },
		"WEBHOOK_ALLOW_HTTP=true":           func(c *Config) { c.AllowHTTP = true },
		"WEBHOOK_ALLOW_NETWORKS=10.0.0.0/8": func(c *Config) { c.AllowNetworks = networks("10.0.0.0/8") },
		"WEBHOOK_ALLOW_PORTS=1-65535":       func(c *Config) { c.AllowPorts = partners.Ports{{First: 1, Last: 65535}} },
		"WEBHOOK_PROXY_URL=http://u:p@proxy:3128": func(c *Config) {
			c.Proxy.URL = &url.URL{Scheme: "http", User: url.UserPassword("u", "p"), Host: "proxy:3128"}
		},
		"WEBHOOK_ENCRYPTION_KEYS_OLD=" + testKey + ", " + testKey + ",": func(c *Config) { c.OldEncryptionKeys = EncryptionKeys{testKeyBytes(), testKeyBytes()} },
		"AUDIT_LOG_ENABLED=false":                          func(c *Config) { c.AuditLogEnabled = false },
		"RETENTION_COMPLETED=3600":                         func(c *Config) { c.RetentionCompleted = Retention(time.Hour) },
		"RETENTION_DEAD_LETTERS=7d":                        func(c *Config) { c.RetentionDeadLetters = Retention(7 * 24 * time.Hour) },
		"RETENTION_CANCELLED=-1":                           func(c *Config) { c.RetentionCancelled = Forever },
		"RETENTION_EVENTS=-1":                              func(c *Config) { c.RetentionEvents = Forever },
		"RETENTION_ATTEMPTS=36h":                           func(c *Config) { c.RetentionAttempts = Retention(36 * time.Hour) },
		"LOG_LEVEL=DEBUG":                                  func(c *Config) { c.LogLevel = LogLevel(slog.LevelDebug) },
		"LOG_FORMAT=JSON":                                  func(c *Config) { c.LogFormat = LogJSON },
		"WEBHOOK_UI_USER=u=v\x00WEBHOOK_UI_PASSWORD=p = w": func(c *Config) { c.UIUser, c.UIPassword = "u=v", "p = w" },
	} {
		want := defaults()
		change(want)
		requireValues(t, want, load(t, strings.Split(entry, "\x00")...))
	}
}

func TestRefusedValues(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct{ environ, reason string }{
		{"DATABASE_URL=mysql://u:leaky@h/db", "DATABASE_URL is not valid: it must be a PostgreSQL connection string"},
		{"DATABASE_URL=postgres://u:leaky@h:port/db", "DATABASE_URL is not valid"},
		{"DATABASE_URL=postgres://u:leaky%zz@h/db", "DATABASE_URL is not valid"},
		{"DATABASE_URL=postgres://u:leaky@h/db?sslmode=verify-full&sslrootcert=/nowhere/leaky.pem", "DATABASE_URL is not valid: a file that it names, such as sslrootcert, can't be read: no such file"},
		{"WEBHOOK_PROXY_URL=socks5://u:leaky@proxy:1080", "WEBHOOK_PROXY_URL is not valid: it must be http://HOST:PORT"},
		{"WORKER_POLL_INTERVAL=0", "WORKER_POLL_INTERVAL must be longer than 0"},
		{"WORKER_POLL_INTERVAL=0.05", "WORKER_POLL_INTERVAL must be at least 100ms, and is 50ms"},
		{"WORKER_POLL_INTERVAL=often", "WORKER_POLL_INTERVAL=often is not valid: it must be seconds"},
		{"WORKER_BATCH_SIZE=0", "WORKER_BATCH_SIZE must be between 1 and 10000, and is 0"},
		{"WORKER_BATCH_SIZE=10001", "WORKER_BATCH_SIZE must be between 1 and 10000"},
		{"WORKER_BATCH_SIZE=ten", "WORKER_BATCH_SIZE=ten is not valid: it must be a whole number"},
		{"WORKER_BATCH_SIZE=1.5", "WORKER_BATCH_SIZE=1.5 is not valid"},
		{"WORKER_BATCH_SIZE=99999999999999999999", "WORKER_BATCH_SIZE=99999999999999999999 is not valid: it must be a whole number"},
		{"WORKER_BATCH_SIZE=7\n", `WORKER_BATCH_SIZE="7\n" is not valid`},
		{"WORKER_TIMEOUT=-1", "WORKER_TIMEOUT must be longer than 0, and is -1s"},
		{"WORKER_TIMEOUT=29", "WORKER_TIMEOUT (29s) must not be below HTTP_TIMEOUT (30s)"},
		{"HTTP_TIMEOUT=31", "WORKER_TIMEOUT (30s) must not be below HTTP_TIMEOUT (31s)"},
		{"HTTP_TIMEOUT=0", "HTTP_TIMEOUT must be longer than 0"},
		{"MAX_CONCURRENT_DELIVERIES=0", "MAX_CONCURRENT_DELIVERIES must be between 1 and 10000"},
		{"MAX_CONCURRENT_DELIVERIES=-5", "MAX_CONCURRENT_DELIVERIES must be between 1 and 10000"},
		{"RETRY_BASE_DELAY=0", "RETRY_BASE_DELAY must be longer than 0"},
		{"RETRY_BASE_DELAY=2h", "RETRY_MAX_DELAY (1h) must not be below RETRY_BASE_DELAY (2h)"},
		{"RETRY_MAX_DELAY=29", "RETRY_MAX_DELAY (29s) must not be below RETRY_BASE_DELAY (30s)"},
		{"RETRY_MAX_ATTEMPTS=-1", "RETRY_MAX_ATTEMPTS must be between 0 and 100"},
		{"RETRY_MAX_ATTEMPTS=101", "RETRY_MAX_ATTEMPTS must be between 0 and 100"},
		{"RETRY_JITTER=-0.1", "RETRY_JITTER must be between 0 and 1, and is -0.1"},
		{"RETRY_JITTER=1.1", "RETRY_JITTER must be between 0 and 1"},
		{"RETRY_JITTER=NaN", "RETRY_JITTER must be between 0 and 1"},
		{"RETRY_JITTER=much", "RETRY_JITTER=much is not valid: it must be a number"},
		{"SHUTDOWN_TIMEOUT=-1", "SHUTDOWN_TIMEOUT must not be negative, and is -1s"},
		{"WEBHOOK_ENCRYPTION_KEY=leaky", "WEBHOOK_ENCRYPTION_KEY is not valid: it must be base64 of 32 bytes"},
		{"WEBHOOK_ENCRYPTION_KEY=bGVha3k=", "WEBHOOK_ENCRYPTION_KEY is not valid: it must be base64 of 32 bytes, and holds 5"},
		{"WEBHOOK_ENCRYPTION_KEYS_OLD=" + testKey + ",bGVha3k=", "WEBHOOK_ENCRYPTION_KEYS_OLD is not valid: key 2 of the list: it must be base64 of 32 bytes, and holds 5"},
		{"WEBHOOK_ALLOW_HTTP=maybe", "WEBHOOK_ALLOW_HTTP=maybe is not valid: it must be true or false"},
		{"WEBHOOK_ALLOW_NETWORKS=10.0.0.0/33", `WEBHOOK_ALLOW_NETWORKS=10.0.0.0/33 is not valid: "10.0.0.0/33" is not a CIDR`},
		{"WEBHOOK_ALLOW_PORTS=http", `WEBHOOK_ALLOW_PORTS=http is not valid: "http" is not a port`},
		{"AUDIT_LOG_ENABLED=2", "AUDIT_LOG_ENABLED=2 is not valid"},
		{"RETENTION_COMPLETED=0", "RETENTION_COMPLETED=0 is not valid: it must be longer than 0, or -1 for ever"},
		{"RETENTION_DEAD_LETTERS=91d", "RETENTION_EVENTS (90d) must not be below RETENTION_DEAD_LETTERS (91d)"},
		{"RETENTION_DEAD_LETTERS=-1", "RETENTION_EVENTS (90d) must not be below RETENTION_DEAD_LETTERS (-1)"},
		{"RETENTION_CANCELLED=-2", "RETENTION_CANCELLED=-2 is not valid"},
		{"RETENTION_EVENTS=89d", "RETENTION_EVENTS (89d) must not be below RETENTION_DEAD_LETTERS (90d)"},
		{"RETENTION_ATTEMPTS=months", "RETENTION_ATTEMPTS=months is not valid"},
		{"WEBHOOK_UI_USER=a:b\x00WEBHOOK_UI_PASSWORD=leaky", "WEBHOOK_UI_USER must not have a colon"},
		{"WEBHOOK_UI_USER=u\x00WEBHOOK_UI_PASSWORD=$argon2id$leaky", "WEBHOOK_UI_PASSWORD is not valid: it begins like an argon2id hash and is none"},
		{"WEBHOOK_UI_USER=u\x00WEBHOOK_UI_PASSWORD=$2b$10$leaky", "WEBHOOK_UI_PASSWORD is not valid: it begins like a bcrypt hash and is none"},
		{"WEBHOOK_UI_USER=u", "WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD go together"},
		{"WEBHOOK_UI_PASSWORD=leaky", "WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD go together"},
		{"LOG_LEVEL=LOUD", "LOG_LEVEL=LOUD is not valid: it must be DEBUG, INFO, WARNING or ERROR"},
		{"LOG_FORMAT=xml", "LOG_FORMAT=xml is not valid: it must be text or json"},
		{"WORKER_BATCH_SIZE=0\x00HTTP_TIMEOUT=0", "WORKER_BATCH_SIZE must be between 1 and 10000, and is 0; HTTP_TIMEOUT must be"},
	} {
		_, err := Load(strings.Split(tt.environ, "\x00"))
		require.ErrorContains(t, err, tt.reason)
		require.NotContains(t, err.Error(), "\n", tt.environ)
		require.NotContains(t, err.Error(), "leaky", tt.environ)
		require.NotContains(t, err.Error(), "bGVha3", tt.environ)
	}
}

func TestRequired(t *testing.T) {
	t.Parallel()

	require.ErrorContains(t, load(t).RequireDatabase(), "DATABASE_URL is not set")
	require.ErrorContains(t, load(t).RequireEncryptionKey(), "WEBHOOK_ENCRYPTION_KEY is not set")
	cfg := load(t, "DATABASE_URL=postgres:///", "WEBHOOK_ENCRYPTION_KEY="+testKey)
	require.NoError(t, cfg.RequireDatabase())
	require.NoError(t, cfg.RequireEncryptionKey())
}

func TestVariables(t *testing.T) {
	t.Parallel()

	cfg := load(t, "DATABASE_URL=postgres://u:leaky@h/db", "WEBHOOK_ENCRYPTION_KEY="+testKey, "WEBHOOK_UI_USER=ada",
		"WEBHOOK_UI_PASSWORD=leaky", "WORKER_BATCH_SIZE=7", "LOG_LEVEL=warn", "RETENTION_EVENTS=-1", "WORKER_TIMEOUT=90")
	values, secrets := map[string]string{}, []string{}
	for _, variable := range cfg.Variables() {
		require.Regexp(t, "^[A-Z][A-Z_]+$", variable.Name)
		require.NotEmpty(t, variable.Help, variable.Name)
		require.NotContains(t, values, variable.Name, "it is there once")
		values[variable.Name] = variable.Value
		if variable.Secret {
			secrets = append(secrets, variable.Name)
		}
	}
	for name, want := range map[string]string{
		"DATABASE_URL": "postgres://u:xxxxx@h/db", "WEBHOOK_ENCRYPTION_KEY": "[redacted]", "WEBHOOK_UI_PASSWORD": "[redacted]",
		"WEBHOOK_UI_USER": "ada", "WORKER_BATCH_SIZE": "7", "LOG_LEVEL": "WARNING", "RETENTION_EVENTS": "-1", "WORKER_TIMEOUT": "1m30s",
		"RETENTION_ATTEMPTS": "90d", "RETRY_MAX_DELAY": "1h", "WEBHOOK_ALLOW_PORTS": "80,443,8000-9999", "AUDIT_LOG_ENABLED": "true",
	} {
		require.Equal(t, want, values[name], name)
	}
	require.ElementsMatch(t, []string{"DATABASE_URL", "DATABASE_DIRECT_URL", "WEBHOOK_ENCRYPTION_KEY", "WEBHOOK_ENCRYPTION_KEYS_OLD", "WEBHOOK_PROXY_URL", "WEBHOOK_UI_PASSWORD"}, secrets)
	requireHidden(t, fmt.Sprint(cfg.Variables()))

	// What is not set shows as nothing, so that one sees it.
	for _, variable := range load(t).Variables() {
		if variable.Secret {
			require.Empty(t, variable.Value, variable.Name)
		}
	}
}

// What `config` prints can be given back.
func TestShownValuesCanBeReadAgain(t *testing.T) {
	t.Parallel()

	cfg := load(t, "WORKER_TIMEOUT=3661.5", "RETENTION_EVENTS=-1", "RETENTION_COMPLETED=36h", "LOG_LEVEL=critical", "LOG_FORMAT=JSON",
		"WEBHOOK_ALLOW_NETWORKS=10.1.2.3, fd00::/8", "RETRY_JITTER=0.125", "RETRY_BASE_DELAY=1h", "RETRY_MAX_DELAY=150m")
	var environ []string
	for _, variable := range cfg.Variables() {
		environ = append(environ, variable.Name+"="+variable.Value)
	}
	requireValues(t, cfg, load(t, environ...))
}

func TestNoDurationOverflows(t *testing.T) {
	t.Parallel()

	for _, text := range []string{"1e300", "-1e300", "inf", "-inf", "nan", "1e300d", "infd", "nand", "18446744073709551615", "9999999999h"} {
		var duration Duration
		require.Error(t, duration.UnmarshalText([]byte(text)), text)
	}
}
