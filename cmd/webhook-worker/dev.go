package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/internal/ops"
	"github.com/epicvoice/webhook-worker/internal/receiver"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/migrations"
	"github.com/epicvoice/webhook-worker/partners"
)

const (
	demoUser = "demo"
	demoSlug = "demo-partner"

	// demoFailRate is how often the demo partner fails, so that there are retries to look at.
	demoFailRate = 0.2

	// devAddr is where River UI is if the port is free.
	devAddr = "127.0.0.1:8080"
)

type devCommand struct {
	DataDir string          `placeholder:"DIR" help:"Where the private PostgreSQL keeps its data between runs; ${dev_data_dir} if left out."`
	Addr    string          `placeholder:"HOST:PORT" help:"Where River UI listens; 127.0.0.1:8080 if that is free, else another port."`
	Every   config.Duration `default:"5s" help:"How often a call of the demo user ends; 0 for never."`

	pagesFlags
}

// devServer is what a development run stands on.
type devServer struct {
	*app

	cfg      *config.Config
	dataDir  string
	postgres *devpg.Server // nil: the database is the user's own
	logger   *slog.Logger
	pool     *pgxpool.Pool
	store    *partners.Store
}

// Run starts everything, and stops it when the context ends.
func (c *devCommand) Run(a *app) (err error) {
	if err := addDotEnv(a, ".env"); err != nil {
		return err
	}
	environ, err := config.WithSecrets(a.environ)
	if err != nil {
		return &usageError{err}
	}
	a.environ = environ
	a.setDefault("LOG_LEVEL", "WARNING")
	if c.DataDir == "" {
		if c.DataDir, err = devpg.DefaultDataDir(); err != nil {
			return fmt.Errorf("choosing --data-dir: %w", err)
		}
	}
	if url := a.getenv("DATABASE_URL"); url != "" && url == databaseURLIn(envFile(c.DataDir)) {
		a.environ = append(slices.Clone(a.environ), "DATABASE_URL=") // of an earlier run's own PostgreSQL
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	var postgres *devpg.Server // nil: the database is the user's own
	if cfg.DatabaseURL == "" {
		postgres, err = devpg.Start(a.ctx, &devpg.Config{DataDir: c.DataDir, Logger: a.logger(cfg)})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, postgres.Stop()) }()
		a.environ = append(slices.Clone(a.environ), "DATABASE_URL="+postgres.URL("postgres"), "DATABASE_DIRECT_URL=")
	}
	dev, err := c.prepare(a)
	if err != nil {
		return err
	}
	defer dev.pool.Close()
	dev.postgres = postgres
	return c.runAll(dev)
}

// prepare fills in what development needs, migrates, and opens the store.
func (c *devCommand) prepare(a *app) (*devServer, error) {
	key, err := devKey(c.DataDir)
	if err != nil {
		return nil, err
	}
	a.setDefault("WEBHOOK_ENCRYPTION_KEY", key)
	a.setDefault("WEBHOOK_ALLOW_HTTP", "true")
	a.setDefault("WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8,::1/128")
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	dev := &devServer{app: a, cfg: cfg, dataDir: c.DataDir, logger: a.logger(cfg)}
	if dev.pool, err = a.connect(cfg, deliveryConns); err != nil {
		return nil, err
	}
	if err := migrations.Up(a.ctx, dev.pool, dev.logger); err != nil {
		dev.pool.Close()
		return nil, err
	}
	if dev.store, err = newStore(cfg, dev.pool); err != nil {
		dev.pool.Close()
		return nil, err
	}
	if err := dev.store.CheckKey(a.ctx); err != nil {
		dev.pool.Close()
		return nil, wrongKey(err)
	}
	return dev, nil
}

// runAll runs the worker, the demo partner, the demo calls and River UI.
func (c *devCommand) runAll(dev *devServer) error {
	listener, err := new(net.ListenConfig).Listen(dev.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the demo partner: %w", err)
	}
	secret, err := dev.demoPartner("http://" + listener.Addr().String() + "/")
	if err != nil {
		return err
	}
	verifyWith := secret.PublicKey()
	if verifyWith == "" {
		verifyWith = secret.Reveal()
	}
	demo, err := receiver.New(&receiver.Config{Secret: verifyWith, FailRate: demoFailRate, Out: dev.stdout})
	if err != nil {
		return err
	}
	pages, err := c.listenPages(dev)
	if err != nil {
		return err
	}
	if err := dev.writeEnvFile(); err != nil {
		return err
	}
	dev.greet(pages.URL(), c.Every.Std())

	// The demo partner answers until the worker has drained.
	drained, stopPartner := context.WithCancel(context.WithoutCancel(dev.ctx))
	defer stopPartner()
	group, ctx := errgroup.WithContext(dev.ctx)
	running := *dev.app
	running.ctx = ctx
	group.Go(func() error { return serveHTTP(drained, listener, demo) })
	group.Go(func() error { return pages.Run(ctx) })
	group.Go(func() error { return dev.watchPostgres(ctx) })
	group.Go(func() error { return dev.endCalls(ctx, c.Every.Std()) })
	group.Go(func() error {
		defer stopPartner()
		hangups := catchHangups(dev.cfg)
		defer hangups.close()
		return deliver(&running, dev.cfg, dev.pool, dev.logger, "dev", hangups)
	})
	return group.Wait()
}

