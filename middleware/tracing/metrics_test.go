package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// durationsOf returns how many fetches were recorded, by backend and outcome.
func durationsOf(o *telemetry) map[string]uint64 {
	o.t.Helper()
	all := make(map[string]uint64)
	for _, p := range o.collect()["secrets.fetch.duration"].Data.(metricdata.Histogram[float64]).DataPoints {
		backend, _ := p.Attributes.Value("secrets.backend")
		outcome, _ := p.Attributes.Value("secrets.outcome")
		all[backend.AsString()+" "+outcome.AsString()] += p.Count
	}
	return all
}

func TestDurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"db": "x"}, secretstest.WithLatency(20*time.Millisecond))
		client := open(t, backend, secrets.WithTracing(tracing.New(noop.NewTracerProvider(), tracing.WithMeterProvider(o.meters))))
		for range 3 {
			_, err := client.Get(t.Context(), "db")
			is.NoErr(err)
		}
		backend.FailPath("denied", secrets.ErrPermissionDenied)
		_, err := client.Get(t.Context(), "denied")
		is.True(err != nil)
		_, err = client.GetMany(t.Context(), "db", "denied")
		is.True(err != nil)

		m := o.collect()["secrets.fetch.duration"]
		is.Equal(m.Unit, "s")
		want := map[string]map[string]any{
			"ok":                {"secrets.backend": "fake", "secrets.outcome": "ok"},
			"permission_denied": {"secrets.backend": "fake", "secrets.outcome": "permission_denied", "error.type": "permission_denied"},
		}
		points := m.Data.(metricdata.Histogram[float64]).DataPoints
		is.Equal(len(points), len(want))
		for _, p := range points {
			got := attributes(p.Attributes.ToSlice())
			is.Equal(got, want[got["secrets.outcome"].(string)])
			is.Equal(p.Bounds, []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10})
			is.Equal(p.BucketCounts[4], p.Count) // 20 ms
			is.True(p.Sum > 0.0199*float64(p.Count) && p.Sum < 0.0201*float64(p.Count))
		}
		is.Equal(durationsOf(o), map[string]uint64{"fake ok": 4, "fake permission_denied": 2})
	})
}

type sums = map[string]int64

func TestFiguresOfTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"a": "1", "b": "2", "c": "3"})
		client := open(t, backend,
			secrets.WithTracing(tracing.New(o.spans, tracing.WithMeterProvider(o.meters))),
			middleware.Standard(cache.WithTTL(time.Minute), cache.WithSize(2), cache.WithJitter(0), cache.WithRefreshAhead(0)))
		get := func(key string) { _, _ = client.Get(t.Context(), key) }

		is.Equal(o.sums("fake"), sums{})
		get("a")
		is.Equal(o.sums("fake"), sums{"misses": 1, "entries": 1})
		for range 5 {
			get("a")
		}
		is.Equal(o.sums("fake"), sums{"misses": 1, "entries": 1, "hits": 5})
		get("none")
		get("none")
		is.Equal(o.sums("fake"), sums{"misses": 2, "entries": 1, "hits": 5, "negative_hits": 1})
		get("b")
		get("c")
		is.Equal(o.sums("fake"), sums{"misses": 4, "entries": 2, "hits": 5, "negative_hits": 1, "evictions": 1})

		backend.Fail(secrets.ErrUnavailable)
		time.Sleep(2 * time.Minute)
		get("c") // fetches, and gets the stale value
		get("c") // stale at once
		get("x") // fetches
		get("x") // fails at once
		is.Equal(o.sums("fake"), sums{
			"misses": 6, "entries": 2, "hits": 5, "negative_hits": 1, "evictions": 1, "stale": 2, "backed_off": 1, "backing_off": 2,
		})
		time.Sleep(time.Minute)
		is.Equal(o.sums("fake")["backing_off"], int64(0))

		for name, m := range o.collect() {
			if data, isSum := m.Data.(metricdata.Sum[int64]); isSum {
				is.Equal(data.IsMonotonic, name != "secrets.cache.entries" && name != "secrets.cache.backing_off" && name != "secrets.backend.outages")
				is.True(m.Unit != "" && m.Description != "")
				for _, p := range data.DataPoints {
					is.Equal(attributes(p.Attributes.ToSlice()), map[string]any{"secrets.backend": "fake"})
				}
			}
		}
		backend.Fail(secrets.ErrUnavailable)
		time.Sleep(time.Minute)
		get("x")
		before := o.sums("fake")
		is.True(before["entries"] > 0 && before["backing_off"] > 0)
		delete(before, "entries")
		delete(before, "backing_off")
		is.NoErr(client.Close())
		is.Equal(o.sums("fake"), before)
	})
}

