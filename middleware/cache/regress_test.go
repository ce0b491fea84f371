package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// One refresh ends while a later one is under way, which is then abandoned. The answer of the first stays.
func TestRefreshOutlivesOnesThatBeginLater(t *testing.T) {
	for name, change := range map[string]func(b *secretstest.Backend){
		"rotated": func(b *secretstest.Backend) { b.Set("db", "v2") },
		"denied":  func(b *secretstest.Backend) { b.Fail(secrets.ErrPermissionDenied) },
		"removed": func(b *secretstest.Backend) { b.Remove("db") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				backend := secretstest.NewBackend(map[string]string{"db": "v1"})
				client := newClient(t, backend, secrets.WithCache(cache.New()), secrets.WithDedup(dedup.New()))
				is.Equal(value(t, client, "db"), "v1")
				change(backend)
				backend.SetLatency(time.Second)
				var wg sync.WaitGroup
				wg.Go(func() {
					time.Sleep(100 * time.Millisecond)
					ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
					defer cancel()
					_, err := client.Refresh(ctx, "db")
					is.True(errors.Is(err, context.DeadlineExceeded))
				})
				told, toldErr := client.Refresh(t.Context(), "db")
				wg.Wait()
				time.Sleep(3 * time.Second)
				got, err := client.Get(t.Context(), "db")
				is.Equal(got.Reveal(), told.Reveal())
				is.Equal(secrets.Class(err), secrets.Class(toldErr))
			})
		})
	}
}

// A slow fetch begins first and ends last: its answer is not stored.
func TestAnOlderAnswerDoesNotFollowANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": "v1"}, secretstest.WithLatency(time.Second))
		layer := newLayerAlone(cache.New(), backend) // no dedup: two separate fetches
		fetch := func() string {
			s, err := layer.Fetch(context.Background(), db)
			is.NoErr(err)
			return s.Reveal()
		}
		var wg sync.WaitGroup
		wg.Go(func() { is.Equal(fetch(), "v1") })
		time.Sleep(500 * time.Millisecond)
		backend.Set("db", "v2")
		backend.SetLatency(0)
		is.Equal(fetch(), "v2")
		wg.Wait()
		is.Equal(fetch(), "v2")
	})
}

// A GetMany starts one renewal of each document.
func TestRenewalsAheadOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 16 // as many as run at a time
		r := newRemote(t, keys, cache.WithTTL(100*time.Second))
		all := make([]string, keys)
		for i := range all {
			all[i] = numbered(i)
		}
		_, err := r.GetMany(t.Context(), all...)
		r.NoErr(err)
		r.Equal(r.backend.Calls(), keys)
		r.backend.Set(numbered(7), "new")
		time.Sleep(80 * time.Second)
		r.backend.SetLatency(time.Second)
		for range 3 {
			within(r.I, 0, func() {
				_, err := r.GetMany(t.Context(), all...)
				r.NoErr(err)
			})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		r.Equal(r.backend.Calls(), 2*keys)
		found, err := r.GetMany(t.Context(), all...)
		r.NoErr(err)
		r.Equal(found[numbered(7)].Reveal(), "new")
	})
}

func TestLongestDurations(t *testing.T) {
	run(t, "a lease without an end", nil, func(f *fixture) {
		f.set(func(s *source) { s.lease = math.MaxInt64 / 2 })
		f.fresh(1, 1)
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(6 * time.Minute)
		f.staleAnswer(1, 2)
	})
	run(t, "options", []cache.Option{
		cache.WithTTL(math.MaxInt64), cache.WithMaxStale(math.MaxInt64), cache.WithNegativeTTL(math.MaxInt64), cache.WithJitter(0.9),
	}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrNotFound)
		_, _ = f.layer.Fetch(context.Background(), secrets.Ref{Path: "none"})
		f.at(365 * 24 * time.Hour)
		f.fresh(1, 2)
		_, err := f.layer.Fetch(context.Background(), secrets.Ref{Path: "none"})
		f.True(errors.Is(err, secrets.ErrNotFound))
		f.Equal(f.count(), 2)
	})
}

func TestFarLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": "v1"})
		backend.SetExpiry("db", time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
		client := newClient(t, backend, secrets.WithCache(cache.New()))
		for range 10 {
			is.Equal(value(t, client, "db"), "v1")
		}
		is.Equal(backend.Calls(), 1)
	})
}

