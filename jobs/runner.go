package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/epicvoice/webhook-worker/partners"
)

const (
	// fetchCooldown is the least time between two fetches. It bounds throughput (at most MaxConcurrent
	// deliveries each) and is most of an idle system's latency.
	fetchCooldown = 10 * time.Millisecond
	// rescueMargin is added to River's timeout of a try: a job that runs longer has lost its worker.
	rescueMargin = 30 * time.Second
	// cancelTimeout is how long a cancelled delivery gets to put its end on record.
	cancelTimeout = 10 * time.Second
	// maintenanceQueue keeps deliveries from holding up what keeps the tables small.
	maintenanceQueue = "webhook_maintenance"
)

// RunnerConfig is what a Runner needs.
type RunnerConfig struct {
	// Pool serves the deliveries themselves. RiverPool serves what must not wait behind them: River, which
	// loses its leadership without a connection and keeps one for good to listen, and the attempt log.
	Pool      *pgxpool.Pool
	RiverPool *pgxpool.Pool

	// RiverSchema is where River's tables are, as the database's settings say; empty: as the search_path says.
	RiverSchema string

	Store  *partners.Store
	Sender *partners.Sender
	Logger *slog.Logger

	// ClientID names this process among all workers, at most 100 characters; no other process may ever
	// have it.
	ClientID string

	Schedule         RetrySchedule
	MaxConcurrent    int           // deliveries under way at once
	PollInterval     time.Duration // how often to look for work when nothing wakes the worker
	Timeout          time.Duration // for one delivery, without the writing around it
	ShutdownTimeout  time.Duration // for running deliveries to finish when Run ends
	LogAttempts      bool          // whether attempts go to webhook_delivery_log
	AttemptBatchSize int           // most rows in one statement of that log
	Retention        Retention

	// RescueAfter is the least time that any job, another program's too, runs before it counts as stuck.
	RescueAfter time.Duration
}

// Runner works deliveries: River, the attempt log, and what wakes River in time.
type Runner struct {
	cfg    *RunnerConfig
	client *river.Client[pgx.Tx]
	log    *AttemptLog // nil: attempts are not recorded
}

// NewRunner makes a Runner. Nothing happens before [Runner.Run].
func NewRunner(cfg *RunnerConfig) (*Runner, error) {
	runner := &Runner{cfg: cfg}
	if cfg.LogAttempts {
		runner.log = NewAttemptLog(&AttemptLogConfig{Pool: cfg.RiverPool, Logger: cfg.Logger, BatchSize: cfg.AttemptBatchSize})
	}
	client, err := runner.newClient()
	if err != nil {
		return nil, errors.Join(err, runner.closeLog())
	}
	runner.client = client
	return runner, nil
}

// newClient makes the River client with its workers and queues.
func (r *Runner) newClient() (*river.Client[pgx.Tx], error) {
	cfg := r.cfg
	worker := NewDeliveryWorker(&DeliveryWorkerConfig{
		Pool:     cfg.Pool,
		Store:    cfg.Store,
		Sender:   cfg.Sender,
		Log:      r.log,
		Logger:   cfg.Logger,
		Schedule: cfg.Schedule,
		Timeout:  cfg.Timeout,
		ClientID: cfg.ClientID,
	})
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, worker); err != nil {
		return nil, fmt.Errorf("registering the delivery worker: %w", err)
	}
	if err := river.AddWorkerSafely(workers, &retentionWorker{pool: cfg.Pool, logger: cfg.Logger, retention: cfg.Retention}); err != nil {
		return nil, fmt.Errorf("registering the retention worker: %w", err)
	}
	jobTimeout := cfg.Timeout + timeoutMargin
	stuckAfter := max(jobTimeout+rescueMargin, cfg.RescueAfter)
	settler := &settlementWorker{pool: cfg.Pool, logger: cfg.Logger, logged: cfg.LogAttempts, after: jobTimeout + rescueMargin, keep: cfg.Retention.Attempts}
	if err := river.AddWorkerSafely(workers, settler); err != nil {
		return nil, fmt.Errorf("registering the settlement worker: %w", err)
	}
	client, err := river.NewClient(riverpgxv5.New(cfg.RiverPool), &river.Config{
		ID:                          cfg.ClientID,
		Schema:                      cfg.RiverSchema,
		Logger:                      riverLogger(cfg.Logger),
		Workers:                     workers,
		JobTimeout:                  jobTimeout,
		RescueStuckJobsAfter:        stuckAfter,
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           cfg.PollInterval,
		CompletedJobRetentionPeriod: cfg.Retention.Completed,
		CancelledJobRetentionPeriod: cfg.Retention.Cancelled,
		DiscardedJobRetentionPeriod: cfg.Retention.DeadLetters,
		Queues: map[string]river.QueueConfig{
			Queue:            {MaxWorkers: cfg.MaxConcurrent},
			maintenanceQueue: {MaxWorkers: 2, FetchCooldown: time.Second, FetchPollInterval: time.Minute},
		},
		PeriodicJobs: []*river.PeriodicJob{retentionSchedule(), settlementSchedule()},
	})
	if err != nil {
		return nil, fmt.Errorf("making the River client: %w", err)
	}
	return client, nil
}

