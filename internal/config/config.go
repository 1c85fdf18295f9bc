// Package config reads the environment, once, into a validated struct.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"

	"github.com/epicvoice/webhook-worker/partners"
)

// Config is everything that the environment decides. The tags give each variable's name, default and help;
// `webhook-worker config`, the README's table and the errors are made from them.
type Config struct {
	DatabaseURL        DatabaseURL `env:"DATABASE_URL" help:"PostgreSQL connection string. Required by every command but dev, receive, keys generate and config."`
	DatabaseDirectURL  DatabaseURL `env:"DATABASE_DIRECT_URL" help:"The same database around a connection pooler, for a worker's locks and LISTEN. Needed where DATABASE_URL goes through one."`
	WorkerPollInterval Duration    `env:"WORKER_POLL_INTERVAL" default:"5" help:"How often a worker looks for due deliveries when nothing has woken it."`
	WorkerBatchSize    int         `env:"WORKER_BATCH_SIZE" default:"1000" help:"Most rows in one statement of the audit log (1 to 10000); its predecessor's default was 10."`
	WorkerTimeout      Duration    `env:"WORKER_TIMEOUT" default:"30" help:"Time that one delivery may take, the database's part aside; not below HTTP_TIMEOUT."`
	MaxConcurrent      int         `env:"MAX_CONCURRENT_DELIVERIES" default:"500" help:"Deliveries that one worker process has under way at once (1 to 10000)."`
	PartnerInFlight    int         `env:"PARTNER_MAX_IN_FLIGHT" default:"0" help:"Requests to one partner that one worker process has under way at once (1 to 10000), unless the partner has a number of its own; 0: a fifth of MAX_CONCURRENT_DELIVERIES."`
	UserInFlight       int         `env:"USER_MAX_IN_FLIGHT" default:"0" help:"Requests to all partners of one user that one worker process has under way at once (1 to 10000); 0: half of MAX_CONCURRENT_DELIVERIES."`
	RetryBaseDelay     Duration    `env:"RETRY_BASE_DELAY" default:"30" help:"Wait after the first failed try; each further wait is twice as long."`
	RetryMaxDelay      Duration    `env:"RETRY_MAX_DELAY" default:"3600" help:"Longest wait between two tries, also when a partner asks for more with Retry-After."`
	RetryMaxAttempts   int         `env:"RETRY_MAX_ATTEMPTS" default:"5" help:"Retries after the first try (0 to 100); then the delivery is a dead letter. A partner may have a number of its own."`
	RetryJitter        float64     `env:"RETRY_JITTER" default:"0" help:"Share of each wait that is added to it at random (0 to 1)."`
	HTTPTimeout        Duration    `env:"HTTP_TIMEOUT" default:"30" help:"Time for one request, from the connection to the end of the answer's body."`
	ShutdownTimeout    Duration    `env:"SHUTDOWN_TIMEOUT" default:"30" help:"Time that running deliveries get to finish after SIGTERM."`

	CircuitFailures int       `env:"CIRCUIT_FAILURES" default:"20" help:"Failed tries in a row, of three deliveries or more, after which a partner's deliveries are held back but for probes (1 to 10000); 0: never."`
	CircuitMaxHold  Duration  `env:"CIRCUIT_MAX_HOLD" default:"24h" help:"Longest that a delivery is so held back; then its tries are made and count."`
	DisableAfter    Retention `env:"PARTNER_DISABLE_AFTER" default:"5d" help:"How long every try to a partner fails before it is disabled; -1: never."`

	EncryptionKey     EncryptionKey  `env:"WEBHOOK_ENCRYPTION_KEY" help:"Key that partners' secrets are sealed with: base64 of 32 bytes, as webhook-worker keys generate prints it. Required to work with partners."`
	OldEncryptionKeys EncryptionKeys `env:"WEBHOOK_ENCRYPTION_KEYS_OLD" help:"Keys that sealed secrets before and only open them now, with commas between."`
	AllowHTTP         bool           `env:"WEBHOOK_ALLOW_HTTP" default:"false" help:"Whether partners may have http URLs."`
	AllowNetworks     Networks       `env:"WEBHOOK_ALLOW_NETWORKS" help:"Networks that may be dialled although they are private, as CIDRs with commas between, on any port."`
	AllowPorts        partners.Ports `env:"WEBHOOK_ALLOW_PORTS" default:"80,443,8000-9999" help:"Ports that may be dialled, single or as ranges, with commas between."`
	Proxy             ProxyURL       `env:"WEBHOOK_PROXY_URL" help:"Proxy that requests to partners go out through: http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ if it asks. Empty: none; HTTP_PROXY and its kind are not read."`

	AuditLogEnabled      bool      `env:"AUDIT_LOG_ENABLED" default:"true" help:"Whether each attempt gets a row in webhook_delivery_log."`
	RetentionCompleted   Retention `env:"RETENTION_COMPLETED" default:"24h" help:"How long delivered jobs are kept."`
	RetentionDeadLetters Retention `env:"RETENTION_DEAD_LETTERS" default:"90d" help:"How long dead letters are kept."`
	RetentionCancelled   Retention `env:"RETENTION_CANCELLED" default:"90d" help:"How long cancelled deliveries are kept."`
	RetentionEvents      Retention `env:"RETENTION_EVENTS" default:"90d" help:"How long events are kept; not below RETENTION_DEAD_LETTERS."`
	RetentionAttempts    Retention `env:"RETENTION_ATTEMPTS" default:"90d" help:"How long rows of the audit log are kept."`

	HealthAddr HealthAddr `env:"WORKER_HEALTH_ADDR" help:"Where a worker answers /healthz, /readyz and /metrics: HOST:PORT, or unix:PATH; %i is the instance, and PORT+%i a port of each one's own. Empty: nowhere."`
	UIUser     string     `env:"WEBHOOK_UI_USER" help:"User name for the pages of serve, without a colon."`
	UIPassword Password   `env:"WEBHOOK_UI_PASSWORD" help:"Password for the pages of serve, or its hash: argon2id, as webhook-worker keys hash-password prints it, or bcrypt."`

	LogLevel  LogLevel  `env:"LOG_LEVEL" default:"INFO" help:"DEBUG, INFO, WARNING or ERROR."`
	LogFormat LogFormat `env:"LOG_FORMAT" default:"text" help:"text or json."`
	EnvFile   string    `env:"WORKER_ENV_FILE" help:"File from which a worker reads LOG_LEVEL again at SIGHUP, as systemctl reload sends it: the one that systemd's EnvironmentFile= names. Empty: SIGHUP ends the process."`

	origins map[string]origin // by variable; none for defaults
}

