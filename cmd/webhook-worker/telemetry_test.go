package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	metrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlpReceiver takes what is exported, as an OpenTelemetry collector does.
type otlpReceiver struct {
	*httptest.Server

	mu      sync.Mutex
	spans   []*tracev1.Span
	metrics map[string]bool
	about   map[string]string // the resource
	asked   int
}

func newOTLPReceiver(t *testing.T) *otlpReceiver {
	t.Helper()
	r := &otlpReceiver{metrics: map[string]bool{}, about: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked++
		switch request.URL.Path {
		case "/v1/traces":
			var got traces.ExportTraceServiceRequest
			_ = proto.Unmarshal(body, &got)
			for _, resource := range got.GetResourceSpans() {
				r.note(resource.GetResource().GetAttributes())
				for _, scope := range resource.GetScopeSpans() {
					r.spans = append(r.spans, scope.GetSpans()...)
				}
			}
		case "/v1/metrics":
			var got metrics.ExportMetricsServiceRequest
			_ = proto.Unmarshal(body, &got)
			for _, resource := range got.GetResourceMetrics() {
				for _, scope := range resource.GetScopeMetrics() {
					for _, one := range scope.GetMetrics() {
						r.metrics[one.GetName()] = true
					}
				}
			}
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *otlpReceiver) note(attributes []*common.KeyValue) {
	for _, attribute := range attributes {
		r.about[attribute.GetKey()] = attribute.GetValue().GetStringValue()
	}
}

// await waits for so many spans, and for metrics.
func (r *otlpReceiver) await(t *testing.T, count int) []*tracev1.Span {
	t.Helper()
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.spans) == count && r.metrics["webhook.attempts"]
	}, waitFor, look)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spans
}

func TestTelemetryIsExported(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	headers := make(chan http.Header, 10)
	partner := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header }))
	t.Cleanup(partner.Close)
	terminal.addPartner(t, "u", "acme", partner.URL+"/?token=s3cr3t")
	receiver := newOTLPReceiver(t)
	worker, _ := terminal.with("OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "OTEL_SERVICE_NAME=hooks", "OTEL_METRIC_EXPORT_INTERVAL=100",
		"OTEL_BSP_SCHEDULE_DELAY=50").startProcess(t, "work")
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `select set_config('webhook.traceparent', $1, true)`, parent); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `select enqueue_webhook_event('u', 'call.completed', '{}'::json)`)
		return err
	}))
	span := receiver.await(t, 1)[0]
	require.Equal(t, "webhook attempt", span.GetName())
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", hex.EncodeToString(span.GetTraceId()))
	require.Equal(t, "b7ad6b7169203331", hex.EncodeToString(span.GetParentSpanId()))
	require.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-"+hex.EncodeToString(span.GetSpanId())+"-01", (<-headers).Get("Traceparent"))
	require.NotContains(t, span.String(), "s3cr3t")
	require.Equal(t, "hooks", receiver.about["service.name"])
	require.NotEmpty(t, receiver.about["service.instance.id"])

	// What is enqueued without a trace begins one, which the partner is told of. What is left is exported at the end.
	terminal.ok(t, "send", "--user", "u", "--event", "call.completed", "--data", "{}")
	told := (<-headers).Get("Traceparent")
	require.Regexp(t, "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$", told)
	require.Zero(t, worker.stop())
	spans := receiver.await(t, 2)
	require.Contains(t, told, hex.EncodeToString(spans[1].GetTraceId()))
	require.Empty(t, spans[1].GetParentSpanId())
}

