package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

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
		retries, err := strconv.Atoi(*c.MaxRetries)
		if err != nil {
			return usagef("--max-retries must be a number or default, and is %q", *c.MaxRetries)
		}
		changes.MaxRetries = &retries
	}
	if c.Name == nil && c.URL == nil && c.Event == nil && changes.CustomPayloadFields == nil && c.MaxRetries == nil {
		return usagef("nothing to change: give --name, --url, --event, --field, --no-fields or --max-retries")
	}
	return a.changePartner(func(store *partners.Store) (*partners.Partner, error) {
		return store.Update(a.ctx, c.User, c.Slug, changes)
	}, "updated")
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
