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
		act, done := deliveries.EraseUser, "erased"
		if c.DryRun {
			act, done = deliveries.CountUser, "would be erased"
		}
		erasure, err := act(a.ctx, c.ID)
		if err != nil {
			return fmt.Errorf("%w; run the same command again to go on", err)
		}
		if c.JSON {
			return a.printJSON(erasure)
		}
		a.say("%d partners, %d deliveries, %d events and %d attempts of user %s %s",
			erasure.Partners, erasure.Deliveries, erasure.Events, erasure.Attempts, c.ID, done)
		return nil
	})
}
