package main

import (
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/epicvoice/webhook-worker/internal/config"
	"github.com/epicvoice/webhook-worker/internal/systemd"
)

// reloadOnHangup reads LOG_LEVEL again at every SIGHUP, if WORKER_ENV_FILE says from where, until the function that it
// returns is called.
func (a *app) reloadOnHangup(cfg *config.Config, logger *slog.Logger, notifier *systemd.Notifier) (stop func()) {
	if cfg.EnvFile == "" {
		return func() {}
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for range hangups {
			notifier.Reload(a.ctx, func() { a.reload(cfg.EnvFile, logger) })
		}
	})
	return func() {
		signal.Stop(hangups)
		close(hangups)
		reloading.Wait()
	}
}

// reload sets the level that the file says. What it can't read it leaves as it is.
func (a *app) reload(file string, logger *slog.Logger) {
	level, err := config.LogLevelIn(file)
	if err != nil {
		logger.WarnContext(a.ctx, "log level not read again", slog.String("error", err.Error()))
		return
	}
	before := config.LogLevel(a.level.Level())
	a.level.Set(slog.Level(level))
	if before != level {
		logger.WarnContext(a.ctx, "log level changed", slog.String("log_level", level.String()), slog.String("before", before.String()))
	}
}
