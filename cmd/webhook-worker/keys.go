package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/epicvoice/webhook-worker/partners"
)

type keysCommand struct {
	Generate keysGenerateCommand `cmd:"" help:"Print a new WEBHOOK_ENCRYPTION_KEY."`
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
