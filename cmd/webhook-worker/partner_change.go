package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

type partnerUpdateCommand struct {
	onePartner

	Name         *string  `help:"New name for people."`
	URL          *string  `name:"url" help:"New URL."`
	Event        []string `help:"Event types to receive from now on; replaces all. May be given again."`
	Field        []string `sep:"none" xor:"fields" placeholder:"KEY=TEXT|KEY:=JSON" help:"Members to append to each payload; replaces all. May be given again."`
	NoFields     bool     `xor:"fields" help:"Append nothing any more."`
	Header       []string `sep:"none" placeholder:"NAME=VALUE" help:"Headers to send with each request; replaces all but the secret ones. May be given again."`
	SecretHeader []string `sep:"none" placeholder:"NAME[=VALUE|=-]" help:"The same with values that are sealed like a secret; replaces all secret ones. - reads the value from stdin; a NAME alone keeps its value. May be given again."`
	NoHeaders    bool     `help:"Send no headers any more but those that are given."`
	MaxRetries   *string  `placeholder:"N|default" help:"Retries after the first try; default for RETRY_MAX_ATTEMPTS."`
	RateLimit    *string  `placeholder:"N|none" help:"Most requests a second, of all workers together."`
	MaxInFlight  *string  `placeholder:"N|default" help:"Most requests under way at once, of each worker; default for PARTNER_MAX_IN_FLIGHT."`
}

// Run changes a partner.
func (c *partnerUpdateCommand) Run(a *app) error {
	changes, err := c.changes(a)
	if err != nil {
		return err
	}
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Update(a.ctx, c.User, c.Slug, changes)
	}, "updated")
}

func (c *partnerUpdateCommand) changes(a *app) (*partners.Changes, error) {
	changes := &partners.Changes{Name: c.Name, URL: c.URL, EnabledEvents: c.Event}
	var err error
	if changes.CustomPayloadFields, err = parseFields(c.Field); err != nil {
		return nil, err
	}
	if c.NoFields {
		changes.CustomPayloadFields = json.RawMessage(`{}`)
	}
	if changes.Headers, err = a.headers(c.Header, c.SecretHeader, ""); err != nil {
		return nil, err
	}
	if c.NoHeaders && changes.Headers.Plain == nil {
		changes.Headers.Plain = map[string]string{}
	}
	if c.NoHeaders && changes.Headers.Secret == nil {
		changes.Headers.Secret = map[string]partners.Secret{}
	}
	if changes.MaxRetries, err = override("--max-retries", c.MaxRetries, "default"); err != nil {
		return nil, err
	}
	if changes.RateLimit, err = override("--rate-limit", c.RateLimit, "none"); err != nil {
		return nil, err
	}
	if changes.MaxInFlight, err = override("--max-in-flight", c.MaxInFlight, "default"); err != nil {
		return nil, err
	}
	if reflect.DeepEqual(changes, &partners.Changes{}) {
		return nil, usagef("nothing to change: give --name, --url, --event, --field, --header, --secret-header, --max-retries, --rate-limit, --max-in-flight, --no-fields or --no-headers")
	}
	return changes, nil
}

// override reads a flag that is a number, or the word for no number of the partner's own.
func override(flag string, value *string, none string) (*partners.Override, error) {
	if value == nil {
		return nil, nil //nolint:nilnil // it was not given
	}
	if *value == none {
		return &partners.Override{}, nil
	}
	number, err := strconv.Atoi(*value)
	if err != nil {
		return nil, usagef("%s must be a number or %s, and is %q", flag, none, *value)
	}
	return &partners.Override{Value: &number}, nil
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
		return c.dryRun(a, "would be disabled")
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
		deliveries, err := jobs.NewDeliveries(a.ctx, pool)
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
		return c.dryRun(a, "would be deleted")
	}
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Delete(a.ctx, c.User, c.Slug)
	}, "deleted")
}
