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

// A reloader reads LOG_LEVEL again at every SIGHUP.
type reloader struct {
	hangups chan os.Signal  // those that nothing was done about yet; nil: they end the process
	file    string          // WORKER_ENV_FILE
	level   config.LogLevel // where the file has none: that of the start
	debug   bool            // --debug says more than the file
}

// catchHangups keeps SIGHUP from ending the process from now on, if WORKER_ENV_FILE says what else it is for.
func catchHangups(cfg *config.Config) *reloader {
	r := &reloader{file: cfg.EnvFile, level: cfg.LogLevel}
	if cfg.EnvFile != "" {
		r.hangups = make(chan os.Signal, 1)
		signal.Notify(r.hangups, syscall.SIGHUP)
	}
	return r
}

// close leaves SIGHUP alone again.
func (r *reloader) close() { signal.Stop(r.hangups) }

// start reads at each SIGHUP, and once if any came before, until the function that it returns is called.
func (r *reloader) start(a *app, logger *slog.Logger, notifier *systemd.Notifier) (stop func()) {
	stopped := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-r.hangups:
				notifier.Reload(a.ctx, func() { r.reload(a, logger) })
			case <-stopped:
				return
			}
		}
	})
	return func() {
		close(stopped)
		running.Wait()
	}
}

// reload sets the level that the file says. What it can't read it leaves as it is.
func (r *reloader) reload(a *app, logger *slog.Logger) {
	if r.debug {
		logger.WarnContext(a.ctx, "log level not read again: the worker was started with --debug")
		return
	}
	level, err := config.LogLevelIn(r.file, r.level)
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
