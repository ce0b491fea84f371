package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

func TestRefreshAhead(t *testing.T) {
	const ttl = 100 * time.Second
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithRefreshAhead(0.8)}
	run(t, "one renewal in the background", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.version = 2; s.delay = time.Second })
		f.at(80*time.Second - 1)
		f.fresh(1, 1)
		f.at(80 * time.Second)
		for range 100 {
			f.fresh(1, 2) // the old value at once, and one renewal
		}
		f.at(81 * time.Second)
		f.fresh(2, 2)
		f.at(160*time.Second - 1) // its ages run from its own start, at 80 s
		f.fresh(2, 2)
		f.at(160 * time.Second)
		f.fresh(2, 3)
	})
	run(t, "no caller can cancel it", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.version = 2; s.delay = time.Second })
		f.at(80 * time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		_, err := f.layer.Fetch(ctx, db)
		f.NoErr(err)
		cancel()
		f.at(81 * time.Second)
		f.fresh(2, 2)
	})
	run(t, "a value that is not read is not renewed", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.at(99 * time.Second)
		f.Equal(f.count(), 1)
	})
	for _, class := range []error{secrets.ErrUnavailable, secrets.ErrMalformed, secrets.ErrUnknown} {
		run(t, "a failed one is not repeated by every read: "+class.Error(), opts, func(f *fixture) {
			f.fresh(1, 1)
			f.answers(class)
			f.at(80 * time.Second)
			for range 1000 {
				_, err := f.get()
				f.NoErr(err)
			}
			synctest.Wait()
			f.Equal(f.count(), 2)
			for range 20 * 50 { // 50 reads a second until the TTL
				time.Sleep(20 * time.Millisecond)
				_, _ = f.get()
			}
			synctest.Wait()
			f.True(f.count() < 12)
			f.True(f.count() > 5)
		})
	}
	for _, class := range []error{secrets.ErrNotFound, secrets.ErrPermissionDenied} {
		run(t, "a terminal answer ends the value: "+class.Error(), opts, func(f *fixture) {
			f.fresh(1, 1)
			f.answers(class)
			f.at(80 * time.Second)
			f.fresh(1, 2)
			_, err := f.get()
			f.True(errors.Is(err, class)) // long before the TTL
		})
	}
}

func TestJitter(t *testing.T) {
	const ttl = 100 * time.Second
	run(t, "ten per cent", []cache.Option{
		cache.WithTTL(ttl), cache.WithRefreshAhead(0), cache.WithJitter(0.1), cache.WithSize(2000), cache.WithMaxStale(0),
	}, func(f *fixture) {
		var refs []secrets.Ref
		for i := range 2000 {
			refs = append(refs, secrets.Ref{Path: fmt.Sprint(i)})
		}
		expired := func() int {
			before := f.cache.Stats().Misses
			for _, ref := range refs {
				_, _ = f.layer.Fetch(context.Background(), ref)
			}
			return int(f.cache.Stats().Misses - before)
		}
		f.Equal(expired(), 2000)
		f.at(90*time.Second - 1)
		f.Equal(expired(), 0)
		f.at(95 * time.Second)
		n := expired()
		f.True(n > 350 && n < 650) // a quarter
		f.at(110*time.Second + 1)
		n = expired()
		f.True(n > 1350 && n < 1650) // those that were not renewed at 95 s
	})
}

// Close waits for a fetch that is under way, which the layer below has to end.
func TestCloseWaitsForFetches(t *testing.T) {
	opts := []cache.Option{cache.WithTTL(time.Minute)}
	run(t, "that a caller waits for", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = 3 * time.Second })
		f.at(time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := f.get()
			f.True(errors.Is(err, secrets.ErrClosed))
			f.Equal(time.Since(f.began), time.Minute)
		})
		synctest.Wait()
		f.NoErr(f.layer.Close())
		f.Equal(time.Since(f.began), time.Minute+3*time.Second)
		f.Equal(f.layer.CacheStats().Entries, 0)
		wg.Wait()
	})
	runAlone(t, "that nobody waits for", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = 3 * time.Second })
		f.at(time.Minute - time.Second)
		f.fresh(1, 2)
		within(f.I, 3*time.Second, func() { f.NoErr(f.layer.Close()) })
		f.Equal(f.layer.CacheStats().Entries, 0)
		f.fails(secrets.ErrClosed, 2)
	})
}
