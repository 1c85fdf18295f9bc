package jobs_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// meter takes a runner's metrics.
type meter struct {
	reader   *metric.ManualReader
	provider *metric.MeterProvider
}

func newMeter(t *testing.T) *meter {
	t.Helper()
	m := &meter{reader: metric.NewManualReader()}
	m.provider = metric.NewMeterProvider(metric.WithReader(m.reader))
	t.Cleanup(func() { _ = m.provider.Shutdown(context.WithoutCancel(t.Context())) })
	return m
}

// read gives the value of each series, by name and labels; of a histogram how often it was added to.
func (m *meter) read(t *testing.T) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, m.reader.Collect(t.Context(), &all))
	series := map[string]float64{}
	for _, scope := range all.ScopeMetrics {
		for _, one := range scope.Metrics {
			switch data := one.Data.(type) {
			case metricdata.Sum[int64]:
				addPoints(series, one.Name, data.DataPoints)
			case metricdata.Gauge[int64]:
				addPoints(series, one.Name, data.DataPoints)
			case metricdata.Sum[float64]:
				addPoints(series, one.Name, data.DataPoints)
			case metricdata.Gauge[float64]:
				addPoints(series, one.Name, data.DataPoints)
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					series[one.Name+labels(point.Attributes)] = float64(point.Count)
				}
			case metricdata.Histogram[int64]:
				for _, point := range data.DataPoints {
					series[one.Name+labels(point.Attributes)] = float64(point.Count)
				}
			default:
				require.Failf(t, "unknown kind of metric", "%s: %T", one.Name, data)
			}
		}
	}
	return series
}

func addPoints[N int64 | float64](series map[string]float64, name string, points []metricdata.DataPoint[N]) {
	for _, point := range points {
		series[name+labels(point.Attributes)] = float64(point.Value)
	}
}

// labels are as in `{held=true,status=failed}`, nothing if there are none.
func labels(set attribute.Set) string {
	if set.Len() == 0 {
		return ""
	}
	return "{" + set.Encoded(attribute.DefaultEncoder()) + "}"
}

// of are the series of one metric that are not 0.
func of(series map[string]float64, name string) map[string]float64 {
	found := map[string]float64{}
	for key, value := range series {
		if rest, ok := strings.CutPrefix(key, name); ok && (rest == "" || rest[0] == '{') && value != 0 {
			found[rest] = value
		}
	}
	return found
}

