package tracing_test

import (
	"strconv"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// hitKeys is a power of two.
const hitKeys = 1024

func hitClient(b *testing.B, opts ...secrets.Option) (client *secrets.Client, keys []string) {
	b.Helper()
	documents := make(map[string]string, hitKeys)
	for i := range hitKeys {
		key := "team/app/database" + strconv.Itoa(i)
		documents[key] = "value of " + key
		keys = append(keys, key)
	}
	client, err := secrets.New(secretstest.NewBackend(documents), append(opts, middleware.Standard(cache.WithSize(2*hitKeys)))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	for range 2 { // the first is a miss, the second makes memos
		for _, key := range keys {
			if _, err := client.Get(b.Context(), key); err != nil {
				b.Fatal(err)
			}
		}
	}
	return client, keys
}

// hitWays has the clients to compare: without tracing, with spans, with spans and metrics, and with the counting of hits, which is all that
// metrics add to a hit.
func hitWays() []struct {
	name string
	opts func() []secrets.Option
} {
	spans := func() *sdktrace.TracerProvider {
		return sdktrace.NewTracerProvider(sdktrace.WithSyncer(tracetest.NewNoopExporter()))
	}
	return []struct {
		name string
		opts func() []secrets.Option
	}{
		{"none", func() []secrets.Option { return nil }},
		{"tracing", func() []secrets.Option {
			return []secrets.Option{secrets.WithTracing(tracing.New(spans()))}
		}},
		{"tracing+metrics", func() []secrets.Option {
			meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
			return []secrets.Option{secrets.WithTracing(tracing.New(spans(), tracing.WithMeterProvider(meters)))}
		}},
		{"hit-count-only", func() []secrets.Option {
			return []secrets.Option{secrets.WithCache(cache.New(cache.WithSize(2*hitKeys), cache.WithHitCount()))}
		}},
	}
}

func BenchmarkHit(b *testing.B) {
	for _, way := range hitWays() {
		b.Run(way.name, func(b *testing.B) {
			client, keys := hitClient(b, way.opts()...)
			ctx := b.Context()
			b.ReportAllocs()
			var i int
			for b.Loop() {
				if _, err := client.Get(ctx, keys[i&(hitKeys-1)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

func BenchmarkHitParallel(b *testing.B) {
	for _, way := range hitWays() {
		b.Run(way.name, func(b *testing.B) {
			client, keys := hitClient(b, way.opts()...)
			ctx := b.Context()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := client.Get(ctx, keys[i&(hitKeys-1)]); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkFetch measures the cost of spans and metrics, with a backend that answers at once.
func BenchmarkFetch(b *testing.B) {
	for _, way := range hitWays()[:3] {
		b.Run(way.name, func(b *testing.B) {
			client, keys := hitClient(b, way.opts()...)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Refresh(ctx, keys[0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A hit does not allocate, with spans and metrics.
func TestHitAllocatesNothing(t *testing.T) {
	o := newTelemetry(t)
	client := open(t, secretstest.NewBackend(map[string]string{"db": "x"}), middleware.Standard(),
		secrets.WithTracing(tracing.New(o.spans, tracing.WithMeterProvider(o.meters))))
	for range 2 {
		if _, err := client.Get(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = client.Get(ctx, "db") }); n > 0 {
		t.Errorf("a hit makes %v allocations", n)
	}
	if spans := o.fetches(); len(spans) != 1 {
		t.Errorf("%d spans, of which one is the fetch", len(spans))
	}
}
