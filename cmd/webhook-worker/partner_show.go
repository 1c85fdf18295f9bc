package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/jobs"
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

	Reveal bool `help:"Print the secrets too, and the values of secret headers."`
	JSON   bool `name:"json" help:"Print a JSON object."`
}

// shownSecret is a secret as show prints it.
type shownSecret struct {
	Secret    string     `json:"secret"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// shownPublicKey is a public key as show prints it. It is no secret.
type shownPublicKey struct {
	PublicKey string     `json:"public_key"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// shownPartner is what show prints; --reveal adds the secrets, and the values of all headers.
type shownPartner struct {
	*partners.Partner

	RequestHeaders map[string]string `json:"request_headers"`
	Circuit        jobs.Circuit      `json:"circuit"`
	Health         *jobs.Health      `json:"health"` // nil: its last try was delivered
	Held           int               `json:"held_deliveries"`
	PublicKeys     []shownPublicKey  `json:"public_keys,omitempty"`
	Secrets        []shownSecret     `json:"secrets,omitempty"`
}

// Run shows a partner.
func (c *partnerShowCommand) Run(a *app) error {
	return a.withStore(func(store *partners.Store, pool *pgxpool.Pool) error {
		partner, err := store.Get(a.ctx, c.User, c.Slug)
		if err != nil {
			return err
		}
		health, held, err := jobs.HealthOf(a.ctx, pool, partner.ID)
		if err != nil {
			return err
		}
		shown := &shownPartner{
			Partner: partner, RequestHeaders: partner.RequestHeaders.Shown(), Circuit: health.Circuit(), Health: health, Held: held,
		}
		opened, err := store.Unseal(partner, time.Now())
		switch {
		case err != nil && c.Reveal:
			return err
		case err != nil:
			a.say("public keys are not shown: %s", err)
		default:
			shown.addPublicKeys(opened.Secrets)
			if c.Reveal {
				shown.reveal(opened)
			}
		}
		if c.JSON {
			return a.printJSON(shown)
		}
		return printFields(a.stdout, shown.fields())
	})
}

func (p *shownPartner) addPublicKeys(secrets []partners.ValidSecret) {
	for _, secret := range secrets {
		if key := secret.Secret.PublicKey(); key != "" {
			p.PublicKeys = append(p.PublicKeys, shownPublicKey{PublicKey: key, ExpiresAt: secret.ExpiresAt})
		}
	}
}

// reveal fills in what is secret.
func (p *shownPartner) reveal(opened *partners.Unsealed) {
	for _, secret := range opened.Secrets {
		p.Secrets = append(p.Secrets, shownSecret{Secret: secret.Secret.Reveal(), ExpiresAt: secret.ExpiresAt})
	}
	for name, value := range opened.Headers.Secret {
		p.RequestHeaders[name] = value.Reveal()
	}
}

func (p *shownPartner) fields() [][2]string {
	fields := [][2]string{
		{"id", p.ID.String()},
		{"user", p.UserID},
		{"name", p.Name},
		{"slug", p.Slug},
		{"url", p.URL},
		{"events", strings.Join(p.EnabledEvents, " ")},
		{"fields", string(p.CustomPayloadFields)},
		{"max retries", or(p.MaxRetries)},
		{"rate limit", or(p.RateLimit)},
		{"max in flight", or(p.MaxInFlight)},
		{"state", state(p.Partner)},
		{"disabled because", or(p.DisabledReason)},
		{"circuit", p.circuit()},
		{"failing", p.failing()},
		{"held back", p.held()},
		{"created", localTime(p.CreatedAt)},
		{"updated", localTime(p.UpdatedAt)},
	}
	for _, name := range slices.Sorted(maps.Keys(p.RequestHeaders)) {
		fields = append(fields, [2]string{"header", name + ": " + p.RequestHeaders[name]})
	}
	for _, key := range p.PublicKeys {
		fields = append(fields, [2]string{"public key", key.PublicKey + until(key.ExpiresAt)})
	}
	for _, secret := range p.Secrets {
		fields = append(fields, [2]string{"secret", secret.Secret + until(secret.ExpiresAt)})
	}
	return fields
}

// circuit says whether deliveries go to the partner.
func (p *shownPartner) circuit() string {
	if p.Circuit == jobs.CircuitOpen {
		return fmt.Sprintf("open since %s, next probe at %s", localTime(*p.Health.OpenedAt), localTime(*p.Health.ProbeAt))
	}
	return string(p.Circuit)
}

// failing says how the partner fails; empty if it does not.
func (p *shownPartner) failing() string {
	if p.Health == nil {
		return ""
	}
	text := fmt.Sprintf("since %s, %d in a row, the last at %s: %s",
		localTime(p.Health.FailingSince), p.Health.Failures, localTime(p.Health.LastFailedAt), p.Health.LastError)
	if until := p.Health.SlowedUntil; until != nil && until.After(time.Now()) {
		text += "; left alone until " + localTime(*until)
	}
	return text
}

// held says how many deliveries are held back; empty if none are.
func (p *shownPartner) held() string {
	if p.Held == 0 {
		return ""
	}
	return fmt.Sprintf("%d deliveries", p.Held)
}

// until says when something ends, if it does.
func until(end *time.Time) string {
	if end == nil {
		return ""
	}
	return "  until " + localTime(*end)
}
