package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// advance lets time pass in the bubble of a test.
func advance(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // in a bubble of synctest only

// until lets time pass until d after the start of the bubble, and what is due by then happen.
func until(began time.Time, d time.Duration) {
	advance(time.Until(began.Add(d)))
	synctest.Wait()
}

// source is what the cache stands around. It answers with the version that is current when it is asked, after a delay.
type source struct {
	mu      sync.Mutex
	version int
	lease   time.Duration
	err     error
	delay   time.Duration
	calls   int
	batches [][]string
}

func (s *source) Name() string { return "source" }

func (s *source) set(change func(s *source)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *source) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	r := s.FetchMany(ctx, []secrets.Ref{ref})[0]
	return r.Secret, r.Err
}

func (s *source) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	s.mu.Lock()
	s.calls++
	paths := make([]string, len(refs))
	results := make([]secrets.Result, len(refs))
	for i, ref := range refs {
		paths[i] = ref.Path
		meta := secrets.Meta{Version: fmt.Sprint(s.version)}
		if s.lease > 0 {
			meta.ExpiresAt = time.Now().Add(s.lease)
		}
		results[i].Secret = secrets.NewSecret(fmt.Sprintf("%s v%d", ref.Path, s.version), meta)
		if s.err != nil {
			results[i] = secrets.Result{Err: &secrets.Error{Err: s.err, Detail: "so says the source"}}
		}
	}
	s.batches = append(s.batches, paths)
	delay := s.delay
	s.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			for i := range results {
				results[i] = secrets.Result{Err: ctx.Err()}
			}
		}
	}
	return results
}

var (
	db    = secrets.Ref{Path: "db"}
	exact = cache.WithJitter(0)
)

// fixture is a cache around a source, in a bubble.
type fixture struct {
	*is.I
	*source
	cache *cache.Cache
	layer secrets.Fetcher
	began time.Time
}

func run(t *testing.T, name string, opts []cache.Option, test func(f *fixture)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fixture{I: is.New(t), source: &source{version: 1}, began: time.Now()}
			f.cache = cache.New(append([]cache.Option{exact}, opts...)...)
			f.NoErr(f.cache.Validate())
			f.layer = f.cache.Wrap(f.source)
			test(f)
			f.NoErr(f.layer.(interface{ Close() error }).Close())
		})
	})
}

func (f *fixture) at(d time.Duration) { until(f.began, d) }

func (f *fixture) get() (secrets.Secret, error) { return f.layer.Fetch(context.Background(), db) }

// fresh checks that a fetch gets version, not stale, and that the source has been asked calls times by then.
func (f *fixture) fresh(version, calls int) {
	f.Helper()
	got, err := f.get()
	f.NoErr(err)
	f.Equal(got.Reveal(), fmt.Sprintf("db v%d", version))
	f.True(!got.Meta().Stale)
	synctest.Wait()
	f.Equal(f.count(), calls)
}

func (f *fixture) staleAnswer(version, calls int) {
	f.Helper()
	got, err := f.get()
	f.NoErr(err)
	f.Equal(got.Reveal(), fmt.Sprintf("db v%d", version))
	f.True(got.Meta().Stale)
	synctest.Wait()
	f.Equal(f.count(), calls)
}

func (f *fixture) fails(class error, calls int) {
	f.Helper()
	got, err := f.get()
	f.True(errors.Is(err, class))
	f.True(got.IsZero())
	synctest.Wait()
	f.Equal(f.count(), calls)
}

func (f *fixture) answers(err error) { f.set(func(s *source) { s.err = err }) }
func (f *fixture) rotate()           { f.set(func(s *source) { s.version++ }) }

func (f *fixture) invalidate(paths ...string) {
	for _, p := range paths {
		f.layer.(interface{ Invalidate(refs ...secrets.Ref) }).Invalidate(secrets.Ref{Path: p})
	}
}

