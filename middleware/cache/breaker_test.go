package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/secretstest"
)

const (
	firstStep = 400 * time.Millisecond // of the back-off of the breaker, ±20 %
	timeout   = 5 * time.Second        // the default of the Client
	maxWait   = time.Second
)

// past returns a duration that is longer than a step of about d.
func past(d time.Duration) time.Duration { return d*12/10 + 1 }

// within checks that f takes exactly d.
func within(is *is.I, d time.Duration, f func()) {
	is.Helper()
	began := time.Now()
	f()
	is.Equal(time.Since(began), d)
}

func isUnavailable(s secrets.Secret, err error) bool {
	return errors.Is(err, secrets.ErrUnavailable) && s.IsZero()
}

// remote is a client with a cache and dedup around a backend that can be unreachable.
type remote struct {
	*is.I
	*secrets.Client

	backend *secretstest.Backend
	memory  *cache.Cache
}

func newRemote(t *testing.T, keys int, opts ...cache.Option) *remote {
	t.Helper()
	return newBatchRemote(t, keys, 1, opts...)
}

// newBatchRemote returns a remote whose server takes that many documents in a call.
func newBatchRemote(t *testing.T, keys, batch int, opts ...cache.Option) *remote {
	t.Helper()
	documents := make(map[string]string)
	for i := range keys {
		documents[numbered(i)] = "value of " + numbered(i)
	}
	r := &remote{
		I: is.New(t), backend: secretstest.NewBackend(documents, secretstest.WithBatch(batch)),
		memory: cache.New(append([]cache.Option{exact}, opts...)...),
	}
	r.Client = newClient(t, r.backend, secrets.WithCache(r.memory), secrets.WithDedup(dedup.New()))
	return r
}

func numbered(i int) string { return fmt.Sprintf("key-%d", i) }

// has checks that keys are returned at once, and whether they are stale.
func (r *remote) has(stale bool, keys ...string) {
	r.Helper()
	for _, key := range keys {
		within(r.I, 0, func() {
			s, err := r.Get(context.Background(), key)
			r.NoErr(err)
			r.Equal(s.Reveal(), "value of "+key)
			r.Equal(s.Meta().Stale, stale)
		})
	}
}

// fails checks that each of keys is unavailable after exactly d.
func (r *remote) fails(d time.Duration, keys ...string) {
	r.Helper()
	for _, key := range keys {
		within(r.I, d, func() {
			s, err := r.Get(context.Background(), key)
			r.True(isUnavailable(s, err))
		})
	}
}

// breakDown makes the backend fail at once, and opens the breaker.
func (r *remote) breakDown(keys ...string) {
	r.Helper()
	r.backend.Fail(secrets.ErrUnavailable)
	for _, key := range keys {
		_, err := r.Refresh(context.Background(), key)
		r.True(errors.Is(err, secrets.ErrUnavailable))
	}
}

func TestColdStartInAnOutage(t *testing.T) {
	const keys = 20
	all := make([]string, keys)
	for i := range all {
		all[i] = numbered(i)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, keys)
		defer r.backend.Block()()
		r.fails(timeout, all[:3]...)
		r.fails(0, all[3:]...)
		r.Equal(r.backend.Calls(), 3)

		// One waits for its probe up to maxWait; the others do not wait.
		time.Sleep(past(firstStep))
		r.fails(maxWait, all[0])
		r.fails(0, all...)
		r.Equal(r.backend.Calls(), 4)
	})
	t.Run("concurrently", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, keys)
			defer r.backend.Block()()
			together := func(d time.Duration) {
				within(r.I, d, func() {
					var wg sync.WaitGroup
					for _, key := range all {
						wg.Go(func() {
							if s, err := r.Get(context.Background(), key); !isUnavailable(s, err) {
								t.Errorf("%s: %v", key, err)
							}
						})
					}
					wg.Wait()
				})
			}
			together(timeout)
			r.Equal(r.backend.Calls(), keys)
			together(0)
			time.Sleep(past(firstStep)) // all failures were one step
			together(maxWait)
			r.Equal(r.backend.Calls(), keys+1)
		})
	})
	t.Run("with GetMany", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, keys)
			defer r.backend.Block()()
			together := func(d time.Duration) {
				within(r.I, d, func() {
					found, err := r.GetMany(context.Background(), all[:16]...) // those that are fetched together
					r.True(err != nil)
					r.Equal(len(found), 0)
				})
			}
			together(timeout)
			r.Equal(r.backend.Calls(), 16)
			together(0)
			time.Sleep(past(firstStep))
			together(maxWait)
			r.Equal(r.backend.Calls(), 17)
		})
	})
	t.Run("control: without the breaker, each key costs a timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, keys)
			defer r.backend.Block()()
			cache.KeepBreakersClosed(r.memory)
			r.fails(timeout, all...)
			r.Equal(r.backend.Calls(), keys)
		})
	})
}

func TestRecoveryIsNoticedWithinOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 10)
		r.breakDown(numbered(0), numbered(1), numbered(2))
		for range 10 { // until steps are 10 s
			time.Sleep(past(10 * time.Second))
			r.fails(0, numbered(0))
		}
		// This document has a back-off of its own, which begins as the step ends and would last longer.
		time.Sleep(7 * time.Second)
		_, err := r.Refresh(t.Context(), numbered(0))
		r.True(errors.Is(err, secrets.ErrUnavailable))
		calls := r.backend.Calls()

		r.backend.Recover()
		time.Sleep(past(3*time.Second) + 2*time.Second)
		for i := range 10 {
			r.has(false, numbered(9-i))
		}
		r.Equal(r.backend.Calls(), calls+10)
	})
	t.Run("by the document that failed itself", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 1)
			r.breakDown(numbered(0), numbered(0), numbered(0), numbered(0), numbered(0), "another")
			r.backend.Recover()
			time.Sleep(past(firstStep)) // though its own back-off is 3.2 s
			r.has(false, numbered(0))
		})
	})
	t.Run("long ago", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 2)
			r.breakDown(numbered(0), numbered(0), "another")
			r.backend.Recover()
			time.Sleep(time.Hour)
			r.has(false, numbered(1))
		})
	})
	t.Run("back-offs begin anew", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 2)
			r.breakDown(numbered(0), numbered(0), numbered(0), numbered(0), numbered(0), "another")
			r.backend.Recover()
			_, err := r.Refresh(t.Context(), numbered(1))
			r.NoErr(err)
			r.backend.Fail(secrets.ErrUnavailable)
			calls := r.backend.Calls()
			r.fails(0, numbered(0), numbered(0))
			r.Equal(r.backend.Calls(), calls+1)
			time.Sleep(past(100 * time.Millisecond))
			r.fails(0, numbered(0))
			r.Equal(r.backend.Calls(), calls+2)
		})
	})
}

func TestStaleAtOnceInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4, cache.WithTTL(time.Minute), cache.WithRefreshAhead(0))
		r.has(false, numbered(0))
		time.Sleep(30 * time.Second)
		r.has(false, numbered(1), numbered(2))
		_, err := r.Get(t.Context(), "none")
		r.True(errors.Is(err, secrets.ErrNotFound))
		r.breakDown(numbered(2), numbered(1), numbered(2))
		_, err = r.Get(t.Context(), "none")
		r.True(errors.Is(err, secrets.ErrNotFound)) // cached

		time.Sleep(30 * time.Second)
		defer r.backend.Block()()
		within(r.I, maxWait, func() { // the first is the probe, and waits for it
			s, err := r.Get(t.Context(), numbered(0))
			r.NoErr(err)
			r.True(s.Meta().Stale)
		})
		r.fails(maxWait, numbered(3)) // and so does the first of those whose failure does not count
		before, calls := r.memory.Stats(), r.backend.Calls()
		for range 100 {
			r.has(true, numbered(0))
			r.has(false, numbered(1))
			r.fails(0, numbered(3))
		}
		r.Equal(r.backend.Calls(), calls)
		after := r.memory.Stats()
		r.Equal(after.Stale-before.Stale, uint64(100))
		r.Equal(after.BackedOff-before.BackedOff, uint64(100))
		r.Equal(after.Misses, before.Misses)

		time.Sleep(timeout) // the probes have failed, and the step is over: no caller waits for the next probe
		r.has(true, numbered(0))
		synctest.Wait()
		r.Equal(r.backend.Calls(), calls+1)
	})
}

func TestRenewalsAheadInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 5, cache.WithTTL(100*time.Second), cache.WithRefreshAhead(0.8))
		r.has(false, numbered(0), numbered(1))
		time.Sleep(80 * time.Second)
		r.has(false, numbered(3), numbered(4))
		r.breakDown(numbered(3), numbered(4), numbered(3))
		for range 10 { // within the step
			r.has(false, numbered(0), numbered(1))
		}
		synctest.Wait()
		r.Equal(r.backend.Calls(), 7)

		// After the step, one of them is the probe, in the background.
		r.backend.Recover()
		release := r.backend.Block()
		time.Sleep(past(firstStep))
		for range 10 {
			r.has(false, numbered(0), numbered(1))
		}
		synctest.Wait()
		r.Equal(r.backend.Calls(), 8)
		r.fails(maxWait, numbered(2)) // a probe of the other kind
		r.fails(0, numbered(2))
		r.Equal(r.backend.Calls(), 9)
		release()
		synctest.Wait()
		r.has(false, numbered(2))
	})
	run(t, "do not slow reads down", []cache.Option{cache.WithTTL(100 * time.Second), cache.WithRefreshAhead(0.8)}, func(f *fixture) {
		f.fresh(1, 1)
		f.at(80 * time.Second)
		f.warm("a", "b", "c")
		f.breakDown("a", "b", "c")
		f.fresh(1, 7)
		f.layer.Memorize("db", db, "")
		got, known := f.layer.Recall("db")
		f.True(known)
		f.Equal(got.Reveal(), "db v1")
		time.Sleep(past(firstStep))
		_, known = f.layer.Recall("db") // which starts no probe
		f.True(!known)
	})
	t.Run("do not delay other reads", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 5, cache.WithTTL(100*time.Second), cache.WithRefreshAhead(0.8))
			r.has(false, numbered(0), numbered(1))
			time.Sleep(80 * time.Second)
			r.has(false, numbered(3), numbered(4))
			r.breakDown(numbered(3), numbered(4), numbered(3))
			r.backend.Recover()
			time.Sleep(past(firstStep))
			found, err := r.GetMany(t.Context(), numbered(0), numbered(1), numbered(2))
			r.NoErr(err) // the cold one too, no matter which of them was the probe
			r.Equal(len(found), 3)
			synctest.Wait()
			r.True(r.backend.Calls() >= 8)
			r.Equal(r.backend.Fetches(numbered(2)), 1)
		})
	})
}

