package dedup_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

type nameKey struct{}

func callerNamed(name string) context.Context {
	return context.WithValue(context.Background(), nameKey{}, name)
}

// crowd notes the names of those who join a flight.
type crowd struct {
	mu    sync.Mutex
	names map[any]int
}

func (c *crowd) watch(f secrets.Flight) {
	f.OnJoin(func(caller context.Context) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.names == nil {
			c.names = make(map[any]int)
		}
		c.names[caller.Value(nameKey{})]++
	})
}

func TestFlightTellsWhoJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var early, late crowd
		var flights []secrets.Flight
		layer := wrap(&source{fetch: func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			is.Equal(ctx.Value(nameKey{}), "first")
			f := secrets.FlightOf(ctx)
			flights = append(flights, f)
			is.True(!f.Background())
			early.watch(f)
			time.Sleep(2 * time.Second)
			late.watch(f) // those that have joined before
			time.Sleep(2 * time.Second)
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}})
		var wg sync.WaitGroup
		for name, wait := range map[string]time.Duration{"first": 0, "second": time.Second, "third": 3 * time.Second} {
			wg.Go(func() {
				time.Sleep(wait)
				_, err := layer.Fetch(callerNamed(name), db)
				is.NoErr(err)
			})
		}
		wg.Wait()
		want := map[any]int{"second": 1, "third": 1}
		is.Equal(early.names, want)
		is.Equal(late.names, want)
		is.Equal(len(flights), 1)

		var after crowd
		after.watch(flights[0]) // the flight has ended
		is.Equal(len(after.names), 0)
	})
}

// A batch shares other flights, and is told to each of them once; it is no other of its own.
func TestFlightTellsBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var mu sync.Mutex
		crowds := make(map[any]*crowd)
		layer := wrap(&source{fetch: func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			first := ctx.Value(nameKey{})
			mu.Lock()
			_, known := crowds[first]
			if !known {
				crowds[first] = &crowd{}
				crowds[first].watch(secrets.FlightOf(ctx))
			}
			mu.Unlock()
			time.Sleep(time.Second)
			return secrets.NewSecret("value of "+ref.Path, secrets.Meta{}), nil
		}})
		a, b, c := secrets.Ref{Path: "a"}, secrets.Ref{Path: "b"}, secrets.Ref{Path: "c"}
		var wg sync.WaitGroup
		wg.Go(func() { layer.FetchMany(callerNamed("one"), []secrets.Ref{a, b, a}) })
		synctest.Wait()
		wg.Go(func() { layer.FetchMany(callerNamed("two"), []secrets.Ref{a, b, c, c}) })
		wg.Wait()
		is.Equal(crowds["one"].names, map[any]int{"two": 1})
		is.Equal(len(crowds["two"].names), 0)
	})
}

// outer is the flight of a layer above, such as a renewal of the cache.
type outer struct {
	callers    []context.Context
	background bool
}

func (o *outer) OnJoin(f func(context.Context)) {
	for _, ctx := range o.callers {
		f(ctx)
	}
}
func (o *outer) Background() bool { return o.background }

func TestFlightWithinFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var seen crowd
		layer := wrap(&source{fetch: func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			is.True(secrets.FlightOf(ctx).Background())
			seen.watch(secrets.FlightOf(ctx))
			time.Sleep(time.Second)
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}})
		var wg sync.WaitGroup
		wg.Go(func() {
			f := &outer{callers: []context.Context{callerNamed("waits for the renewal")}, background: true}
			_, _ = layer.Fetch(secrets.WithFlight(callerNamed("renewal"), f), db)
		})
		synctest.Wait()
		wg.Go(func() {
			f := &outer{callers: []context.Context{callerNamed("waits for the other")}}
			_, _ = layer.Fetch(secrets.WithFlight(callerNamed("other"), f), db)
		})
		wg.Wait()
		is.Equal(seen.names, map[any]int{"waits for the renewal": 1, "other": 1, "waits for the other": 1})
	})
}

// An observer may call the layer: no lock is held meanwhile.
func TestFlightHoldsNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var layer secrets.Fetcher
		var once sync.Once
		other := secrets.Ref{Path: "other"}
		layer = wrap(&source{fetch: func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref == db {
				secrets.FlightOf(ctx).OnJoin(func(context.Context) {
					once.Do(func() {
						_, err := layer.Fetch(context.Background(), other)
						is.NoErr(err)
					})
				})
				time.Sleep(time.Second)
			}
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := layer.Fetch(t.Context(), db)
				is.NoErr(err)
			})
			synctest.Wait()
		}
		wg.Wait()
	})
}