// Load reads a Config from an environment as os.Environ gives it, and from the files that it names. An empty
// value counts as unset. The error is one line that names the variable.
func Load(environ []string) (*Config, error) {
	values := parse(environ)
	origins, err := resolve(values)
	if err != nil {
		return nil, err
	}
	cfg := Config{origins: origins}
	if err := env.ParseWithOptions(&cfg, env.Options{Environment: values, DefaultValueTagName: "default"}); err != nil {
		return nil, describe(err, values, origins)
	}
	return &cfg, cfg.validate()
}

// RequireDatabase returns an error that says what to set if there is no DATABASE_URL.
func (c *Config) RequireDatabase() error {
	if c.DatabaseURL == "" {
		return errors.New("DATABASE_URL is not set: give it a connection string such as postgres://user:password@localhost:5432/database")
	}
	return nil
}

// RequireEncryptionKey returns an error that says how to make a key if there is none.
func (c *Config) RequireEncryptionKey() error {
	if len(c.EncryptionKey) == 0 {
		return errors.New("WEBHOOK_ENCRYPTION_KEY is not set: use the key that the partners were added with, or make the first one with `webhook-worker keys generate` (or `openssl rand -base64 32`), and give every process the same")
	}
	return nil
}

// InFlightBounds are how many requests to one partner, and of one user, are under way at once.
func (c *Config) InFlightBounds() (partner, user int) {
	return cmp.Or(c.PartnerInFlight, max(1, c.MaxConcurrent/5)), cmp.Or(c.UserInFlight, max(1, c.MaxConcurrent/2))
}

