package daemon

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-build/slipway/internal/build"
)

// tracing sends a trace of every build that ended to where the OTEL_EXPORTER_OTLP_* variables say, as
// OpenTelemetry's specification has them; nil where none of them names an endpoint, or OTEL_SDK_DISABLED is true.
func tracing(ctx context.Context, getenv func(string) string, version string) (*sdk.TracerProvider, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, nil
	}
	out, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "slipway"), attribute.String("service.version", version)))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return sdk.NewTracerProvider(sdk.WithBatcher(out), sdk.WithResource(about)), nil
}

// traceBuild tells of a build that has ended: one span, in it a span for each phase and, in that, for each buildpack.
// Phases follow each other; the buildpacks of one are drawn as if they did, each as long as it took.
func traceBuild(tracer trace.Tracer, b build.Build) {
	if b.StartedAt.IsZero() {
		return
	}
	ctx, whole := tracer.Start(context.Background(), "build", trace.WithTimestamp(b.StartedAt), trace.WithAttributes(
		attribute.String("slipway.app.id", string(b.App)), attribute.Int64("slipway.build.number", b.Number),
		attribute.String("slipway.build.state", string(b.State)), attribute.String("slipway.trigger", string(b.Trigger.Kind)), attribute.Int("slipway.attempt", b.Attempt)))
	defer whole.End(trace.WithTimestamp(b.EndedAt))
	if f := b.Failure; f != nil {
		whole.SetStatus(codes.Error, f.Code)
		whole.SetAttributes(attribute.String("slipway.blame", string(f.Blame)), attribute.String("slipway.phase", f.Phase), attribute.String("slipway.buildpack", f.Buildpack))
	}
	at := b.StartedAt
	for _, p := range b.Timings() {
		if p.Buildpack != "" {
			continue
		}
		in, span := tracer.Start(ctx, p.Phase, trace.WithTimestamp(at))
		inner := at
		for _, e := range b.Timings() {
			if e.Phase != p.Phase || e.Buildpack == "" {
				continue
			}
			_, one := tracer.Start(in, e.Buildpack, trace.WithTimestamp(inner), trace.WithAttributes(attribute.String("slipway.buildpack", e.Buildpack)))
			inner = inner.Add(e.Elapsed)
			one.End(trace.WithTimestamp(inner))
		}
		at = at.Add(p.Elapsed)
		span.End(trace.WithTimestamp(at))
	}
}
