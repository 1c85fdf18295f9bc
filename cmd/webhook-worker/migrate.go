package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/migrations"
)

type migrateCommand struct {
	Up     migrateUpCommand     `cmd:"" help:"Run the migrations that the database lacks."`
	Down   migrateDownCommand   `cmd:"" help:"Take migrations back, with the data that they hold."`
	Status migrateStatusCommand `cmd:"" help:"List migrations; exit with 1 if the database lacks one."`
}

type migrateUpCommand struct{}

// Run migrates up and saves the settings that enqueueing needs.
func (c *migrateUpCommand) Run(a *app) error {
	return a.withUnchecked(func(cfg *config.Config, pool *pgxpool.Pool) error {
		logger := a.logger(cfg)
		if err := migrations.Up(a.ctx, pool, logger); err != nil {
			return err
		}
		if err := saveSettings(a, cfg, pool, logger); err != nil {
			return err
		}
		a.say("the schema is up to date")
		return nil
	})
}

// saveSettings writes what enqueueing must know of the configuration, and logs a change.
func saveSettings(a *app, cfg *config.Config, pool *pgxpool.Pool, logger *slog.Logger) error {
	before, changed, err := jobs.SaveRetryMaxAttempts(a.ctx, pool, cfg.RetryMaxAttempts)
	if err != nil {
		return err
	}
	if changed {
		logger.InfoContext(a.ctx, "retries of new deliveries changed",
			slog.Int("retry_max_attempts", cfg.RetryMaxAttempts), slog.Int("before", before))
	}
	return nil
}

type migrateDownCommand struct {
	Steps  *int `xor:"steps" placeholder:"1" help:"How many migrations to take back, 1 if left out."`
	All    bool `xor:"steps" help:"Take back all. River's own tables stay."`
	DryRun bool `help:"Print what would be taken back, and change nothing."`
}

// Run migrates down.
func (c *migrateDownCommand) Run(a *app) error {
	steps := 1
	if c.Steps != nil {
		steps = *c.Steps
	}
	if steps < 1 {
		return usagef("--steps must be at least 1, and is %d", steps)
	}
	if c.All {
		steps = -1
	}
	return a.withUnchecked(func(cfg *config.Config, pool *pgxpool.Pool) error {
		if ahead, err := migrations.Ahead(a.ctx, pool); err != nil || ahead > 0 {
			return cmp.Or(err, migrations.ErrNewer)
		}
		all, err := migrations.Status(a.ctx, pool)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(m migrations.Migration) bool { return m.Line == "webhook-worker" && m.Applied }) {
			a.say("nothing to take back")
			return nil
		}
		if !c.DryRun {
			return migrations.Down(a.ctx, pool, steps, a.logger(cfg))
		}
		for i := len(all) - 1; i >= 0 && steps != 0; i-- {
			if all[i].Line == "webhook-worker" && all[i].Applied {
				if _, err := fmt.Fprintf(a.stdout, "would take back %s\n", all[i].Name); err != nil {
					return err
				}
				steps--
			}
		}
		return nil
	})
}

type migrateStatusCommand struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Run lists the migrations.
func (c *migrateStatusCommand) Run(a *app) error {
	return a.withUnchecked(func(_ *config.Config, pool *pgxpool.Pool) error {
		all, err := migrations.Status(a.ctx, pool)
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.printJSON(all)
		} else {
			rows := make([][]string, len(all))
			for i, migration := range all {
				state := "missing"
				if migration.Applied {
					state = "applied"
				}
				rows[i] = []string{migration.Line, strconv.Itoa(migration.Version), migration.Name, state}
			}
			err = printTable(a.stdout, []string{"LINE", "VERSION", "NAME", "STATE"}, rows)
		}
		if err != nil {
			return err
		}
		if err := migrations.Check(a.ctx, pool); err != nil {
			return err
		}
		ahead, err := migrations.Ahead(a.ctx, pool)
		if ahead > 0 {
			a.say("the database also has %d of a newer version", ahead)
		}
		return err
	})
}
