package tracing

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	// maxHold is for how long a tracer or meter may hold up a fetch. An exporter that waits for a collector may block far longer.
	maxHold = 100 * time.Millisecond
	// maxBlocked bounds the goroutines of calls that do not return. While there are as many, no fetch begins a span.
	maxBlocked = 256
)

// hold runs f, which calls a tracer or meter, on a goroutine of its own, and waits for it for maxHold at the most. So one that
// blocks, or reads a secret through the same client, holds up nobody for long. A panic of f is recovered.
func (t *Tracing) hold(f func()) {
	var over atomic.Bool // f has returned, or is not waited for any more, whichever is first
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if over.Swap(true) {
				t.blocked.Add(-1)
			}
			_ = recover() //nolint:errcheck // it must cost nobody the secret
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

// startSpan starts a span with ctx. If that takes long, or panics, the fetch goes on without one.
func (t *Tracing) startSpan(ctx context.Context, opts []trace.SpanStartOption) (context.Context, trace.Span) {
	var (
		inner context.Context
		span  trace.Span
		over  atomic.Bool // the span has started, or is not waited for any more, whichever is first
	)
	if t.blocked.Load() >= maxBlocked {
		return ctx, nothing()
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
	return ctx, nothing()
}

// nothing returns a span that does nothing.
func nothing() trace.Span { return trace.SpanFromContext(context.Background()) }
