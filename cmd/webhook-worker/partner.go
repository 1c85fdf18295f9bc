package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/jobs"
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

// secretFlag is the flag that gives a secret.
type secretFlag struct {
	Secret string `placeholder:"SECRET|-" help:"Signing secret: whsec_ and base64, or other text of 8 to 128 bytes; - reads it from stdin, which no process list shows. One is generated if it is left out."`
}

type partnerAddCommand struct {
	secretFlag

	User        string   `required:"" help:"User that owns the partner."`
	Name        string   `required:"" help:"Name for people."`
	Slug        string   `required:"" help:"Name for commands, unique within the user."`
	URL         string   `name:"url" required:"" help:"Where to post."`
	Event       []string `required:"" help:"Event type to receive: exact, a pattern such as call.*, or *. May be given again."`
	Field       []string `sep:"none" placeholder:"KEY=TEXT|KEY:=JSON" help:"Member to append to each payload, as text or as JSON. May be given again."`
	MaxRetries  *int     `help:"Retries after the first try, instead of RETRY_MAX_ATTEMPTS."`
	IfNotExists bool     `help:"Leave a partner of this slug as it is, and exit with 0."`
	JSON        bool     `name:"json" help:"Print a JSON object."`
}

// partnerWithSecret is what add prints as JSON.
type partnerWithSecret struct {
	*partners.Partner

	Secret string `json:"secret"`
}

// Run adds a partner.
func (c *partnerAddCommand) Run(a *app) error {
	fields, err := parseFields(c.Field)
	if err != nil {
		return err
	}
	secret, err := a.secret(c.Secret)
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
			MaxRetries:          c.MaxRetries,
			Secret:              secret,
		})
		if c.IfNotExists && errors.Is(err, partners.ErrSlugTaken) {
			a.say("partner %s exists already and was left as it is", c.Slug)
			return nil
		}
		if err != nil {
			return err
		}
		warnIfWeak(a, secret)
		if c.JSON {
			return a.printJSON(partnerWithSecret{Partner: partner, Secret: secret.Reveal()})
		}
		a.say("partner %s added; keep its secret now, it is not shown again", partner.Slug)
		return printFields(a.stdout, [][2]string{{"id", partner.ID.String()}, {"secret", secret.Reveal()}})
	})
}

func warnIfWeak(a *app, secret partners.Secret) {
	if secret.Weak() {
		a.say("warning: the secret is shorter than 24 bytes; leave --secret out to get a strong one")
	}
}

// wrongKey says what to do about secrets that the key does not open.
func wrongKey(err error) error {
	return fmt.Errorf("WEBHOOK_ENCRYPTION_KEY opens none of the stored secrets: give it the key that the partners were added with (%w)", err)
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

type partnerUpdateCommand struct {
	onePartner

	Name       *string  `help:"New name for people."`
	URL        *string  `name:"url" help:"New URL."`
	Event      []string `help:"Event types to receive from now on; replaces all. May be given again."`
	Field      []string `sep:"none" xor:"fields" placeholder:"KEY=TEXT|KEY:=JSON" help:"Members to append to each payload; replaces all. May be given again."`
	NoFields   bool     `xor:"fields" help:"Append nothing any more."`
	MaxRetries *string  `placeholder:"N|default" help:"Retries after the first try; default for RETRY_MAX_ATTEMPTS."`
}

// Run changes a partner.
func (c *partnerUpdateCommand) Run(a *app) error {
	changes := &partners.Changes{Name: c.Name, URL: c.URL, EnabledEvents: c.Event}
	var err error
	if changes.CustomPayloadFields, err = parseFields(c.Field); err != nil {
		return err
	}
	if c.NoFields {
		changes.CustomPayloadFields = json.RawMessage(`{}`)
	}
	if c.MaxRetries != nil && *c.MaxRetries == "default" {
		changes.ClearMaxRetries = true
	} else if c.MaxRetries != nil {
		if _, err := fmt.Sscanf(*c.MaxRetries+"\n", "%d\n", &changes.MaxRetries); err != nil {
			return usagef("--max-retries must be a number or default, and is %q", *c.MaxRetries)
		}
	}
	if c.Name == nil && c.URL == nil && c.Event == nil && changes.CustomPayloadFields == nil && c.MaxRetries == nil {
		return usagef("nothing to change: give --name, --url, --event, --field, --no-fields or --max-retries")
	}
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Update(a.ctx, c.User, c.Slug, changes)
	}, "updated")
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

type partnerEnableCommand struct{ onePartner }

// Run enables a partner.
func (c *partnerEnableCommand) Run(a *app) error {
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Enable(a.ctx, c.User, c.Slug)
	}, "enabled")
}

type partnerDisableCommand struct {
	onePartner

	Reason string `default:"disabled by hand" help:"Why, in words; shown with the deliveries that this cancels."`
	DryRun bool   `help:"Print what would be disabled, and change nothing."`
}

// Run disables a partner.
func (c *partnerDisableCommand) Run(a *app) error {
	if c.DryRun {
		return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
			return store.Get(a.ctx, c.User, c.Slug)
		}, "would be disabled")
	}
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Disable(a.ctx, c.User, c.Slug, c.Reason)
	}, "disabled")
}

type partnerPauseCommand struct{ onePartner }

// Run pauses a partner.
func (c *partnerPauseCommand) Run(a *app) error {
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Pause(a.ctx, c.User, c.Slug)
	}, "paused")
}

