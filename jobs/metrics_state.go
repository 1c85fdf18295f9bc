package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// stateMetrics are the gauges: what a worker's state is at the moment that it is asked for.
type stateMetrics struct {
	runner    *Runner
	collector *collector

	ready, inFlight, limit, unwritten metric.Int64ObservableGauge
	conns, maxConns                   metric.Int64ObservableGauge
	waits                             metric.Int64ObservableCounter
	waited                            metric.Float64ObservableCounter

	deliveries, due, circuits, partners metric.Int64ObservableGauge
	oldestDue, oldest, collected        metric.Float64ObservableGauge
}

// observeState registers the gauges of a runner, until the function that it returns is called.
func observeState(provider metric.MeterProvider, runner *Runner, collector *collector) (stop func(), err error) {
	meter := provider.Meter(instrumentation)
	s := &stateMetrics{runner: runner, collector: collector}
	var errs []error
	gauge := func(name, description string) metric.Int64ObservableGauge {
		made, err := meter.Int64ObservableGauge(name, metric.WithDescription(description))
		errs = append(errs, err)
		return made
	}
	seconds := func(name, description string) metric.Float64ObservableGauge {
		made, err := meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(description))
		errs = append(errs, err)
		return made
	}
	s.ready = gauge("webhook.worker.ready", "1 while the worker takes deliveries, else 0.")
	s.inFlight = gauge("webhook.deliveries.in_flight", "Deliveries under way.")
	s.limit = gauge("webhook.deliveries.in_flight.limit", "Most deliveries under way at once: MAX_CONCURRENT_DELIVERIES.")
	s.unwritten = gauge("webhook.attempt_log.unwritten_rows", fmt.Sprintf("Outcomes that the database has not taken yet. At %d no POST begins.", maxUnwritten))
	s.conns = gauge("webhook.database.pool.connections", "Connections to the database, by pool and state.")
	s.maxConns = gauge("webhook.database.pool.max_connections", "Most connections of a pool.")
	s.deliveries = gauge("webhook.queue.deliveries", "Deliveries by their status in webhook_delivery_queue.")
	s.due = gauge("webhook.queue.due_deliveries", "Deliveries that are due, by whether they are held back for their partner.")
	s.oldestDue = seconds("webhook.queue.oldest_due_age", "For how long the delivery has been due that has been so for longest; 0: none is.")
	s.oldest = seconds("webhook.queue.oldest_age", "Age, since it was enqueued, of the oldest delivery of a status; 0: none has it.")
	s.circuits = gauge("webhook.circuits", "Enabled partners by the state of their circuit.")
	s.partners = gauge("webhook.partners", "Partners by state.")
	s.collected = seconds("webhook.queue.collected_timestamp", "When this part of the queue's state was read last, in Unix time, by the database's clock: ages, or counts.")
	s.waits, err = meter.Int64ObservableCounter("webhook.database.pool.waits", metric.WithDescription("Times that something waited for a connection."))
	errs = append(errs, err)
	s.waited, err = meter.Float64ObservableCounter("webhook.database.pool.wait", metric.WithUnit("s"), metric.WithDescription("Time that was waited for connections."))
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("making the gauges: %w", err)
	}
	registration, err := meter.RegisterCallback(s.observe, s.ready, s.inFlight, s.limit, s.unwritten, s.conns, s.maxConns, s.waits, s.waited,
		s.deliveries, s.due, s.circuits, s.partners, s.oldestDue, s.oldest, s.collected)
	if err != nil {
		return nil, fmt.Errorf("registering the gauges: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil
}

// observe answers whoever asks for the metrics. It must not wait for anything.
func (s *stateMetrics) observe(_ context.Context, to metric.Observer) error {
	ready := int64(0)
	if s.runner.Ready() == nil {
		ready = 1
	}
	underWay, _, _ := s.runner.inFlight.counts()
	to.ObserveInt64(s.ready, ready)
	to.ObserveInt64(s.inFlight, int64(underWay))
	to.ObserveInt64(s.limit, int64(s.runner.cfg.MaxConcurrent))
	to.ObserveInt64(s.unwritten, int64(s.runner.unwritten()))
	s.observePool(to, "deliveries", s.runner.cfg.Pool)
	s.observePool(to, "river", s.runner.cfg.RiverPool)
	counts, ages := s.collector.state()
	if ages != nil {
		s.observeAges(to, ages)
	}
	if counts != nil && ages != nil {
		s.observeCounts(to, counts, ages)
	}
	return nil
}

func (s *stateMetrics) observePool(to metric.Observer, name string, pool *pgxpool.Pool) {
	stat, of := pool.Stat(), attribute.String("pool", name)
	to.ObserveInt64(s.conns, int64(stat.AcquiredConns()), metric.WithAttributes(of, attribute.String("state", "acquired")))
	to.ObserveInt64(s.conns, int64(stat.IdleConns()), metric.WithAttributes(of, attribute.String("state", "idle")))
	to.ObserveInt64(s.maxConns, int64(stat.MaxConns()), metric.WithAttributes(of))
	to.ObserveInt64(s.waits, stat.EmptyAcquireCount(), metric.WithAttributes(of))
	to.ObserveFloat64(s.waited, stat.EmptyAcquireWaitTime().Seconds(), metric.WithAttributes(of))
}

// ofStatus is the label of a status.
func ofStatus(status Status) metric.ObserveOption {
	return metric.WithAttributes(attribute.String("status", string(status)))
}

// whetherHeld is the label of what is held back for its partner, or not.
func whetherHeld(is bool) metric.ObserveOption {
	return metric.WithAttributes(attribute.Bool("held", is))
}

// inState is the label of a state.
func inState(state string) metric.ObserveOption {
	return metric.WithAttributes(attribute.String("state", state))
}

// ofPart is the label of what is read at once.
func ofPart(part string) metric.ObserveOption {
	return metric.WithAttributes(attribute.String("part", part))
}

func unixSeconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

func (s *stateMetrics) observeAges(to metric.Observer, ages *queueAges) {
	to.ObserveFloat64(s.collected, unixSeconds(ages.At), ofPart("ages"))
	to.ObserveFloat64(s.oldestDue, ages.Due, whetherHeld(false))
	to.ObserveFloat64(s.oldestDue, ages.HeldDue, whetherHeld(true))
	to.ObserveInt64(s.deliveries, ages.Processing, ofStatus(StatusProcessing))
	to.ObserveFloat64(s.oldest, ages.OldestProcessing, ofStatus(StatusProcessing))
	to.ObserveInt64(s.circuits, ages.OpenCircuits, inState(string(CircuitOpen)))
}

func (s *stateMetrics) observeCounts(to metric.Observer, counts *queueCounts, ages *queueAges) {
	to.ObserveFloat64(s.collected, unixSeconds(counts.At), ofPart("counts"))
	to.ObserveInt64(s.deliveries, counts.Pending, ofStatus(StatusPending))
	to.ObserveInt64(s.deliveries, counts.Failed, ofStatus(StatusFailed))
	to.ObserveInt64(s.deliveries, counts.Delivered, ofStatus(StatusDelivered))
	to.ObserveInt64(s.deliveries, counts.DeadLetter, ofStatus(StatusDeadLetter))
	to.ObserveInt64(s.deliveries, counts.Cancelled, ofStatus(StatusCancelled))
	to.ObserveFloat64(s.oldest, counts.OldestPending, ofStatus(StatusPending))
	to.ObserveFloat64(s.oldest, counts.OldestFailed, ofStatus(StatusFailed))
	to.ObserveInt64(s.due, counts.Due, whetherHeld(false))
	to.ObserveInt64(s.due, counts.HeldDue, whetherHeld(true))
	to.ObserveInt64(s.circuits, max(0, counts.Enabled+counts.Paused-ages.OpenCircuits), inState(string(CircuitClosed)))
	to.ObserveInt64(s.partners, counts.Enabled, inState("enabled"))
	to.ObserveInt64(s.partners, counts.Paused, inState("paused"))
	to.ObserveInt64(s.partners, counts.Disabled, inState("disabled"))
}
