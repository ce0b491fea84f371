package dedup_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
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

func (c *crowd) watch(f *fetchctx.Flight) {
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
		var atOnce, afterwards crowd
		var flights []*fetchctx.Flight
		f := layer(&source{fetch: func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			is.Equal(ctx.Value(nameKey{}), "first")
			fetch := fetchctx.Of(ctx)
			flights = append(flights, fetch.Flight)
			is.True(!fetch.Background)
			atOnce.watch(fetch.Flight)
			time.Sleep(2 * time.Second)
			afterwards.watch(fetch.Flight) // those that have joined before
			time.Sleep(2 * time.Second)
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}})
		var wg sync.WaitGroup
		for name, wait := range map[string]time.Duration{"first": 0, "second": time.Second, "third": 3 * time.Second} {
			wg.Go(func() {
				time.Sleep(wait)
				_, err := f.Fetch(callerNamed(name), db)
				is.NoErr(err)
			})
		}
		wg.Wait()
		want := map[any]int{"second": 1, "third": 1}
		is.Equal(atOnce.names, want)
		is.Equal(afterwards.names, want)
		is.Equal(len(flights), 1)

		var after crowd
		after.watch(flights[0]) // the flight has ended
		is.Equal(len(after.names), 0)
	})
}

// joined returns the context of a caller that fetches for a flight of its own, as a renewal of the cache is, which waiter has joined.
func joined(name, waiter string, fetch fetchctx.Fetch) context.Context {
	ctx := callerNamed(name)
	fetch.Flight = fetchctx.NewFlight(ctx)
	fetch.Flight.Join(callerNamed(waiter))
	return fetchctx.With(ctx, fetch)
}

func TestFlightWithinFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var seen crowd
		f := layer(&source{fetch: func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			fetch := fetchctx.Of(ctx)
			is.True(fetch.Background)
			seen.watch(fetch.Flight)
			time.Sleep(time.Second)
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}})
		var wg sync.WaitGroup
		fetch := func(ctx context.Context) {
			wg.Go(func() {
				_, err := f.Fetch(ctx, db)
				is.NoErr(err)
			})
			synctest.Wait()
		}
		fetch(joined("renewal", "waits for the renewal", fetchctx.Fetch{Background: true}))
		fetch(joined("other", "waits for the other", fetchctx.Fetch{}))
		wg.Wait()
		is.Equal(seen.names, map[any]int{"waits for the renewal": 1, "other": 1, "waits for the other": 1})
	})
}

// TestFlightKeepsWhatItsFetchIs lets the first caller decide what the fetch is, but for what belongs to that caller alone.
func TestFlightKeepsWhatItsFetchIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		group := fetchctx.NewGroup(2)
		var seen fetchctx.Fetch
		f := layer(&source{fetch: func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			seen = fetchctx.Of(ctx)
			time.Sleep(time.Second)
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}})
		idle := false
		group.OnIdle(func() { idle = true })
		var wg sync.WaitGroup
		fetch := func(what fetchctx.Fetch) {
			wg.Go(func() {
				_, err := f.Fetch(fetchctx.With(t.Context(), what), db)
				is.NoErr(err)
			})
			synctest.Wait()
		}
		fetch(fetchctx.Fetch{Probe: true, Attempt: 3, Group: group})
		is.True(seen.Probe)
		is.Equal(seen.Attempt, 3)
		is.True(seen.Group == group)
		is.True(seen.Origin != nil) // where a Batcher notes its call
		fetch(fetchctx.Fetch{Group: group})
		is.True(!idle) // the second waits for the flight, and the first is on its way in it
		group.Done()
		is.True(idle)
		wg.Wait()
	})
}

// An observer may call the layer: no lock is held meanwhile.
func TestFlightHoldsNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var f secrets.Dedup
		var once sync.Once
		other := secrets.Ref{Path: "other"}
		f = layer(&source{fetch: func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref == db {
				fetchctx.Of(ctx).Flight.OnJoin(func(context.Context) {
					once.Do(func() {
						_, err := f.Fetch(context.Background(), other)
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
				_, err := f.Fetch(t.Context(), db)
				is.NoErr(err)
			})
			synctest.Wait()
		}
		wg.Wait()
	})
}
