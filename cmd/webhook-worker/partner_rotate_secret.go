package main

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/partners"
)

// secretOverlap is how long secrets before a new one go on signing, unless --overlap says so.
const secretOverlap = 24 * time.Hour

type partnerRotateCommand struct {
	onePartner
	secretFlags

	Overlap   *config.Duration `xor:"end" placeholder:"DURATION" help:"How long the secrets before it go on signing; 24h if left out."`
	ExpireNow bool             `xor:"end" help:"End the secrets before it at once."`
	JSON      bool             `name:"json" help:"Print a JSON object."`
}

// rotatedSecret is what rotate-secret prints as JSON.
type rotatedSecret struct {
	Slug      string `json:"partner_slug"`
	Secret    string `json:"secret"`
	PublicKey string `json:"public_key,omitempty"`
}

// Run gives a partner a new secret.
func (c *partnerRotateCommand) Run(a *app) error {
	given, err := c.read(a)
	if err != nil {
		return err
	}
	overlap := secretOverlap
	switch {
	case c.ExpireNow:
		overlap = 0
	case c.Overlap != nil:
		overlap = c.Overlap.Std()
	}
	return a.withStore(func(store *partners.Store, _ *pgxpool.Pool) error {
		secret, err := store.RotateSecret(a.ctx, c.User, c.Slug, given, overlap)
		if err != nil {
			return err
		}
		warnIfWeak(a, secret)
		if c.JSON {
			return a.printJSON(rotatedSecret{Slug: c.Slug, Secret: secret.Reveal(), PublicKey: secret.PublicKey()})
		}
		if overlap > 0 {
			a.say("the secrets before it sign until %s", localTime(time.Now().Add(overlap)))
		}
		sayWhoVerifies(a, secret)
		return printFields(a.stdout, [][2]string{{"secret", secret.Reveal()}, {"public key", secret.PublicKey()}})
	})
}
