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
	// maxBlocked bounds the goroutines of calls that do not return. While there are as many, fetches are not traced.
	maxBlocked = 256
)

// hold runs f, which calls a tracer or meter, on a goroutine of its own, and waits for it for maxHold at the most. So one that
// blocks, or reads a secret through the same client, holds up nobody for long. A panic of f is recovered.
func (t *Tracing) hold(f func()) {
	if t.blocked.Load() >= maxBlocked {
		return
	}
	t.blocked.Add(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.blocked.Add(-1)
		defer func() { _ = recover() }() // it must cost nobody the secret
		f()
	}()
	timer := time.NewTimer(maxHold)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// startSpan starts a span with ctx. If that takes long, or panics, the fetch goes on without one.
func (t *Tracing) startSpan(ctx context.Context, opts []trace.SpanStartOption) (context.Context, trace.Span) {
	var (
		inner context.Context
		span  trace.Span
		over  atomic.Bool // the span has started, or is not waited for any more, whichever is first
	)
	t.hold(func() {
		inner, span = t.tracer.Start(ctx, "secrets.fetch", opts...) //nolint:fatcontext // the function is called once
		if over.Swap(true) {
			span.End()
		}
	})
	if over.Swap(true) {
		return inner, span
	}
	return ctx, trace.SpanFromContext(context.Background()) // which does nothing
}
