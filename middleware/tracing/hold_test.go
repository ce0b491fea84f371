package tracing_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// processor is a span processor with functions of the test.
type processor struct{ onStart, onEnd func() }

func (p processor) OnStart(context.Context, sdk.ReadWriteSpan) { p.onStart() }
func (p processor) OnEnd(sdk.ReadOnlySpan)                     { p.onEnd() }
func (processor) Shutdown(context.Context) error               { return nil }
func (processor) ForceFlush(context.Context) error             { return nil }

func TestABlockingTracerDelaysAFetchBriefly(t *testing.T) {
	nothing := func() {}
	for _, tc := range []struct {
		name   string
		opts   []secrets.Option
		make   func(client **secrets.Client, release <-chan struct{}) processor
		atMost time.Duration
	}{
		{"quick", nil, func(**secrets.Client, <-chan struct{}) processor { return processor{nothing, nothing} }, 0}, // control
		{"blocks at the start", nil, func(_ **secrets.Client, release <-chan struct{}) processor {
			return processor{func() { <-release }, nothing}
		}, 100 * time.Millisecond},
		{"blocks at the end", nil, func(_ **secrets.Client, release <-chan struct{}) processor {
			return processor{nothing, func() { <-release }}
		}, 100 * time.Millisecond},
		{"reads the same secret", nil, func(client **secrets.Client, _ <-chan struct{}) processor {
			read := func() { _, _ = (*client).Get(context.Background(), "db") }
			return processor{read, read}
		}, 200 * time.Millisecond},
		{"panics", nil, func(**secrets.Client, <-chan struct{}) processor {
			return processor{func() { panic("start") }, func() { panic("end") }}
		}, 0},
	} {
		for name, opts := range map[string][]secrets.Option{"alone": nil, "standard": {middleware.Standard()}} {
			if name == "alone" && tc.name == "reads the same secret" {
				continue // without a cache, its reads would be fetches without an end
			}
			t.Run(tc.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					release := make(chan struct{})
					var client *secrets.Client
					provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(tc.make(&client, release)))
					client, err := secrets.New(secretstest.NewBackend(map[string]string{"db": "x"}),
						append(opts, secrets.WithTracing(tracing.New(provider)))...)
					is.NoErr(err)
					began := time.Now()
					s, err := client.Get(t.Context(), "db")
					is.NoErr(err)
					is.Equal(s.Reveal(), "x")
					is.True(time.Since(began) <= tc.atMost)
					close(release)
					is.NoErr(client.Close())
					synctest.Wait()
				})
			})
		}
	}
}
