package secrets_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestTracingObservesCaches(t *testing.T) {
	is := is.New(t)
	caches := make(map[string]secrets.CacheMonitor)
	wrapped := make(map[string]bool) // Local, by name
	layer := &layer{
		wrap: func(info secrets.Info, next secrets.Fetcher) secrets.Fetcher {
			wrapped[info.Name] = info.Local
			return next
		},
		observe: func(info secrets.Info, cache secrets.CacheMonitor) error {
			caches[info.Name] = cache
			return nil
		},
	}
	remote := secretstest.NewBackend(map[string]string{"a": "1"}, secretstest.WithName("remote"))
	local := secretstest.NewBackend(map[string]string{"b": "2"}, secretstest.WithName("local"), secretstest.WithLocal())
	memory := cache.New()
	client := open(t, remote, secrets.WithFallback(fallback.To(local)), secrets.WithTracing(layer), secrets.WithCache(memory),
		middleware.Standard())

	is.Equal(len(caches), 1) // a local backend has no cache
	caches["remote"].CountHits()
	for range 3 {
		_, err := client.Get(t.Context(), "a")
		is.NoErr(err)
	}
	_, err := client.Get(t.Context(), "b")
	is.NoErr(err)
	want := secrets.CacheStats{Hits: 2, Misses: 2, Entries: 1}
	is.Equal(caches["remote"].CacheStats(), want)
	is.Equal(memory.Stats(), want)
	is.Equal(wrapped, map[string]bool{"remote": false, "local": true})
}

func TestObserveFails(t *testing.T) {
	is := is.New(t)
	errNoMeter := errors.New("no meter")
	layer := &layer{observe: func(secrets.Info, secrets.CacheMonitor) error { return errNoMeter }}
	_, err := secrets.New(secretstest.NewBackend(nil), secrets.WithTracing(layer), middleware.Standard())
	is.True(errors.Is(err, errNoMeter))

	layer.observe = func(secrets.Info, secrets.CacheMonitor) error { panic("a text") }
	_, err = secrets.New(secretstest.NewBackend(nil), secrets.WithTracing(layer), middleware.Standard())
	is.Equal(err.Error(), "secrets: WithTracing: Observe: a panic with a string")
	client, err := secrets.New(secretstest.NewBackend(nil), secrets.WithTracing(layer)) // without a cache, there is nothing to observe
	is.NoErr(err)
	is.NoErr(client.Close())
}

// Add adds each counter.
func TestCacheStatsAdd(t *testing.T) {
	is := is.New(t)
	a := secrets.CacheStats{Hits: 1, Misses: 2, Stale: 3, NegativeHits: 4, BackedOff: 5, Evictions: 6, Entries: 7}
	b := secrets.CacheStats{Hits: 10, Misses: 20, Stale: 30, NegativeHits: 40, BackedOff: 50, Evictions: 60, Entries: 70}
	want := secrets.CacheStats{Hits: 11, Misses: 22, Stale: 33, NegativeHits: 44, BackedOff: 55, Evictions: 66, Entries: 77}
	is.Equal(a.Add(b), want)
	is.Equal(b.Add(a), want)
	is.Equal(a.Add(secrets.CacheStats{}), a)

	// Add covers every field.
	var one secrets.CacheStats
	v := reflect.ValueOf(&one).Elem()
	for _, f := range v.Fields() {
		if f.CanUint() {
			f.SetUint(1)
		} else {
			f.SetInt(1)
		}
	}
	sum := reflect.ValueOf(one.Add(one))
	for _, f := range sum.Fields() {
		is.Equal(fmt.Sprint(f), "2")
	}
}
