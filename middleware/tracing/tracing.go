// Package tracing is the layer that shows fetches to OpenTelemetry: a span for each, and metrics.
//
// Install it with secrets.WithTracing:
//
//	client, err := secrets.New(backend,
//		secrets.WithTracing(tracing.New(tracerProvider, tracing.WithMeterProvider(meterProvider))),
//		middleware.Standard(),
//	)
//
// The layer stands below cache and dedup, so that a span is a real fetch from one backend. An answer from memory has no
// span and touches nothing of OpenTelemetry: hits are counted by the cache, and its counters are read when metrics are
// collected. The providers of package otel are never used.
//
// # Spans
//
// A span is named "secrets.fetch" and is the fetch of one document. Its kind is client, or internal for a backend that is Local. It
// is a child of the span of the caller; callers that share the fetch are linked to it, up to 128 of them. A renewal ahead of the
// TTL, which nobody waits for, is the root of a trace of its own, and linked to the span of the read that caused it; so is a
// probe, which the cache sends while its circuit breaker is open. The attributes are:
//
//   - secrets.backend: the name of the backend.
//   - secrets.outcome: ok, not_found, deleted, field_not_found, permission_denied, unauthenticated, unavailable,
//     invalid_key, malformed, unknown, closed (the Client was), canceled or deadline_exceeded (the context of the callers
//     was).
//   - error.type: the outcome, if it is a failure.
//   - secrets.batch.size: how many documents the call asked for that answered the fetch, if there were several.
//   - secrets.attempt: 2 or more, one more than the fetches of the document that failed just before, one after another, as
//     the cache remembers them: in an outage, or when a value was to be renewed. It is absent for a first attempt, without a
//     cache, and after an answer such as a not-found or a denial, with which the count begins anew.
//   - secrets.background: true for a renewal ahead of the TTL.
//   - secrets.probe: true for a probe.
//   - secrets.key: only with [WithKeyNames].
//   - secrets.link, on a link: "waiter" or "cause".
//
// A tracer that blocks, as one with an exporter may that waits for a collector, holds up a fetch for 100 ms at its start and at its
// end at the most. A span that has not started by then is missing.
//
// No value and no text of an error is ever recorded. The status of a span follows from the outcome: that of not_found,
// deleted, field_not_found, closed and canceled is unset, as that of ok is; all others are errors, described by the class
// alone.
//
// # Metrics
//
// See [WithMeterProvider].
package tracing

import (
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
)

// scope is the name of the tracer and the meter.
const scope = "github.com/seed-5482dd03/secrets/middleware/tracing"

// Tracing is the layer. It may be given to several Clients. It is safe for concurrent use. Make one with [New].
type Tracing struct {
	tracer   trace.Tracer
	blocked  atomic.Int64 // calls of the tracer and the meter that were given up, and have not returned
	keyNames bool
	metrics  *metrics // nil without WithMeterProvider
	faults   faults.List
}

// New returns a layer that makes its spans with provider. A nil provider is an error of secrets.New; for no spans,
// and metrics alone, there is the provider of package go.opentelemetry.io/otel/trace/noop.
func New(provider trace.TracerProvider, opts ...Option) *Tracing {
	t := &Tracing{faults: faults.List{Prefix: "tracing: "}}
	if faults.IsNil(provider) {
		t.faults.Addf("a nil TracerProvider")
		provider = noop.NewTracerProvider()
	}
	t.tracer = provider.Tracer(scope)
	faults.Apply(&t.faults, opts, func(o Option) { o(t) })
	return t
}

// Validate returns the faults of the options, joined. secrets.New calls it.
func (t *Tracing) Validate() error {
	if t.tracer == nil {
		return errors.New("tracing: a zero Tracing; make it with tracing.New")
	}
	return t.faults.Err()
}

// NewTracing returns a Fetcher that makes a span of each fetch of next. secrets.New calls it.
func (t *Tracing) NewTracing(info secrets.Info, next secrets.Fetcher) secrets.Fetcher {
	kind := trace.SpanKindClient
	if info.Local {
		kind = trace.SpanKindInternal
	}
	backend := attribute.String(keyBackend, info.Name)
	l := &layer{
		tracing: t, next: next, succeeded: ok.attributes(),
		start: []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(backend)},
	}
	if t.metrics != nil {
		l.durations = durationOptions(backend)
	}
	return l
}

// Observe begins to collect the figures of cache, if there is a meter provider. secrets.New calls it. What the cache has counted
// stays in the counters when stop is called.
func (t *Tracing) Observe(info secrets.Info, cache secrets.CacheMonitor) (stop func(), err error) {
	if t.metrics == nil {
		return func() {}, nil
	}
	cache.CountHits()
	return t.metrics.observe(info.Name, cache)
}

var _ secrets.TracingLayer = (*Tracing)(nil)

// Option configures a [Tracing].
type Option func(t *Tracing)

// WithKeyNames records the keys of the documents that are fetched, as the attribute secrets.key of spans.
// Metrics never have them. By default, they are not recorded: names tell a reader of traces what there is to look for.
func WithKeyNames() Option { return func(t *Tracing) { t.keyNames = true } }

// WithMeterProvider adds metrics, which provider makes. A nil provider is a fault that secrets.New returns. By default,
// there are none.
//
//   - secrets.fetch.duration, a histogram in seconds: how long fetches took, by secrets.backend, secrets.outcome and
//     error.type, as spans have them.
//   - secrets.cache.hits, .misses, .stale, .negative_hits, .backed_off and .evictions, counters, by secrets.backend: see
//     secrets.CacheStats.
//   - secrets.cache.entries, the number of values in memory, and secrets.cache.backing_off, the number of documents that
//     are not asked for at present because the backend was unavailable: up-down counters, by secrets.backend.
//   - secrets.backend.outages, an up-down counter, by secrets.backend: 1 while the backend is in an outage, for each Client
//     with a cache before it. It is the state of that cache: the last three fetches or more have found the backend
//     unavailable, and readers are answered without it.
//
// The figures of the cache are its own, and read when metrics are collected; this option makes it count hits. They are
// summed over all Clients that share the Tracing and have backends of one name. When a Client closes, what it has counted
// stays in the counters, which never fall, and its part of the up-down counters goes: both are reported for as long as
// provider lives, after the last Client too. A program that replaces its Client gives the new one the same Tracing.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(t *Tracing) {
		if faults.IsNil(provider) {
			t.faults.Addf("WithMeterProvider: a nil MeterProvider")
			return
		}
		m, err := newMetrics(provider.Meter(scope))
		if err != nil {
			t.faults.Add(err)
			return
		}
		t.metrics = m
	}
}