func TestAges(t *testing.T) {
	const ttl = 100 * time.Second
	opts := func(more ...cache.Option) []cache.Option {
		return append([]cache.Option{cache.WithTTL(ttl), cache.WithMaxStale(50 * time.Second), cache.WithRefreshAhead(0)}, more...)
	}
	run(t, "fresh until the TTL to the nanosecond", opts(), func(f *fixture) {
		f.fresh(1, 1)
		f.rotate()
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fresh(2, 2)
		f.at(2*ttl - 1)
		f.fresh(2, 2)
	})
	run(t, "ages run from the start of the fetch", opts(), func(f *fixture) {
		f.set(func(s *source) { s.delay = 10 * time.Second })
		f.fresh(1, 1)
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fresh(1, 2)
	})
	run(t, "stale until TTL and MaxStale to the nanosecond", opts(), func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(ttl)
		f.staleAnswer(1, 2)
		f.at(ttl + 50*time.Second - 1)
		f.staleAnswer(1, 3)
		f.at(ttl + 50*time.Second)
		f.fails(secrets.ErrUnavailable, 3) // the back-off outlives the value
		f.at(ttl + 51*time.Second)
		f.fails(secrets.ErrUnavailable, 4)
		f.answers(nil)
		f.at(ttl + 200*time.Second)
		f.fresh(1, 5)
	})
	run(t, "a stale answer moves no age", opts(), func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		for d := ttl; d < ttl+50*time.Second; d += time.Second {
			f.at(d)
			got, err := f.get()
			f.NoErr(err)
			f.True(got.Meta().Stale)
		}
		f.at(ttl + 50*time.Second)
		_, err := f.get()
		f.True(errors.Is(err, secrets.ErrUnavailable))
	})
	run(t, "fresh again after the outage", opts(), func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(ttl)
		f.staleAnswer(1, 2)
		f.answers(nil)
		f.rotate()
		f.at(ttl + time.Second) // past the first step of the back-off
		f.fresh(2, 3)
		f.at(2*ttl + time.Second - 1)
		f.fresh(2, 3)
	})
	run(t, "MaxStale 0 means never", opts(cache.WithMaxStale(0)), func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fails(secrets.ErrUnavailable, 2)
	})
}

func TestStaleNeverHidesAnyOtherFailure(t *testing.T) {
	classes := map[error]bool{ // and whether the failure evicts the value
		secrets.ErrNotFound:         true,
		secrets.ErrDeleted:          true,
		secrets.ErrFieldNotFound:    true,
		secrets.ErrPermissionDenied: true,
		secrets.ErrUnauthenticated:  true,
		secrets.ErrInvalidKey:       false,
		secrets.ErrMalformed:        false,
		secrets.ErrUnknown:          false,
	}
	opts := []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0), cache.WithNegativeTTL(0)}
	for class, evicts := range classes {
		run(t, class.Error(), opts, func(f *fixture) {
			f.fresh(1, 1)
			f.answers(class)
			f.at(time.Minute)
			f.fails(class, 2)
			f.fails(class, 3) // no failure but an outage is remembered
			f.answers(secrets.ErrUnavailable)
			if evicts {
				f.fails(secrets.ErrUnavailable, 4) // the old value is gone for good
			} else {
				f.staleAnswer(1, 4)
			}
		})
	}
}

