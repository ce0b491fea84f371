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
)

// most bounds the links of a span and the keys in its attributes. It is the default limit of OpenTelemetry for both.
const most = 128

// layer makes a span of each call for one backend.
type layer struct {
	tracing   *Tracing
	next      secrets.Fetcher
	name      string                  // of the backend, or ""
	start     []trace.SpanStartOption // of every span
	succeeded []attribute.KeyValue    // attributes of a span whose fetch succeeded
	durations *durations              // nil without metrics
}

// Fetch asks next within a span.
func (l *layer) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	c := l.begin(ctx, "secrets.fetch")
	if l.tracing.keyNames && c.span.IsRecording() {
		c.span.SetAttributes(attribute.String(keyName, ref.String()))
	}
	// A panic, or the end of the goroutine, is for others to deal with. It must not be recovered here, and not by a span
	// either, which would record its text: span.End must not be deferred itself.
	result := unknown
	defer func() { c.end(result, result, nil) }()
	secret, err := l.next.Fetch(c.inner, ref)
	result = outcomeOf(ctx, secret, err)
	return secret, err
}

// FetchMany asks next within one span.
func (l *layer) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	if len(refs) == 0 {
		return l.next.FetchMany(ctx, refs)
	}
	c := l.begin(ctx, "secrets.fetch_many")
	if c.span.IsRecording() {
		c.span.SetAttributes(attribute.Int(keyBatchSize, len(refs)))
		if l.tracing.keyNames {
			c.span.SetAttributes(attribute.StringSlice(keyNames, keysOf(refs)))
		}
	}
	result, worst := unknown, unknown
	var counts tally
	defer func() { c.end(result, worst, &counts) }()
	results := l.next.FetchMany(c.inner, refs)
	if len(results) == len(refs) {
		for _, r := range results {
			counts[outcomeOf(ctx, r.Secret, r.Err)]++
		}
		result, worst = counts.outcome()
	}
	return results
}

func keysOf(refs []secrets.Ref) []string {
	keys := make([]string, min(len(refs), most))
	for i := range keys {
		keys[i] = refs[i].String()
	}
	return keys
}

// call is one call of what is below.
type call struct {
	layer *layer
	inner context.Context //nolint:containedctx // what is below gets it, and the histogram, for its exemplars
	span  trace.Span
	began time.Time
}

func (l *layer) begin(ctx context.Context, name string) call {
	c := call{layer: l, began: time.Now()}
	flight, attempt, probe := secrets.FlightOf(ctx), secrets.Attempt(ctx), secrets.Probe(ctx)
	caller := trace.SpanContextFromContext(ctx)
	opts := l.start
	background := flight != nil && flight.Background()
	room := most             // past which the SDK drops the first link, which is the cause
	if background || probe { // detached from the caller
		opts = append(slices.Clip(opts), trace.WithNewRoot())
		if caller.IsValid() {
			room--
			opts = append(opts, trace.WithLinks(link(caller, "cause")))
		}
	}
	c.inner, c.span = l.tracing.tracer.Start(ctx, name, opts...) //nolint:spancheck // call.end ends it
	if c.span.IsRecording() {
		if attempt > 0 {
			c.span.SetAttributes(attribute.Int(keyAttempt, attempt))
		}
		if background {
			c.span.SetAttributes(attribute.Bool(keyBackground, true))
		}
		if probe {
			c.span.SetAttributes(attribute.Bool(keyProbe, true))
		}
		if flight != nil {
			flight.OnJoin((&linker{span: c.span, first: idOf(caller), room: room}).join)
		}
	}
	// A backend may have a Client of its own, whose fetches are no part of this flight.
	if flight != nil {
		c.inner = secrets.WithFlight(c.inner, nil)
	}
	if attempt > 0 {
		c.inner = secrets.WithAttempt(c.inner, 0)
	}
	if probe {
		c.inner = secrets.WithProbe(c.inner, false)
	}
	return c
}

// end ends c with the outcome result, the gravest failure in which is worst.
func (c *call) end(result, worst outcome, counts *tally) {
	if d := c.layer.durations; d != nil {
		c.layer.tracing.metrics.duration.Record(c.inner, time.Since(c.began).Seconds(), d[result]...)
	}
	if c.span.IsRecording() {
		if result == ok {
			c.span.SetAttributes(c.layer.succeeded...)
		} else {
			c.span.SetAttributes(result.attributes(worst)...)
		}
		if result == mixed {
			c.span.SetAttributes(counts.attributes()...)
		}
		if worst.failed() {
			c.span.SetStatus(codes.Error, worst.description())
		}
	}
	c.span.End()
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

// ObserveCache makes the metrics read the figures of cache, which stands before the same backend, until Close. It makes the
// cache count its hits. Without metrics, it does nothing.
func (l *layer) ObserveCache(cache secrets.CacheMonitor) error {
	if l.tracing.metrics == nil {
		return nil
	}
	cache.CountHits()
	return l.tracing.metrics.observe(l, cache)
}

// Close ends what ObserveCache began. The cache is held no longer, and what it has counted stays in the metrics.
func (l *layer) Close() error {
	if l.tracing.metrics != nil {
		l.tracing.metrics.forget(l)
	}
	return nil
}

var _ secrets.Fetcher = (*layer)(nil)

// durations are the options to record the duration of a fetch, by its outcome. They are made once, since making them costs
// more than recording does.
type durations [outcomes][]metric.RecordOption

func durationOptions(backend []attribute.KeyValue) *durations {
	var d durations
	for o := range outcomes {
		all := slices.Concat(backend, outcome(o).attributes(outcome(o)))
		d[o] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(all...))}
	}
	return &d
}
