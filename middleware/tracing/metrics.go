package tracing

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-5482dd03/secrets"
)

// metrics are the instruments of a Tracing, and the caches that they observe.
type metrics struct {
	meter    metric.Meter
	duration metric.Float64Histogram
	counters []counter
	levels   []level

	mu     sync.Mutex         // held while a callback is registered: callbacks must not take it
	groups map[string]*series // by name of the backend; never removed
}

// counter is an instrument for a figure that never decreases.
type counter struct {
	instrument metric.Int64ObservableCounter
	read       func(s secrets.CacheStats) uint64
}

// level is an instrument for a figure that goes up and down. It is not a gauge: levels of several caches can be summed.
type level struct {
	instrument metric.Int64ObservableUpDownCounter
	read       func(f figures) int
}

// figures are the sums of one cache or several.
type figures struct {
	secrets.CacheStats

	backingOff int
	outages    int
}

func newMetrics(meter metric.Meter) (*metrics, error) {
	m := &metrics{meter: meter, groups: make(map[string]*series)}
	var faults []error
	check := func(err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("tracing: WithMeterProvider: %w", err))
		}
	}
	var err error
	m.duration, err = meter.Float64Histogram("secrets.fetch.duration",
		metric.WithUnit("s"),
		metric.WithDescription("How long fetches from a backend took."),
		metric.WithExplicitBucketBoundaries(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	check(err)
	for _, c := range []struct {
		name, unit, description string
		read                    func(s secrets.CacheStats) uint64
	}{
		{"hits", "{hit}", "Answers with a fresh value from memory.", func(s secrets.CacheStats) uint64 { return s.Hits }},
		{"misses", "{miss}", "Reads that memory could not answer.", func(s secrets.CacheStats) uint64 { return s.Misses }},
		{"stale", "{answer}", "Answers with a value past its TTL.", func(s secrets.CacheStats) uint64 { return s.Stale }},
		{"negative_hits", "{hit}", "Answers with a cached not-found.", func(s secrets.CacheStats) uint64 { return s.NegativeHits }},
		{
			"backed_off", "{answer}", "Failures without a fetch, in a back-off or while the circuit breaker is open.",
			func(s secrets.CacheStats) uint64 { return s.BackedOff },
		},
		{"evictions", "{eviction}", "Values evicted because the cache was full.", func(s secrets.CacheStats) uint64 { return s.Evictions }},
	} {
		instrument, err := meter.Int64ObservableCounter("secrets.cache."+c.name, metric.WithUnit(c.unit), metric.WithDescription(c.description))
		check(err)
		m.counters = append(m.counters, counter{instrument, c.read})
	}
	for _, l := range []struct {
		name, unit, description string
		read                    func(f figures) int
	}{
		{"cache.entries", "{entry}", "Values in memory.", func(f figures) int { return f.Entries }},
		{
			"cache.backing_off", "{document}", "Documents that are not fetched at present, since the backend was unavailable.",
			func(f figures) int { return f.backingOff },
		},
		{
			"backend.outages", "{outage}", "1 while the backend is in an outage, for each Client: three fetches in a row found it unavailable.",
			func(f figures) int { return f.outages },
		},
	} {
		instrument, err := meter.Int64ObservableUpDownCounter(
			"secrets."+l.name, metric.WithUnit(l.unit), metric.WithDescription(l.description))
		check(err)
		m.levels = append(m.levels, level{instrument, l.read})
	}
	return m, errors.Join(faults...)
}

// series is the caches of all backends with one name. They share one series of each metric. Their counts stay when they close, since a
// counter must not decrease. The series goes on even without a cache: an SDK that computes deltas drops a series that has paused, and would
// then report all of it again.
type series struct {
	mu     sync.Mutex
	caches map[secrets.CacheMonitor]struct{}
	past   secrets.CacheStats // of caches that were closed
}

// observe adds cache to the series of the backend with that name. stop removes it and releases the cache.
func (m *metrics) observe(backend string, cache secrets.CacheMonitor) (stop func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.groups[backend]
	if g == nil {
		g = &series{caches: make(map[secrets.CacheMonitor]struct{})}
		if err := m.register(backend, g); err != nil {
			return nil, fmt.Errorf("tracing: WithMeterProvider: %w", err)
		}
		m.groups[backend] = g
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.caches[cache] = struct{}{}
	return func() { g.drop(cache) }, nil
}

// register makes the meter collect the figures of g from now on.
func (m *metrics) register(backend string, g *series) error {
	attributes := metric.WithAttributeSet(attribute.NewSet(attribute.String(keyBackend, backend)))
	all := make([]metric.Observable, 0, len(m.counters)+len(m.levels))
	for _, c := range m.counters {
		all = append(all, c.instrument)
	}
	for _, l := range m.levels {
		all = append(all, l.instrument)
	}
	_, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		f := g.figures()
		for _, c := range m.counters {
			o.ObserveInt64(c.instrument, int64(c.read(f.CacheStats)), attributes) //nolint:gosec // it takes centuries to count that far
		}
		for _, l := range m.levels {
			o.ObserveInt64(l.instrument, int64(l.read(f)), attributes)
		}
		return nil
	}, all...)
	return err
}

func (g *series) drop(cache secrets.CacheMonitor) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.caches[cache]; !known {
		return
	}
	delete(g.caches, cache)
	past := cache.CacheStats()
	past.Entries = 0
	g.past = g.past.Add(past)
}

func (g *series) figures() figures {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := figures{CacheStats: g.past}
	for cache := range g.caches {
		f.CacheStats = f.CacheStats.Add(cache.CacheStats())
		f.backingOff += cache.BackingOff()
		if cache.Outage() {
			f.outages++
		}
	}
	return f
}
