package main

import (
	"fmt"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

type userCommand struct {
	Delete userDeleteCommand `cmd:"" help:"Erase a user: partners, deliveries, events and attempts, for good."`
}

type userDeleteCommand struct {
	ID     string `arg:"" name:"user" help:"User id."`
	DryRun bool   `help:"Count what would be erased, and change nothing."`
	JSON   bool   `name:"json" help:"Print a JSON object."`
}

// Run erases a user.
func (c *userDeleteCommand) Run(a *app) error {
	if err := partners.ValidateText("user_id", c.ID, partners.MaxUserID); err != nil {
		return err
	}
	return a.withDeliveries(func(_ *config.Config, deliveries *jobs.Deliveries) error {
		erasure, done, err := c.erase(a, deliveries)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(erasure)
		}
		a.say("%d partners, %d deliveries, %d events and %d attempts of user %s %s",
			erasure.Partners, erasure.Deliveries, erasure.Events, erasure.Attempts, c.ID, done)
		return nil
	})
}

// erase erases or counts, and says in words which.
func (c *userDeleteCommand) erase(a *app, deliveries *jobs.Deliveries) (*jobs.Erasure, string, error) {
	if c.DryRun {
		erasure, err := deliveries.CountUser(a.ctx, c.ID)
		return erasure, "would be erased", err
	}
	erasure, err := deliveries.EraseUser(a.ctx, c.ID, func(what string) { a.say("waiting for %s", what) })
	if err != nil {
		err = fmt.Errorf("%w; run the same command again to go on", err)
	}
	return erasure, "erased", err
}
