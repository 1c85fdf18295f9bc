package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/receiver"
)

type receiveCommand struct {
	Addr     string          `default:"127.0.0.1:9000" placeholder:"HOST:PORT" help:"Where to listen, ${default} if left out."`
	Secret   given           `placeholder:"SECRET|-" help:"Verify signatures with this secret, or with this public key (whpk_); - reads it from stdin."`
	Status   int             `default:"200" help:"Status to answer with."`
	FailRate float64         `default:"0" help:"Share of requests, 0 to 1, that are answered with 500 instead."`
	Delay    config.Duration `default:"0s" help:"Wait this long before each answer."`
	JSON     bool            `name:"json" help:"Print one JSON object a line."`
}

// Validate is called by the parser.
func (c *receiveCommand) Validate() error {
	switch {
	case c.Status < 200 || c.Status > 599:
		return fmt.Errorf("--status must be between 200 and 599, and is %d", c.Status)
	case c.FailRate < 0 || c.FailRate > 1:
		return fmt.Errorf("--fail-rate must be between 0 and 1, and is %g", c.FailRate)
	}
	return nil
}

// Run receives until the context ends.
func (c *receiveCommand) Run(a *app) error {
	secret, err := a.secret(c.Secret, "--secret")
	if err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return usagef("--addr must be HOST:PORT, such as 127.0.0.1:9000, and is %q", c.Addr)
	}
	handler, err := receiver.New(&receiver.Config{
		Secret:   secret.Reveal(),
		Status:   c.Status,
		FailRate: c.FailRate,
		Delay:    c.Delay.Std(),
		JSON:     c.JSON,
		Out:      a.stdout,
	})
	if err != nil {
		return &usageError{err}
	}
	listener, err := new(net.ListenConfig).Listen(a.ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listening for webhooks: %w", err)
	}
	a.say("receiving on http://%s/", listener.Addr())
	if secret == "" {
		a.say("signatures are not verified: give the partner's secret or public key with --secret")
	}
	return serveHTTP(a.ctx, listener, handler)
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: connectTimeout}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