// An outage begins with three fetches in a row that find the backend unavailable, for any documents. It ends with any other answer.
func TestOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newTelemetry(t)
		backend := secretstest.NewBackend(map[string]string{"a": "1"})
		client := open(t, backend,
			secrets.WithTracing(tracing.New(o.spans, tracing.WithMeterProvider(o.meters))), middleware.Standard())
		outages := func() int64 {
			points := o.collect()["secrets.backend.outages"].Data.(metricdata.Sum[int64]).DataPoints
			is.Equal(len(points), 1)
			return points[0].Value
		}
		is.Equal(outages(), int64(0))
		backend.Fail(secrets.ErrUnavailable)
		for n, key := range []string{"a", "b", "c", "d"} {
			_, err := client.Get(t.Context(), key)
			is.True(err != nil)
			is.Equal(outages() == 1, n >= 2)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = client.Get(ctx, "e") // no answer of the backend
		is.Equal(outages(), int64(1))
		backend.Recover()
		_, err := client.Get(t.Context(), "none")
		is.True(errors.Is(err, secrets.ErrUnavailable)) // at once: no probe is due
		is.Equal(outages(), int64(1))
		time.Sleep(time.Second)
		_, err = client.Get(t.Context(), "none") // an answer
		is.True(errors.Is(err, secrets.ErrNotFound))
		is.Equal(outages(), int64(0))
		is.Equal(backend.Calls(), 4) // three that begin the outage, and the probe
	})
}

// monitor is a cache to observe.
type monitor struct{ hits uint64 }

func (m *monitor) CacheStats() secrets.CacheStats {
	return secrets.CacheStats{Hits: m.hits, Entries: 3}
}
func (m *monitor) BackingOff() int { return 2 }
func (m *monitor) Outage() bool    { return true }
func (m *monitor) CountHits()      { m.hits += 100 }

// The counts of a cache stay when its observation ends, and are counted once.
func TestObserveUntilStop(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	layer := tracing.New(o.spans, tracing.WithMeterProvider(o.meters))
	one, two := &monitor{hits: 1}, &monitor{hits: 10}
	stopOne, err := layer.Observe(secrets.Info{Name: "fake"}, one)
	is.NoErr(err)
	stopTwo, err := layer.Observe(secrets.Info{Name: "fake"}, two)
	is.NoErr(err)
	is.Equal(o.sums("fake"), sums{"hits": 211, "entries": 6, "backing_off": 4}) // both caches count hits
	stopOne()
	stopOne()
	one.hits = 5000
	is.Equal(o.sums("fake"), sums{"hits": 211, "entries": 3, "backing_off": 2})
	stopTwo()
	is.Equal(o.sums("fake"), sums{"hits": 211})

	// Without metrics, there is nothing to observe.
	stop, err := tracing.New(o.spans).Observe(secrets.Info{Name: "fake"}, one)
	is.NoErr(err)
	stop()
	is.Equal(one.hits, uint64(5000))
}

// One Tracing and one cache serve two Clients with two backends each. Each backend has figures of its own.
func TestSharedBetweenClients(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	layer, memory := tracing.New(o.spans, tracing.WithMeterProvider(o.meters)), cache.New()
	newClient := func() *secrets.Client {
		first := secretstest.NewBackend(nil, secretstest.WithName("first"))
		second := secretstest.NewBackend(map[string]string{"a": "1"}, secretstest.WithName("second"))
		local := secretstest.NewBackend(nil, secretstest.WithName("local"), secretstest.WithLocal())
		return open(t, first, secrets.WithFallback(fallback.To(second, local)), secrets.WithTracing(layer), secrets.WithCache(memory),
			middleware.Standard())
	}
	one, two := newClient(), newClient()
	get := func(c *secrets.Client) {
		_, err := c.Get(t.Context(), "a")
		is.NoErr(err)
	}
	get(one)
	get(one)
	get(two)
	is.Equal(o.sums("first"), sums{"misses": 2})
	is.Equal(o.sums("second"), sums{"misses": 2, "entries": 2, "hits": 1})
	is.Equal(o.sums("local"), sums{}) // it has no cache

	is.NoErr(one.Close())
	is.Equal(o.sums("second"), sums{"misses": 2, "entries": 1, "hits": 1}) // a counter does not decrease
	get(two)
	is.Equal(o.sums("second"), sums{"misses": 2, "entries": 1, "hits": 2})
	is.NoErr(two.Close())
	is.Equal(o.sums("second"), sums{"misses": 2, "hits": 2})
	is.Equal(memory.Stats().Hits, uint64(2))

	three := newClient() // the layer is used further
	get(three)
	is.Equal(o.sums("second"), sums{"misses": 3, "entries": 1, "hits": 2})
}

