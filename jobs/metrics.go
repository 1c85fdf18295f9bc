package jobs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/epicvoice/webhook-worker/partners"
)

// instrumentation is the name of this package's meter and tracer.
const instrumentation = "github.com/epicvoice/webhook-worker/jobs"

// putOffReason says why a delivery was put off without using a try.
type putOffReason string

const (
	putOffPartnerBusy putOffReason = "partner_busy"
	putOffUserBusy    putOffReason = "user_busy"
	putOffCircuitOpen putOffReason = "circuit_open"
	putOffSlowedDown  putOffReason = "slowed_down"
	putOffRateLimit   putOffReason = "rate_limit"
	putOffPaused      putOffReason = "paused"
	putOffMissingKey  putOffReason = "missing_key"
	putOffNewer       putOffReason = "newer"
	putOffDatabase    putOffReason = "database"
	putOffProxy       putOffReason = "proxy"
)

// putOffFor is the reason that a refusal of the gate is.
func putOffFor(refusal error) putOffReason {
	switch {
	case errors.Is(refusal, errPartnerBusy):
		return putOffPartnerBusy
	case errors.Is(refusal, errUserBusy):
		return putOffUserBusy
	case errors.Is(refusal, errCircuitOpen):
		return putOffCircuitOpen
	case errors.Is(refusal, errSlowedDown):
		return putOffSlowedDown
	default:
		return putOffRateLimit
	}
}

// disabledReason says why a worker disabled a partner.
type disabledReason string

const (
	disabledGone    disabledReason = "gone"    // it answered 410
	disabledFailing disabledReason = "failing" // for PARTNER_DISABLE_AFTER
)

// attemptLabels are what attempts are counted by.
type attemptLabels struct {
	outcome Outcome
	kind    partners.ErrorKind // empty: none
	class   string             // of the answer's status
}

// noLabel stands where there is nothing to say, since an empty label is none to Prometheus.
const noLabel = "none"

// metrics counts what a worker does. Its labels are few and fixed, so that what each delivery adds to is looked up, and
// nothing is made for it. A nil one counts nothing.
type metrics struct {
	attempts    metric.Int64Counter
	duration    metric.Float64Histogram
	delay       metric.Float64Histogram
	latency     metric.Float64Histogram
	deadLetters metric.Int64Counter
	putOffs     metric.Int64Counter
	disabled    metric.Int64Counter
	batchRows   metric.Int64Histogram

	byAttempt  map[attemptLabels][]metric.AddOption
	byOutcome  map[Outcome][]metric.RecordOption
	byRetried  map[bool][]metric.RecordOption
	byPutOff   map[putOffReason][]metric.AddOption
	byDisabled map[disabledReason][]metric.AddOption
}

// Bounds of the histograms' buckets, in seconds but for rows. A POST takes 30 s at most by default, a delivery with all
// its retries a quarter of an hour.
var (
	durationBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}                                //nolint:gochecknoglobals // constant
	delayBounds    = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800}                 //nolint:gochecknoglobals // constant
	latencyBounds  = []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 3600, 14400} //nolint:gochecknoglobals // constant
	rowsBounds     = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000}                                       //nolint:gochecknoglobals // constant
)