func TestMetricsCountWhatHappened(t *testing.T) {
	t.Parallel()
	b := setup(t)
	none := 0
	endless := "http://127.0.0.1:1/"
	for slug, url := range map[string]string{
		"good":    newEndpoint(t, status(http.StatusOK)).URL,
		"bad":     newEndpoint(t, status(http.StatusInternalServerError)).URL,
		"teapot":  newEndpoint(t, status(http.StatusTeapot)).URL,
		"gone":    newEndpoint(t, status(http.StatusGone)).URL,
		"moved":   newEndpoint(t, status(http.StatusFound)).URL,
		"nowhere": endless,
	} {
		one := 1
		params := &partners.Params{Name: slug, Slug: slug, URL: url, EnabledEvents: []string{"*"}, MaxRetries: &none}
		if slug == "bad" {
			params.MaxRetries = &one
		}
		_, _, err := b.store.Create(t.Context(), user, params)
		require.NoError(t, err)
	}
	b.partner(t, user, "paused", endless, "*")
	_, err := b.store.Pause(t.Context(), user, "paused")
	require.NoError(t, err)
	b.enqueue(t, completed("one"))
	b.partner(t, "other", "good", newEndpoint(t, status(http.StatusAccepted)).URL, "*")
	for i := range 3 {
		b.enqueue(t, &jobs.Event{ID: strconv.Itoa(i), UserID: "other", Type: "call.completed", Payload: []byte(`{}`)})
	}
	m := newMeter(t)
	stop := b.run(t, func(cfg *jobs.RunnerConfig) { cfg.MeterProvider = m.provider })
	require.Eventually(t, func() bool {
		return b.count(t, `river_job where kind = 'webhook_delivery' and finalized_at is not null`) == 9
	}, waitFor, look)
	require.Eventually(t, func() bool { return m.read(t)["webhook.put_offs{reason=paused}"] == 1 }, waitFor, look)
	got := m.read(t)

	require.Equal(t, map[string]float64{
		"{error_kind=none,outcome=delivered,status_class=2xx}":     4,
		"{error_kind=http_status,outcome=failed,status_class=5xx}": 2,
		"{error_kind=http_status,outcome=failed,status_class=4xx}": 2, // the teapot's, and gone
		"{error_kind=redirect,outcome=failed,status_class=3xx}":    1,
		"{error_kind=connect,outcome=failed,status_class=none}":    1,
	}, of(got, "webhook.attempts"))
	require.Equal(t, b.count(t, "webhook_delivery_log"), int(sum(of(got, "webhook.attempts"))), "as rows of the log")
	require.Equal(t, map[string]float64{"{outcome=delivered}": 4, "{outcome=failed}": 6}, of(got, "webhook.attempt.duration"))
	require.Equal(t, map[string]float64{"": 10}, of(got, "webhook.attempt.delay"))
	require.Equal(t, map[string]float64{"{retried=false}": 4}, of(got, "webhook.delivery.latency"))
	require.Equal(t, map[string]float64{"": 4}, of(got, "webhook.dead_letters"), "bad, teapot, moved and nowhere")
	require.Equal(t, 4, b.count(t, "webhook_delivery_queue where status = 'dead_letter'"))
	require.Equal(t, map[string]float64{"{reason=gone}": 1}, of(got, "webhook.partners.disabled"))
	require.Equal(t, map[string]float64{"{reason=paused}": 1}, of(got, "webhook.put_offs"))
	require.NotZero(t, got["webhook.attempt_log.batch_rows"])
	for name, want := range map[string]float64{
		"webhook.deliveries.in_flight": 0, "webhook.deliveries.in_flight.limit": 20, "webhook.worker.ready": 1, "webhook.attempt_log.unwritten_rows": 0,
		"webhook.database.pool.max_connections{pool=deliveries}": float64(b.pool.Stat().MaxConns()),
	} {
		require.Contains(t, got, name)
		require.InDelta(t, want, got[name], 0, name)
	}

	require.NoError(t, stop())
	require.NotContains(t, m.read(t), "webhook.worker.ready", "nothing is said of a worker that has ended")
}

func sum(series map[string]float64) (total float64) {
	for value := range maps.Values(series) {
		total += value
	}
	return total
}

func TestMetricsOfRetriesAndReplays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	answers := make(chan int, 3)
	answers <- http.StatusServiceUnavailable
	answers <- http.StatusOK
	answers <- http.StatusOK
	e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(<-answers) })
	b.partner(t, user, "acme", e.URL, "*")
	m := newMeter(t)
	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.MeterProvider = m.provider })
	delivery := b.enqueue(t, completed("one"))[0]
	b.await(t, delivery, jobs.StatusDelivered)
	require.Equal(t, map[string]float64{"{retried=true}": 1}, of(m.read(t), "webhook.delivery.latency"))

	var said string
	require.NoError(t, b.pool.QueryRow(t.Context(), `select replay_webhook_delivery($1)`, delivery.ID).Scan(&said))
	require.Equal(t, "replayed", said)
	require.Eventually(t, func() bool { return len(e.received()) == 3 }, waitFor, look)
	b.await(t, delivery, jobs.StatusDelivered)
	require.Eventually(t, func() bool { return sum(of(m.read(t), "webhook.attempts")) == 3 }, waitFor, look)
	require.Equal(t, map[string]float64{"{retried=true}": 1}, of(m.read(t), "webhook.delivery.latency"), "a replay is no late delivery")
}

// queueMetrics is how many series only one worker of a database has.
const queueMetrics = 20

// queueSeries are the metrics that one worker of a database has.
func queueSeries(series map[string]float64) []string {
	var found []string
	for key := range series {
		if strings.HasPrefix(key, "webhook.queue.") || strings.HasPrefix(key, "webhook.circuits") || strings.HasPrefix(key, "webhook.partners{") {
			found = append(found, key)
		}
	}
	slices.Sort(found)
	return found
}