func TestDeadlineOfTheCallerServesStale(t *testing.T) {
	opts := []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}
	slow := func(s *source) { s.delay = 2 * time.Second; s.version = 2 }
	run(t, "deadline", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(slow)
		f.at(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		got, err := f.layer.Fetch(ctx, db)
		f.NoErr(err)
		f.True(got.Meta().Stale)
		f.Equal(time.Since(f.began), time.Minute+50*time.Millisecond)
		// Its renewal goes on without it, and later callers join.
		f.fresh(2, 2)
		f.Equal(time.Since(f.began), time.Minute+2*time.Second)
	})
	run(t, "cancelled", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(slow)
		f.at(time.Minute)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(50*time.Millisecond, cancel)
		got, err := f.layer.Fetch(ctx, db)
		f.Equal(err, context.Canceled)
		f.True(got.IsZero())
		f.fresh(2, 2)
	})
	run(t, "batch", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(slow)
		f.at(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		rs := f.layer.FetchMany(ctx, []secrets.Ref{{Path: "cold"}, db})
		f.Equal(rs[0].Err, context.DeadlineExceeded) // there is nothing old to serve
		f.NoErr(rs[1].Err)
		f.True(rs[1].Secret.Meta().Stale)
		f.fresh(2, 2)
	})
	run(t, "cold", opts, func(f *fixture) {
		f.set(slow)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := f.layer.Fetch(ctx, db)
		f.Equal(err, context.DeadlineExceeded)
		f.fresh(2, 2) // and nothing of that is remembered
	})
}

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
	run(t, "a value that nobody asks for is not renewed", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.at(99 * time.Second)
		f.Equal(f.count(), 1)
	})
	for _, class := range []error{secrets.ErrUnavailable, secrets.ErrMalformed, secrets.ErrUnknown} {
		run(t, "a failed one is not sought by every read: "+class.Error(), opts, func(f *fixture) {
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
				advance(20 * time.Millisecond)
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
			f.set(func(s *source) { s.batches = nil })
			before := f.cache.Stats().Misses
			for _, ref := range refs {
				_, _ = f.layer.Fetch(context.Background(), ref)
			}
			return int(f.cache.Stats().Misses - before)
		}
		f.layer.FetchMany(context.Background(), refs)
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

func TestLease(t *testing.T) {
	const ttl = 100 * time.Second
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithMaxStale(time.Hour), cache.WithRefreshAhead(0.8)}
	lease := func(d time.Duration) func(s *source) { return func(s *source) { s.lease = d } }
	run(t, "shortens every age", opts, func(f *fixture) {
		f.set(lease(10 * time.Second))
		f.fresh(1, 1)
		f.rotate()
		f.at(8*time.Second - 1)
		f.fresh(1, 1)
		f.at(8 * time.Second)
		f.fresh(1, 2)
		f.fresh(2, 2)
	})
	run(t, "nothing is served past it", opts, func(f *fixture) {
		f.set(lease(10 * time.Second))
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(10*time.Second - 1)
		got, err := f.get()
		f.NoErr(err)
		f.True(!got.Meta().Stale)
		f.at(10 * time.Second)
		f.fails(secrets.ErrUnavailable, 2) // in back-off since the renewal ahead
	})
	run(t, "ends within MaxStale", opts, func(f *fixture) {
		f.set(lease(ttl + 10*time.Second))
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(ttl)
		f.staleAnswer(1, 2)
		f.at(ttl + 10*time.Second - 1)
		got, err := f.get()
		f.NoErr(err)
		f.True(got.Meta().Stale)
		f.at(ttl + 10*time.Second)
		_, err = f.get()
		f.True(errors.Is(err, secrets.ErrUnavailable))
	})
	run(t, "longer than the TTL changes nothing", opts, func(f *fixture) {
		f.set(lease(24 * time.Hour))
		f.fresh(1, 1)
		f.at(79 * time.Second)
		f.fresh(1, 1)
	})
	run(t, "over at once is not kept", opts, func(f *fixture) {
		f.set(func(s *source) { s.lease = time.Second; s.delay = 2 * time.Second })
		f.fresh(1, 1)
		f.fresh(1, 2)
	})
}

func TestNegative(t *testing.T) {
	for _, class := range []error{secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound} {
		run(t, class.Error(), nil, func(f *fixture) {
			f.answers(class)
			f.fails(class, 1)
			f.answers(nil)
			f.at(5*time.Second - 1)
			f.fails(class, 1)
			f.Equal(f.cache.Stats().NegativeHits, uint64(1))
			f.at(5 * time.Second)
			f.fresh(1, 2)
		})
	}
	run(t, "off", []cache.Option{cache.WithNegativeTTL(0)}, func(f *fixture) {
		f.answers(secrets.ErrNotFound)
		f.fails(secrets.ErrNotFound, 1)
		f.fails(secrets.ErrNotFound, 2)
	})
	run(t, "callers can not change what is remembered", nil, func(f *fixture) {
		f.answers(secrets.ErrNotFound)
		f.fails(secrets.ErrNotFound, 1)
		_, err := f.get()
		err.(*secrets.Error).Detail = "changed" //nolint:errorlint // the cache promises it
		_, err = f.get()
		f.True(strings.Contains(err.Error(), "so says the source"))
	})
	run(t, "never evicts a value", []cache.Option{cache.WithSize(2)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrNotFound)
		for i := range 100 {
			_, err := f.layer.Fetch(context.Background(), secrets.Ref{Path: fmt.Sprint(i)})
			f.True(errors.Is(err, secrets.ErrNotFound))
		}
		f.fresh(1, 101)
		f.Equal(f.cache.Stats().Evictions, uint64(0))
	})
}

