package tracing_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Three reads are one fetch, with a span, and two hits, which only metrics count.
func ExampleNew() {
	ctx := context.Background()
	// A real program has exporters here that send to a collector.
	exporter, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	tracerProvider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	meterProvider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})

	client, err := secrets.New(backend,
		secrets.WithTracing(tracing.New(tracerProvider, tracing.WithMeterProvider(meterProvider))),
		middleware.Standard(),
	)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	for range 3 { // one fetch and two hits
		if _, err := client.Get(ctx, "api/token"); err != nil {
			log.Panic(err)
		}
	}
	for _, span := range exporter.GetSpans() {
		fmt.Println(span.Name, span.SpanKind)
		for _, a := range span.Attributes {
			fmt.Println(" ", a.Key, "=", a.Value.AsString())
		}
	}
	for _, name := range []string{"secrets.cache.hits", "secrets.cache.misses"} {
		fmt.Println(name, "=", figure(ctx, reader, name))
	}
	// Output:
	// secrets.fetch client
	//   secrets.backend = fake
	//   secrets.outcome = ok
	// secrets.cache.hits = 2
	// secrets.cache.misses = 1
}

// figure reads one counter.
func figure(ctx context.Context, reader sdkmetric.Reader, name string) int64 {
	var data metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &data); err != nil {
		log.Panic(err)
	}
	all := data.ScopeMetrics[0].Metrics
	i := slices.IndexFunc(all, func(m metricdata.Metrics) bool { return m.Name == name })
	return all[i].Data.(metricdata.Sum[int64]).DataPoints[0].Value
}
