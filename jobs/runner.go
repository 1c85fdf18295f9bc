package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/epicvoice/webhook-worker/partners"
)

const (
	// fetchCooldown is the least time between two fetches. It bounds throughput (at most MaxConcurrent
	// deliveries each) and is most of an idle system's latency.
	fetchCooldown = 10 * time.Millisecond
	// rescueMargin is added to River's timeout of a try: a job that runs longer counts as lost to River, and
	// has used a try. It is the last resort, for what the reclaimer does not see, and so long because the end of
	// a delivery may wait for a database that is away: River's leader would else take it for lost before it is
	// written.
	rescueMargin = 10 * time.Minute
	// closeMargin is the same for an attempt that is still open in the log, which the worker may close later.
	closeMargin = 30 * time.Second
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

	// DirectConn is how to reach the same database for the connection that shows that this process lives. It
	// must not go through a pooler that shares sessions.
	DirectConn *pgx.ConnConfig
	// Disconnect breaks all connections of the pools, when nothing is heard through them any more. Nil: they
	// have to notice by themselves.
	Disconnect func()

	// Name is this worker's among those of its time, such as host and instance: the start of its client ids.
	Name string

	Schedule         RetrySchedule
	MaxConcurrent    int           // deliveries under way at once
	PartnerInFlight  int           // requests to one partner under way at once, unless the partner has a bound of its own
	UserInFlight     int           // requests to all partners of one user under way at once
	CircuitFailures  int           // failures in a row that open a partner's circuit; 0: none opens
	CircuitMaxHold   time.Duration // how long a delivery waits at most for a partner that fails
	DisableAfter     time.Duration // how long a partner may fail before it is disabled; negative: for ever
	PollInterval     time.Duration // how often to look for work when nothing wakes the worker
	Timeout          time.Duration // for one delivery, without the writing around it
	ShutdownTimeout  time.Duration // for running deliveries to finish when Run ends
	LogAttempts      bool          // whether attempts go to webhook_delivery_log
	AttemptBatchSize int           // most rows in one statement of that log
	Retention        Retention

	// MeterProvider and TracerProvider take the worker's metrics and spans; nil: there are none. With a MeterProvider one
	// worker of those that have one collects how the queue stands.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	// RiverPlugins see what River does.
	RiverPlugins []rivertype.Plugin

	// RescueAfter is the least time that any job, another program's too, runs before it counts as stuck.
	RescueAfter time.Duration
}

// Runner works deliveries: River, the attempt log, what wakes River in time, and what gives back the
// deliveries of dead workers.
type Runner struct {
	cfg      *RunnerConfig
	log      *AttemptLog // nil: attempts are not recorded
	clock    *databaseClock
	liveness *liveness
	pools    *poolWatch
	inFlight *inFlight
	gate     *gate
	health   *healthKeeper
	crowd    *crowd
	metrics  *metrics     // nil: nothing is counted
	tracer   trace.Tracer // nil: no spans are made
	ready    readiness
	sessions pulse                   // of serve
	dueLooks pulse                   // of the due watcher
	fetches  atomic.Pointer[fetches] // of the session that is open; nil: none is
}

// NewRunner makes a Runner. Nothing happens before [Runner.Run].
func NewRunner(cfg *RunnerConfig) *Runner {
	clock := &databaseClock{}
	runner := &Runner{
		cfg:      cfg,
		clock:    clock,
		liveness: newLiveness(cfg.DirectConn, clock, cfg.MeterProvider != nil),
		pools:    &poolWatch{pools: []*pgxpool.Pool{cfg.Pool, cfg.RiverPool}},
		inFlight: newInFlight(cfg.MaxConcurrent),
	}
	health := &healthKeeper{
		pool: cfg.Pool, logger: cfg.Logger, circuitFailures: cfg.CircuitFailures, disableAfter: cfg.DisableAfter,
		timeout: cfg.Timeout, news: make(chan struct{}, 1),
	}
	runner.gate = newGate(gateConfig{
		partnerLimit: cfg.PartnerInFlight, userLimit: cfg.UserInFlight, most: cfg.MaxConcurrent, circuitFailures: cfg.CircuitFailures,
		maxDelay: cfg.Schedule.MaxDelay, now: clock.Now, urgent: health.tell, claimProbe: health.claimProbe,
	})
	health.gate = runner.gate
	runner.health = health
	runner.crowd = &crowd{pool: cfg.Pool, logger: cfg.Logger, gate: runner.gate}
	if cfg.TracerProvider != nil {
		runner.tracer = cfg.TracerProvider.Tracer(instrumentation)
	}
	runner.ready.set(errStarting)
	return runner
}

