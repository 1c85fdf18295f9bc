package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel/trace"

	"github.com/epicvoice/webhook-worker/partners"
)

const (
	// recordTimeout is how long a finished delivery waits for its outcome to be committed. It does not
	// depend on the delivery's own deadline, which may have passed.
	recordTimeout = 5 * time.Second
	// prepareTimeout is how long a delivery waits for the database before its POST. It is not taken off the
	// POST's time: a slow database is no fault of the partner's.
	prepareTimeout = 5 * time.Second
	// prepareInterval is how long it waits when the connection broke.
	prepareInterval = 250 * time.Millisecond
	// timeoutMargin is what River gives a delivery beyond WORKER_TIMEOUT, for what is around the POST.
	timeoutMargin = prepareTimeout + recordTimeout

	// A delivery to a paused partner looks again after minHold to maxHold, if nothing releases it before, and one
	// to a partner whose key is missing after minSnooze to maxHold.
	minHold = time.Minute
	maxHold = 10 * time.Minute

	// A delivery that was refused by the gate comes again after minRefused to twice as long, if it is not held back before.
	minRefused = time.Second

	// A delivery that could not be begun for trouble of our own comes again after minSnooze to maxSnooze.
	minSnooze = 5 * time.Second
	maxSnooze = 30 * time.Second

	// maxPutOffs is how often a delivery is put off for that, some 20 hours: then it takes tries, so that what is wrong
	// for one partner alone ends as a dead letter.
	maxPutOffs = 300

	// maxDoublings bounds how that wait grows where each try leaves a row in the audit log: to 80 s to 8 min.
	maxDoublings = 4
)

// DeliveryWorkerConfig is what a DeliveryWorker needs.
type DeliveryWorkerConfig struct {
	Pool     *pgxpool.Pool
	Store    *partners.Store
	Sender   *partners.Sender
	Log      *AttemptLog // nil: attempts are not recorded
	Logger   *slog.Logger
	Schedule RetrySchedule
	Timeout  time.Duration    // for one delivery, without the writing around it
	ClientID string           // of the River client that the worker belongs to
	Now      func() time.Time // nil: time.Now

	gate    *gate        // nil: every delivery is let through
	metrics *metrics     // nil: nothing is counted
	tracer  trace.Tracer // nil: no spans are made
}

// DeliveryWorker makes deliveries: it is the River worker of [DeliveryArgs].
type DeliveryWorker struct {
	river.WorkerDefaults[DeliveryArgs]

	loader   *loader
	gate     *gate
	rates    *rates
	store    *partners.Store
	sender   *partners.Sender
	log      *AttemptLog
	logger   *slog.Logger
	schedule RetrySchedule
	timeout  time.Duration
	clientID string
	now      func() time.Time
	metrics  *metrics
	tracer   trace.Tracer
}

// NewDeliveryWorker makes a DeliveryWorker.
func NewDeliveryWorker(cfg *DeliveryWorkerConfig) *DeliveryWorker {
	worker := &DeliveryWorker{
		gate:     cfg.gate,
		rates:    newRates(cfg.Pool),
		store:    cfg.Store,
		sender:   cfg.Sender,
		log:      cfg.Log,
		logger:   cfg.Logger,
		schedule: cfg.Schedule,
		timeout:  cfg.Timeout,
		clientID: cfg.ClientID,
		now:      cfg.Now,
		metrics:  cfg.metrics,
		tracer:   cfg.tracer,
	}
	if worker.now == nil {
		worker.now = time.Now
	}
	if worker.gate == nil {
		worker.gate = newGate(gateConfig{partnerLimit: math.MaxInt, userLimit: math.MaxInt, now: worker.now, urgent: func() {}})
	}
	worker.loader = newLoader(cfg.Pool, cfg.Store, worker.now)
	return worker
}

// Timeout is River's bound on one try.
func (w *DeliveryWorker) Timeout(*river.Job[DeliveryArgs]) time.Duration {
	return w.timeout + timeoutMargin
}

// NextRetry puts the next try on the schedule, or later if the partner asked for it.
func (w *DeliveryWorker) NextRetry(job *river.Job[DeliveryArgs]) time.Time {
	return w.schedule.Next(w.now(), job.Attempt, job.Args.retryAfter)
}

