package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// telemetry makes the providers, and keeps what they export.
type telemetry struct {
	tracers *sdktrace.TracerProvider
	meters  *metric.MeterProvider
	spans   *keeper
	reader  *metric.ManualReader
}

func newTelemetry() *telemetry {
	t := &telemetry{spans: &keeper{}, reader: metric.NewManualReader()}
	t.tracers = sdktrace.NewTracerProvider(sdktrace.WithSyncer(t.spans))
	t.meters = metric.NewMeterProvider(metric.WithReader(t.reader))
	return t
}

func (t *telemetry) shutdown(ctx context.Context) error {
	return errors.Join(t.tracers.Shutdown(ctx), t.meters.Shutdown(ctx))
}

// keeper is an exporter that keeps spans.
type keeper struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

// ExportSpans keeps spans.
func (k *keeper) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spans = append(k.spans, spans...)
	return nil
}

// Shutdown does nothing.
func (*keeper) Shutdown(context.Context) error { return nil }

var _ sdktrace.SpanExporter = (*keeper)(nil)

// takeSpans returns the spans that have ended since the last time, each below its parent.
func (t *telemetry) takeSpans() []string {
	t.spans.mu.Lock()
	spans := t.spans.spans
	t.spans.spans = nil
	t.spans.mu.Unlock()
	return tree(spans, trace.SpanID{}, "")
}

func tree(spans []sdktrace.ReadOnlySpan, parent trace.SpanID, indent string) []string {
	var lines []string
	for _, span := range spans {
		if span.Parent().SpanID() != parent {
			continue
		}
		line := fmt.Sprintf("%sspan %s (%s)%s", indent, span.Name(), span.SpanKind(), list(span.Attributes()))
		if status := span.Status(); status.Code == codes.Error {
			line += "; an error: " + status.Description
		}
		lines = append(append(lines, line), tree(spans, span.SpanContext().SpanID(), indent+"   ")...)
	}
	return lines
}

// unsteady is left out: a back-off lasts 100 ms or so, and may be over or not.
const unsteady = "secrets.cache.backing_off"

// metrics returns the figures that are not 0.
func (t *telemetry) metrics(ctx context.Context) ([]string, error) {
	var data metricdata.ResourceMetrics
	if err := t.reader.Collect(ctx, &data); err != nil {
		return nil, err
	}
	var lines []string
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch points := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range points.DataPoints {
					if p.Value != 0 && m.Name != unsteady {
						lines = append(lines, fmt.Sprintf("%s%s = %d %s", m.Name, list(p.Attributes.ToSlice()), p.Value, m.Unit))
					}
				}
			case metricdata.Histogram[float64]:
				for _, p := range points.DataPoints {
					lines = append(lines, fmt.Sprintf("%s%s: %d recorded, in %s", m.Name, list(p.Attributes.ToSlice()), p.Count, m.Unit))
				}
			}
		}
	}
	slices.Sort(lines)
	return lines, nil
}

func list(attributes []attribute.KeyValue) string {
	var b strings.Builder
	for _, a := range attributes {
		fmt.Fprintf(&b, " %s=%s", a.Key, a.Value.String())
	}
	return b.String()
}
