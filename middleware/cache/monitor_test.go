package cache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

func monitor(f secrets.Fetcher) secrets.CacheMonitor { return f.(secrets.CacheMonitor) }

func closeLayer(f secrets.Fetcher) error { return f.(interface{ Close() error }).Close() }

// Each keyspace has figures of its own, and the cache has the sum, also of what was closed.
func TestStatsOfEachKeyspace(t *testing.T) {
	is := is.New(t)
	memory := cache.New(cache.WithSize(2))
	one, two := memory.Wrap(&source{}), memory.Wrap(&source{})
	get := func(f secrets.Fetcher, path string) {
		_, err := f.Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
	}
	monitor(two).CountHits()
	get(one, "a")
	get(one, "a") // not counted
	get(two, "a")
	get(two, "a")
	is.Equal(monitor(one).CacheStats(), secrets.CacheStats{Misses: 1, Entries: 1})
	is.Equal(monitor(two).CacheStats(), secrets.CacheStats{Misses: 1, Entries: 1, Hits: 1})

	get(two, "b") // an entry of either has to go
	get(two, "c")
	is.Equal(monitor(one).CacheStats().Evictions+monitor(two).CacheStats().Evictions, uint64(2))
	is.Equal(monitor(one).CacheStats().Entries+monitor(two).CacheStats().Entries, 2)
	all := memory.Stats()
	is.Equal(all, cache.Stats{Misses: 4, Entries: 2, Hits: 1, Evictions: 2})

	is.NoErr(closeLayer(two))
	is.NoErr(closeLayer(two)) // its figures count once
	is.Equal(monitor(two).CacheStats().Entries, 0)
	memory.Purge()
	is.NoErr(closeLayer(one))
	all.Entries = 0
	is.Equal(memory.Stats(), all)
}

func TestBackingOff(t *testing.T) {
	run(t, "values and cold documents", []cache.Option{cache.WithTTL(time.Second)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(2 * time.Second)
		f.staleAnswer(1, 2)
		_, err := f.layer.Fetch(context.Background(), secrets.Ref{Path: "cold"})
		f.True(err != nil)
		f.Equal(monitor(f.layer).BackingOff(), 2)
		f.at(3 * time.Second)
		f.Equal(monitor(f.layer).BackingOff(), 0)
	})
}

// observed is a source that notes what the contexts of its calls say.
type observed struct {
	source

	mu       sync.Mutex
	attempts []int
	flights  []secrets.Flight
	joined   []string
}

type nameKey struct{}

func callerNamed(name string) context.Context {
	return context.WithValue(context.Background(), nameKey{}, name)
}

func (o *observed) note(ctx context.Context) {
	f := secrets.FlightOf(ctx)
	o.mu.Lock()
	o.attempts, o.flights = append(o.attempts, secrets.Attempt(ctx)), append(o.flights, f)
	o.mu.Unlock()
	if f != nil {
		f.OnJoin(func(caller context.Context) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.joined = append(o.joined, fmt.Sprint(caller.Value(nameKey{})))
		})
	}
}

func (o *observed) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	o.note(ctx)
	return o.source.Fetch(ctx, ref)
}

func (o *observed) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	o.note(ctx)
	return o.source.FetchMany(ctx, refs)
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := &observed{source: source{err: secrets.ErrUnavailable}}
		layer := cache.New().Wrap(o)
		for range 3 {
			_, err := layer.Fetch(t.Context(), db)
			is.True(err != nil)
			time.Sleep(time.Minute)
		}
		o.set(func(s *source) { s.err = nil })
		for range 2 {
			_, err := layer.Fetch(t.Context(), db)
			is.NoErr(err)
			time.Sleep(10 * time.Hour)
		}
		is.Equal(o.attempts, []int{0, 2, 3, 4, 0})
		is.NoErr(closeLayer(layer))
	})
}

func TestRenewalsAreFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := &observed{}
		layer := cache.New(exact, cache.WithTTL(100*time.Second)).Wrap(o)
		get := func(name string) {
			_, err := layer.Fetch(callerNamed(name), db)
			is.NoErr(err)
		}
		get("miss")
		is.Equal(o.flights[0], nil) // that is for the dedup layer to know

		time.Sleep(90 * time.Second)
		o.set(func(s *source) { s.delay = 20 * time.Second })
		get("ahead") // at 90 s
		get("hit")   // waits for nothing
		synctest.Wait()
		is.True(o.flights[1].Background())
		time.Sleep(15 * time.Second)
		get("joins the renewal") // at 105 s
		is.Equal(o.joined, []string{"joins the renewal"})

		o.joined = nil
		time.Sleep(200 * time.Second)
		var wg sync.WaitGroup
		wg.Go(func() { get("first") })
		synctest.Wait()
		wg.Go(func() { get("second") })
		wg.Go(func() {
			layer.FetchMany(callerNamed("batch"), []secrets.Ref{db, db, {Path: "another"}})
		})
		wg.Wait()
		is.True(!o.flights[2].Background())
		is.Equal(len(o.joined), 2) // the second and the batch, once
		is.NoErr(closeLayer(layer))
	})
}

func TestBatchesOfRenewalsAreFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := &observed{}
		layer := cache.New(exact, cache.WithTTL(100*time.Second)).Wrap(o)
		refs := []secrets.Ref{{Path: "a"}, {Path: "b"}}
		layer.FetchMany(t.Context(), refs)
		time.Sleep(90 * time.Second)
		layer.FetchMany(t.Context(), refs)
		synctest.Wait()
		is.Equal(len(o.flights), 2)
		is.True(o.flights[1].Background())

		time.Sleep(200 * time.Second)
		o.set(func(s *source) { s.delay = time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { layer.FetchMany(callerNamed("first"), append(refs, refs...)) })
		synctest.Wait()
		wg.Go(func() { layer.FetchMany(callerNamed("second"), refs) })
		wg.Wait()
		is.Equal(len(o.flights), 3)
		is.True(!o.flights[2].Background())
		is.Equal(o.joined, []string{"second"}) // once, and the first is no other
		is.NoErr(closeLayer(layer))
	})
}
