package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/ops"
	"github.com/epicvoice/webhook-worker/internal/systemd"
)

type serveCommand struct {
	Addr string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to listen, ${default} if left out. Other than loopback needs WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD, and --tls-cert or --behind-proxy."`

	pagesFlags
}

// Run serves pages until the context ends.
func (c *serveCommand) Run(a *app) error {
	if err := checkAddr(c.Addr); err != nil {
		return err
	}
	return a.withPool(func(cfg *config.Config, pool *pgxpool.Pool) error {
		pages, err := c.config(a, cfg, pool, c.Addr)
		if err != nil {
			return err
		}
		server, err := ops.NewServer(a.ctx, pages)
		if err != nil {
			return err
		}
		a.say("River UI is on %s", server.URL())
		fine := func() error { return nil } // it listens; /readyz says of the database
		notifier, err := systemd.StartNotifier(a.ctx, &systemd.NotifierConfig{
			Logger: pages.Logger, Ready: fine, Alive: fine, Status: func() string { return "River UI is on " + server.URL() },
		})
		if err != nil {
			return err
		}
		defer notifier.Close()
		stopping := context.AfterFunc(a.ctx, func() { notifier.Stopping(a.ctx) })
		defer stopping()
		return server.Run(a.ctx)
	})
}