// errPostgresEnded ends a development run whose own PostgreSQL died; its Stop says more.
var errPostgresEnded = errors.New("the private PostgreSQL ended")

// watchPostgres returns an error when our own PostgreSQL ends before the run does.
func (d *devServer) watchPostgres(ctx context.Context) error {
	if d.postgres == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-d.postgres.Done():
		return errPostgresEnded
	}
}

// listenPages listens for River UI, on another port if the usual one is taken and none was asked for.
func (c *devCommand) listenPages(dev *devServer) (*ops.Server, error) {
	addr := c.Addr
	if addr == "" {
		addr = devAddr
	} else if err := checkAddr(addr); err != nil {
		return nil, err
	}
	pages, err := c.config(dev.app, dev.cfg, dev.pool, addr)
	if err != nil {
		return nil, err
	}
	server, err := ops.NewServer(dev.ctx, pages)
	if c.Addr == "" && errors.Is(err, syscall.EADDRINUSE) {
		pages.Addr = "127.0.0.1:0"
		return ops.NewServer(dev.ctx, pages)
	}
	return server, err
}

// demoPartner adds the demo partner, or leads the one of an earlier run to the new URL, and returns its secret.
func (d *devServer) demoPartner(url string) (partners.Secret, error) {
	_, err := d.store.Update(d.ctx, demoUser, demoSlug, &partners.Changes{URL: &url})
	if errors.Is(err, partners.ErrNotFound) {
		_, secret, err := d.store.Create(d.ctx, demoUser, &partners.Params{
			Name:                "Demo partner",
			Slug:                demoSlug,
			URL:                 url,
			EnabledEvents:       []string{"*"},
			CustomPayloadFields: []byte(`{"brand":"AcmeVoice"}`),
		})
		return secret, err
	}
	if err != nil {
		return "", err
	}
	partner, err := d.store.Enable(d.ctx, demoUser, demoSlug)
	if err != nil {
		return "", err
	}
	opened, err := d.store.Unseal(partner, time.Now())
	if err != nil {
		return "", err
	}
	return opened.Secrets[0].Secret, nil
}

// endCalls plays the application: a call of the demo user ends now and then.
func (d *devServer) endCalls(ctx context.Context, every time.Duration) error {
	if every <= 0 {
		return nil
	}
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		now := time.Now()
		callID := "call-" + now.Format("20060102-150405.000")
		outcome, err := completedCall(callID, now)
		if err == nil {
			err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
				_, err := enqueuer.EnqueueCallOutcomeTx(ctx, tx, demoUser, callID, outcome)
				return err
			})
		}
		if err != nil && ctx.Err() == nil {
			d.logger.WarnContext(ctx, "demo call not enqueued", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// greet says what runs, where to look and what to try.
func (d *devServer) greet(pages string, every time.Duration) {
	self := programName()
	calls := fmt.Sprintf("a call of user %q ends every %s", demoUser, every)
	if every <= 0 {
		calls = "no calls end by themselves (--every 0)"
	}
	database, keeps := "PostgreSQL ", "the data stays in "+d.dataDir
	if d.postgres == nil {
		database, keeps = "your database, as DATABASE_URL says:", "the data stays in your database"
	}
	_, _ = fmt.Fprintf(d.stdout, `webhook-worker is running: a worker and a demo partner that fails now and then; %s
  River UI    %sjobs?state=completed
  %s %s
Try, in another terminal after   . %s
  %s deliveries list --user %s
  %s send call-outcome --user %s --call my-first-call
  %s partner test --user %s %s
Ctrl-C stops everything; %s

`, calls, pages, database, d.cfg.DatabaseURL, envFile(d.dataDir), self, demoUser, self, demoUser, self, demoUser, demoSlug, keeps)
}

// programName is how this program was called, as far as it can be told.
func programName() string {
	path, err := os.Executable()
	if err != nil || strings.Contains(path, "go-build") {
		return "go run ./cmd/webhook-worker"
	}
	return path
}
