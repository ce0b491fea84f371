// Package tracing reports fetches to OpenTelemetry, with a span for each fetch and, on request, metrics.
//
// Install it with secrets.WithTracing:
//
//	client, err := secrets.New(backend,
//		secrets.WithTracing(tracing.New(tracerProvider, tracing.WithMeterProvider(meterProvider))),
//		middleware.Standard(),
//	)
//
// The layer is below cache and dedup: a span is a real fetch from one backend. A hit makes no span and does not call OpenTelemetry.
// The providers of package otel are never used.
//
// # Spans
//
// A span is named "secrets.fetch" and covers the fetch of one document. Its kind is client, or internal for a Local backend. It is a child
// of the caller's span. Callers that share the fetch are linked to it, at most 128 of them. A renewal ahead of the TTL is the root of a new
// trace, and linked to the span of the read that caused it. So is a probe, which the cache makes while its circuit breaker is open.
//
// The attributes:
//
//   - secrets.backend: the name of the backend.
//   - secrets.outcome: ok, not_found, deleted, field_not_found, permission_denied, unauthenticated, unavailable, invalid_key, malformed,
//     unknown, closed (the Client is closed), canceled or deadline_exceeded (the context of the callers ended).
//   - error.type: the outcome, if it is an error.
//   - secrets.batch.size: how many documents the call of the backend was for, if several.
//   - secrets.attempt: 2 or more: 1 plus the number of fetches of the document that failed in a row before. The cache counts them: only
//     outages and failed renewals. It is absent for a first attempt, without a cache, and after an answer such as a not-found or a denial.
//   - secrets.background: true for a renewal ahead of the TTL.
//   - secrets.probe: true for a probe.
//   - secrets.key: only with [WithKeyNames].
//   - secrets.link, on a link: "waiter" or "cause".
//
// # Metrics
//
// See [WithMeterProvider]. The cache counts, and its counters are read when metrics are collected.
//
// # Errors
//
// The status of a span is unset for the outcomes ok, not_found, deleted, field_not_found, closed and canceled. For all others it is an
// error, with the class as its description. Values and texts of errors are never recorded.
//
// # Limits
//
// A tracer may block, for example because its exporter waits for a collector. It delays a fetch by at most 100 ms at the start and 100 ms
// at the end. A span that has not started by then is missing.
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

// Tracing is the layer. Make one with [New], and install it with secrets.WithTracing. Several Clients may share one. It is safe for
// concurrent use.
type Tracing struct {
	tracer   trace.Tracer
	blocked  atomic.Int64 // calls of the tracer or the meter that have timed out and not returned
	keyNames bool
	metrics  *metrics // nil without WithMeterProvider
	faults   faults.List
}

// New returns a layer that makes its spans with provider. With a nil provider, secrets.New returns an error. For metrics without spans, use
// the provider of package go.opentelemetry.io/otel/trace/noop.
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

// NewTracing returns a Fetcher that makes a span for each fetch from next. secrets.New calls it.
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

// Observe makes the figures of cache part of the metrics, if there is a meter provider, until stop is called. Then the counts of the cache
// stay in the counters. secrets.New calls it.
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

// WithKeyNames records the keys of fetched documents in the attribute secrets.key of spans. Metrics never have them. Default: keys are not
// recorded, since they show readers of traces which secrets exist.
func WithKeyNames() Option { return func(t *Tracing) { t.keyNames = true } }

// WithMeterProvider adds metrics, made with provider. With a nil provider, secrets.New returns an error. Default: no metrics.
//
//   - secrets.fetch.duration: a histogram of the duration of fetches, in seconds, by secrets.backend, secrets.outcome and error.type, as in
//     spans.
//   - secrets.cache.hits, .misses, .stale, .negative_hits, .backed_off and .evictions: counters, by secrets.backend. See
//     secrets.CacheStats.
//   - secrets.cache.entries: an up-down counter of the values in memory, by secrets.backend.
//   - secrets.cache.backing_off: an up-down counter of the documents that are not fetched at present, because the backend was unavailable,
//     by secrets.backend.
//   - secrets.backend.outages: an up-down counter, by secrets.backend: 1 during an outage of the backend, for each Client with a cache. In
//     an outage, a circuit breaker of the cache is open: three fetches or more in a row found the backend unavailable, and reads do not
//     wait for it.
//
// The option also makes the cache count hits. The figures of the cache are read when metrics are collected. They are sums over all Clients
// that share the Tracing, by name of the backend.
//
// When a Client closes, its counts stay in the counters, which never decrease. Its part of the up-down counters is removed. Both are
// reported as long as provider exists, even after the last Client. If a program replaces its Client, the new one should get the same
// Tracing.
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
