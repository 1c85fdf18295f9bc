package main

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/partners"
)

type partnerRotateCommand struct {
	onePartner
	secretFlag

	Overlap   config.Duration `default:"24h" help:"How long the secrets before it go on signing."`
	ExpireNow bool            `help:"End the secrets before it at once."`
	JSON      bool            `name:"json" help:"Print a JSON object."`
}

// Run gives a partner a new secret.
func (c *partnerRotateCommand) Run(a *app) error {
	given, err := a.secret(c.Secret)
	if err != nil {
		return err
	}
	overlap := c.Overlap.Std()
	if c.ExpireNow {
		overlap = 0
	}
	return a.withStore(func(store *partners.Store, _ *pgxpool.Pool) error {
		secret, err := store.RotateSecret(a.ctx, c.User, c.Slug, given, overlap)
		if err != nil {
			return err
		}
		warnIfWeak(a, secret)
		if c.JSON {
			return a.printJSON(map[string]string{"partner_slug": c.Slug, "secret": secret.Reveal()})
		}
		if overlap > 0 {
			a.say("the secrets before it sign until %s", localTime(time.Now().Add(overlap)))
		}
		return printFields(a.stdout, [][2]string{{"secret", secret.Reveal()}})
	})
}
