package main

import (
	"context"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/jobs"
)

type statsCommand struct {
	watchFlags

	User    given `placeholder:"ID" help:"Only this user's partners."`
	Partner given `placeholder:"SLUG" help:"Only partners of this slug."`
}

// Run shows statistics.
func (c *statsCommand) Run(a *app) error {
	return a.withPool(func(cfg *config.Config, pool *pgxpool.Pool) error {
		return c.show(a, func(ctx context.Context) (*picture, error) {
			stats, err := jobs.ReadStats(ctx, pool, &jobs.StatsFilter{UserID: string(c.User), PartnerSlug: string(c.Partner)})
			if err != nil {
				return nil, err
			}
			return &picture{stats, func(out io.Writer) error { return printStats(out, stats, cfg.AuditLogEnabled) }}, nil
		})
	})
}
