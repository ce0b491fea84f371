package cache_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// hasty gets key with a deadline of 300 ms, and returns how long that took.
func (r *remote) hasty(key string) (s secrets.Secret, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	s, err = r.Get(ctx, key)
	return s, time.Since(began), err
}

// Callers with deadlines read one after another while the backend hangs. The first waits for half of its time, the others do not wait. The
// fetches go on, fail at the timeout of the Client, and count.
func TestHangingRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 300 * time.Millisecond
		r := newRemote(t, 2, cache.WithTTL(time.Second))
		r.has(false, numbered(0))
		time.Sleep(time.Second)
		r.backend.ResetCounts()
		release := r.backend.Block()
		began := time.Now()
		stale := func(want time.Duration) {
			r.Helper()
			s, took, err := r.hasty(numbered(0))
			r.NoErr(err)
			r.True(s.Meta().Stale)
			r.Equal(took, want)
		}
		// goOn lets callers read until then.
		goOn := func(then time.Duration, calls int) {
			r.Helper()
			for time.Since(began) < then {
				time.Sleep(every)
				stale(0)
			}
			synctest.Wait()
			r.Equal(r.backend.Calls(), calls)
		}
		stale(150 * time.Millisecond)
		goOn(4950*time.Millisecond, 1)
		goOn(5250*time.Millisecond, 2) // the first has failed after 5 s, and the back-off of 100 ms is over
		goOn(10_350*time.Millisecond, 2)
		goOn(10_650*time.Millisecond, 3)
		goOn(15_450*time.Millisecond, 3)
		_, took, err := r.hasty(numbered(1)) // control: until then, a cold key is fetched
		r.True(errors.Is(err, context.DeadlineExceeded))
		r.Equal(took, every)
		r.Equal(r.backend.Calls(), 4)
		goOn(16_050*time.Millisecond-every, 4)

		_, took, err = r.hasty("cold") // three failures of the only document in memory have opened the breaker
		r.True(errors.Is(err, secrets.ErrUnavailable))
		r.True(strings.Contains(err.Error(), "the backend was unavailable 3 times in a row"))
		r.Equal(took, time.Duration(0))
		time.Sleep(past(firstStep))
		stale(0) // a probe, in the background too
		synctest.Wait()
		r.Equal(r.backend.Calls(), 5)

		release()
		synctest.Wait()
		r.has(false, numbered(0)) // any answer ends that
		time.Sleep(time.Second)
		defer r.backend.Block()()
		stale(150 * time.Millisecond)
		stale(0)
	})
}