func TestBackoff(t *testing.T) {
	run(t, "doubles from 100 ms to 10 s", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		f.fails(secrets.ErrUnavailable, 1)
		step := 100 * time.Millisecond
		for calls := 1; calls < 12; calls++ {
			asked := time.Now()
			for f.count() == calls {
				advance(5 * time.Millisecond)
				_, err := f.get()
				f.True(errors.Is(err, secrets.ErrUnavailable))
			}
			waited := time.Since(asked)
			f.True(waited >= step*8/10)
			f.True(waited <= step*12/10+5*time.Millisecond)
			step = min(2*step, 10*time.Second)
		}
		f.True(f.cache.Stats().BackedOff > 100)
	})
	run(t, "ends with any other answer", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		for range 8 {
			_, _ = f.get()
			advance(13 * time.Second)
		}
		f.answers(secrets.ErrMalformed)
		f.fails(secrets.ErrMalformed, 9)
		f.answers(secrets.ErrUnavailable)
		f.fails(secrets.ErrUnavailable, 10)
		advance(121 * time.Millisecond) // the first step again
		f.fails(secrets.ErrUnavailable, 11)
	})
	run(t, "holds for stale values", []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.set(func(s *source) { s.delay = time.Second })
		f.at(time.Minute)
		f.staleAnswer(1, 2)
		asked := time.Now()
		for range 100 {
			f.staleAnswer(1, 2) // at once
		}
		f.Equal(time.Since(asked), time.Duration(0))
	})
	run(t, "of a stale value ends with any other answer", []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(time.Minute)
		f.staleAnswer(1, 2)
		f.answers(secrets.ErrMalformed)
		_, err := f.layer.Fetch(secrets.WithFresh(context.Background()), db)
		f.True(errors.Is(err, secrets.ErrMalformed))
		f.fails(secrets.ErrMalformed, 4) // no back-off, and no stale value, hides it
	})
	run(t, "does not hold for Refresh", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		f.fails(secrets.ErrUnavailable, 1)
		f.answers(nil)
		got, err := f.layer.Fetch(secrets.WithFresh(context.Background()), db)
		f.NoErr(err)
		f.Equal(got.Reveal(), "db v1")
		f.fresh(1, 2)
	})
}

func TestRefresh(t *testing.T) {
	fresh := secrets.WithFresh(context.Background())
	run(t, "asks past a fresh value and renews it", nil, func(f *fixture) {
		f.fresh(1, 1)
		f.rotate()
		got, err := f.layer.Fetch(fresh, db)
		f.NoErr(err)
		f.Equal(got.Reveal(), "db v2")
		f.fresh(2, 2)
		f.rotate()
		f.Equal(f.layer.FetchMany(fresh, []secrets.Ref{db})[0].Secret.Reveal(), "db v3")
		f.fresh(3, 3)
	})
	run(t, "never answers stale", []cache.Option{cache.WithTTL(time.Minute)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		_, err := f.layer.Fetch(fresh, db)
		f.True(errors.Is(err, secrets.ErrUnavailable))
		f.fresh(1, 2) // the value that is fresh yet stays
		f.at(time.Minute)
		_, err = f.layer.Fetch(fresh, db)
		f.True(errors.Is(err, secrets.ErrUnavailable))
	})
	run(t, "evicts on a terminal answer", nil, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrPermissionDenied)
		_, err := f.layer.Fetch(fresh, db)
		f.True(errors.Is(err, secrets.ErrPermissionDenied))
		f.fails(secrets.ErrPermissionDenied, 3)
	})
}

func TestGenerations(t *testing.T) {
	// A fetch begins with version 1, the secret is rotated, and then the program is told so.
	tell := map[string]func(f *fixture){
		"invalidate": func(f *fixture) { f.invalidate("db") },
		"purge":      func(f *fixture) { f.cache.Purge() },
		"refresh": func(f *fixture) {
			_, err := f.layer.Fetch(secrets.WithFresh(context.Background()), db)
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
			got, err := f.get() // not what the first fetch brought afterwards
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
			got, err := f.get() // does not wait for the renewal that began before
			f.NoErr(err)
			f.Equal(got.Reveal(), "db v2")
			f.Equal(time.Since(f.began), time.Minute+500*time.Millisecond)
			wg.Wait()
			synctest.Wait()
			got, err = f.get()
			f.NoErr(err)
			f.Equal(got.Reveal(), "db v2")
		})
	}
	run(t, "what one refresh has told is not followed by something older", nil, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.version = 2; s.delay = time.Second })
		refresh := func() { _, _ = f.layer.Fetch(secrets.WithFresh(context.Background()), db) }
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

