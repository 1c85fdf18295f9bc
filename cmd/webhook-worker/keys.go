package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/partners"
)

type keysCommand struct {
	Generate     keysGenerateCommand     `cmd:"" help:"Print a new WEBHOOK_ENCRYPTION_KEY."`
	List         keysListCommand         `cmd:"" help:"List the encryption keys that are configured or in use, by their ids."`
	Rotate       keysRotateCommand       `cmd:"" help:"Re-encrypt with WEBHOOK_ENCRYPTION_KEY what WEBHOOK_ENCRYPTION_KEYS_OLD sealed; workers may run."`
	HashPassword keysHashPasswordCommand `cmd:"" help:"Read a password from the terminal or stdin, and print its hash for WEBHOOK_UI_PASSWORD."`
}

type keysGenerateCommand struct{}

// Run prints a key.
func (c *keysGenerateCommand) Run(a *app) error {
	_, err := fmt.Fprintln(a.stdout, newKey())
	return err
}

// newKey is an encryption key as WEBHOOK_ENCRYPTION_KEY takes it.
func newKey() string {
	key := make([]byte, partners.KeySize)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

type keysListCommand struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Run lists keys.
func (c *keysListCommand) Run(a *app) error {
	return a.withStore(func(store *partners.Store, _ *pgxpool.Pool) error {
		uses, err := store.KeyUses(a.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(uses)
		}
		return printKeyUses(a, uses)
	})
}

func printKeyUses(a *app, uses []partners.KeyUse) error {
	rows := make([][]string, len(uses))
	for i, use := range uses {
		rows[i] = []string{use.KeyID, string(use.State), strconv.Itoa(use.Partners)}
	}
	return printTable(a.stdout, []string{"KEY", "STATE", "PARTNERS"}, rows)
}

// warnOfMissingKeys logs which keys sealed partners' secrets and are not configured.
func warnOfMissingKeys(ctx context.Context, store *partners.Store, logger *slog.Logger) error {
	uses, err := store.KeyUses(ctx)
	if err != nil {
		return err
	}
	for _, use := range uses {
		if use.State == partners.KeyMissing {
			logger.WarnContext(ctx, "partners' secrets are sealed with a key that this process does not have, and their deliveries wait: "+
				"add it to WEBHOOK_ENCRYPTION_KEYS_OLD",
				slog.String("key_id", use.KeyID), slog.Int("partners", use.Partners))
		}
	}
	return nil
}
