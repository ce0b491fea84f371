package cache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

func TestRefresh(t *testing.T) {
	ctx := withFresh(context.Background())
	run(t, "asks past a fresh value and renews it", nil, func(f *fixture) {
		f.fresh(1, 1)
		f.rotate()
		got, err := f.layer.Fetch(ctx, db)
		f.NoErr(err)
		f.Equal(got.Reveal(), "db v2")
		f.fresh(2, 2)
		f.rotate()
		f.fresh(2, 2)
	})
	run(t, "never answers stale", []cache.Option{cache.WithTTL(time.Minute)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		_, err := f.layer.Fetch(ctx, db)
		f.True(errors.Is(err, secrets.ErrUnavailable))
		f.fresh(1, 2) // the fresh value stays
		f.at(time.Minute)
		_, err = f.layer.Fetch(ctx, db)
		f.True(errors.Is(err, secrets.ErrUnavailable))
	})
	run(t, "evicts on a terminal answer", nil, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrPermissionDenied)
		_, err := f.layer.Fetch(ctx, db)
		f.True(errors.Is(err, secrets.ErrPermissionDenied))
		f.fails(secrets.ErrPermissionDenied, 3)
	})
}

func TestGenerations(t *testing.T) {
	// A fetch begins with version 1, the secret is rotated, and then the program invalidates it.
	tell := map[string]func(f *fixture){
		"invalidate": func(f *fixture) { f.invalidate("db") },
		"purge":      func(f *fixture) { f.cache.Purge() },
		"refresh": func(f *fixture) {
			_, err := f.layer.Fetch(withFresh(context.Background()), db)
			f.NoErr(err)
		},
	}
	for name, told := range tell {
		run(t, "cold: "+name, nil, func(f *fixture) {
			f.set(func(s *source) { s.delay = time.Second })
			var wg sync.WaitGroup
			wg.Go(func() {
				got, err := f.get()
				f.NoErr(err)
				f.Equal(got.Reveal(), "db v1")
			})
			f.at(500 * time.Millisecond)
			f.set(func(s *source) { s.delay = 0; s.version = 2 })
			told(f)
			wg.Wait()
			got, err := f.get() // not the late answer of the first fetch
			f.NoErr(err)
			f.Equal(got.Reveal(), "db v2")
		})
		run(t, "renewal: "+name, []cache.Option{cache.WithTTL(time.Minute)}, func(f *fixture) {
			f.fresh(1, 1)
			f.at(time.Minute)
			f.set(func(s *source) { s.delay = time.Second })
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = f.get() })
			f.at(time.Minute + 500*time.Millisecond)
			f.set(func(s *source) { s.delay = 0; s.version = 2 })
			told(f)
			got, err := f.get() // waits for the renewal that began before, and for one more
			f.NoErr(err)
			f.Equal(time.Since(f.began), time.Minute+time.Second)
			if name == "purge" { // which does not stop callers from sharing the fetch
				f.Equal(got.Reveal(), "db v1")
			} else {
				f.Equal(got.Reveal(), "db v2")
			}
			wg.Wait()
			synctest.Wait()
			got, err = f.get()
			f.NoErr(err)
			f.Equal(got.Reveal(), "db v2")
		})
	}
	run(t, "the answer of a refresh is not replaced by an older one", nil, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.version = 2; s.delay = time.Second })
		refresh := func() { _, _ = f.layer.Fetch(withFresh(context.Background()), db) }
		var wg sync.WaitGroup
		wg.Go(refresh)
		f.at(500 * time.Millisecond)
		wg.Go(refresh) // supersedes the first, and is under way when that returns
		f.at(time.Second)
		got, err := f.get()
		f.NoErr(err)
		f.Equal(got.Reveal(), "db v2")
		wg.Wait()
	})
	run(t, "an invalidated value is not served stale", []cache.Option{cache.WithTTL(time.Minute)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(time.Minute)
		f.set(func(s *source) { s.delay = time.Second })
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := f.get()
			f.True(errors.Is(err, secrets.ErrUnavailable))
		})
		f.at(time.Minute + 500*time.Millisecond)
		f.invalidate("db")
		wg.Wait()
	})
}
