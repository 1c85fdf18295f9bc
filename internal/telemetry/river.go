package telemetry

import (
	"context"
	"strings"

	"github.com/riverqueue/river/rivertype"
	"github.com/riverqueue/rivercontrib/otelriver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/epicvoice/webhook-worker/jobs"
)

// riverPlugin measures what River does, but for deliveries: those have metrics of their own, and otelriver makes label
// sets anew for each job.
type riverPlugin struct{ *otelriver.Middleware }

// RiverPlugin takes River's own metrics: its fetches and its maintenance.
func RiverPlugin(provider metric.MeterProvider) rivertype.Plugin {
	return &riverPlugin{otelriver.NewMiddleware(&otelriver.MiddlewareConfig{MeterProvider: provider, TracerProvider: noop.NewTracerProvider()})}
}

// Work measures jobs that are no deliveries.
func (p *riverPlugin) Work(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	if job.Kind == jobs.Kind {
		return work(ctx)
	}
	return p.Middleware.Work(ctx, job, work)
}

// riverView leaves out what River's metrics have beyond need: the duration of what came last, beside the histogram of all,
// and labels that say the same of each job of a kind.
func riverView(instrument sdkmetric.Instrument) (sdkmetric.Stream, bool) {
	stream := sdkmetric.Stream{Name: instrument.Name, Description: instrument.Description, Unit: instrument.Unit}
	switch {
	case instrument.Name == "river.work_duration", instrument.Name == "river.insert_many_duration":
		stream.Aggregation = sdkmetric.AggregationDrop{}
	case strings.HasPrefix(instrument.Name, "river.work_"):
		stream.AttributeFilter = attribute.NewAllowKeysFilter("kind", "status")
	default:
		return sdkmetric.Stream{}, false
	}
	return stream, true
}