func TestOneWorkerCollects(t *testing.T) {
	t.Parallel()
	owner := setup(t)
	b := owner.asWorker(t)
	good := b.partner(t, user, "good", newEndpoint(t, status(http.StatusOK)).URL, "*")
	none := 0
	_, _, err := b.store.Create(t.Context(), user, &partners.Params{
		Name: "bad", Slug: "bad", URL: newEndpoint(t, status(http.StatusTeapot)).URL, EnabledEvents: []string{"*"}, MaxRetries: &none,
	})
	require.NoError(t, err)
	first, second := newMeter(t), newMeter(t)
	// One without metrics is there first, and takes no part.
	b.runWorker(t, func(cfg *jobs.RunnerConfig) { cfg.Name += "-blind" })
	stopFirst := b.runWorker(t, func(cfg *jobs.RunnerConfig) { cfg.Name += "-first"; cfg.MeterProvider = first.provider })
	require.Eventually(t, func() bool { return len(queueSeries(first.read(t))) == queueMetrics }, waitFor, look, "%v", queueSeries(first.read(t)))
	b.runWorker(t, func(cfg *jobs.RunnerConfig) { cfg.Name += "-second"; cfg.MeterProvider = second.provider })
	require.Eventually(t, func() bool { return second.read(t)["webhook.worker.ready"] == 1 }, waitFor, look)
	for i := range 3 {
		for _, delivery := range b.enqueue(t, completed(strconv.Itoa(i))) {
			require.Eventually(t, func() bool {
				return b.count(t, "webhook_delivery_queue where status in ('delivered', 'dead_letter') and id = $1", delivery.ID.String()) == 1
			}, waitFor, look)
		}
	}
	require.Empty(t, queueSeries(second.read(t)), "while another collects")

	// What waits when the first ends: two failed an hour ago, one came 20 minutes ago, and four are held
	// back for a partner that is paused now.
	_, err = b.store.Pause(t.Context(), user, "good")
	require.NoError(t, err)
	owner.exec(t, `
		insert into river_job (kind, queue, state, max_attempts, attempt, attempted_at, attempted_by, scheduled_at, created_at, args)
		select 'webhook_delivery', queue, state::river_job_state, 6, attempt, now() - interval '1 hour', '{x}', now() + due, now() - age,
		       jsonb_build_object('delivery_id', gen_random_uuid(), 'user_id', 'u', 'partner_id', gen_random_uuid(), 'event_id', 'e', 'event_type', 'a')
		  from (values ('webhooks', 'retryable', 2, interval '1 hour', interval '2 hours', 2),
		               ('webhooks-held-' || $1::uuid, 'available', 1, interval '-30 minutes', interval '1 hour', 4),
		               ('webhooks', 'pending', 0, interval '1 hour', interval '20 minutes', 1)) as v (queue, state, attempt, due, age, count)
		 cross join lateral generate_series(1, count)`, good.ID)
	require.NoError(t, stopFirst())
	require.Empty(t, queueSeries(first.read(t)))
	require.Eventually(t, func() bool { return len(queueSeries(second.read(t))) == queueMetrics }, waitFor, look)
	got := second.read(t)
	require.Equal(t, map[string]float64{"{status=pending}": 1, "{status=failed}": 6, "{status=delivered}": 3, "{status=dead_letter}": 3}, of(got, "webhook.queue.deliveries"))
	require.Equal(t, map[string]float64{"{held=true}": 4}, of(got, "webhook.queue.due_deliveries"))
	require.InDelta(t, 1800, got["webhook.queue.oldest_due_age{held=true}"], 60)
	require.Zero(t, got["webhook.queue.oldest_due_age{held=false}"])
	require.InDelta(t, 1200, got["webhook.queue.oldest_age{status=pending}"], 60)
	require.InDelta(t, 7200, got["webhook.queue.oldest_age{status=failed}"], 60)
	require.InDelta(t, time.Now().Unix(), got["webhook.queue.collected_timestamp{part=ages}"], 60)
	require.InDelta(t, time.Now().Unix(), got["webhook.queue.collected_timestamp{part=counts}"], 60)
	require.Equal(t, map[string]float64{"{state=closed}": 2}, of(got, "webhook.circuits"))
	require.Equal(t, map[string]float64{"{state=enabled}": 1, "{state=paused}": 1}, of(got, "webhook.partners"))
}