func TestWaitLimit(t *testing.T) {
	const ttl = time.Minute
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithRefreshAhead(0)}
	hang := func(s *source) { s.delay = 10 * time.Second; s.version = 2 }
	for name, c := range map[string]struct {
		deadline, want time.Duration
	}{
		"a second without a deadline":           {0, time.Second},
		"a second of more than two":             {time.Minute, time.Second},
		"half of the time that is left":         {time.Second, 500 * time.Millisecond},
		"of little time, too":                   {10 * time.Millisecond, 5 * time.Millisecond},
		"nothing of a deadline that has passed": {-1, 0},
	} {
		run(t, name, opts, func(f *fixture) {
			f.fresh(1, 1)
			f.set(hang)
			f.at(ttl)
			ctx := context.Background()
			if c.deadline != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.deadline)
				defer cancel()
			}
			within(f.I, c.want, func() {
				got, err := f.layer.Fetch(ctx, db)
				f.NoErr(err)
				f.True(got.Meta().Stale)
			})
		})
	}
	run(t, "an answer in time is not stale", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = maxWait - 1; s.version = 2 })
		f.at(ttl)
		within(f.I, maxWait-1, func() { f.fresh(2, 2) })
	})
	run(t, "an answer that is later by a nanosecond is stored", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = maxWait + 1; s.version = 2 })
		f.at(ttl)
		within(f.I, maxWait, func() { f.staleAnswer(1, 2) })
		f.at(ttl + maxWait + 1)
		f.fresh(2, 2)
	})
	run(t, "half of the stale time that is left", append(opts, cache.WithMaxStale(time.Second)), func(f *fixture) {
		f.fresh(1, 1)
		f.set(hang)
		f.at(ttl + 600*time.Millisecond)
		within(f.I, 200*time.Millisecond, func() { f.staleAnswer(1, 2) })
		f.at(ttl + time.Second - 1)
		within(f.I, 0, func() { f.staleAnswer(1, 2) })
		f.at(ttl + time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		within(f.I, time.Second, func() { // as for a cold key: it waits for an answer
			_, err := f.layer.Fetch(ctx, db)
			f.Equal(err, context.DeadlineExceeded)
		})
	})
	run(t, "half of the lease that is left", opts, func(f *fixture) {
		f.set(func(s *source) { s.lease = ttl + time.Second })
		f.fresh(1, 1)
		f.set(hang)
		f.at(ttl + 600*time.Millisecond)
		within(f.I, 200*time.Millisecond, func() { f.staleAnswer(1, 2) })
		f.at(ttl + time.Second - 1)
		within(f.I, 0, func() { f.staleAnswer(1, 2) })
		f.at(ttl + time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		within(f.I, time.Second, func() {
			_, err := f.layer.Fetch(ctx, db)
			f.Equal(err, context.DeadlineExceeded)
		})
	})
	run(t, "a cancelled caller gets its error, and others still wait", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(hang)
		f.at(ttl)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(100*time.Millisecond, cancel)
		within(f.I, 100*time.Millisecond, func() {
			got, err := f.layer.Fetch(ctx, db)
			f.Equal(err, context.Canceled)
			f.True(got.IsZero())
		})
		within(f.I, maxWait, func() { f.staleAnswer(1, 3) })
	})
	run(t, "concurrent callers wait as long, for one shared fetch", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(hang)
		f.at(ttl)
		within(f.I, maxWait, func() {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					got, err := f.get()
					f.NoErr(err)
					f.True(got.Meta().Stale)
				})
			}
			wg.Wait()
		})
		f.Equal(f.count(), 2)
	})
	run(t, "a failing document holds up no readers of another", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.warm("other")
		f.set(hang)
		f.at(ttl)
		f.staleAnswer(1, 3)
		f.set(func(s *source) { s.delay = 0 })
		within(f.I, 0, func() { f.warm("other") })
		within(f.I, 0, func() { f.staleAnswer(1, 4) })
	})
}

// Another document of the GetMany waits for the probe for most of its wait limit. Its own fetch has the rest.
func TestWaitLimitInAGetMany(t *testing.T) {
	for own, stale := range map[time.Duration]bool{50 * time.Millisecond: false, 900 * time.Millisecond: true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4, cache.WithTTL(time.Minute), cache.WithRefreshAhead(0))
			r.has(false, "key-0", "key-1", "key-2", "key-3")
			time.Sleep(time.Minute)
			r.breakDown("key-2", "key-3", "key-2")
			r.backend.Recover()
			time.Sleep(past(firstStep))
			r.backend.SetLatency(900 * time.Millisecond)
			time.AfterFunc(time.Millisecond, func() { r.backend.SetLatency(own) })
			within(r.I, min(maxWait, 900*time.Millisecond+own), func() {
				found, err := r.GetMany(t.Context(), "key-0", "key-1")
				r.NoErr(err)
				r.Equal(found["key-0"].Meta().Stale || found["key-1"].Meta().Stale, stale)
				r.True(!found["key-0"].Meta().Stale || !found["key-1"].Meta().Stale) // the probe has fetched one of them
			})
		})
	}
}

// The fetch goes on until there is an answer, though the reader's wait has timed out before.
func TestAnswerWhenTheTimerFires(t *testing.T) {
	const ttl = time.Minute
	for name, c := range map[string]struct {
		err   error
		lease time.Duration // of the old value
		check func(is *is.I, s secrets.Secret, err error)
	}{
		"a value is returned": {check: func(is *is.I, s secrets.Secret, err error) {
			is.NoErr(err)
			is.Equal(s.Reveal(), "db v2")
			is.True(!s.Meta().Stale)
		}},
		"a denial is returned": {err: secrets.ErrPermissionDenied, check: func(is *is.I, s secrets.Secret, err error) {
			is.True(errors.Is(err, secrets.ErrPermissionDenied))
			is.True(s.IsZero())
		}},
		"after an outage, the old value is returned": {err: secrets.ErrUnavailable, check: func(is *is.I, s secrets.Secret, err error) {
			is.NoErr(err)
			is.Equal(s.Reveal(), "db v1")
			is.True(s.Meta().Stale)
		}},
		"after an outage and the end of the lease, the error is returned": {
			err: secrets.ErrUnavailable, lease: ttl + 200*time.Millisecond,
			check: func(is *is.I, s secrets.Secret, err error) { is.True(isUnavailable(s, err)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				below := &source{version: 1, lease: c.lease}
				slowShare := func(fill secrets.Fetcher) secrets.Fetcher {
					return fetchFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
						return fill.Fetch(context.WithoutCancel(ctx), ref)
					})
				}
				layer := cache.New(exact, cache.WithTTL(ttl), cache.WithRefreshAhead(0)).
					NewCache(secrets.Info{Name: "source"}, below, slowShare)
				_, err := layer.Fetch(t.Context(), db)
				is.NoErr(err)
				time.Sleep(ttl)
				below.set(func(s *source) { s.version, s.err, s.delay = 2, c.err, 250*time.Millisecond })
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				s, err := layer.Fetch(ctx, db)
				c.check(is, s, err)
				is.NoErr(layer.Close())
			})
		})
	}
}

