package main

import (
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/partners"
)

type partnerListCommand struct {
	User string `required:"" help:"User that owns the partners."`
	JSON bool   `name:"json" help:"Print a JSON array."`
}

// Run lists partners.
func (c *partnerListCommand) Run(a *app) error {
	return a.withStore(func(store *partners.Store, _ *pgxpool.Pool) error {
		list, err := store.List(a.ctx, c.User)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(list)
		}
		rows := make([][]string, len(list))
		for i, partner := range list {
			rows[i] = []string{partner.Slug, partner.Name, state(partner), strings.Join(partner.EnabledEvents, " "), partner.URL}
		}
		return printTable(a.stdout, []string{"SLUG", "NAME", "STATE", "EVENTS", "URL"}, rows)
	})
}

func state(partner *partners.Partner) string {
	switch {
	case !partner.Enabled:
		return "disabled"
	case partner.PausedAt != nil:
		return "paused"
	}
	return "enabled"
}

type partnerShowCommand struct {
	onePartner

	Reveal bool `help:"Print the secrets too."`
	JSON   bool `name:"json" help:"Print a JSON object."`
}

// shownSecret is a secret as show prints it.
type shownSecret struct {
	Secret    string     `json:"secret"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// partnerWithSecrets is what show --reveal prints as JSON.
type partnerWithSecrets struct {
	*partners.Partner

	Secrets []shownSecret `json:"secrets,omitempty"`
}

// Run shows a partner.
func (c *partnerShowCommand) Run(a *app) error {
	return a.withStore(func(store *partners.Store, _ *pgxpool.Pool) error {
		partner, err := store.Get(a.ctx, c.User, c.Slug)
		if err != nil {
			return err
		}
		shown := partnerWithSecrets{Partner: partner}
		if c.Reveal {
			secrets, err := store.ValidSecrets(partner, time.Now())
			if err != nil {
				return err
			}
			for _, secret := range secrets {
				shown.Secrets = append(shown.Secrets, shownSecret{Secret: secret.Secret.Reveal(), ExpiresAt: secret.ExpiresAt})
			}
		}
		if c.JSON {
			return a.printJSON(shown)
		}
		return printFields(a.stdout, shown.fields())
	})
}

func (p *partnerWithSecrets) fields() [][2]string {
	fields := [][2]string{
		{"id", p.ID.String()},
		{"user", p.UserID},
		{"name", p.Name},
		{"slug", p.Slug},
		{"url", p.URL},
		{"events", strings.Join(p.EnabledEvents, " ")},
		{"fields", string(p.CustomPayloadFields)},
		{"max retries", or(p.MaxRetries)},
		{"state", state(p.Partner)},
		{"disabled because", or(p.DisabledReason)},
		{"created", localTime(p.CreatedAt)},
		{"updated", localTime(p.UpdatedAt)},
	}
	for _, secret := range p.Secrets {
		text := secret.Secret
		if secret.ExpiresAt != nil {
			text += "  until " + localTime(*secret.ExpiresAt)
		}
		fields = append(fields, [2]string{"secret", text})
	}
	return fields
}
