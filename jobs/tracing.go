package jobs

import (
	"context"
	"net/url"
	"strconv"

	"github.com/riverqueue/river"
	"github.com/tidwall/gjson"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Names of W3C Trace Context, in a job's metadata and as request headers.
const (
	traceParentKey = "traceparent"
	traceStateKey  = "tracestate"

	// maxTraceState is the longest trace state that is kept, in bytes: the least that the standard asks for.
	maxTraceState = 512
)

// carry keeps the trace context of whoever enqueues for the attempts, if there is one.
func (m *deliveryMetadata) carry(ctx context.Context) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	m.TraceParent = carrier[traceParentKey]
	if state := carrier[traceStateKey]; len(state) <= maxTraceState {
		m.TraceState = state
	}
}

// carried adds the trace context that a job's metadata carries; what is none is dropped.
func carried(ctx context.Context, metadata []byte) context.Context {
	parent := gjson.GetBytes(metadata, traceParentKey).Str
	if parent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		traceParentKey: parent, traceStateKey: gjson.GetBytes(metadata, traceStateKey).Str,
	})
}

// traceParent is the header for the partner's request; empty where there is no trace context. The trace state stays here:
// it is of the tracing of those who enqueue, and a partner's is another.
func traceParent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceParentKey]
}

// attemptSpan is the span of one attempt; without a tracer there is none.
type attemptSpan struct{ trace.Span }

// trace begins the span of an attempt, in the trace that its job carries. Where no spans are made the carried context is
// handed on to the partner as it is. to is nil if there is nothing to send.
func (w *DeliveryWorker) trace(ctx context.Context, job *river.Job[DeliveryArgs], to *endpoint) (context.Context, attemptSpan) {
	ctx = carried(ctx, job.Metadata)
	if w.tracer == nil {
		return ctx, attemptSpan{}
	}
	ctx, span := w.tracer.Start(ctx, "webhook attempt", trace.WithSpanKind(trace.SpanKindClient))
	if !span.IsRecording() {
		return ctx, attemptSpan{span}
	}
	span.SetAttributes(
		attribute.String("webhook.delivery_id", job.Args.DeliveryID.String()),
		attribute.String("webhook.user_id", job.Args.UserID),
		attribute.String("webhook.partner_id", job.Args.PartnerID.String()),
		attribute.String("webhook.event_id", job.Args.EventID),
		attribute.String("webhook.event_type", job.Args.EventType),
		attribute.Int("webhook.attempt", job.Attempt),
	)
	if to != nil {
		span.SetAttributes(semconv.HTTPRequestMethodPost)
		span.SetAttributes(serverOf(to.URL)...)
	}
	return ctx, attemptSpan{span}
}

// serverOf says which server a URL leads to. Its path and query often hold a token.
func serverOf(target string) []attribute.KeyValue {
	parsed, err := url.Parse(target)
	if err != nil {
		return nil
	}
	server := []attribute.KeyValue{semconv.ServerAddress(parsed.Hostname())}
	port, err := strconv.Atoi(parsed.Port())
	switch {
	case err == nil:
		server = append(server, semconv.ServerPort(port))
	case parsed.Scheme == "https":
		server = append(server, semconv.ServerPort(443))
	case parsed.Scheme == "http":
		server = append(server, semconv.ServerPort(80))
	}
	return server
}

// end ends the span with what became of the attempt.
func (s attemptSpan) end(attempt *Attempt) {
	if s.Span == nil {
		return
	}
	s.SetAttributes(attribute.String("webhook.outcome", string(attempt.Outcome)))
	if attempt.ResponseStatus != nil {
		s.SetAttributes(semconv.HTTPResponseStatusCode(*attempt.ResponseStatus))
	}
	if attempt.ErrorKind != nil {
		s.SetAttributes(semconv.ErrorTypeKey.String(string(*attempt.ErrorKind)))
		s.SetStatus(codes.Error, string(*attempt.ErrorKind))
	}
	s.End()
}