func TestFetchMany(t *testing.T) {
	opts := []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}
	refs := func(paths string) []secrets.Ref {
		var all []secrets.Ref
		for p := range strings.FieldsSeq(paths) {
			all = append(all, secrets.Ref{Path: p})
		}
		return all
	}
	values := func(rs []secrets.Result) string {
		var all []string
		for _, r := range rs {
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
	run(t, "asks once for the misses alone", opts, func(f *fixture) {
		ctx := context.Background()
		f.fresh(1, 1)
		f.Equal(values(f.layer.FetchMany(ctx, refs("a db b"))), "a v1, db v1, b v1")
		f.Equal(values(f.layer.FetchMany(ctx, refs("b a db"))), "b v1, a v1, db v1")
		f.Equal(fmt.Sprint(f.batches), "[[db] [a b]]")
		f.Equal(len(f.layer.FetchMany(ctx, nil)), 0)
	})
	run(t, "expired ones are renewed in the same call", opts, func(f *fixture) {
		ctx := context.Background()
		f.layer.FetchMany(ctx, refs("a b"))
		f.at(time.Minute)
		f.rotate()
		f.Equal(values(f.layer.FetchMany(ctx, refs("a c b a"))), "a v2, c v2, b v2, a v2")
		f.Equal(fmt.Sprint(f.batches), "[[a b] [a c b]]")
	})
	run(t, "stale where it may be", opts, func(f *fixture) {
		ctx := context.Background()
		f.layer.FetchMany(ctx, refs("a b"))
		f.answers(secrets.ErrUnavailable)
		f.at(time.Minute)
		f.Equal(values(f.layer.FetchMany(ctx, refs("a c b"))), "a v1 stale, error, b v1 stale")
		f.Equal(values(f.layer.FetchMany(ctx, refs("a c b"))), "a v1 stale, error, b v1 stale")
		f.Equal(fmt.Sprint(f.batches), "[[a b] [a c b]]") // in back-off, all of them
	})
	run(t, "joins renewals that run", opts, func(f *fixture) {
		ctx := context.Background()
		f.layer.FetchMany(ctx, refs("db b"))
		f.at(time.Minute)
		f.set(func(s *source) { s.delay = time.Second; s.version = 2 })
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = f.get() })
		f.at(time.Minute + 500*time.Millisecond)
		f.Equal(values(f.layer.FetchMany(ctx, refs("db b"))), "db v2, b v2")
		wg.Wait()
		f.Equal(fmt.Sprint(f.batches), "[[db b] [db] [b]]")
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

// TestSharedByClients proves that one cache in two clients mixes nothing up: not the backends of one name, not the keys.
func TestSharedByClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := cache.New(cache.WithSize(10))
		one, two := &source{version: 1}, &source{version: 2}
		first, err := secrets.New(one, secrets.WithCache(memory), secrets.WithDedup(dedup.New()))
		is.NoErr(err)
		second, err := secrets.New(two, secrets.WithCache(memory), secrets.WithDedup(dedup.New()))
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

func TestCloseEndsRenewals(t *testing.T) {
	run(t, "", []cache.Option{cache.WithTTL(time.Minute)}, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = time.Hour })
		f.at(time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := f.get()
			f.True(err != nil)
		})
		synctest.Wait()
		f.NoErr(f.layer.(interface{ Close() error }).Close())
		wg.Wait()
		f.Equal(time.Since(f.began), time.Minute)
	})
}

// TestFaultsOfWhatIsBelow puts the cache around something that fails in the ways a layer must not.
func TestFaultsOfWhatIsBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var fault func() (secrets.Secret, error)
		layer := cache.New(exact, cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)).Wrap(secrets.FetcherFunc(
			func(context.Context, secrets.Ref) (secrets.Secret, error) {
				if fault == nil {
					return secrets.NewSecret("value", secrets.Meta{}), nil
				}
				return fault()
			}))
		_, err := layer.Fetch(t.Context(), db)
		is.NoErr(err)
		for _, fault = range []func() (secrets.Secret, error){
			func() (secrets.Secret, error) { panic("hunter2") },
			func() (secrets.Secret, error) { return secrets.Secret{}, nil },
		} {
			advance(time.Minute)
			_, err := layer.Fetch(t.Context(), db)
			is.True(errors.Is(err, secrets.ErrUnknown))
			is.True(!strings.Contains(err.Error(), "hunter2"))
		}
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
		"nil Option", "WithTTL", "WithMaxStale", "WithNegativeTTL", "WithRefreshAhead", "WithJitter", "WithSize",
	} {
		is.True(strings.Contains(err.Error(), part)) // every fault is told
	}
	_, err = secrets.New(&source{}, secrets.WithCache(cache.New(cache.WithTTL(-1))))
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "WithTTL"))
}