// newMetrics makes the instruments.
func newMetrics(ctx context.Context, provider metric.MeterProvider) (*metrics, error) {
	meter := provider.Meter(instrumentation)
	m := &metrics{}
	var errs [8]error
	m.attempts, errs[0] = meter.Int64Counter("webhook.attempts",
		metric.WithDescription("Attempts that have ended, by outcome, kind of error and class of the answer's status."))
	m.duration, errs[1] = meter.Float64Histogram("webhook.attempt.duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(durationBounds...),
		metric.WithDescription("Time that the POST took, from before the connection to the end of the answer."))
	m.delay, errs[2] = meter.Float64Histogram("webhook.attempt.delay", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(delayBounds...),
		metric.WithDescription("Time from when a try was due to its POST; in it the time that it was held back for its partner."))
	m.latency, errs[3] = meter.Float64Histogram("webhook.delivery.latency", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(latencyBounds...),
		metric.WithDescription("Time from enqueueing to delivered. Replays do not count."))
	m.deadLetters, errs[4] = meter.Int64Counter("webhook.dead_letters",
		metric.WithDescription("Deliveries that have used up their tries."))
	m.putOffs, errs[5] = meter.Int64Counter("webhook.put_offs",
		metric.WithDescription("Times that a delivery was put off without using a try, by reason."))
	m.disabled, errs[6] = meter.Int64Counter("webhook.partners.disabled",
		metric.WithDescription("Partners that this worker has disabled: their endpoint is gone (410), or has failed for too long."))
	m.batchRows, errs[7] = meter.Int64Histogram("webhook.attempt_log.batch_rows", metric.WithExplicitBucketBoundaries(rowsBounds...),
		metric.WithDescription("Rows in one statement of the audit log."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("making the instruments: %w", err)
	}
	m.prepare(ctx)
	return m, nil
}

// prepare makes all label sets. Counters begin at 0, so that the first of a kind is an increase.
func (m *metrics) prepare(ctx context.Context) {
	m.byAttempt = map[attemptLabels][]metric.AddOption{}
	for _, outcome := range []Outcome{OutcomeDelivered, OutcomeFailed, OutcomeLost, OutcomeCancelled} {
		for _, kind := range append(partners.ErrorKinds(), "") {
			for _, class := range []string{noLabel, "1xx", "2xx", "3xx", "4xx", "5xx", otherClass} {
				m.byAttempt[attemptLabels{outcome, kind, class}] = addTo(
					attribute.String("outcome", string(outcome)), attribute.String("error_kind", orNone(string(kind))), attribute.String("status_class", class))
			}
		}
	}
	for _, usual := range usualAttempts() {
		m.attempts.Add(ctx, 0, m.byAttempt[usual]...)
	}
	m.byOutcome = map[Outcome][]metric.RecordOption{}
	for _, outcome := range []Outcome{OutcomeDelivered, OutcomeFailed, OutcomeLost} {
		m.byOutcome[outcome] = recordTo(attribute.String("outcome", string(outcome)))
	}
	m.byRetried = map[bool][]metric.RecordOption{}
	for _, retried := range []bool{false, true} {
		m.byRetried[retried] = recordTo(attribute.Bool("retried", retried))
	}
	m.byPutOff = map[putOffReason][]metric.AddOption{}
	for _, reason := range []putOffReason{
		putOffPartnerBusy, putOffUserBusy, putOffCircuitOpen, putOffSlowedDown, putOffRateLimit,
		putOffPaused, putOffMissingKey, putOffNewer, putOffDatabase, putOffProxy,
	} {
		m.byPutOff[reason] = addTo(attribute.String("reason", string(reason)))
		m.putOffs.Add(ctx, 0, m.byPutOff[reason]...)
	}
	m.byDisabled = map[disabledReason][]metric.AddOption{}
	for _, reason := range []disabledReason{disabledGone, disabledFailing} {
		m.byDisabled[reason] = addTo(attribute.String("reason", string(reason)))
		m.disabled.Add(ctx, 0, m.byDisabled[reason]...)
	}
	m.deadLetters.Add(ctx, 0)
}

// usualAttempts are the label sets that there are from the start.
func usualAttempts() []attemptLabels {
	usual := []attemptLabels{
		{OutcomeDelivered, "", "2xx"},
		{OutcomeFailed, partners.KindHTTPStatus, "4xx"},
		{OutcomeFailed, partners.KindHTTPStatus, "5xx"},
		{OutcomeFailed, partners.KindRedirect, "3xx"},
		{OutcomeLost, partners.KindShutdown, noLabel},
		{OutcomeCancelled, partners.KindInternal, noLabel},
	}
	for _, kind := range []partners.ErrorKind{
		partners.KindDNS, partners.KindConnect, partners.KindTLS, partners.KindTimeout, partners.KindBlocked, partners.KindProtocol, partners.KindInternal,
	} {
		usual = append(usual, attemptLabels{OutcomeFailed, kind, noLabel})
	}
	return usual
}

func addTo(labels ...attribute.KeyValue) []metric.AddOption {
	return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(labels...))}
}

func recordTo(labels ...attribute.KeyValue) []metric.RecordOption {
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(labels...))}
}

func orNone(label string) string {
	if label == "" {
		return noLabel
	}
	return label
}

// otherClass is that of statuses that HTTP does not know.
const otherClass = "other"

// statusClass is the class of an answer's status.
func statusClass(status *int) string {
	if status == nil {
		return noLabel
	}
	switch *status / 100 {
	case http.StatusContinue / 100:
		return "1xx"
	case http.StatusOK / 100:
		return "2xx"
	case http.StatusMultipleChoices / 100:
		return "3xx"
	case http.StatusBadRequest / 100:
		return "4xx"
	case http.StatusInternalServerError / 100:
		return "5xx"
	}
	return otherClass
}

// ended counts an attempt that has ended. latency is how long its delivery has been under way since it was enqueued;
// negative: nobody knows.
func (m *metrics) ended(ctx context.Context, attempt *Attempt, retried bool, latency time.Duration) {
	if m == nil {
		return
	}
	labels := attemptLabels{outcome: attempt.Outcome, class: statusClass(attempt.ResponseStatus)}
	if attempt.ErrorKind != nil {
		labels.kind = *attempt.ErrorKind
	}
	m.attempts.Add(ctx, 1, m.byAttempt[labels]...)
	if attempt.DurationMS != nil {
		m.duration.Record(ctx, *attempt.DurationMS/1000, m.byOutcome[attempt.Outcome]...)
	}
	if attempt.Outcome == OutcomeDelivered && latency >= 0 {
		m.latency.Record(ctx, latency.Seconds(), m.byRetried[retried]...)
	}
}

// began notes how long after it was due a POST begins.
func (m *metrics) began(ctx context.Context, delay time.Duration) {
	if m != nil {
		m.delay.Record(ctx, max(0, delay.Seconds()))
	}
}

// died counts dead letters.
func (m *metrics) died(ctx context.Context, count int) {
	if m != nil {
		m.deadLetters.Add(ctx, int64(count))
	}
}

// putOff counts a delivery that was put off.
func (m *metrics) putOff(ctx context.Context, reason putOffReason) {
	if m != nil {
		m.putOffs.Add(ctx, 1, m.byPutOff[reason]...)
	}
}

// partnerDisabled counts a partner that this worker disabled.
func (m *metrics) partnerDisabled(ctx context.Context, reason disabledReason) {
	if m != nil {
		m.disabled.Add(ctx, 1, m.byDisabled[reason]...)
	}
}

// wrote notes how many rows of the audit log went into one statement.
func (m *metrics) wrote(ctx context.Context, rows int) {
	if m != nil {
		m.batchRows.Record(ctx, int64(rows))
	}
}
