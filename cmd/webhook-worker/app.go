package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/systemd"
	"github.com/epicvoice/webhook-worker/migrations"
	"github.com/epicvoice/webhook-worker/partners"
)

// maxInput bounds what is read from files and stdin, above every limit of what they may hold.
const maxInput = 1 << 20

// given is the value of a flag that must not be empty if it is given: an unset shell variable must not widen
// what a command looks at.
type given string

// UnmarshalText is called for flags that are given.
func (g *given) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("it must not be empty")
	}
	*g = given(text)
	return nil
}

// app is what commands share: the outside world.
type app struct {
	ctx     context.Context //nolint:containedctx // it lives as long as the command
	environ []string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	sockets *sockets
	level   *slog.LevelVar // of the loggers
}

// config reads the environment.
func (a *app) config() (*config.Config, error) {
	cfg, err := config.Load(a.environ)
	if err != nil {
		return nil, &usageError{err}
	}
	return cfg, nil
}

// setDefault sets a variable that the environment does not have.
func (a *app) setDefault(name, value string) {
	if a.getenv(name) == "" {
		a.environ = append(slices.Clone(a.environ), name+"="+value)
	}
}

// getenv is a variable's value; the last setting counts.
func (a *app) getenv(name string) string {
	for _, entry := range slices.Backward(a.environ) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// logger makes the process's logger, on stderr or, if that leads there, in systemd's journal.
func (a *app) logger(cfg *config.Config) *slog.Logger {
	a.level.Set(slog.Level(cfg.LogLevel))
	format := textLines
	if cfg.LogFormat == config.LogJSON {
		format = jsonLines
	}
	if handler := systemd.OpenJournal(a.stderr, a.level, format); handler != nil {
		return slog.New(handler)
	}
	return slog.New(format(a.stderr, &slog.HandlerOptions{Level: a.level}))
}

func textLines(w io.Writer, options *slog.HandlerOptions) slog.Handler {
	return slog.NewTextHandler(w, options)
}

func jsonLines(w io.Writer, options *slog.HandlerOptions) slog.Handler {
	return slog.NewJSONHandler(w, options)
}

// withUnchecked reads the configuration, connects and runs use, whatever the schema is like.
func (a *app) withUnchecked(use func(cfg *config.Config, pool *pgxpool.Pool) error) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	pool, err := a.connect(cfg, 0)
	if err != nil {
		return err
	}
	defer pool.Close()
	return use(cfg, pool)
}

// withPool is withUnchecked for commands that need the schema to be up to date.
func (a *app) withPool(use func(cfg *config.Config, pool *pgxpool.Pool) error) error {
	return a.withUnchecked(func(cfg *config.Config, pool *pgxpool.Pool) error {
		if err := migrations.Check(a.ctx, pool); err != nil {
			return err
		}
		return use(cfg, pool)
	})
}

// withStore is withPool for commands about partners.
func (a *app) withStore(use func(store *partners.Store, pool *pgxpool.Pool) error) error {
	return a.withPool(func(cfg *config.Config, pool *pgxpool.Pool) error {
		store, err := newStore(cfg, pool)
		if err != nil {
			return err
		}
		return use(store, pool)
	})
}

// newStore makes the store of partners, which needs the encryption key.
func newStore(cfg *config.Config, pool *pgxpool.Pool) (*partners.Store, error) {
	if err := cfg.RequireEncryptionKey(); err != nil {
		return nil, &usageError{err}
	}
	keyring, err := newKeyring(cfg)
	if err != nil {
		return nil, err
	}
	return partners.NewStore(&partners.StoreConfig{Pool: pool, Keyring: keyring, Guard: newGuard(cfg)}), nil
}

// newGuard makes the guard that partners' URLs and the sender's connections pass.
func newGuard(cfg *config.Config) *partners.Guard {
	return partners.NewGuard(&partners.GuardConfig{
		AllowHTTP:     cfg.AllowHTTP,
		AllowNetworks: cfg.AllowNetworks,
		AllowPorts:    cfg.AllowPorts,
		Proxied:       cfg.Proxy.URL != nil,
	})
}

// newKeyring makes a keyring of the encryption keys.
func newKeyring(cfg *config.Config) (*partners.Keyring, error) {
	old := make([][]byte, len(cfg.OldEncryptionKeys))
	for i, key := range cfg.OldEncryptionKeys {
		old[i] = key
	}
	return partners.NewKeyring(cfg.EncryptionKey, old...)
}

// printJSON writes one JSON document to stdout.
func (a *app) printJSON(value any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// say writes a line for people to stderr.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
}

// read reads a file, or stdin if its name is "-".
func (a *app) read(name string) ([]byte, error) {
	source := a.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, &usageError{fmt.Errorf("reading a file: %w", err)}
		}
		defer func() { _ = file.Close() }()
		source = file
	}
	content, err := io.ReadAll(io.LimitReader(source, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(content) > maxInput {
		return nil, usagef("%s holds more than %d bytes", name, maxInput)
	}
	return content, nil
}

// secret is the value of flag, or the first line of stdin if that is "-".
func (a *app) secret(value given, flag string) (partners.Secret, error) {
	if value != "-" {
		return partners.Secret(value), nil
	}
	content, err := a.read("-")
	if err != nil {
		return "", err
	}
	line, more := firstLine(content)
	if strings.TrimSpace(more) != "" {
		return "", usagef("%s: stdin holds more than one line", flag)
	}
	if line == "" {
		return "", usagef("%s: stdin holds no secret", flag)
	}
	return partners.Secret(line), nil
}

// firstLine splits a text after its first line, which is returned without its end.
func firstLine(content []byte) (line, more string) {
	line, more, _ = strings.Cut(string(content), "\n")
	return strings.TrimRight(line, "\r"), more
}
