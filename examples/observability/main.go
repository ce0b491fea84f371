// Observability is a program that shows what the outside sees of package secrets: the spans and the metrics of a miss, a
// hit, a stale read and a fallback. None of them holds a secret.
//
//	go run ./examples/observability
//
// It needs nothing else set up. A real program gives the providers of OpenTelemetry exporters that send to a collector;
// those here keep what they get, in telemetry.go, so that it can be printed.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
)

// ttl is how long the cache serves a value without asking the store again.
const ttl = 500 * time.Millisecond

func main() {
	// The values are new in each run, so that this program holds no secret, and what it prints can be searched for them.
	if err := run(context.Background(), os.Stdout, rand.Text); err != nil {
		fmt.Fprintln(os.Stderr, "observability:", err)
		os.Exit(1)
	}
}

// run builds a Client that is observed, and shows what is seen of it.
func run(ctx context.Context, out io.Writer, newValue func() string) (err error) {
	seen := newTelemetry()
	defer func() { err = errors.Join(err, seen.shutdown(context.WithoutCancel(ctx))) }()

	remote := newRemote(map[string]string{"database": newValue()})
	value := newValue()
	variables := env.New(env.WithLookup(func(name string) (string, bool) { return value, name == "PAYMENT_KEY" }))

	client, err := secrets.New(remote,
		secrets.WithFallback(fallback.To(variables)),
		secrets.WithTracing(tracing.New(seen.tracers, tracing.WithMeterProvider(seen.meters))),
		middleware.Standard(cache.WithTTL(ttl), cache.WithRefreshAhead(0)),
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	s := &show{out: out, client: client, tracer: seen.tracers.Tracer("shop"), seen: seen}
	s.print("What the outside sees of package secrets. No line of it holds a secret.\n")
	s.step(ctx, "A miss: one fetch, within the span of the request", "database")
	s.step(ctx, "A hit: no fetch, so that there is no span of one", "database")
	remote.setDown(true)
	s.pause(ctx, ttl+ttl/2)
	s.step(ctx, "A stale read: the store is down, and the old value helps", "database")
	s.step(ctx, "A fallback: a span for each backend that is asked", "payment/key")
	s.print("\nThe metrics, of which those of the cache are its own counters\n")
	s.metrics(ctx)
	return s.err
}

// show prints what happens, and stops at the first error.
type show struct {
	out    io.Writer
	client *secrets.Client
	tracer trace.Tracer
	seen   *telemetry
	err    error
}

func (s *show) print(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.out, format, args...)
	}
}

// step reads key as a request of a service would, and prints the spans.
func (s *show) step(ctx context.Context, heading, key string) {
	if s.err != nil {
		return
	}
	s.print("\n%s\n", heading)
	secret, err := s.request(ctx, key)
	if err != nil {
		s.err = err
		return
	}
	origin := "from " + secret.Meta().Backend
	if secret.Meta().Stale {
		origin += ", stale"
	}
	s.print("   %s: %v, %s\n", key, secret, origin)
	for _, line := range s.seen.takeSpans() {
		s.print("   %s\n", line)
	}
}

func (s *show) request(ctx context.Context, key string) (secrets.Secret, error) {
	ctx, span := s.tracer.Start(ctx, "GET /pay", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	return s.client.Get(ctx, key)
}

func (s *show) metrics(ctx context.Context) {
	lines, err := s.seen.metrics(ctx)
	if s.err == nil {
		s.err = err
	}
	for _, line := range lines {
		s.print("   %s\n", line)
	}
}

func (s *show) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		s.err = errors.Join(s.err, ctx.Err())
	}
}