// validate checks what one variable alone cannot show.
func (c *Config) validate() error {
	between := func(name string, value, low, high int) error {
		if value < low || value > high {
			return fmt.Errorf("%s must be between %d and %d, and is %d", name, low, high, value)
		}
		return nil
	}
	positive := func(name string, value Duration) error {
		if value <= 0 {
			return fmt.Errorf("%s must be longer than 0, and is %s", name, value)
		}
		return nil
	}
	if err := errors.Join(
		between("WORKER_BATCH_SIZE", c.WorkerBatchSize, 1, 10_000),
		between("MAX_CONCURRENT_DELIVERIES", c.MaxConcurrent, 1, 10_000),
		between("PARTNER_MAX_IN_FLIGHT", c.PartnerInFlight, 0, 10_000),
		between("USER_MAX_IN_FLIGHT", c.UserInFlight, 0, 10_000),
		between("CIRCUIT_FAILURES", c.CircuitFailures, 0, 10_000),
		positive("CIRCUIT_MAX_HOLD", c.CircuitMaxHold),
		between("RETRY_MAX_ATTEMPTS", c.RetryMaxAttempts, 0, 100),
		positive("WORKER_POLL_INTERVAL", c.WorkerPollInterval),
		positive("WORKER_TIMEOUT", c.WorkerTimeout),
		positive("HTTP_TIMEOUT", c.HTTPTimeout),
		positive("RETRY_BASE_DELAY", c.RetryBaseDelay),
	); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	switch {
	case c.WorkerPollInterval.Std() < 100*time.Millisecond:
		return fmt.Errorf("WORKER_POLL_INTERVAL must be at least 100ms, and is %s", c.WorkerPollInterval)
	case c.WorkerTimeout < c.HTTPTimeout:
		return fmt.Errorf("WORKER_TIMEOUT (%s) must not be below HTTP_TIMEOUT (%s)", c.WorkerTimeout, c.HTTPTimeout)
	case c.RetryMaxDelay < c.RetryBaseDelay:
		return fmt.Errorf("RETRY_MAX_DELAY (%s) must not be below RETRY_BASE_DELAY (%s)", c.RetryMaxDelay, c.RetryBaseDelay)
	case math.IsNaN(c.RetryJitter) || c.RetryJitter < 0 || c.RetryJitter > 1:
		return fmt.Errorf("RETRY_JITTER must be between 0 and 1, and is %g", c.RetryJitter)
	case c.ShutdownTimeout < 0:
		return fmt.Errorf("SHUTDOWN_TIMEOUT must not be negative, and is %s", c.ShutdownTimeout)
	case c.RetentionEvents.shorterThan(c.RetentionDeadLetters):
		return fmt.Errorf("RETENTION_EVENTS (%s) must not be below RETENTION_DEAD_LETTERS (%s): a dead letter needs its event's payload", c.RetentionEvents, c.RetentionDeadLetters)
	case (c.UIUser == "") != (c.UIPassword == ""):
		return errors.New("WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD go together: set both or neither")
	case strings.Contains(c.UIUser, ":"):
		return errors.New("WEBHOOK_UI_USER must not have a colon, with which browsers end the name")
	}
	return nil
}

// describe turns the first error of the env library, which names struct fields, into one that names the
// variable and, unless it is secret, its value.
func describe(err error, values map[string]string, origins map[string]origin) error {
	var parse env.ParseError
	if !errors.As(err, &parse) {
		return fmt.Errorf("reading the environment: %w", err)
	}
	for _, variable := range variables() {
		if variable.field != parse.Name {
			continue
		}
		if from := origins[variable.Name]; from.path != "" {
			return fmt.Errorf("%s (%s) is not valid: %w", variable.Name, from, reason(parse.Err))
		}
		if variable.Secret {
			return fmt.Errorf("%s is not valid: %w", variable.Name, reason(parse.Err))
		}
		return fmt.Errorf("%s=%s is not valid: %w", variable.Name, oneLine(values[variable.Name]), reason(parse.Err))
	}
	return fmt.Errorf("reading the environment: %w", err)
}

// oneLine quotes a value that would break the line, such as one with the end of the file that it came from.
func oneLine(value string) string {
	if strings.ContainsFunc(value, unicode.IsControl) {
		return strconv.Quote(value)
	}
	return value
}

// reason drops strconv's words, which mean nothing to an operator.
func reason(err error) error {
	if parse, ok := errors.AsType[*strconv.NumError](err); ok {
		switch parse.Func {
		case "ParseBool":
			return errors.New("it must be true or false")
		case "ParseFloat":
			return errors.New("it must be a number")
		default:
			return errors.New("it must be a whole number")
		}
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// Variable describes one environment variable.
type Variable struct {
	Name    string `json:"name"`
	Default string `json:"default"`
	Value   string `json:"value"` // the effective value, redacted if it is secret
	Help    string `json:"help"`
	Secret  bool   `json:"secret"`
	From    Source `json:"from"`
	File    string `json:"file,omitempty"` // that holds the value

	field string
}

// Variables lists all variables with their effective values, in the order of the struct.
func (c *Config) Variables() []Variable {
	list := variables()
	values := reflect.ValueOf(c).Elem()
	for i := range list {
		variable := &list[i]
		variable.Value = fmt.Sprint(values.FieldByName(variable.field).Interface())
		variable.From = FromDefault
		if from, isSet := c.origins[variable.Name]; isSet {
			variable.From, variable.File = from.source, from.path
		}
	}
	return list
}

// variables reads the tags.
func variables() []Variable {
	fields := reflect.VisibleFields(reflect.TypeFor[Config]())
	list := make([]Variable, 0, len(fields))
	for _, field := range fields {
		if !field.IsExported() {
			continue
		}
		list = append(list, Variable{
			Name:    field.Tag.Get("env"),
			Default: field.Tag.Get("default"),
			Help:    field.Tag.Get("help"),
			Secret:  field.Type.Implements(reflect.TypeFor[secret]()),
			field:   field.Name,
		})
	}
	return list
}