type partnerResumeCommand struct{ onePartner }

// resumeAgain is when resume releases a second time: a worker that looked just before the partner was
// resumed puts its delivery off just after.
const resumeAgain = time.Second

// Run resumes a partner and releases what was held back.
func (c *partnerResumeCommand) Run(a *app) error {
	return a.withStore(func(store *partners.Store, pool *pgxpool.Pool) error {
		deliveries, err := jobs.NewDeliveries(pool)
		if err != nil {
			return err
		}
		var (
			partner        *partners.Partner
			released, late int64
		)
		if err := pgx.BeginFunc(a.ctx, pool, func(tx pgx.Tx) error {
			if partner, err = store.ResumeTx(a.ctx, tx, c.User, c.Slug); err != nil {
				return err
			}
			released, err = deliveries.ReleaseTx(a.ctx, tx, c.User, partner.ID)
			return err
		}); err != nil {
			return err
		}
		select {
		case <-a.ctx.Done():
			return fmt.Errorf("resumed, but perhaps not all deliveries were released: %w", a.ctx.Err())
		case <-time.After(resumeAgain):
		}
		if err := pgx.BeginFunc(a.ctx, pool, func(tx pgx.Tx) error {
			late, err = deliveries.ReleaseTx(a.ctx, tx, c.User, partner.ID)
			return err
		}); err != nil {
			return err
		}
		a.say("partner %s resumed; %d deliveries released", c.Slug, released+late)
		return nil
	})
}

type partnerDeleteCommand struct {
	onePartner

	DryRun bool `help:"Print what would be deleted, and change nothing."`
}

// Run deletes a partner.
func (c *partnerDeleteCommand) Run(a *app) error {
	if c.DryRun {
		return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
			return store.Get(a.ctx, c.User, c.Slug)
		}, "would be deleted")
	}
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Delete(a.ctx, c.User, c.Slug)
	}, "deleted")
}

type partnerRotateCommand struct {
	onePartner
	secretFlag

	Overlap   time.Duration `default:"24h" help:"How long the secrets before it go on signing."`
	ExpireNow bool          `help:"End the secrets before it at once."`
	JSON      bool          `name:"json" help:"Print a JSON object."`
}

// Run gives a partner a new secret.
func (c *partnerRotateCommand) Run(a *app) error {
	given, err := a.secret(c.Secret)
	if err != nil {
		return err
	}
	overlap := c.Overlap
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

type partnerTestCommand struct {
	onePartner

	Wait time.Duration `default:"40s" help:"How long to wait for a worker and the partner's answer."`
	JSON bool          `name:"json" help:"Print the delivery as a JSON object."`
}

// testEventType is the type of the event that `partner test` sends.
const testEventType = "webhook.test"

// Run sends a test event through the queue, as every other event goes, and reports the first try.
func (c *partnerTestCommand) Run(a *app) error {
	return a.withStore(func(store *partners.Store, pool *pgxpool.Pool) error {
		partner, err := store.Get(a.ctx, c.User, c.Slug)
		if err != nil {
			return err
		}
		if !partner.Enabled {
			return fmt.Errorf("partner %s is disabled (%s): enable it first", partner.Slug, or(partner.DisabledReason))
		}
		delivery, err := enqueueTest(a.ctx, pool, partner)
		if err != nil {
			return err
		}
		state, err := c.await(a.ctx, pool, delivery)
		if err != nil {
			return err
		}
		if c.JSON {
			if err := a.printJSON(state); err != nil {
				return err
			}
		}
		switch state.Status {
		case jobs.StatusDelivered:
			a.say("delivered %s: the partner answered %d", state.ID, *state.LastResponseStatus)
			return nil
		case jobs.StatusPending, jobs.StatusProcessing:
			return fmt.Errorf("delivery %s is still %s after %s: is a worker running?", state.ID, state.Status, c.Wait)
		default:
			return fmt.Errorf("delivery %s failed: %s", state.ID, or(state.LastError))
		}
	})
}

func enqueueTest(ctx context.Context, pool *pgxpool.Pool, partner *partners.Partner) (*jobs.Delivery, error) {
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(map[string]string{
		"event_type": testEventType,
		"message":    "This is a test of your webhook endpoint.",
		"timestamp":  time.Now().UTC().Format(time.RFC3339),
	})
	if err != nil {
		return nil, fmt.Errorf("making the test event: %w", err)
	}
	var delivery *jobs.Delivery
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		event := &jobs.Event{UserID: partner.UserID, Type: testEventType, Payload: payload}
		delivery, err = enqueuer.EnqueueTestTx(ctx, tx, event, partner.ID)
		return err
	})
	return delivery, err
}

// await returns the state of a delivery when its first try has ended, or when the time is up.
func (c *partnerTestCommand) await(ctx context.Context, pool *pgxpool.Pool, delivery *jobs.Delivery) (*jobs.DeliveryState, error) {
	deliveries, err := jobs.NewDeliveries(pool)
	if err != nil {
		return nil, err
	}
	const look = 100 * time.Millisecond
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	deadline := time.After(c.Wait)
	for {
		state, err := deliveries.Get(ctx, "", delivery.ID)
		if err != nil {
			return nil, err
		}
		if state.Status != jobs.StatusPending && state.Status != jobs.StatusProcessing {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for delivery %s: %w", delivery.ID, ctx.Err())
		case <-deadline:
			return state, nil
		case <-ticker.C:
		}
	}
}