// With MaxStale 0, a value is served until the TTL at most, with any jitter.
func TestJitterDoesNotAddToTheBound(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := secretstest.NewBackend(map[string]string{"db": "v1"})
			client := newClient(t, backend, secrets.WithCache(
				cache.New(cache.WithTTL(10*time.Second), cache.WithMaxStale(0), cache.WithJitter(0.5), cache.WithRefreshAhead(0))))
			is.Equal(value(t, client, "db"), "v1")
			backend.Fail(secrets.ErrUnavailable)
			time.Sleep(10 * time.Second)
			_, err := client.Get(t.Context(), "db")
			is.True(errors.Is(err, secrets.ErrUnavailable))
		})
	}
}

// TestCacheOfFields uses a cache outside of a Client, with refs that have fields.
func TestCacheOfFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &pair{name: "pair"}
		var layer secrets.Cache
		client := newClient(t, backend, secrets.WithMiddleware(wrapFunc(func(next secrets.Fetcher) secrets.Fetcher {
			layer = newLayer(cache.New(exact, cache.WithTTL(time.Minute)), next)
			return layer
		})))
		for version := range 3 {
			is.Equal(value(t, client, "db#user"), fmt.Sprint("u", version))
			is.Equal(value(t, client, "db#password"), fmt.Sprint("p", version))
			is.Equal(value(t, client, "db#"), fmt.Sprintf(`{"user":"u%[1]d","password":"p%[1]d"}`, version))
			backend.version.Add(1)
			time.Sleep(time.Minute) // the renewals must fetch the same refs
		}
		is.NoErr(layer.Close())
	})
}

// wrapFunc makes a function a Middleware.
type wrapFunc func(next secrets.Fetcher) secrets.Fetcher

func (f wrapFunc) Wrap(next secrets.Fetcher) secrets.Fetcher { return f(next) }

// Many concurrent first readers of one key make one memo.
func TestHerdLeavesRoomForOtherFields(t *testing.T) {
	is := is.New(t)
	client := newClient(t, &pair{name: "pair"}, secrets.WithCache(cache.New(cache.WithHitCount())))
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() { _, _ = client.Get(t.Context(), "db#user") })
	}
	wg.Wait()
	is.Equal(value(t, client, "db#password"), "p0")
	allocs := testing.AllocsPerRun(100, func() { _, _ = client.Get(t.Context(), "db#password") })
	is.Equal(allocs, 0.0)
}

func TestCloseIsNoOutage(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := secretstest.NewBackend(map[string]string{"db": "v1"})
			client := newClient(t, backend, secrets.WithCache(cache.New(exact, cache.WithTTL(time.Minute))), secrets.WithDedup(dedup.New()))
			is.Equal(value(t, client, "db"), "v1")
			time.Sleep(time.Minute)
			release := backend.Block()
			defer release()
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := client.Get(context.Background(), "db")
				is.True(errors.Is(err, secrets.ErrClosed))
			})
			synctest.Wait()
			is.NoErr(client.Close())
			wg.Wait()
		})
	}
}

func TestStatsOfAFaultyCache(t *testing.T) {
	is := is.New(t)
	memory := cache.New(cache.WithSize(-1), cache.WithTTL(0))
	is.True(memory.Validate() != nil)
	is.Equal(memory.Stats(), cache.Stats{})
	memory.Purge()
}

// TestARenewalLeavesNoGap renews a value again and again while others read: at every moment there is a value. In an outage, a reader that
// found none would get ErrUnavailable, though a value may be served.
func TestARenewalLeavesNoGap(t *testing.T) {
	is := is.New(t)
	layer := newLayer(cache.New(), &source{})
	ref := secrets.Ref{Path: "db"}
	ctx := withFresh(t.Context())
	_, err := layer.Fetch(ctx, ref)
	is.NoErr(err)
	var gaps atomic.Int64
	var readers sync.WaitGroup
	reading, stop := context.WithCancel(t.Context())
	for range 2 {
		readers.Go(func() {
			for reading.Err() == nil {
				if _, known := layer.Peek(ref); !known {
					gaps.Add(1)
				}
			}
		})
	}
	for range 20_000 {
		if _, err := layer.Fetch(ctx, ref); err != nil {
			t.Error(err)
		}
	}
	stop()
	readers.Wait()
	is.Equal(gaps.Load(), int64(0))
	is.NoErr(layer.Close())
}
