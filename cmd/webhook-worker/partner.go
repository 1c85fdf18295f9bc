package main

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/partners"
)

type partnerCommand struct {
	Add          partnerAddCommand     `cmd:"" help:"Add a partner and print its secret."`
	List         partnerListCommand    `cmd:"" help:"List a user's partners."`
	Show         partnerShowCommand    `cmd:"" help:"Show one partner."`
	Update       partnerUpdateCommand  `cmd:"" help:"Change a partner."`
	Enable       partnerEnableCommand  `cmd:"" help:"Let a disabled partner receive again."`
	Disable      partnerDisableCommand `cmd:"" help:"Stop a partner from receiving; its waiting deliveries are cancelled when they come due."`
	Pause        partnerPauseCommand   `cmd:"" help:"Hold a partner's deliveries back; events are enqueued meanwhile, and no tries are used."`
	Resume       partnerResumeCommand  `cmd:"" help:"Let a paused partner's deliveries go."`
	RotateSecret partnerRotateCommand  `cmd:"" help:"Give a partner a new secret; the old one signs too for a while."`
	Test         partnerTestCommand    `cmd:"" help:"Send a partner a test event and wait for its answer."`
	Delete       partnerDeleteCommand  `cmd:"" help:"Delete a partner; its waiting deliveries are cancelled when they come due."`
}

// onePartner are the flags that name a partner.
type onePartner struct {
	User string `required:"" help:"User that owns the partner."`
	Slug string `arg:"" help:"The partner's slug."`
}

// secretFlags are the flags that give a secret, or say which kind to generate.
type secretFlags struct {
	Secret    given           `xor:"secret" placeholder:"SECRET|-" help:"Signing secret: whsec_ and base64, an ed25519 key as whsk_ and base64, or other text of 8 to 128 bytes; - reads it from stdin, which no process list shows. One is generated if it is left out."`
	Signature partners.Scheme `xor:"secret" placeholder:"v1|v1a" help:"Generate a secret for this kind of signatures: v1 (HMAC-SHA256), or v1a (ed25519), which partners verify with a public key."`
}

// read gives the secret; empty if the store is to choose one.
func (f *secretFlags) read(a *app) (partners.Secret, error) {
	if f.Signature != "" {
		return f.Signature.GenerateSecret(), nil
	}
	return a.secret(f.Secret, "--secret")
}

func warnIfWeak(a *app, secret partners.Secret) {
	if secret.Weak() {
		a.say("warning: the secret is shorter than 24 bytes; leave --secret out to get a strong one")
	}
}

// sayWhoVerifies says who needs what of a key pair.
func sayWhoVerifies(a *app, secret partners.Secret) {
	if secret.PublicKey() != "" {
		a.say("the partner verifies with the public key, and needs no secret")
	}
}

// wrongKey says what to do about secrets that no key opens.
func wrongKey(err error) error {
	return fmt.Errorf("WEBHOOK_ENCRYPTION_KEY opens none of the stored secrets, nor does WEBHOOK_ENCRYPTION_KEYS_OLD: "+
		"set one of them to the key that the partners were added with (%w)", err)
}

// changePartner makes one change to a partner and says so.
func (a *app) changePartner(change func(store *partners.Store) (*partners.Partner, error), done string) error {
	return a.withStore(func(store *partners.Store, _ *pgxpool.Pool) error {
		partner, err := change(store)
		if err != nil {
			return err
		}
		a.say("partner %s %s", partner.Slug, done)
		return nil
	})
}

// dryRun says what would be done to a partner, if there is one, and changes nothing.
func (p *onePartner) dryRun(a *app, would string) error {
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Get(a.ctx, p.User, p.Slug)
	}, would)
}
