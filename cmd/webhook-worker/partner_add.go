package main

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/partners"
)

type partnerAddCommand struct {
	secretFlags

	User         string   `required:"" help:"User that owns the partner."`
	Name         string   `required:"" help:"Name for people."`
	Slug         string   `required:"" help:"Name for commands, unique within the user."`
	URL          string   `name:"url" required:"" help:"Where to post."`
	Event        []string `required:"" help:"Event type to receive: exact, a pattern such as call.*, or *. May be given again."`
	Field        []string `sep:"none" placeholder:"KEY=TEXT|KEY:=JSON" help:"Member to append to each payload, as text or as JSON. May be given again."`
	Header       []string `sep:"none" placeholder:"NAME=VALUE" help:"Header to send with each request. May be given again."`
	SecretHeader []string `sep:"none" placeholder:"NAME=VALUE|NAME=-" help:"The same with a value that is sealed like a secret; - reads it from stdin. May be given again."`
	MaxRetries   *int     `help:"Retries after the first try, instead of RETRY_MAX_ATTEMPTS."`
	RateLimit    *int     `placeholder:"N" help:"Most requests a second, of all workers together."`
	MaxInFlight  *int     `placeholder:"N" help:"Most requests under way at once, of each worker, instead of PARTNER_MAX_IN_FLIGHT."`
	IfNotExists  bool     `help:"Leave a partner of this slug as it is, and exit with 0."`
	JSON         bool     `name:"json" help:"Print a JSON object."`
}

// partnerWithSecret is what add prints as JSON.
type partnerWithSecret struct {
	*partners.Partner

	Secret    string `json:"secret"`
	PublicKey string `json:"public_key,omitempty"`
}

// Run adds a partner.
func (c *partnerAddCommand) Run(a *app) error {
	fields, err := parseFields(c.Field)
	if err != nil {
		return err
	}
	headers, err := a.headers(c.Header, c.SecretHeader, c.Secret)
	if err != nil {
		return err
	}
	secret, err := c.read(a)
	if err != nil {
		return err
	}
	return a.withStore(func(store *partners.Store, _ *pgxpool.Pool) error {
		if err := store.CheckKey(a.ctx); err != nil {
			return wrongKey(err)
		}
		partner, secret, err := store.Create(a.ctx, c.User, &partners.Params{
			Name:                c.Name,
			Slug:                c.Slug,
			URL:                 c.URL,
			EnabledEvents:       c.Event,
			CustomPayloadFields: fields,
			Headers:             headers,
			MaxRetries:          c.MaxRetries,
			RateLimit:           c.RateLimit,
			MaxInFlight:         c.MaxInFlight,
			Secret:              secret,
		})
		if c.IfNotExists && errors.Is(err, partners.ErrSlugTaken) {
			return c.leave(a, store)
		}
		if err != nil {
			return err
		}
		warnIfWeak(a, secret)
		if c.JSON {
			return a.printJSON(partnerWithSecret{Partner: partner, Secret: secret.Reveal(), PublicKey: secret.PublicKey()})
		}
		a.say("partner %s added; this is its secret, which only `partner show --reveal` shows again", partner.Slug)
		sayWhoVerifies(a, secret)
		return printFields(a.stdout, [][2]string{{"id", partner.ID.String()}, {"secret", secret.Reveal()}, {"public key", secret.PublicKey()}})
	})
}

// leave says that the partner exists; its secret is not shown.
func (c *partnerAddCommand) leave(a *app, store *partners.Store) error {
	partner, err := store.Get(a.ctx, c.User, c.Slug)
	if err != nil {
		return err
	}
	a.say("partner %s exists already and was left as it is", c.Slug)
	if c.JSON {
		return a.printJSON(partner)
	}
	return nil
}

// parseFields makes a JSON object of key=text and key:=json, in their order; nil if there are none.
func parseFields(items []string) (json.RawMessage, error) {
	if len(items) == 0 {
		return nil, nil
	}
	members := make([]string, 0, len(items))
	seen := map[string]bool{}
	for _, item := range items {
		key, text, found := strings.Cut(item, "=")
		key, isJSON := strings.CutSuffix(key, ":")
		switch {
		case !found || key == "":
			return nil, usagef("--field %q must be key=text or key:=json", item)
		case seen[key]:
			return nil, usagef("--field %s is given twice", key)
		case isJSON && !json.Valid([]byte(text)):
			return nil, usagef("--field %s: %q is not JSON", key, text)
		}
		seen[key] = true
		value := text
		if !isJSON {
			value = quote(text)
		}
		members = append(members, quote(key)+":"+value)
	}
	return json.RawMessage("{" + strings.Join(members, ",") + "}"), nil
}

// quote writes text as a JSON string, without the escapes that only HTML needs.
func quote(text string) string {
	var buffer strings.Builder
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) //nolint:errchkjson // text can always be encoded
	return strings.TrimSuffix(buffer.String(), "\n")
}