func TestGetManyInAnOutage(t *testing.T) {
	warm := func(t *testing.T) *remote {
		t.Helper()
		r := newRemote(t, 6, cache.WithTTL(time.Minute), cache.WithRefreshAhead(0))
		r.has(false, "key-1")
		time.Sleep(time.Minute)
		r.has(false, "key-0", "key-4", "key-5")
		r.breakDown("key-5", "key-4", "key-5")
		r.backend.ResetCounts()
		return r
	}
	get := func(r *remote) (map[string]secrets.Secret, error) {
		return r.GetMany(context.Background(), "key-0", "key-1", "key-2", "key-3", "none")
	}
	synctest.Test(t, func(t *testing.T) {
		r := warm(t)
		partly := func(d time.Duration, calls int) {
			r.Helper()
			within(r.I, d, func() {
				found, err := get(r)
				var all secrets.Errors
				r.True(errors.As(err, &all))
				r.Equal(len(all), 3)
				for _, e := range all {
					r.Equal(e.Err, secrets.ErrUnavailable)
				}
				r.Equal(len(found), 2)
				r.True(!found["key-0"].Meta().Stale)
				r.True(found["key-1"].Meta().Stale)
			})
			r.Equal(r.backend.Calls(), calls)
		}
		partly(0, 0)
		release := r.backend.Block()
		time.Sleep(past(firstStep))
		partly(maxWait, 2) // a probe of each kind
		partly(0, 2)
		release()
		time.Sleep(past(2 * firstStep)) // they have failed by now
		r.backend.ResetCounts()
		within(r.I, 0, func() {
			found, err := get(r)
			r.True(err != nil)
			r.Equal(len(found), 2)
		})
		r.True(r.backend.Calls() == 1 || r.backend.Calls() == 2) // the failure of a known document postpones the other kind
	})
	t.Run("that is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := warm(t)
			r.backend.Recover()
			time.Sleep(past(firstStep))
			found, err := get(r)
			var all secrets.Errors
			r.True(errors.As(err, &all))
			r.Equal(len(all), 1)
			r.Equal(all[0].Err, secrets.ErrNotFound)
			r.Equal(len(found), 4)
			r.True(!found["key-1"].Meta().Stale)
			r.Equal(r.backend.Calls(), 4) // one of them the probe: the others waited for it
		})
	})
}

func TestRefreshInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4)
		r.breakDown("key-0", "key-0", "another")
		// Any number of failures does not postpone the end of the step.
		for range 31 { // the step takes at least 320 ms
			time.Sleep(10 * time.Millisecond)
			r.breakDown("key-1")
		}
		time.Sleep(past(firstStep) - 310*time.Millisecond)
		calls := r.backend.Calls()
		r.fails(0, "key-2")
		r.Equal(r.backend.Calls(), calls+1)
		r.fails(0, "key-3")
		r.Equal(r.backend.Calls(), calls+1)

		r.backend.Recover()
		s, err := r.Refresh(t.Context(), "key-1")
		r.NoErr(err)
		r.Equal(s.Reveal(), "value of key-1")
		r.has(false, "key-0", "key-1", "key-2", "key-3")
	})
	t.Run("after the step is a probe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4)
			r.breakDown("key-0", "key-0", "another")
			time.Sleep(past(firstStep))
			r.breakDown("key-1")
			r.fails(0, "key-2")
			r.Equal(r.backend.Calls(), 4)
		})
	})
}

// A renewal that began before the outage hangs. Its failure does not count, and it delays no probe.
func TestRenewalFromBeforeTheOutage(t *testing.T) {
	run(t, "", []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}, func(f *fixture) {
		f.fresh(1, 1)
		f.warm("a", "b", "c")
		f.at(time.Minute)
		f.set(func(s *source) { s.delay, s.err = 10*time.Minute, secrets.ErrUnavailable })
		var wg sync.WaitGroup
		wg.Go(func() {
			got, err := f.get()
			f.NoErr(err)
			f.True(got.Meta().Stale)
		})
		synctest.Wait()
		f.set(func(s *source) { s.delay = 0 })
		f.breakDown("a", "b", "c")
		time.Sleep(past(firstStep))
		f.True(f.ask("d") != nil)
		f.Equal(f.count(), 9)
		within(f.I, 0, func() { f.staleAnswer(1, 10) }) // a probe, which does not join the renewal that hangs
		wg.Wait()
	})
}

// The breaker opens while a fetch is on its way from the reading half to the filling half.
func TestBreakerOpensBetweenTheHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		source := &source{err: secrets.ErrUnavailable}
		share := func(fill secrets.Fetcher) secrets.Fetcher {
			return fetchFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
				for _, path := range []string{"a", "b", "c"} {
					_, err := fill.Fetch(withFresh(ctx), secrets.Ref{Path: path})
					is.True(err != nil)
				}
				return fill.Fetch(ctx, ref)
			})
		}
		layer := cache.New().NewCache(secrets.Info{Name: "source"}, source, share)
		is.True(isUnavailable(layer.Fetch(t.Context(), db)))
		is.Equal(source.count(), 3)
		is.NoErr(layer.Close())
	})
}

