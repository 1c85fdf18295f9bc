package jobs_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

// inTrace is a context as whoever traces an application has it.
func inTrace(t *testing.T) context.Context {
	t.Helper()
	trace128, err := trace.TraceIDFromHex(traceID)
	require.NoError(t, err)
	span64, err := trace.SpanIDFromHex(spanID)
	require.NoError(t, err)
	state, err := trace.ParseTraceState("vendor=opaque")
	require.NoError(t, err)
	return trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace128, SpanID: span64, TraceFlags: trace.FlagsSampled, TraceState: state,
	}))
}

// enqueueSQL enqueues as another language does, with a trace context in the settings.
func (b *testBundle) enqueueSQL(t *testing.T, id, parent, state string) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `select set_config('webhook.traceparent', $1, true), set_config('webhook.tracestate', $2, true)`, parent, state); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `select enqueue_webhook_event($1, 'call.completed', '{}'::json, $2)`, user, id)
		return err
	}))
}

// traced runs a worker that makes spans.
func (b *testBundle) traced(t *testing.T) *tracetest.InMemoryExporter {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.TracerProvider = provider })
	return spans
}

func attributes(span *tracetest.SpanStub) map[attribute.Key]any {
	all := map[attribute.Key]any{}
	for _, one := range span.Attributes {
		all[one.Key] = one.Value.AsInterface()
	}
	return all
}

func TestAttemptsAreInTheTraceThatEnqueued(t *testing.T) {
	t.Parallel()
	b := setup(t)
	answers := make(chan int, 3)
	answers <- http.StatusServiceUnavailable
	answers <- http.StatusOK
	answers <- http.StatusOK
	e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(<-answers) })
	const secret = "s3cr3t-token"
	partner, _, err := b.store.Create(t.Context(), user, &partners.Params{
		Name: "acme", Slug: "acme", URL: e.URL + "/hooks/" + secret + "?key=" + secret, EnabledEvents: []string{"*"},
		Headers: partners.Headers{Plain: map[string]string{"Traceparent": "of-the-partner"}},
	})
	require.NoError(t, err)
	spans := b.traced(t)

	deliveries, err := b.tryEnqueue(inTrace(t), completed("go"))
	require.NoError(t, err)
	b.await(t, deliveries[0], jobs.StatusDelivered)
	b.enqueueSQL(t, "sql", parent, "vendor=opaque")
	require.Eventually(t, func() bool { return len(spans.GetSpans()) == 3 }, waitFor, look)

	seen := e.received()
	for i, span := range spans.GetSpans() {
		require.Equal(t, "webhook attempt", span.Name)
		require.Equal(t, trace.SpanKindClient, span.SpanKind)
		require.Equal(t, traceID, span.SpanContext.TraceID().String())
		require.Equal(t, spanID, span.Parent.SpanID().String())
		require.Equal(t, "vendor=opaque", span.Parent.TraceState().String())
		require.Equal(t, []string{"00-" + traceID + "-" + span.SpanContext.SpanID().String() + "-01"}, seen[i].header["Traceparent"])
		require.Empty(t, seen[i].header["Tracestate"], "it is no partner's business")
		for key, value := range attributes(&span) {
			require.NotContains(t, fmt.Sprint(value), secret, key)
		}
	}
	failed := spans.GetSpans()[0]
	got := attributes(&failed)
	require.Equal(t, codes.Error, failed.Status.Code)
	require.NotEmpty(t, got["server.port"])
	delete(got, "server.port")
	require.Equal(t, map[attribute.Key]any{
		"http.request.method": "POST", "server.address": "127.0.0.1", "http.response.status_code": int64(503), "error.type": "http_status",
		"webhook.delivery_id": deliveries[0].ID.String(), "webhook.user_id": user, "webhook.partner_id": partner.ID.String(),
		"webhook.event_id": "go", "webhook.event_type": "call.completed", "webhook.attempt": int64(1), "webhook.outcome": "failed",
	}, got)
	retried := spans.GetSpans()[1]
	require.Equal(t, codes.Unset, retried.Status.Code)
	require.EqualValues(t, 2, attributes(&retried)["webhook.attempt"])

	// Ids are all that arguments have, and metadata knows no more than the trace.
	require.Equal(t, 2, b.count(t, `river_job where kind = 'webhook_delivery' and args::text !~ 'trace' and metadata->>'traceparent' = $1 and metadata->>'tracestate' = 'vendor=opaque'`, parent))
}

func TestTraceContextIsHandedOnWithoutTracing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	b.run(t, nil)
	_, err := b.tryEnqueue(inTrace(t), completed("go"))
	require.NoError(t, err)
	b.enqueueSQL(t, "sql", parent, "")
	b.enqueue(t, completed("none"))
	for id, text := range map[string]string{
		"empty": "", "words": "not a trace", "zero": "00-00000000000000000000000000000000-" + spanID + "-01", "upper": "00-" + traceID + "-B7AD6B7169203331-01",
		"newline": parent + "\n", "later version": "ff-" + traceID + "-" + spanID + "-01", "longer": parent + "-00",
	} {
		b.enqueueSQL(t, id, text, "vendor=opaque")
	}
	// What somebody else has put into the metadata.
	b.exec(t, `
		insert into river_job (kind, queue, max_attempts, metadata, args)
		select kind, queue, 6, metadata || $1, args || jsonb_build_object('delivery_id', gen_random_uuid()) from river_job
		 where args->>'event_id' = 'none'`, `{"traceparent": {"a": 1}, "tracestate": 7}`)
	require.Eventually(t, func() bool { return b.count(t, `webhook_delivery_log where outcome = 'delivered'`) == 11 }, waitFor, look)
	var told []string
	for _, request := range e.received() {
		told = append(told, request.header["Traceparent"]...)
	}
	require.Equal(t, []string{parent, parent}, told, "as it is, and nothing else")
	require.Equal(t, 1, b.count(t, `river_job where metadata ? 'traceparent' and metadata ? 'tracestate' and args->>'event_id' = 'go'`))
}

func TestAttemptsWithoutAPostAreSpansToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	partner := b.partner(t, user, "acme", "http://127.0.0.1:1/", "*")
	_, err := b.store.Pause(t.Context(), user, partner.Slug)
	require.NoError(t, err)
	deliveries, err := b.tryEnqueue(inTrace(t), completed("one"))
	require.NoError(t, err)
	_, err = b.store.Delete(t.Context(), user, partner.Slug)
	require.NoError(t, err)
	spans := b.traced(t)
	b.await(t, deliveries[0], jobs.StatusCancelled)
	require.Eventually(t, func() bool { return len(spans.GetSpans()) == 1 }, waitFor, look)
	span := spans.GetSpans()[0]
	require.Equal(t, traceID, span.SpanContext.TraceID().String())
	require.Equal(t, "cancelled", attributes(&span)["webhook.outcome"])
	require.NotContains(t, attributes(&span), attribute.Key("http.request.method"))
}

// What panics is in the trace as it is on record: as a try that failed.
func TestAttemptsThatPanicAreSpansThatFailed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", "http://127.0.0.1:1/", "*")
	delivery := b.enqueue(t, completed("one"))[0]
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.TracerProvider, cfg.Sender = provider, nil })
	b.await(t, delivery, jobs.StatusFailed)
	require.Eventually(t, func() bool { return len(spans.GetSpans()) > 0 }, waitFor, look)
	span := spans.GetSpans()[0]
	require.Equal(t, "failed", attributes(&span)["webhook.outcome"])
	require.Equal(t, "internal", attributes(&span)["error.type"])
	require.Equal(t, codes.Error, span.Status.Code)
}