// Work makes one try of a delivery. A nil error completes the job, a cancel error ends it, a snooze
// repeats it without using a try, and any other error uses one.
func (w *DeliveryWorker) Work(ctx context.Context, job *river.Job[DeliveryArgs]) (err error) {
	var attempt *Attempt
	var span attemptSpan
	opened := false
	defer func() {
		if fault := recover(); fault != nil {
			w.logger.ErrorContext(ctx, "panic in a delivery", slog.String("delivery_id", job.Args.DeliveryID.String()),
				slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
			verdict := &Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindInternal, Error: "webhook-worker failed: its log says more"}
			if attempt == nil {
				attempt = w.newAttempt(job)
			}
			err = w.conclude(ctx, job, attempt, verdict, nil, opened, false)
		}
		span.end(attempt)
	}()
	task, attempt, err := w.prepare(ctx, job)
	if err != nil {
		return w.putOff(ctx, job, err)
	}
	if task.held > 0 {
		w.metrics.putOff(ctx, task.heldFor)
		return river.JobSnooze(task.held)
	}
	var sent context.Context
	sent, span = w.trace(ctx, job, task.endpoint)
	if task.obstacle != nil {
		return w.conclude(ctx, job, attempt, task.obstacle, nil, opened, task.final)
	}
	opened = true
	response, verdict := w.send(sent, job, task)
	verdict.PutOff = verdict.PutOff && metadataOf(job).Snoozes < maxPutOffs
	final := false
	switch {
	case verdict.Gone:
		// The delivery ends only if its partner is disabled by this; else, after a change of URL, it is tried again.
		final = w.disable(ctx, task.endpoint.Partner)
	case errors.Is(context.Cause(ctx), rivertype.ErrJobCancelledRemotely) && verdict.Outcome == OutcomeLost:
		verdict.ErrorKind = partners.KindInternal
		verdict.Error = "cancelled by hand before the answer"
	}
	job.Args.retryAfter = verdict.RetryAfter
	return w.conclude(ctx, job, attempt, &verdict, response, opened, final)
}

// send makes the POST. What it shows of the partner counts for the next one, which may have waited for this to end.
func (w *DeliveryWorker) send(ctx context.Context, job *river.Job[DeliveryArgs], task *task) (*partners.Response, Verdict) {
	defer task.pass.leave()
	task.pass.start()
	w.metrics.began(ctx, w.now().Sub(job.ScheduledAt))
	sending, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	response := w.sender.Send(sending, &partners.Request{
		URL:         task.endpoint.URL,
		ID:          job.Args.DeliveryID.String(),
		EventType:   job.Args.EventType,
		Timestamp:   w.now(),
		Body:        partners.RenderBody(task.payload, task.endpoint.CustomPayloadFields),
		Headers:     task.endpoint.headers,
		Secrets:     task.endpoint.secrets,
		TraceParent: traceParent(ctx),
	})
	verdict := Judge(response)
	w.gate.observe(task.endpoint.Partner, job.Args.DeliveryID, &verdict)
	return response, verdict
}

// prepare reads what a try needs and puts its intent on record. A connection that breaks is tried again for
// prepareTimeout, so that a database that restarts puts nothing off.
func (w *DeliveryWorker) prepare(ctx context.Context, job *river.Job[DeliveryArgs]) (*task, *Attempt, error) {
	bounded, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	for {
		attempt := w.newAttempt(job)
		task, err := w.begin(bounded, job, attempt)
		if err == nil || isServerError(err) && !isPassing(err) {
			return task, attempt, err
		}
		select {
		case <-bounded.Done():
			return nil, nil, err
		case <-time.After(prepareInterval):
		}
	}
}

// begin reads what a try needs and, if there is something to send, puts its intent on record.
func (w *DeliveryWorker) begin(ctx context.Context, job *river.Job[DeliveryArgs], attempt *Attempt) (*task, error) {
	task, err := w.load(ctx, job)
	if err == nil && task.held == 0 && task.obstacle == nil {
		err = w.admit(ctx, job, task)
	}
	if err != nil || task.held > 0 || task.obstacle != nil {
		return task, err
	}
	attempt.URL = &task.endpoint.URL
	if w.log != nil {
		if err := w.log.Open(ctx, attempt); err != nil {
			task.pass.leave()
			return nil, err
		}
	}
	return task, nil
}