// A program that reloads its configuration replaces its Clients, with or without a collection in between. No counter decreases, and no
// count is reported twice.
func TestCountersGoOnAfterReloads(t *testing.T) {
	for _, way := range []struct {
		name        string
		temporality sdkmetric.TemporalitySelector
		delta       bool
	}{
		{"cumulative", sdkmetric.CumulativeTemporalitySelector, false},
		{"delta", func(sdkmetric.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }, true},
	} {
		for _, between := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, collected in between: %v", way.name, between), func(t *testing.T) {
				is := is.New(t)
				o := newTelemetry(t, sdkmetric.WithTemporalitySelector(way.temporality))
				layer := tracing.New(o.spans, tracing.WithMeterProvider(o.meters))
				total := sums{}
				collect := func() sums {
					got := o.sums("fake")
					if !way.delta {
						total = got
						return got
					}
					for name, n := range got {
						is.True(n > 0 || name == "entries") // a counter does not decrease
						if total[name] += n; total[name] == 0 {
							delete(total, name)
						}
					}
					return total
				}
				newClient := func() *secrets.Client {
					return open(t, secretstest.NewBackend(map[string]string{"a": "1"}), secrets.WithTracing(layer), middleware.Standard())
				}
				get := func(c *secrets.Client, n int) {
					for range n {
						_, err := c.Get(t.Context(), "a")
						is.NoErr(err)
					}
				}

				one, two := newClient(), newClient()
				get(one, 101)
				get(two, 21)
				is.Equal(collect(), sums{"misses": 2, "entries": 2, "hits": 120})
				for reload := range int64(2) {
					get(one, 1) // the Client ends before the next collection
					hits := 120 + reload*11 + 1
					is.NoErr(one.Close())
					is.NoErr(two.Close())
					if between {
						is.Equal(collect(), sums{"misses": 2 + 2*reload, "hits": hits})
						is.Equal(collect(), sums{"misses": 2 + 2*reload, "hits": hits})
					}
					one, two = newClient(), newClient()
					get(one, 6)
					get(two, 6)
					is.Equal(collect(), sums{"misses": 4 + 2*reload, "entries": 2, "hits": hits + 10})
				}
			})
		}
	}
}

func TestCollectWhileClientsComeAndGo(t *testing.T) {
	is := is.New(t)
	o := newTelemetry(t)
	layer := tracing.New(o.spans, tracing.WithMeterProvider(o.meters))
	stop := make(chan struct{})
	var collector, clients sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				o.collect()
			}
		}
	})
	for range 4 {
		clients.Go(func() {
			for range 50 {
				client, err := secrets.New(secretstest.NewBackend(map[string]string{"a": "1"}), secrets.WithTracing(layer), middleware.Standard())
				is.NoErr(err)
				for range 3 {
					_, err = client.Get(context.Background(), "a")
					is.NoErr(err)
				}
				is.NoErr(client.Close())
			}
		})
	}
	clients.Wait()
	close(stop)
	collector.Wait()
	is.Equal(o.sums("fake"), sums{"misses": 200, "hits": 400})
}

// Without a meter provider, hits are not counted.
func TestHitsAreCountedOnRequest(t *testing.T) {
	is := is.New(t)
	for _, opts := range [][]tracing.Option{nil, {tracing.WithMeterProvider(metricnoop.NewMeterProvider())}} {
		memory := cache.New()
		client := open(t, secretstest.NewBackend(map[string]string{"a": "1"}), secrets.WithCache(memory),
			secrets.WithTracing(tracing.New(noop.NewTracerProvider(), opts...)))
		for range 3 {
			_, err := client.Get(t.Context(), "a")
			is.NoErr(err)
		}
		is.Equal(memory.Stats().Hits, uint64(2*len(opts)))
	}
}

// broken is a meter provider whose meters return errors.
type broken struct {
	metricnoop.MeterProvider

	instruments, callbacks error
}

type brokenMeter struct {
	metricnoop.Meter

	provider broken
}

func (b broken) Meter(string, ...metric.MeterOption) metric.Meter { return brokenMeter{provider: b} }

func (m brokenMeter) Float64Histogram(name string, opts ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	h, _ := m.Meter.Float64Histogram(name, opts...)
	return h, m.provider.instruments
}

func (m brokenMeter) RegisterCallback(f metric.Callback, all ...metric.Observable) (metric.Registration, error) {
	r, _ := m.Meter.RegisterCallback(f, all...)
	return r, m.provider.callbacks
}

func TestBrokenMeters(t *testing.T) {
	is := is.New(t)
	refused := errors.New("refused")
	for _, provider := range []broken{{instruments: refused}, {callbacks: refused}} {
		_, err := secrets.New(secretstest.NewBackend(nil), middleware.Standard(),
			secrets.WithTracing(tracing.New(noop.NewTracerProvider(), tracing.WithMeterProvider(provider))))
		is.True(errors.Is(err, refused))
	}
}
