// Package telemetry wires what a worker says of itself to whoever asks for it: Prometheus, and by OTLP what the standard
// OpenTelemetry variables name.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

const (
	// shutdownTimeout is how long what was not exported yet gets at the end.
	shutdownTimeout = 5 * time.Second
	// complainInterval is how often at most it is said that nothing can be exported.
	complainInterval = time.Minute
	// maxScrapes is how many may ask for the metrics at once.
	maxScrapes = 10
)

// Config is what Start needs, beside the OTEL_ variables of the process's environment, which OpenTelemetry reads itself.
type Config struct {
	Prometheus bool // whether metrics are to be had from Handler
	Version    string
	Instance   string // of the worker, among all
	Logger     *slog.Logger
}

// Telemetry is where metrics and spans go. What nobody asks for is nil, and costs nothing.
type Telemetry struct {
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	Handler        http.Handler // answers with the metrics as Prometheus reads them

	shutdowns []func(context.Context) error
	logger    *slog.Logger
}

// Start makes what is asked for. Its error names the variable that is wrong. Call [Telemetry.Shutdown] at the end.
func Start(ctx context.Context, cfg *Config) (*Telemetry, error) {
	t := &Telemetry{logger: cfg.Logger}
	exportMetrics, exportTraces := exports("METRICS"), exports("TRACES")
	if !cfg.Prometheus && !exportMetrics && !exportTraces {
		return t, nil
	}
	for signal, export := range map[string]bool{"METRICS": exportMetrics, "TRACES": exportTraces} {
		if export {
			if err := checkExport(signal); err != nil {
				return nil, err
			}
		}
	}
	otel.SetLogger(logr.FromSlogHandler(cfg.Logger.Handler()))
	sometimes := rate.Sometimes{First: 1, Interval: complainInterval}
	complain := otel.ErrorHandlerFunc(func(err error) {
		sometimes.Do(func() {
			cfg.Logger.WarnContext(ctx, "metrics or traces not exported", slog.String("error", err.Error()))
		})
	})
	about := resource.Empty()
	if exportMetrics || exportTraces {
		otel.SetErrorHandler(complain)
		// What the environment says comes last, and wins.
		var err error
		if about, err = resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
			semconv.ServiceName("webhook-worker"), semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(cfg.Instance),
		), resource.WithFromEnv()); err != nil {
			return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES is not valid: it must be name=value, with commas between")
		}
	} else {
		// Prometheus is not told what the environment says of the resource: whatever is wrong with that concerns nobody.
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
		defer otel.SetErrorHandler(complain)
	}
	if cfg.Prometheus || exportMetrics {
		if err := t.startMetrics(ctx, cfg, about, exportMetrics); err != nil {
			return nil, errors.Join(err, t.shutdown(ctx))
		}
	}
	if exportTraces {
		if err := t.startTraces(ctx, about); err != nil {
			return nil, errors.Join(err, t.shutdown(ctx))
		}
	}
	return t, nil
}

// exports says whether a signal is to be exported: by name, or since there is an endpoint.
func exports(signal string) bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if named := os.Getenv("OTEL_" + signal + "_EXPORTER"); named != "" {
		return named != "none"
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

// checkExport refuses an exporter that is not offered, such as one that would open a port of its own, and an endpoint that
// OpenTelemetry would only complain about, to export to localhost instead.
func checkExport(signal string) error {
	switch named := os.Getenv("OTEL_" + signal + "_EXPORTER"); named {
	case "console":
		return nil
	case "", "otlp":
	default:
		return fmt.Errorf("OTEL_%s_EXPORTER=%s is not valid: use otlp, console or none", signal, named)
	}
	name := "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT"
	if os.Getenv(name) == "" {
		name = "OTEL_EXPORTER_OTLP_ENDPOINT"
	}
	value := os.Getenv(name)
	if value == "" {
		return nil
	}
	if parsed, err := url.Parse(value); err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return fmt.Errorf("%s is not valid: it must be a URL such as http://localhost:4318", name)
	}
	return nil
}

func (t *Telemetry) startMetrics(ctx context.Context, cfg *Config, about *resource.Resource, export bool) error {
	options := []sdkmetric.Option{sdkmetric.WithResource(about), sdkmetric.WithView(riverView)}
	if cfg.Prometheus {
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo())
		if err != nil {
			return fmt.Errorf("making the Prometheus exporter: %w", err)
		}
		options = append(options, sdkmetric.WithReader(reader))
		t.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes})
	}
	if export {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return exporterError("METRICS", err)
		}
		options = append(options, sdkmetric.WithReader(reader))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	t.MeterProvider = provider
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	info := metric.WithAttributes(attribute.String("version", cfg.Version), attribute.String("goversion", runtime.Version()))
	_, err := provider.Meter("github.com/epicvoice/webhook-worker/internal/telemetry").Int64ObservableGauge("webhook.build_info",
		metric.WithDescription("1, with the version of webhook-worker and of Go as labels."),
		metric.WithInt64Callback(func(_ context.Context, to metric.Int64Observer) error {
			to.Observe(1, info)
			return nil
		}))
	if err != nil {
		return fmt.Errorf("making webhook.build_info: %w", err)
	}
	return nil
}

func (t *Telemetry) startTraces(ctx context.Context, about *resource.Resource) error {
	spans, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return exporterError("TRACES", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(spans))
	t.TracerProvider = provider
	t.shutdowns = append(t.shutdowns, provider.Shutdown)
	return nil
}

// exporterError names what an exporter that can't be made was chosen by.
func exporterError(signal string, err error) error {
	return fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL, or that of %s, is not valid: %w", strings.ToLower(signal), err)
}

// Shutdown exports what is left, and ends. What can't be exported in time is lost, and said to be.
func (t *Telemetry) Shutdown(ctx context.Context) {
	if err := t.shutdown(ctx); err != nil {
		t.logger.WarnContext(ctx, "last metrics or traces not exported", slog.String("error", err.Error()))
	}
}

func (t *Telemetry) shutdown(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	var errs []error
	for _, shutdown := range t.shutdowns {
		errs = append(errs, shutdown(bounded))
	}
	return errors.Join(errs...)
}
