package cache_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

// TestSeveralAtOnce fetches several documents at a time, each with a Fetch of its own.
func TestSeveralAtOnce(t *testing.T) {
	opts := []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}
	// values fetches paths, and returns their values.
	values := func(f *fixture, paths string) string {
		var all []string
		for _, r := range fetchAll(context.Background(), f.layer, strings.Fields(paths)...) {
			switch {
			case r.Err != nil:
				all = append(all, "error")
			case r.Secret.Meta().Stale:
				all = append(all, r.Secret.Reveal()+" stale")
			default:
				all = append(all, r.Secret.Reveal())
			}
		}
		return strings.Join(all, ", ")
	}
	// asked returns the paths of the source's calls since the last call of asked.
	asked := func(f *fixture) string {
		var paths []string
		f.set(func(s *source) { paths, s.paths = s.paths, nil })
		slices.Sort(paths)
		return strings.Join(paths, " ")
	}
	run(t, "fetches only the misses", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.Equal(values(f, "a db b"), "a v1, db v1, b v1")
		f.Equal(values(f, "b a db"), "b v1, a v1, db v1")
		f.Equal(asked(f), "a b db")
	})
	run(t, "expired ones are renewed, once each", opts, func(f *fixture) {
		f.Equal(values(f, "a b"), "a v1, b v1")
		f.Equal(asked(f), "a b")
		f.at(time.Minute)
		f.rotate()
		f.set(func(s *source) { s.delay = maxWait - 1 })
		f.Equal(values(f, "a c b a"), "a v2, c v2, b v2, a v2")
		f.Equal(asked(f), "a b c")
	})
	run(t, "stale where it may be", opts, func(f *fixture) {
		f.Equal(values(f, "a b"), "a v1, b v1")
		f.answers(secrets.ErrUnavailable)
		f.at(time.Minute)
		f.Equal(values(f, "a c b"), "a v1 stale, error, b v1 stale")
		f.Equal(values(f, "a c b"), "a v1 stale, error, b v1 stale")
		f.Equal(asked(f), "a a b b c") // all are in back-off
	})
	run(t, "joins renewals that run", opts, func(f *fixture) {
		f.Equal(values(f, "db b"), "db v1, b v1")
		f.at(time.Minute)
		f.set(func(s *source) { s.delay = maxWait - 1; s.version = 2 })
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = f.get() })
		f.at(time.Minute + 500*time.Millisecond)
		f.Equal(values(f, "db b"), "db v2, b v2")
		wg.Wait()
		f.Equal(asked(f), "b b db db")
	})
}

func TestVersionsAreDocumentsOfTheirOwn(t *testing.T) {
	run(t, "", nil, func(f *fixture) {
		ctx := context.Background()
		f.fresh(1, 1)
		f.rotate()
		got, err := f.layer.Fetch(ctx, secrets.Ref{Path: "db", Version: "7"})
		f.NoErr(err)
		f.Equal(got.Reveal(), "db v2")
		f.fresh(1, 2)
	})
}

func TestCapacity(t *testing.T) {
	get := func(f *fixture, path string) {
		f.Helper()
		_, err := f.layer.Fetch(context.Background(), secrets.Ref{Path: path})
		f.NoErr(err)
	}
	run(t, "the least used goes", []cache.Option{cache.WithSize(3)}, func(f *fixture) {
		get(f, "a")
		get(f, "b")
		get(f, "c")
		get(f, "a") // touched
		get(f, "d") // evicts b
		f.Equal(f.cache.Stats(), cache.Stats{Misses: 4, Evictions: 1, Entries: 3})
		get(f, "a")
		get(f, "c")
		f.Equal(f.count(), 4)
		get(f, "b")
		f.Equal(f.count(), 5)
	})
	run(t, "all touched", []cache.Option{cache.WithSize(3)}, func(f *fixture) {
		for range 2 {
			for _, p := range []string{"a", "b", "c"} {
				get(f, p)
			}
		}
		get(f, "d")
		f.Equal(f.cache.Stats().Entries, 3)
	})
	run(t, "hits are counted on request", []cache.Option{cache.WithHitCount()}, func(f *fixture) {
		get(f, "a")
		get(f, "a")
		get(f, "a")
		f.Equal(f.cache.Stats(), cache.Stats{Hits: 2, Misses: 1, Entries: 1})
	})
}

// Two clients share one cache: their backends and keys, which have the same names, are not mixed up.
func TestSharedByClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := cache.New(cache.WithSize(10))
		one, two := &source{version: 1}, &source{version: 2}
		first, err := secrets.New(one.backend(), secrets.WithCache(memory), secrets.WithDedup(dedup.New()))
		is.NoErr(err)
		second, err := secrets.New(two.backend(), secrets.WithCache(memory), secrets.WithDedup(dedup.New()))
		is.NoErr(err)
		value := func(c *secrets.Client) string {
			s, err := c.Get(t.Context(), "db")
			is.NoErr(err)
			return s.Reveal()
		}
		for range 2 {
			is.Equal(value(first), "db v1")
			is.Equal(value(second), "db v2")
		}
		is.Equal(memory.Stats().Entries, 2)
		is.NoErr(first.Close())
		is.Equal(memory.Stats().Entries, 1)
		is.Equal(value(second), "db v2")
		is.Equal(two.count(), 1)
		second.Invalidate("db#ignored")
		is.Equal(value(second), "db v2")
		is.Equal(two.count(), 2)
		is.NoErr(second.Close())
		is.Equal(memory.Stats().Entries, 0)
	})
}

func TestOptions(t *testing.T) {
	is := is.New(t)
	is.NoErr(cache.New().Validate())
	err := cache.New(
		nil, cache.WithTTL(0), cache.WithMaxStale(-1), cache.WithNegativeTTL(-1), cache.WithRefreshAhead(1),
		cache.WithJitter(-0.1), cache.WithSize(0),
	).Validate()
	for _, part := range []string{
		"option 1 is nil", "WithTTL", "WithMaxStale", "WithNegativeTTL", "WithRefreshAhead", "WithJitter", "WithSize",
	} {
		is.True(strings.Contains(err.Error(), part)) // every fault is reported
	}
	_, err = secrets.New((&source{}).backend(), secrets.WithCache(cache.New(cache.WithTTL(-1))))
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "WithTTL"))
}

func TestTheZeroValueIsAFault(t *testing.T) {
	is := is.New(t)
	_, err := secrets.New((&source{}).backend(), secrets.WithCache(&cache.Cache{}))
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "cache.New"))
}
