package tracing

import (
	"context"
	"slices"
	"sync"
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

// layer makes a span of each fetch from one backend.
type layer struct {
	tracing   *Tracing
	next      secrets.Fetcher
	start     []trace.SpanStartOption // of every span
	succeeded []attribute.KeyValue    // attributes of a span whose fetch succeeded
	durations *durations              // nil without metrics
}

// Fetch asks next within a span.
func (l *layer) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	began, fetch := time.Now(), fetchctx.Of(ctx)
	inner, span := l.begin(ctx, fetch)
	if span.IsRecording() {
		if l.tracing.keyNames {
			span.SetAttributes(attribute.String(keyName, ref.String()))
		}
		if fetch.Origin == nil {
			fetch.Origin = new(fetchctx.Origin)
			inner = fetchctx.With(inner, fetch)
		}
	}
	// A panic, or the end of the goroutine, is for others to deal with. It must not be recovered here, and not by a span
	// either, which would record its text: span.End must not be deferred itself.
	result := unknown
	defer func() { l.end(inner, span, fetch, result, began) }()
	secret, err := l.next.Fetch(inner, ref)
	result = outcomeOf(ctx, secret, err)
	return secret, err
}

// begin returns a span and the context to go on with.
func (l *layer) begin(ctx context.Context, fetch fetchctx.Fetch) (context.Context, trace.Span) {
	caller := trace.SpanContextFromContext(ctx)
	opts := l.start
	room := maxLinks                     // past which the SDK drops the first link, which is the cause
	if fetch.Background || fetch.Probe { // detached from the caller
		opts = append(slices.Clip(opts), trace.WithNewRoot())
		if caller.IsValid() {
			room--
			opts = append(opts, trace.WithLinks(link(caller, "cause")))
		}
	}
	inner, span := l.tracing.tracer.Start(ctx, "secrets.fetch", opts...)
	if !span.IsRecording() {
		return inner, span
	}
	if fetch.Attempt > 0 {
		span.SetAttributes(attribute.Int(keyAttempt, fetch.Attempt))
	}
	if fetch.Background {
		span.SetAttributes(attribute.Bool(keyBackground, true))
	}
	if fetch.Probe {
		span.SetAttributes(attribute.Bool(keyProbe, true))
	}
	if fetch.Flight != nil {
		fetch.Flight.OnJoin((&linker{span: span, first: idOf(caller), room: room}).join)
	}
	return inner, span
}

// end ends span with the outcome result.
func (l *layer) end(ctx context.Context, span trace.Span, fetch fetchctx.Fetch, result outcome, began time.Time) {
	if d := l.durations; d != nil {
		l.tracing.metrics.duration.Record(ctx, time.Since(began).Seconds(), d[result]...)
	}
	if span.IsRecording() {
		if result == ok {
			span.SetAttributes(l.succeeded...)
		} else {
			span.SetAttributes(result.attributes()...)
		}
		if size := fetch.Origin.Size(); size > 1 {
			span.SetAttributes(attribute.Int(keyBatchSize, size))
		}
		if result.failed() {
			span.SetStatus(codes.Error, result.description())
		}
	}
	span.End()
}

// linker links the spans of the callers that join a flight to span, each once.
type linker struct {
	span  trace.Span
	first spanID // of the first caller, which needs none: it is the parent of span, or its cause

	mu     sync.Mutex
	room   int // how many links there may still be
	linked map[spanID]bool
}

type spanID struct {
	trace trace.TraceID
	span  trace.SpanID
}

func idOf(s trace.SpanContext) spanID { return spanID{s.TraceID(), s.SpanID()} }

func (l *linker) join(caller context.Context) {
	if waiter := trace.SpanContextFromContext(caller); waiter.IsValid() && l.isNew(idOf(waiter)) {
		l.span.AddLink(link(waiter, "waiter"))
	}
}

func (l *linker) isNew(id spanID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id == l.first || l.linked[id] || l.room == 0 {
		return false
	}
	if l.linked == nil { // most flights have one caller
		l.linked = make(map[spanID]bool)
	}
	l.linked[id] = true
	l.room--
	return true
}

func link(to trace.SpanContext, why string) trace.Link {
	return trace.Link{SpanContext: to, Attributes: []attribute.KeyValue{attribute.String(keyLink, why)}}
}

var _ secrets.Fetcher = (*layer)(nil)

// durations are the options to record the duration of a fetch, by its outcome. They are made once, since making them costs
// more than recording does.
type durations [outcomes][]metric.RecordOption

func durationOptions(backend attribute.KeyValue) *durations {
	var d durations
	for o := range outcomes {
		all := append(outcome(o).attributes(), backend)
		d[o] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(all...))}
	}
	return &d
}