// A flight fails while a caller that renews the same value is on its way from the reading half to the filling half.
func TestBackOffBetweenTheHalves(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			below := &source{version: 1}
			down := false
			share := func(fill secrets.Fetcher) secrets.Fetcher {
				return fetchFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					if down {
						_, err := fill.Fetch(ctx, ref)
						is.True(errors.Is(err, secrets.ErrUnavailable))
					}
					if fresh { // control: a Refresh makes its fetch
						ctx = withFresh(ctx)
					}
					return fill.Fetch(ctx, ref)
				})
			}
			memory := cache.New(exact, cache.WithTTL(time.Minute), cache.WithRefreshAhead(0))
			layer := memory.NewCache(secrets.Info{Name: "source"}, below, share)
			_, err := layer.Fetch(t.Context(), db)
			is.NoErr(err)
			time.Sleep(time.Minute)
			down = true
			below.set(func(s *source) { s.err = secrets.ErrUnavailable })
			s, err := layer.Fetch(t.Context(), db)
			is.NoErr(err)
			is.True(s.Meta().Stale)
			want := 2
			if fresh {
				want = 3
			}
			is.Equal(below.count(), want)
			is.NoErr(layer.Close())
		})
	}
}

// Peek makes no fetch, even if a probe is due.
func TestPeekInAnOutage(t *testing.T) {
	run(t, "", []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}, func(f *fixture) {
		peek := func(path string) (secrets.Result, bool) { return f.layer.Peek(secrets.Ref{Path: path}) }
		f.fresh(1, 1)
		f.warm("a", "b", "c")
		_, known := peek("cold")
		f.True(!known)
		f.at(time.Minute)
		f.breakDown("a", "b", "c")
		for range 2 {
			r, known := peek("db")
			f.True(known)
			f.NoErr(r.Err)
			f.True(r.Secret.Meta().Stale)
			r, known = peek("cold")
			f.True(known)
			f.True(isUnavailable(r.Secret, r.Err))
			time.Sleep(past(firstStep))
		}
		f.Equal(f.count(), 7)
	})
}

// Neither Invalidate nor Purge closes the breaker.
func TestInvalidateDoesNotCloseTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4)
		r.has(false, "key-0", "key-1", "key-3")
		r.breakDown("key-0", "key-3", "key-0")
		r.Invalidate("key-0", "key-1", "key-2")
		r.memory.Purge()
		r.fails(0, "key-0", "key-1", "key-2")
		r.Equal(r.backend.Calls(), 6)
	})
}

func TestLeaseEndsInAnOutage(t *testing.T) {
	opts := []cache.Option{cache.WithTTL(10 * time.Second), cache.WithRefreshAhead(0)}
	run(t, "exactly", opts, func(f *fixture) {
		f.set(func(s *source) { s.lease = 20 * time.Second })
		f.fresh(1, 1)
		f.warm("a", "b", "c")
		f.breakDown("a", "b", "c")
		f.at(20*time.Second - 1)
		f.staleAnswer(1, 8) // and was a probe
		f.staleAnswer(1, 8)
		f.at(20 * time.Second)
		f.fails(secrets.ErrUnavailable, 8)
		f.at(25 * time.Second)
		f.fails(secrets.ErrUnavailable, 9)
	})
	run(t, "a probe is not waited for so long that it is lost", opts, func(f *fixture) {
		f.set(func(s *source) { s.lease = 20 * time.Second })
		f.fresh(1, 1)
		f.warm("a", "b", "c")
		f.breakDown("a", "b", "c")
		f.set(func(s *source) { s.delay = timeout })
		f.at(19500 * time.Millisecond)
		within(f.I, 250*time.Millisecond, func() { f.staleAnswer(1, 8) })
		time.Sleep(timeout)
	})
}
