package tracing

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// maxLinks bounds the links of a span. It is the default limit of OpenTelemetry.
const maxLinks = 128

// layer makes a span for each fetch from one backend.
type layer struct {
	tracing   *Tracing
	next      secrets.Fetcher
	start     []trace.SpanStartOption // of every span
	succeeded []attribute.KeyValue    // attributes of a span whose fetch succeeded
	durations *durations              // nil without metrics
}

// Fetch fetches ref from next within a span.
func (l *layer) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	began, fetch := time.Now(), fetchctx.Of(ctx)
	inner, span := l.begin(ctx, fetch, ref)
	if fetch.Origin == nil {
		fetch.Origin = new(fetchctx.Origin)
		inner = fetchctx.With(inner, fetch)
	}
	// A panic below, or runtime.Goexit, is handled by other layers: do not recover it here. span.End must not be deferred directly: it
	// would recover a panic and record its text.
	result := unknown
	defer func() { l.tracing.hold(func() { l.end(ctx, inner, span, fetch, result, began) }) }()
	secret, err := l.next.Fetch(inner, ref)
	result = outcomeOf(ctx, secret, err)
	return secret, err
}

// isRoot reports whether the span of fetch is the root of a new trace, since the fetch may have no waiting caller.
func isRoot(fetch fetchctx.Fetch) bool { return fetch.Background || fetch.Probe }

// begin starts a span for the fetch of ref, and returns its context.
func (l *layer) begin(ctx context.Context, fetch fetchctx.Fetch, ref secrets.Ref) (context.Context, trace.Span) {
	opts := slices.Clip(l.start)
	if isRoot(fetch) {
		opts = append(opts, trace.WithNewRoot())
		if caller := trace.SpanContextFromContext(ctx); caller.IsValid() {
			opts = append(opts, trace.WithLinks(link(caller, "cause")))
		}
	}
	var attributes []attribute.KeyValue
	if l.tracing.keyNames {
		attributes = append(attributes, attribute.String(keyName, ref.String()))
	}
	if fetch.Attempt > 0 {
		attributes = append(attributes, attribute.Int(keyAttempt, fetch.Attempt))
	}
	if fetch.Background {
		attributes = append(attributes, attribute.Bool(keyBackground, true))
	}
	if fetch.Probe {
		attributes = append(attributes, attribute.Bool(keyProbe, true))
	}
	if len(attributes) > 0 {
		opts = append(opts, trace.WithAttributes(attributes...))
	}
	return l.tracing.startSpan(ctx, opts)
}

// end ends span with the outcome result. ctx is the context of the caller, and inner the one with the span.
func (l *layer) end(
	ctx, inner context.Context, span trace.Span, fetch fetchctx.Fetch, result outcome, began time.Time,
) {
	if d := l.durations; d != nil {
		l.tracing.metrics.duration.Record(inner, time.Since(began).Seconds(), d[result]...)
	}
	if span.IsRecording() {
		l.describe(ctx, span, fetch, result)
	}
	span.End()
}

// describe records the result of a fetch in span. ctx is the context of the caller.
func (l *layer) describe(ctx context.Context, span trace.Span, fetch fetchctx.Fetch, result outcome) {
	if result == ok {
		span.SetAttributes(l.succeeded...)
	} else {
		span.SetAttributes(result.attributes()...)
	}
	if size := fetch.Origin.Size(); size > 1 {
		span.SetAttributes(attribute.Int(keyBatchSize, size))
	}
	if waiters := fetch.Flight.Joined(); len(waiters) > 0 {
		first, room := trace.SpanContextFromContext(ctx), maxLinks
		if isRoot(fetch) && first.IsValid() {
			room-- // past the limit, the SDK would drop the first link, which is the cause
		}
		linkWaiters(span, first, waiters, room)
	}
	if result.failed() {
		span.SetStatus(codes.Error, result.description())
	}
}

// linkWaiters links span to the spans of the other callers that wait for the fetch, each once. It runs at the end of the span, on the
// goroutine of the fetch: a tracer must not delay those callers.
func linkWaiters(span trace.Span, first trace.SpanContext, waiters []context.Context, room int) {
	linked := map[spanID]bool{idOf(first): true} // the first caller needs no link: its span is the parent, or the cause
	for _, caller := range waiters {
		waiter := trace.SpanContextFromContext(caller)
		if !waiter.IsValid() || linked[idOf(waiter)] {
			continue
		}
		if room--; room < 0 {
			return
		}
		linked[idOf(waiter)] = true
		span.AddLink(link(waiter, "waiter"))
	}
}

type spanID struct {
	trace trace.TraceID
	span  trace.SpanID
}

func idOf(s trace.SpanContext) spanID { return spanID{s.TraceID(), s.SpanID()} }

func link(to trace.SpanContext, why string) trace.Link {
	return trace.Link{SpanContext: to, Attributes: []attribute.KeyValue{attribute.String(keyLink, why)}}
}

var _ secrets.Fetcher = (*layer)(nil)

// durations are the options for recording the duration of a fetch, by outcome. They are made once, since making them costs more than
// recording.
type durations [outcomes][]metric.RecordOption

func durationOptions(backend attribute.KeyValue) *durations {
	var d durations
	for o := range outcomes {
		all := append(outcome(o).attributes(), backend)
		d[o] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(all...))}
	}
	return &d
}
