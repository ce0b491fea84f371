package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

type quietFlight struct{}

func (quietFlight) OnJoin(func(context.Context)) {}
func (quietFlight) Background() bool             { return true }

// A flight is bound to none of its callers: not to the first, whose values it has, either.
func TestFlightIsDetached(t *testing.T) {
	is := is.New(t)
	type key struct{}
	caller, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "caller's"))
	caller, stop := context.WithTimeout(caller, time.Hour)
	defer stop()
	cancel(errors.New("gone"))
	is.True(caller.Err() != nil) // the control

	ctx := secrets.WithFlight(caller, quietFlight{})
	is.Equal(ctx.Value(key{}), "caller's")
	derived, end := context.WithCancel(context.WithValue(ctx, key{}, "own"))
	for _, ctx := range []context.Context{ctx, derived} {
		is.NoErr(ctx.Err())
		is.NoErr(context.Cause(ctx))
		_, has := ctx.Deadline()
		is.True(!has)
		is.Equal(secrets.FlightOf(ctx), quietFlight{})
	}
	end()
	is.Equal(context.Cause(derived), context.Canceled)
	is.Equal(fmt.Sprint(ctx), "secrets.WithFlight")
	is.True(secrets.WithFlight(caller, nil).Err() != nil)
}

func TestFlightOfContext(t *testing.T) {
	is := is.New(t)
	ctx := t.Context()
	is.Equal(secrets.FlightOf(ctx), nil)
	ctx = secrets.WithFlight(ctx, quietFlight{})
	is.Equal(secrets.FlightOf(ctx), quietFlight{})
	is.Equal(secrets.FlightOf(secrets.WithFlight(ctx, nil)), nil) // hidden

	is.Equal(secrets.Attempt(ctx), 0)
	ctx = secrets.WithAttempt(ctx, 2)
	is.Equal(secrets.Attempt(ctx), 2)
	is.Equal(secrets.Attempt(secrets.WithAttempt(ctx, 0)), 0)

	is.True(!secrets.Probe(ctx))
	ctx = secrets.WithProbe(ctx, true)
	is.True(secrets.Probe(ctx))
	is.True(!secrets.Probe(secrets.WithProbe(ctx, false)))
}

// observing is a layer in the slot of tracing that asks for the caches.
type observing struct {
	caches map[string]secrets.CacheMonitor
	local  map[string]bool
	err    error
}

func (o *observing) Wrap(next secrets.Fetcher) secrets.Fetcher {
	return &observer{next, o}
}

type observer struct {
	secrets.Fetcher

	layer *observing
}

func (o *observer) name() string { return o.Fetcher.(secrets.Backend).Name() }

func (o *observer) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	o.layer.local[o.name()] = o.Fetcher.(interface{ Local() bool }).Local()
	return o.Fetcher.Fetch(ctx, ref)
}

func (o *observer) ObserveCache(c secrets.CacheMonitor) error {
	o.layer.caches[o.name()] = c
	return o.layer.err
}

func TestObserveCache(t *testing.T) {
	is := is.New(t)
	layer := &observing{caches: make(map[string]secrets.CacheMonitor), local: make(map[string]bool)}
	remote := secretstest.NewBackend(map[string]string{"a": "1"}, secretstest.WithName("remote"))
	local := secretstest.NewBackend(map[string]string{"b": "2"}, secretstest.WithName("local"), secretstest.WithLocal())
	memory := cache.New()
	client := open(t, remote, secrets.WithFallback(fallback.To(local)), secrets.WithTracing(layer), secrets.WithCache(memory),
		middleware.Standard())

	is.Equal(len(layer.caches), 1) // a local backend has no cache
	layer.caches["remote"].CountHits()
	for range 3 {
		_, err := client.Get(t.Context(), "a")
		is.NoErr(err)
	}
	_, err := client.Get(t.Context(), "b")
	is.NoErr(err)
	want := secrets.CacheStats{Hits: 2, Misses: 2, Entries: 1}
	is.Equal(layer.caches["remote"].CacheStats(), want)
	is.Equal(memory.Stats(), want)
	is.Equal(layer.local, map[string]bool{"remote": false, "local": true})
}

func TestObserveCacheFails(t *testing.T) {
	is := is.New(t)
	layer := &observing{caches: make(map[string]secrets.CacheMonitor), err: errors.New("no meter")}
	_, err := secrets.New(secretstest.NewBackend(nil), secrets.WithTracing(layer), middleware.Standard())
	is.True(errors.Is(err, layer.err))

	layer.caches = nil // to write to it panics
	_, err = secrets.New(secretstest.NewBackend(nil), secrets.WithTracing(layer), middleware.Standard())
	is.True(err != nil)
	client, err := secrets.New(secretstest.NewBackend(nil), secrets.WithTracing(layer)) // without a cache, nobody asks
	is.NoErr(err)
	is.NoErr(client.Close())
}
