package tracing_test

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// telemetry keeps the exported spans and metrics.
type telemetry struct {
	t        *testing.T
	exporter *tracetest.InMemoryExporter
	spans    *sdktrace.TracerProvider
	reader   *sdkmetric.ManualReader
	meters   *sdkmetric.MeterProvider
}

func newTelemetry(t *testing.T, opts ...sdkmetric.ManualReaderOption) *telemetry {
	t.Helper()
	o := &telemetry{t: t, exporter: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader(opts...)}
	o.spans = sdktrace.NewTracerProvider(sdktrace.WithSyncer(o.exporter))
	o.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(o.reader))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := cmp.Or(o.spans.Shutdown(ctx), o.meters.Shutdown(ctx)); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return o
}

// within runs f in a span of the caller.
func (o *telemetry) within(name string, f func(ctx context.Context)) trace.SpanContext {
	ctx, span := o.spans.Tracer("test").Start(context.Background(), name)
	defer span.End()
	f(ctx)
	return span.SpanContext()
}

// fetches returns the spans of fetches that have ended, in the order of their ends.
func (o *telemetry) fetches() tracetest.SpanStubs {
	return slices.DeleteFunc(o.exporter.GetSpans(), func(s tracetest.SpanStub) bool {
		return s.InstrumentationScope.Name == "test"
	})
}

// one returns the only span of a fetch, and removes it.
func (o *telemetry) one() tracetest.SpanStub {
	o.t.Helper()
	spans := o.fetches()
	if len(spans) != 1 {
		o.t.Fatalf("%d spans, want 1: %v", len(spans), spans)
	}
	o.exporter.Reset()
	return spans[0]
}

// collect returns all metrics, by name.
func (o *telemetry) collect() map[string]metricdata.Metrics {
	o.t.Helper()
	var data metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &data); err != nil {
		o.t.Fatal(err)
	}
	all := make(map[string]metricdata.Metrics)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			all[m.Name] = m
		}
	}
	return all
}

// sums returns the figures of backend's cache that are not 0, by the last part of their names.
func (o *telemetry) sums(backend string) map[string]int64 {
	o.t.Helper()
	const prefix = "secrets.cache."
	all := make(map[string]int64)
	for name, m := range o.collect() {
		data, isSum := m.Data.(metricdata.Sum[int64])
		if !isSum || !strings.HasPrefix(name, prefix) {
			continue
		}
		for _, p := range data.DataPoints {
			if got, _ := p.Attributes.Value("secrets.backend"); got.AsString() == backend && p.Value != 0 {
				all[name[len(prefix):]] = p.Value
			}
		}
	}
	return all
}

func attributes(of []attribute.KeyValue) map[string]any {
	all := make(map[string]any)
	for _, a := range of {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

func open(t *testing.T, backend secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	client, err := secrets.New(backend, opts...)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return client
}

// links returns the spans that s is linked to, by secrets.link.
func links(s tracetest.SpanStub) map[string][]trace.SpanID {
	all := make(map[string][]trace.SpanID)
	for _, l := range s.Links {
		why, _ := attributes(l.Attributes)["secrets.link"].(string)
		all[why] = append(all[why], l.SpanContext.SpanID())
	}
	return all
}
