package main

import (
	"net"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/ops"
)

type serveCommand struct {
	Addr string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to listen, ${default} if left out. Other than loopback needs WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD."`
}

// Run serves pages until the context ends.
func (c *serveCommand) Run(a *app) error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return usagef("--addr must be HOST:PORT, such as 127.0.0.1:8080, and is %q", c.Addr)
	}
	return a.withPool(func(cfg *config.Config, pool *pgxpool.Pool) error {
		server, err := ops.NewServer(a.ctx, &ops.Config{
			Pool:     pool,
			Addr:     c.Addr,
			User:     cfg.UIUser,
			Password: string(cfg.UIPassword),
			Logger:   a.logger(cfg),
		})
		if err != nil {
			return err
		}
		a.say("River UI is on %s", server.URL())
		return server.Run(a.ctx)
	})
}