// After a reader's wait has timed out, readers do not wait until a fetch has answered.
func TestReadersWaitAgainAfterAnAnswer(t *testing.T) {
	const ttl = time.Minute
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithRefreshAhead(0)}
	// slow lets a reader's wait time out at TTL + 1 s, and the fetch end at TTL + 2 s with err.
	slow := func(f *fixture, err error) {
		f.fresh(1, 1)
		f.warm("other") // otherwise, a single document would open the breaker
		f.set(func(s *source) { s.delay, s.version, s.err = 2*time.Second, 2, err })
		f.at(ttl)
		within(f.I, maxWait, func() { f.staleAnswer(1, 3) })
		f.set(func(s *source) { s.err = nil })
		f.at(ttl + 2*time.Second - 1)
		within(f.I, 0, func() { f.staleAnswer(1, 3) })
		f.at(ttl + 2*time.Second)
	}
	run(t, "a value", opts, func(f *fixture) {
		slow(f, nil)
		f.fresh(2, 3)
		f.at(2*ttl + 2*time.Second)
		within(f.I, maxWait, func() { f.staleAnswer(2, 4) })
	})
	run(t, "not an outage", opts, func(f *fixture) {
		slow(f, secrets.ErrUnavailable)
		f.staleAnswer(1, 3) // in back-off
		f.at(ttl + 3*time.Second)
		for range 10 {
			within(f.I, 0, func() { f.staleAnswer(1, 4) }) // one renewal, in the background
		}
		f.at(ttl + 5*time.Second)
		f.fresh(2, 4)
	})
	run(t, "a refusal, which it must not hide", opts, func(f *fixture) {
		slow(f, secrets.ErrInvalidKey)
		f.set(func(s *source) { s.delay, s.err = 0, secrets.ErrInvalidKey })
		f.fails(secrets.ErrInvalidKey, 4)
	})
	run(t, "a denial, which it must not hide", opts, func(f *fixture) {
		slow(f, secrets.ErrPermissionDenied)
		f.set(func(s *source) { s.delay, s.err = 0, secrets.ErrPermissionDenied })
		f.fails(secrets.ErrPermissionDenied, 4)
	})
	run(t, "a refresh", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = 10 * time.Second })
		f.at(ttl)
		f.staleAnswer(1, 2)
		f.set(func(s *source) { s.delay, s.version = 0, 2 })
		within(f.I, 0, func() { f.staleAnswer(1, 2) })
		_, err := f.layer.Fetch(withFresh(context.Background()), db) // a second later, next to the one that hangs
		f.NoErr(err)
		f.Equal(time.Since(f.began), ttl+2*maxWait)
		f.fresh(2, 3)
	})
}

// A document whose readers do not wait has one renewal at a time.
func TestOneRenewalOfADocumentAtATime(t *testing.T) {
	for name, run := range map[string]func(*testing.T, string, []cache.Option, func(*fixture)){"with dedup": run, "alone": runAlone} {
		run(t, name, []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}, func(f *fixture) {
			f.fresh(1, 1)
			f.warm("other")
			f.at(time.Minute)
			f.set(func(s *source) { s.delay, s.err = 5*time.Second, secrets.ErrUnavailable })
			f.staleAnswer(1, 3)
			for range 29 {
				time.Sleep(time.Second)
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						got, err := f.get()
						f.NoErr(err)
						f.True(got.Meta().Stale)
					})
				}
				within(f.I, 0, wg.Wait)
			}
			f.Equal(f.count(), 2+5) // one every 6 s: until then, the back-off is less than a second
		})
	}
}
