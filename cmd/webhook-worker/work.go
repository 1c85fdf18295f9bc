package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivertype"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/ops"
	"github.com/epicvoice/webhook-worker/internal/systemd"
	"github.com/epicvoice/webhook-worker/internal/telemetry"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/migrations"
	"github.com/epicvoice/webhook-worker/partners"
)

const (
	// deliveryConns serve loads, riverConns River and the attempt log. Together with the connection that holds
	// its locks they are what a worker takes of the server's max_connections.
	deliveryConns = 6
	riverConns    = 8

	// gcPercent makes garbage collection rarer than Go's 100 does: a worker keeps a few MB, and makes much garbage.
	gcPercent = 400

	// stopMargin is how much longer than SHUTDOWN_TIMEOUT a worker takes at most to stop, and some more.
	stopMargin = 50 * time.Second
)

type workCommand struct {
	Instance string `default:"1" help:"Name of this worker among those on this host, for logs."`
	Debug    bool   `help:"Log everything, as LOG_LEVEL=DEBUG does."`
}

// Run delivers until the context ends.
func (c *workCommand) Run(a *app) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	hangups := catchHangups(cfg)
	defer hangups.close()
	if c.Debug {
		cfg.LogLevel, hangups.debug = config.LogLevel(slog.LevelDebug), true
	}
	logger := a.logger(cfg).With(slog.String("instance", c.Instance))
	pool, err := a.connect(cfg, deliveryConns)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := migrations.Check(a.ctx, pool); err != nil {
		return err
	}
	ahead, err := migrations.Ahead(a.ctx, pool)
	if err != nil {
		return err
	}
	if ahead > 0 {
		logger.WarnContext(a.ctx, "a newer version of webhook-worker migrated the database: update this worker", slog.Int("migrations", ahead))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	return deliver(a, cfg, pool, logger, c.Instance, hangups)
}

