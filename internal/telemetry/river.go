package telemetry

import (
	"context"

	"github.com/riverqueue/river/rivertype"
	"github.com/riverqueue/rivercontrib/otelriver"
	"go.opentelemetry.io/otel/metric"
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