func (w *DeliveryWorker) newAttempt(job *river.Job[DeliveryArgs]) *Attempt {
	attempt := &Attempt{
		ID:         uuid.New(),
		DeliveryID: job.Args.DeliveryID,
		JobID:      job.ID,
		UserID:     job.Args.UserID,
		PartnerID:  job.Args.PartnerID,
		EventID:    job.Args.EventID,
		EventType:  job.Args.EventType,
		Number:     job.Attempt,
		Trigger:    metadataOf(job).Trigger,
		Outcome:    OutcomeSending,
		ClientID:   w.clientID,
		StartedAt:  w.now().UTC().Truncate(time.Microsecond), // what the database can hold: it is part of the key
	}
	if !attempt.Trigger.known() {
		attempt.Trigger = TriggerSchedule
	}
	return attempt
}

// jobOutput is what a job's row keeps of its last try; the view webhook_delivery_queue shows it.
type jobOutput struct {
	Outcome        Outcome             `json:"outcome"`
	ResponseStatus *int                `json:"response_status,omitempty"`
	ErrorKind      *partners.ErrorKind `json:"error_kind,omitempty"`
	Error          *string             `json:"error,omitempty"`
}

// conclude puts the verdict on record, in the job, the audit log and the process's log, and returns what
// it means to River.
func (w *DeliveryWorker) conclude(
	ctx context.Context, job *river.Job[DeliveryArgs], attempt *Attempt, verdict *Verdict, response *partners.Response, opened, final bool,
) error {
	attempt.finish(verdict, response)
	if err := river.RecordOutput(ctx, jobOutput{
		Outcome:        attempt.Outcome,
		ResponseStatus: attempt.ResponseStatus,
		ErrorKind:      attempt.ErrorKind,
		Error:          attempt.Error,
	}); err != nil {
		return fmt.Errorf("recording the outcome on the job: %w", err)
	}
	w.record(ctx, attempt, opened)
	w.report(ctx, job, attempt, verdict, final)

	switch {
	case verdict.Outcome == OutcomeDelivered:
		return nil
	case response != nil && errors.Is(response.Err, context.Canceled):
		return response.Err // River sees that the worker stopped, and gives the try back
	case final:
		return river.JobCancel(errors.New(*attempt.Error))
	case verdict.PutOff:
		w.metrics.putOff(ctx, putOffProxy)
		return river.JobSnooze(putOffWait(job))
	default:
		return errors.New(*attempt.Error)
	}
}

// record writes the attempt's end to the audit log. Its failure changes nothing about the verdict.
func (w *DeliveryWorker) record(ctx context.Context, attempt *Attempt, opened bool) {
	if w.log == nil {
		return
	}
	waited, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	write := w.log.Record
	if opened {
		write = w.log.CloseAttempt
	}
	if err := write(waited, attempt); err != nil {
		level := slog.LevelWarn
		if errors.Is(err, errUnwritable) {
			level = slog.LevelDebug // the log says so itself, once, and writes it later
		}
		w.logger.Log(ctx, level, "outcome not recorded yet",
			slog.String("delivery_id", attempt.DeliveryID.String()), slog.String("error", err.Error()))
	}
}