// Run works deliveries until ctx ends, and then drains: nothing new is fetched, running deliveries get
// ShutdownTimeout to finish, the rest are cancelled and given back with their try, and the attempt log is
// written out.
func (r *Runner) Run(ctx context.Context) error {
	logger := r.cfg.Logger
	if err := r.client.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(fmt.Errorf("starting River: %w", err), r.closeLog()) //nolint:contextcheck // it has a bound of its own
	}
	logger.InfoContext(ctx, "worker started",
		slog.String("client_id", r.cfg.ClientID), slog.Int("max_concurrent_deliveries", r.cfg.MaxConcurrent))

	watcher := &dueWatcher{pool: r.cfg.RiverPool, logger: logger}
	watchCtx, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	watching.Go(func() { watcher.run(watchCtx) })

	<-ctx.Done()
	logger.InfoContext(ctx, "worker stopping", slog.Duration("shutdown_timeout", r.cfg.ShutdownTimeout))
	start := time.Now()
	cancelled, err := r.stopRiver() //nolint:contextcheck // ctx has ended: stopping has bounds of its own
	stopWatching()
	watching.Wait()
	err = errors.Join(err, r.closeLog()) //nolint:contextcheck // as above
	logger.InfoContext(ctx, "worker stopped",
		slog.Bool("all_finished", !cancelled), slog.Duration("took", time.Since(start).Round(time.Millisecond)))
	return err
}

// stopRiver drains, and says whether deliveries had to be cancelled.
func (r *Runner) stopRiver() (bool, error) {
	drain, cancel := context.WithTimeout(context.Background(), r.cfg.ShutdownTimeout)
	defer cancel()
	if err := r.client.Stop(drain); err == nil {
		return false, nil
	}
	hard, cancelHard := context.WithTimeout(context.Background(), cancelTimeout)
	defer cancelHard()
	if err := r.client.StopAndCancel(hard); err != nil {
		return true, fmt.Errorf("stopping River: %w", err)
	}
	return true, nil
}

func (r *Runner) closeLog() error {
	if r.log == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelTimeout)
	defer cancel()
	return r.log.Close(ctx)
}

// riverLogger leaves out what River says at level info about every try and every start, since one line an
// attempt is this package's own, unless debugging is on.
func riverLogger(logger *slog.Logger) *slog.Logger {
	if logger.Enabled(context.Background(), slog.LevelDebug) {
		return logger
	}
	return slog.New(&quietHandler{logger.Handler()})
}

// quietHandler drops what is below a warning.
type quietHandler struct{ slog.Handler }

func (h *quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h *quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &quietHandler{h.Handler.WithAttrs(attrs)}
}

func (h *quietHandler) WithGroup(name string) slog.Handler {
	return &quietHandler{h.Handler.WithGroup(name)}
}
