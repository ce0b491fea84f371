package tracing

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	// maxHold is how long a tracer or meter may delay a fetch. An exporter that waits for a collector may block much longer.
	maxHold = 100 * time.Millisecond
	// maxBlocked bounds the goroutines of calls that do not return. At the limit, fetches have no spans.
	maxBlocked = 256
)

// hold runs f, which calls a tracer or meter, on a goroutine of its own, and waits for at most maxHold. A tracer may block, or read a
// secret through the same Client. A panic of f is recovered.
func (t *Tracing) hold(f func()) {
	var over atomic.Bool // f has returned or timed out
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if over.Swap(true) {
				t.blocked.Add(-1)
			}
			_ = recover() //nolint:errcheck // a faulty tracer must not fail the fetch
		}()
		f()
	}()
	timer := time.NewTimer(maxHold)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		if !over.Swap(true) {
			t.blocked.Add(1)
		}
	}
}

// startSpan starts a span with ctx. If that times out or panics, it returns ctx and a span that does nothing.
func (t *Tracing) startSpan(ctx context.Context, opts []trace.SpanStartOption) (context.Context, trace.Span) {
	var (
		inner context.Context
		span  trace.Span
		over  atomic.Bool // the start has ended or timed out
	)
	if t.blocked.Load() >= maxBlocked {
		return ctx, noSpan()
	}
	t.hold(func() {
		inner, span = t.tracer.Start(ctx, "secrets.fetch", opts...) //nolint:fatcontext // the function is called once
		if over.Swap(true) && span != nil {
			span.End()
		}
	})
	if over.Swap(true) && span != nil {
		return inner, span
	}
	return ctx, noSpan()
}

// noSpan returns a span that does nothing.
func noSpan() trace.Span { return trace.SpanFromContext(context.Background()) }