// Ready is nil while the runner takes deliveries, and else says why it does not.
func (r *Runner) Ready() error {
	if err := r.ready.get(); err != nil {
		return err
	}
	if fetches := r.fetches.Load(); fetches != nil {
		return fetches.late(r.pools)
	}
	return nil
}

// newClient makes a River client with its workers and queues.
func (r *Runner) newClient(ctx context.Context, id string, fetches *fetches) (*river.Client[pgx.Tx], error) {
	cfg := r.cfg
	worker := NewDeliveryWorker(&DeliveryWorkerConfig{
		Pool:     cfg.Pool,
		Store:    cfg.Store,
		Sender:   cfg.Sender,
		Log:      r.log,
		Logger:   cfg.Logger,
		Schedule: cfg.Schedule,
		Timeout:  cfg.Timeout,
		ClientID: id,
		Now:      r.clock.Now,
		gate:     r.gate,
		metrics:  r.metrics,
		tracer:   r.tracer,
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
	settler := &settlementWorker{pool: cfg.Pool, logger: cfg.Logger, logged: cfg.LogAttempts, after: jobTimeout + closeMargin, keep: cfg.Retention.Attempts}
	if err := river.AddWorkerSafely(workers, settler); err != nil {
		return nil, fmt.Errorf("registering the settlement worker: %w", err)
	}
	rebuilt, err := indexesToRebuild(ctx, cfg.RiverPool)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient[pgx.Tx](&driver{riverpgxv5.New(cfg.RiverPool), cfg.RiverPool, r.crowd, fetches, time.Now()}, &river.Config{
		ID:                          id,
		Schema:                      cfg.RiverSchema,
		Logger:                      slog.New(&quietHandler{cfg.Logger.Handler(), &r.ready}),
		Workers:                     workers,
		Middleware:                  []rivertype.Middleware{r.inFlight},
		Plugins:                     cfg.RiverPlugins,
		ErrorHandler:                &undecodable{worker},
		RetryPolicy:                 &undecodable{worker},
		JobTimeout:                  jobTimeout,
		RescueStuckJobsAfter:        stuckAfter,
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           cfg.PollInterval,
		CompletedJobRetentionPeriod: cfg.Retention.Completed,
		CancelledJobRetentionPeriod: cfg.Retention.Cancelled,
		DiscardedJobRetentionPeriod: cfg.Retention.DeadLetters,
		ReindexerIndexNames:         rebuilt,
		Queues: map[string]river.QueueConfig{
			Queue:            {MaxWorkers: cfg.MaxConcurrent},
			maintenanceQueue: {MaxWorkers: 2, FetchCooldown: time.Second, FetchPollInterval: 5 * time.Second}, // who does not listen yet misses the first
		},
		// Retries are set and looked at by one clock. River has no other setting for it.
		Test:         river.TestConfig{Time: r.clock},
		PeriodicJobs: []*river.PeriodicJob{retentionSchedule(), settlementSchedule()},
	})
	if err != nil {
		return nil, fmt.Errorf("making the River client: %w", err)
	}
	return client, nil
}

// Run works deliveries until ctx ends, and then drains: nothing new is fetched, running deliveries get
// ShutdownTimeout to finish, the rest are cancelled and given back with their try, and the attempt log is
// written out. It returns an error if the database can't be reached at the start; later it waits for it.
func (r *Runner) Run(ctx context.Context) error {
	logger := r.cfg.Logger
	lasting := context.WithoutCancel(ctx)
	collector := &collector{pool: r.cfg.RiverPool, logger: logger, leads: r.liveness.leads}
	if r.cfg.MeterProvider != nil {
		var err error
		if r.metrics, err = newMetrics(ctx, r.cfg.MeterProvider); err != nil {
			return err
		}
		r.health.metrics = r.metrics
	}
	if r.cfg.LogAttempts {
		r.log = NewAttemptLog(&AttemptLogConfig{ //nolint:contextcheck // it ends with Close
			Pool: r.cfg.RiverPool, Logger: logger, BatchSize: r.cfg.AttemptBatchSize, metrics: r.metrics,
		})
	}
	if r.cfg.MeterProvider != nil {
		stop, err := observeState(r.cfg.MeterProvider, r, collector)
		if err != nil {
			return errors.Join(err, r.closeLog(lasting))
		}
		defer stop()
	}
	if err := r.liveness.connect(ctx, 0); err != nil {
		return errors.Join(fmt.Errorf("connecting for the worker's lock: %w", err), r.closeLog(lasting))
	}
	defer r.liveness.disconnect(lasting, errStopping)
	_ = r.health.keep(ctx) // before the first delivery; if it fails, so will the next time, which says so
	if err := r.crowd.foresee(ctx); err != nil {
		logger.WarnContext(ctx, "start without a look at the queue", slog.String("error", err.Error()))
	}
	first, err := r.open(ctx)
	if err != nil {
		return errors.Join(err, r.closeLog(lasting))
	}
	r.ready.set(nil)
	logger.InfoContext(ctx, "worker started",
		slog.String("client_id", first.client.ID()), slog.Int("max_concurrent_deliveries", r.cfg.MaxConcurrent))

	watcher := &dueWatcher{pool: r.cfg.RiverPool, logger: logger, ended: r.inFlight.ended, queued: queuedToNotify(r.cfg.RiverPool), pulse: &r.dueLooks}
	watchCtx, stopWatching := context.WithCancel(lasting)
	var watching sync.WaitGroup
	watching.Go(func() { watcher.run(watchCtx) })
	watching.Go(func() { r.liveness.keep(watchCtx) })
	watching.Go(func() { r.pools.run(watchCtx) })
	watching.Go(func() { r.health.run(watchCtx) })
	holder := &holder{pool: r.cfg.Pool, logger: logger, gate: r.gate, maxHold: r.cfg.CircuitMaxHold, crowd: r.crowd}
	watching.Go(func() { holder.run(watchCtx) })
	if r.cfg.MeterProvider != nil {
		watching.Go(func() { collector.run(watchCtx) })
	}

	drainCtx, giveUp := context.WithCancel(lasting)
	last, earlier := r.serve(ctx, drainCtx, first)

	if !isAway(r.ready.get()) {
		r.ready.set(errStopping)
	}
	logger.InfoContext(ctx, "worker stopping", slog.Duration("shutdown_timeout", r.cfg.ShutdownTimeout))
	start := time.Now()
	underWay, doneBefore, stoppedBefore := r.inFlight.counts()
	err = r.drain(lasting, last, earlier, giveUp)
	stopWatching()
	watching.Wait()
	err = errors.Join(err, r.closeLog(lasting))
	_, done, stopped := r.inFlight.counts()
	logger.InfoContext(ctx, "worker stopped",
		slog.Int("under_way", underWay), slog.Int("finished", done-doneBefore), slog.Int("given_back", stopped-stoppedBefore),
		slog.Int("unwritten", r.unwritten()), slog.Duration("took", time.Since(start).Round(time.Millisecond)))
	return err
}

// unwritten is how many outcomes the database has not taken.
func (r *Runner) unwritten() int {
	if r.log == nil {
		return 0
	}
	return r.log.Unwritten()
}

// drain stops all sessions: what runs may finish, and is cancelled and given back after ShutdownTimeout.
func (r *Runner) drain(ctx context.Context, last *session, earlier *sync.WaitGroup, giveUp context.CancelFunc) error {
	timeout := time.AfterFunc(r.cfg.ShutdownTimeout, giveUp)
	defer timeout.Stop()
	defer giveUp()
	var err error
	if last != nil {
		err = last.stop(ctx, r.cfg.ShutdownTimeout)
	}
	earlier.Wait()
	if _, _, stopped := r.inFlight.counts(); stopped > 0 {
		// River makes them available and tells nobody.
		bounded, cancel := context.WithTimeout(ctx, cancelTimeout)
		defer cancel()
		if _, notifyErr := r.cfg.RiverPool.Exec(bounded, `select `+wakeWorkers); notifyErr != nil {
			r.cfg.Logger.WarnContext(bounded, "other workers not woken", slog.String("error", notifyErr.Error()))
		}
	}
	return err
}

func (r *Runner) closeLog(ctx context.Context) error {
	if r.log == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	return r.log.Close(bounded)
}

// quietHandler is for River. Unless debugging is on it leaves out what River says at level info about every try and every
// start, since one line an attempt is this package's own, and what it says about a database of which this package has said
// that it is away.
type quietHandler struct {
	slog.Handler

	ready *readiness
}

func (h *quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	quiet := level < slog.LevelWarn || h.ready.away()
	return h.Handler.Enabled(ctx, level) && (!quiet || h.Handler.Enabled(ctx, slog.LevelDebug))
}

func (h *quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &quietHandler{h.Handler.WithAttrs(attrs), h.ready}
}

func (h *quietHandler) WithGroup(name string) slog.Handler {
	return &quietHandler{h.Handler.WithGroup(name), h.ready}
}