func TestTelemetryIsExportedOnlyIfAskedFor(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	headers := make(chan http.Header, 10)
	partner := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header }))
	t.Cleanup(partner.Close)
	terminal.addPartner(t, "u", "acme", partner.URL)
	receiver := newOTLPReceiver(t)
	for at, environ := range [][]string{
		{},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=" + receiver.URL, "OTEL_SDK_DISABLED=true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=" + receiver.URL, "OTEL_METRICS_EXPORTER=none", "OTEL_TRACES_EXPORTER=none"},
	} {
		worker, _ := terminal.with(environ...).startProcess(t, "work")
		terminal.ok(t, "send", "--user", "u", "--event", "call.completed", "--data", "{}")
		require.Empty(t, (<-headers).Values("Traceparent"))
		awaitEnded(t, pool, at+1)
		require.Zero(t, worker.stop())
	}
	require.Zero(t, receiver.asked)

	// A collector that is away disturbs nothing, and is said to be.
	receiver.Close()
	worker, _ := terminal.with("OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "OTEL_BSP_SCHEDULE_DELAY=50").startProcess(t, "work")
	terminal.ok(t, "send", "--user", "u", "--event", "call.completed", "--data", "{}")
	awaitEnded(t, pool, 4)
	require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "metrics or traces not exported") }, waitFor, look)
	require.Zero(t, worker.stop())
}

func TestTelemetryVariablesThatAreWrong(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	for environ, says := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318":                            "OTEL_EXPORTER_OTLP_ENDPOINT is not valid: it must be a URL such as http://localhost:4318",
		"OTEL_TRACES_EXPORTER=zipkins":                                          "OTEL_TRACES_EXPORTER=zipkins is not valid: use otlp, console or none",
		"OTEL_METRICS_EXPORTER=prometheus":                                      "OTEL_METRICS_EXPORTER=prometheus is not valid: use otlp, console or none",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector:4317":                     "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not valid: it must be a URL such as http://localhost:4318",
		"OTEL_METRICS_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=pigeon":         "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_METRICS_EXPORTER=console OTEL_RESOURCE_ATTRIBUTES=no-equals-sign": "OTEL_RESOURCE_ATTRIBUTES",
	} {
		worker, _ := terminal.with(strings.Fields(environ)...).startProcess(t, "work")
		require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), says) }, waitFor, look, environ)
		require.Equal(t, 2, worker.stop(), environ)
		require.Equal(t, 1, strings.Count(worker.stderr.String(), "\n"), worker.stderr)
	}
}

// What a machine has for others disturbs no worker that exports nothing, or elsewhere.
func TestTelemetryVariablesThatAreNotUsed(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	for _, environ := range []string{
		"OTEL_SDK_DISABLED=true OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317 OTEL_METRICS_EXPORTER=prometheus OTEL_RESOURCE_ATTRIBUTES=no-equals-sign",
		"OTEL_METRICS_EXPORTER=none OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317 OTEL_RESOURCE_ATTRIBUTES=no-equals-sign",
		"OTEL_METRICS_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317 OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:1/v1/traces",
		"OTEL_METRICS_EXPORTER=none OTEL_TRACES_EXPORTER=console OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317",
	} {
		dir, err := os.MkdirTemp("", "ww") //nolint:usetesting // a socket's path must be short
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		worker, _ := terminal.with(append(strings.Fields(environ), "WORKER_HEALTH_ADDR=unix:"+dir+"/s")...).startProcess(t, "work")
		require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "worker started") }, waitFor, look, environ)
		require.NotEmpty(t, scrape(t, dir+"/s")["webhook_worker_ready"], environ)
		require.Zero(t, worker.stop(), environ)
		require.NotContains(t, worker.stderr.String(), "OTEL_RESOURCE_ATTRIBUTES", environ)
		require.NotContains(t, worker.stderr.String(), "not exported", environ)
	}
}

func TestMetricsAreOffWithoutAnAddress(t *testing.T) {
	t.Parallel()
	terminal, pool := newTerminal(t)
	_, socket := terminal.startScraped(t)
	require.NotEmpty(t, scrape(t, socket)["webhook_worker_ready"])
	var leading int
	held := func() int {
		require.NoError(t, pool.QueryRow(t.Context(), `
			select count(*) from pg_locks l
			  join pg_database d on d.oid = l.database and d.datname = current_database()
			 where l.locktype = 'advisory' and l.granted
			   and (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('webhook-worker collector ' || 'webhook_settings'::regclass::oid, 0)`).Scan(&leading))
		return leading
	}
	require.Eventually(t, func() bool { return held() == 1 }, waitFor, look)

	// Another, without an address, counts nothing and takes no part in collecting.
	other, off := newTerminal(t)
	pool = off
	worker := other.start(t, "work")
	require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "worker started") }, waitFor, look)
	require.Zero(t, held())
}