// deliver runs a worker on an open database until the context ends.
func deliver(a *app, cfg *config.Config, pool *pgxpool.Pool, logger *slog.Logger, instance string, hangups *reloader) error {
	store, err := newStore(cfg, pool)
	if err != nil {
		return err
	}
	if err := store.CheckKey(a.ctx); err != nil {
		return wrongKey(err)
	}
	if err := warnOfMissingKeys(a.ctx, store, logger); err != nil {
		return err
	}
	if err := saveSettings(a, cfg, pool, logger); err != nil {
		return err
	}
	schema, err := jobs.RiverSchema(a.ctx, pool)
	if err != nil {
		return err
	}
	rescueAfter, err := rescueAfter(a, pool, logger)
	if err != nil {
		return err
	}
	riverPool, err := a.connectDirect(cfg, riverConns)
	if err != nil {
		return err
	}
	defer riverPool.Close()

	sender := partners.NewSender(&partners.SenderConfig{
		Guard:     newGuard(cfg),
		Proxy:     cfg.Proxy.URL,
		Timeout:   cfg.HTTPTimeout.Std(),
		MaxIdle:   cfg.MaxConcurrent,
		UserAgent: "webhook-worker/" + version,
	})
	defer sender.Close()

	signals, err := telemetry.Start(a.ctx, &telemetry.Config{
		Prometheus: cfg.HealthAddr != "",
		Version:    version,
		Instance:   workerName(instance),
		Logger:     logger,
	})
	if err != nil {
		return &usageError{err}
	}
	defer signals.Shutdown(a.ctx)
	var plugins []rivertype.Plugin
	if signals.MeterProvider != nil {
		plugins = append(plugins, telemetry.RiverPlugin(signals.MeterProvider))
	}

	partnerInFlight, userInFlight := cfg.InFlightBounds()
	runner := jobs.NewRunner(&jobs.RunnerConfig{
		Pool:       pool,
		RiverPool:  riverPool,
		DirectConn: riverPool.Config().ConnConfig,
		Disconnect: a.sockets.breakAll,

		RiverSchema: schema,
		RescueAfter: rescueAfter,

		MeterProvider:  signals.MeterProvider,
		TracerProvider: signals.TracerProvider,
		RiverPlugins:   plugins,

		Store:  store,
		Sender: sender,
		Logger: logger,
		Name:   workerName(instance),
		Schedule: jobs.RetrySchedule{
			BaseDelay: cfg.RetryBaseDelay.Std(),
			MaxDelay:  cfg.RetryMaxDelay.Std(),
			Jitter:    cfg.RetryJitter,
		},
		MaxConcurrent:    cfg.MaxConcurrent,
		PartnerInFlight:  partnerInFlight,
		UserInFlight:     userInFlight,
		CircuitFailures:  cfg.CircuitFailures,
		CircuitMaxHold:   cfg.CircuitMaxHold.Std(),
		DisableAfter:     cfg.DisableAfter.Std(),
		PollInterval:     cfg.WorkerPollInterval.Std(),
		Timeout:          cfg.WorkerTimeout.Std(),
		ShutdownTimeout:  cfg.ShutdownTimeout.Std(),
		LogAttempts:      cfg.AuditLogEnabled,
		AttemptBatchSize: cfg.WorkerBatchSize,
		Retention:        retention(cfg),
	})
	health, err := ops.NewHealth(a.ctx, &ops.HealthConfig{
		Addr: cfg.HealthAddr, Instance: instance, Alive: runner.Alive, Ready: runner.Ready,
		Schema:  func(ctx context.Context) error { return migrations.Check(ctx, pool) },
		Metrics: signals.Handler,
	})
	if err != nil {
		return err
	}
	defer health.Close()
	notifier, err := systemd.StartNotifier(a.ctx, &systemd.NotifierConfig{
		Logger: logger, Ready: func() error { return started(runner) }, Alive: runner.Alive, Status: func() string { return workerStatus(runner) },
		StopTimeout: cfg.ShutdownTimeout.Std() + stopMargin,
	})
	if err != nil {
		return err
	}
	defer notifier.Close()
	stopping := context.AfterFunc(a.ctx, func() { notifier.Stopping(a.ctx) })
	defer stopping()
	defer hangups.start(a, logger, notifier)()
	return runner.Run(a.ctx)
}

// started says why the worker has not: one whose queue is paused has.
func started(runner *jobs.Runner) error {
	if err := runner.Ready(); !errors.Is(err, jobs.ErrPaused) {
		return err
	}
	return nil
}

// workerStatus is a line for `systemctl status`.
func workerStatus(runner *jobs.Runner) string {
	if err := cmp.Or(runner.Alive(), runner.Ready()); err != nil {
		return "Takes no deliveries: " + err.Error()
	}
	return "Takes deliveries"
}

// retention is how long what is kept.
func retention(cfg *config.Config) jobs.Retention {
	return jobs.Retention{
		Completed:   cfg.RetentionCompleted.Std(),
		DeadLetters: cfg.RetentionDeadLetters.Std(),
		Cancelled:   cfg.RetentionCancelled.Std(),
		Events:      cfg.RetentionEvents.Std(),
		Attempts:    cfg.RetentionAttempts.Std(),
	}
}

// rescueAfter is how long jobs of other programs that share River's tables may run, if there are any. River's
// leader, whichever program that is, takes jobs of kinds that it does not know for lost when they run longer.
func rescueAfter(a *app, pool *pgxpool.Pool, logger *slog.Logger) (time.Duration, error) {
	kind, err := jobs.ForeignKind(a.ctx, pool)
	if err != nil || kind == "" {
		return 0, err
	}
	logger.WarnContext(a.ctx, "another program's jobs are in River's tables: whichever program leads River discards "+
		"the other's jobs that run for more than an hour, and removes old ones after its own retention; give "+
		"webhook-worker a schema of its own, with search_path in DATABASE_URL",
		slog.String("kind", kind))
	return time.Hour, nil // River's own default, so that we do no worse than another program
}

// workerName names this worker among those that run now: host and instance.
func workerName(instance string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "-" + instance
}