// report counts an attempt and writes its one log line.
func (w *DeliveryWorker) report(ctx context.Context, job *river.Job[DeliveryArgs], attempt *Attempt, verdict *Verdict, final bool) {
	w.metrics.ended(ctx, attempt, job.Attempt > 1, w.latency(job, attempt))
	attrs := []slog.Attr{
		slog.String("delivery_id", attempt.DeliveryID.String()),
		slog.String("user_id", attempt.UserID),
		slog.String("partner_id", attempt.PartnerID.String()),
		slog.String("event_type", attempt.EventType),
		slog.Int("attempt", job.Attempt),
		slog.Int("max_attempts", job.MaxAttempts),
		slog.String("outcome", string(attempt.Outcome)),
	}
	if attempt.ResponseStatus != nil {
		attrs = append(attrs, slog.Int("status", *attempt.ResponseStatus))
	}
	if attempt.DurationMS != nil {
		attrs = append(attrs, slog.Float64("duration_ms", *attempt.DurationMS))
	}
	if attempt.Outcome == OutcomeDelivered {
		w.logger.LogAttrs(ctx, slog.LevelInfo, "delivery attempted", attrs...)
		return
	}
	attrs = append(attrs, slog.String("error_kind", string(*attempt.ErrorKind)), slog.String("error", *attempt.Error))
	if *attempt.ErrorKind == partners.KindBlocked {
		attrs = append(attrs, slog.String("see", "WEBHOOK_ALLOW_NETWORKS and WEBHOOK_ALLOW_PORTS"))
	}
	switch {
	case verdict.PutOff:
		w.logger.LogAttrs(ctx, slog.LevelError, "delivery put off", attrs...)
	case attempt.Outcome == OutcomeFailed && !final && job.Attempt >= job.MaxAttempts:
		w.metrics.died(ctx, 1)
		w.logger.LogAttrs(ctx, slog.LevelError, "delivery is a dead letter", attrs...)
	case final:
		w.logger.LogAttrs(ctx, slog.LevelWarn, "delivery cancelled", attrs...)
	default:
		w.logger.LogAttrs(ctx, slog.LevelWarn, "delivery attempted", attrs...)
	}
}

// latency is how long a delivery has been under way since it was enqueued; negative where that is not known, since a replay
// keeps the time of the first.
func (w *DeliveryWorker) latency(job *river.Job[DeliveryArgs], attempt *Attempt) time.Duration {
	if attempt.Trigger == TriggerReplay {
		return -1
	}
	return max(0, w.now().Sub(job.CreatedAt))
}

// putOff gives a delivery back that could not be begun, without using a try. The wait is spread, so that
// not all come back at once.
func (w *DeliveryWorker) putOff(ctx context.Context, job *river.Job[DeliveryArgs], why error) error {
	if errors.Is(context.Cause(ctx), rivertype.ErrJobCancelledRemotely) {
		verdict := &Verdict{Outcome: OutcomeCancelled, ErrorKind: partners.KindInternal, Error: "cancelled by hand"}
		return w.conclude(ctx, job, w.newAttempt(job), verdict, nil, false, true)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("stopped before the POST: %w", context.Canceled)
	}
	wait := spreadSnooze()
	w.logPutOff(ctx, job, wait, why)
	w.metrics.putOff(ctx, putOffDatabase)
	return river.JobSnooze(wait)
}

func (w *DeliveryWorker) logPutOff(ctx context.Context, job *river.Job[DeliveryArgs], wait time.Duration, why error) {
	w.logger.WarnContext(ctx, "delivery put off",
		slog.String("delivery_id", job.Args.DeliveryID.String()),
		slog.Duration("wait", wait),
		slog.String("error", why.Error()))
}

// putOffWait is how long a delivery waits that was on record and could not be sent: longer each time, so that an
// outage of hours does not fill the audit log.
func putOffWait(job *river.Job[DeliveryArgs]) time.Duration {
	doublings := max(0, min(metadataOf(job).Snoozes, maxDoublings))
	return spreadSnooze() << doublings
}

// spreadSnooze is a wait for trouble of our own, so that not all come back at once.
func spreadSnooze() time.Duration {
	return minSnooze + rand.N(maxSnooze-minSnooze) //nolint:gosec // no secret depends on it
}

// disable disables a partner whose endpoint is gone, and says whether it did.
func (w *DeliveryWorker) disable(ctx context.Context, partner *partners.Partner) bool {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	disabled, err := w.store.DisableGone(bounded, partner)
	if err != nil {
		w.logger.ErrorContext(ctx, "partner not disabled", slog.String("error", err.Error()))
	}
	if disabled {
		w.loader.partners.forget()
		w.metrics.partnerDisabled(ctx, disabledGone)
		w.logger.WarnContext(ctx, "partner disabled",
			slog.String("user_id", partner.UserID), slog.String("partner_slug", partner.Slug),
			slog.String("reason", "its endpoint answered 410 Gone"))
	}
	return disabled
}
