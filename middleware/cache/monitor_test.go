package cache_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// Each keyspace has figures of its own. The cache has their sum, closed keyspaces included.
func TestStatsOfEachKeyspace(t *testing.T) {
	is := is.New(t)
	memory := cache.New(cache.WithSize(2))
	one, two := newLayer(memory, &source{}), newLayer(memory, &source{})
	get := func(f secrets.Fetcher, path string) {
		_, err := f.Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
	}
	two.CountHits()
	get(one, "a")
	get(one, "a") // not counted
	get(two, "a")
	get(two, "a")
	is.Equal(one.CacheStats(), secrets.CacheStats{Misses: 1, Entries: 1})
	is.Equal(two.CacheStats(), secrets.CacheStats{Misses: 1, Entries: 1, Hits: 1})

	get(two, "b") // one entry is evicted
	get(two, "c")
	is.Equal(one.CacheStats().Evictions+two.CacheStats().Evictions, uint64(2))
	is.Equal(one.CacheStats().Entries+two.CacheStats().Entries, 2)
	all := memory.Stats()
	is.Equal(all, cache.Stats{Misses: 4, Entries: 2, Hits: 1, Evictions: 2})

	is.NoErr(two.Close())
	is.NoErr(two.Close()) // its figures count once
	is.Equal(two.CacheStats().Entries, 0)
	memory.Purge()
	is.NoErr(one.Close())
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
		f.Equal(f.layer.BackingOff(), 2)
		f.at(3 * time.Second)
		f.Equal(f.layer.BackingOff(), 0)
	})
}

// observed is a source that records the fetchctx of its calls.
type observed struct {
	source

	mu      sync.Mutex
	fetches []fetchctx.Fetch
	joined  []string
}

type nameKey struct{}

func callerNamed(name string) context.Context {
	return context.WithValue(context.Background(), nameKey{}, name)
}

func (o *observed) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	f := fetchctx.Of(ctx)
	o.mu.Lock()
	o.fetches = append(o.fetches, f)
	o.mu.Unlock()
	defer func() {
		for _, caller := range f.Flight.Joined() {
			o.joined = append(o.joined, fmt.Sprint(caller.Value(nameKey{})))
		}
	}()
	return o.source.Fetch(ctx, ref)
}

// last returns the fetchctx of the last fetch.
func (o *observed) last() fetchctx.Fetch {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fetches[len(o.fetches)-1]
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := &observed{source: source{err: secrets.ErrUnavailable}}
		layer := newLayer(cache.New(), o)
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
		var attempts []int
		for _, f := range o.fetches {
			attempts = append(attempts, f.Attempt)
		}
		is.Equal(attempts, []int{0, 2, 3, 4, 0})
		is.NoErr(layer.Close())
	})
}

func TestRenewalsAreFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := &observed{}
		layer := newLayer(cache.New(exact, cache.WithTTL(100*time.Second)), o)
		get := func(name string) {
			_, err := layer.Fetch(callerNamed(name), db)
			is.NoErr(err)
		}
		get("miss")
		is.True(o.last().Flight != nil)
		is.True(!o.last().Background)

		time.Sleep(90 * time.Second)
		o.set(func(s *source) { s.delay = 20 * time.Second })
		get("ahead") // at 90 s
		get("hit")   // waits for nothing
		synctest.Wait()
		is.True(o.last().Background)
		time.Sleep(19500 * time.Millisecond)
		get("joins the renewal") // at 109.5 s, past the TTL
		is.Equal(o.joined, []string{"joins the renewal"})

		o.joined = nil
		time.Sleep(200 * time.Second)
		o.set(func(s *source) { s.delay = maxWait - 1 })
		var wg sync.WaitGroup
		wg.Go(func() { get("first") })
		synctest.Wait()
		wg.Go(func() { get("second") })
		wg.Go(func() { get("third") })
		wg.Wait()
		is.Equal(len(o.fetches), 3)
		is.True(!o.last().Background)
		slices.Sort(o.joined)
		is.Equal(o.joined, []string{"second", "third"}) // the first caller does not count as joined
		is.NoErr(layer.Close())
	})
}

// A renewal in the background is not in the group of its GetMany, which does not wait for it: no batch must wait for it either. A renewal
// that the GetMany waits for is in the group.
func TestRenewalsInTheBackgroundAreInNoGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := &observed{}
		layer := newLayer(cache.New(exact, cache.WithTTL(100*time.Second)), o)
		group := fetchctx.NewGroup(1)
		get := func() fetchctx.Fetch {
			_, err := layer.Fetch(fetchctx.With(t.Context(), fetchctx.Fetch{Group: group}), db)
			is.NoErr(err)
			synctest.Wait()
			return o.last()
		}
		is.True(get().Group == group) // a miss
		time.Sleep(90 * time.Second)
		ahead := get()
		is.True(ahead.Background)
		is.True(ahead.Group != group)
		time.Sleep(100 * time.Second)
		expired := get()
		is.True(!expired.Background)
		is.True(expired.Group == group)

		fetchAll(t.Context(), layer, "a", "b", "c")
		o.set(func(s *source) { s.err = secrets.ErrUnavailable })
		fetchAll(withFresh(t.Context()), layer, "a", "b", "c")
		is.True(layer.Outage())
		time.Sleep(90 * time.Second)
		ahead = get()
		is.True(ahead.Background)
		is.True(ahead.Probe)
		is.True(ahead.Group != group)
		is.NoErr(layer.Close())
	})
}

// A layer below sees which fetches in an outage are probes.
func TestProbesAreMarkedInTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := &observed{source: source{err: secrets.ErrUnavailable}}
		layer := newLayer(cache.New(exact), o)
		get := func(ctx context.Context, path string) fetchctx.Fetch {
			_, err := layer.Fetch(ctx, secrets.Ref{Path: path})
			is.True(err != nil)
			return o.last()
		}
		for _, path := range []string{"a", "b", "c"} {
			is.True(!get(t.Context(), path).Probe)
		}
		time.Sleep(past(firstStep))
		probe := get(t.Context(), "a")
		is.True(probe.Probe)
		is.True(!probe.Background) // its caller waits for it
		is.True(!probe.Fresh)
		is.Equal(probe.Attempt, 2)
		refresh := get(withFresh(t.Context()), "b")
		is.True(refresh.Fresh)
		is.True(!refresh.Probe)
		is.Equal(len(o.fetches), 5)
		is.NoErr(layer.Close())
	})
}
