package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
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

const (
	firstStep = 400 * time.Millisecond // of the back-off of a backend, ±20 %
	timeout   = 5 * time.Second        // the default of the Client
	patience  = time.Second
)

// past returns what is longer than a step of about d.
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
	documents := make(map[string]string)
	for i := range keys {
		documents[numbered(i)] = "value of " + numbered(i)
	}
	r := &remote{I: is.New(t), backend: secretstest.NewBackend(documents), memory: cache.New(append([]cache.Option{exact}, opts...)...)}
	r.Client = newClient(t, r.backend, secrets.WithCache(r.memory), secrets.WithDedup(dedup.New()))
	return r
}

func numbered(i int) string { return fmt.Sprintf("key-%d", i) }

// has checks that keys are had at once, and are as fresh as they should be.
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

// fails checks that keys are unavailable after d each.
func (r *remote) fails(d time.Duration, keys ...string) {
	r.Helper()
	for _, key := range keys {
		within(r.I, d, func() {
			s, err := r.Get(context.Background(), key)
			r.True(isUnavailable(s, err))
		})
	}
}

// breakDown makes the backend fail at once, and an outage begin.
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

		// One waits for a probe, with patience; the others do not.
		advance(past(firstStep))
		r.fails(patience, all[0])
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
			advance(past(firstStep)) // all of them were one step
			together(patience)
			r.Equal(r.backend.Calls(), keys+1)
		})
	})
	t.Run("in a batch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4*keys)
			defer r.backend.Block()()
			for i, d := range []time.Duration{timeout, timeout, timeout, 0} {
				within(r.I, d, func() {
					found, err := r.GetMany(context.Background(), numbered(4*i), numbered(4*i+1), numbered(4*i+2), numbered(4*i+3))
					r.True(err != nil)
					r.Equal(len(found), 0)
				})
			}
			r.Equal(r.backend.Calls(), 3) // a batch is one fetch
		})
	})
	t.Run("control: without the state, each key costs a timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, keys)
			defer r.backend.Block()()
			cache.TakeNothingForAnOutage(r.memory)
			r.fails(timeout, all...)
			r.Equal(r.backend.Calls(), keys)
		})
	})
}

func TestRecoveryIsNoticedWithinOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 10)
		r.breakDown(numbered(0), numbered(1), numbered(2))
		for range 10 { // until steps are of 10 s
			advance(past(10 * time.Second))
			r.fails(0, numbered(0))
		}
		// This one has a back-off of its own, which begins as the step ends and would last longer.
		advance(7 * time.Second)
		_, err := r.Refresh(t.Context(), numbered(0))
		r.True(errors.Is(err, secrets.ErrUnavailable))
		calls := r.backend.Calls()

		r.backend.Recover()
		advance(past(3*time.Second) + 2*time.Second)
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
			advance(past(firstStep)) // though its own back-off is of 3.2 s
			r.has(false, numbered(0))
		})
	})
	t.Run("long ago", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 2)
			r.breakDown(numbered(0), numbered(0), "another")
			r.backend.Recover()
			advance(time.Hour)
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
			advance(past(100 * time.Millisecond))
			r.fails(0, numbered(0))
			r.Equal(r.backend.Calls(), calls+2)
		})
	})
}

func TestStaleAtOnceInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4, cache.WithTTL(time.Minute), cache.WithRefreshAhead(0))
		r.has(false, numbered(0))
		advance(30 * time.Second)
		r.has(false, numbered(1))
		_, err := r.Get(t.Context(), "none")
		r.True(errors.Is(err, secrets.ErrNotFound))
		r.breakDown(numbered(2), numbered(2), "another")
		_, err = r.Get(t.Context(), "none")
		r.True(errors.Is(err, secrets.ErrNotFound)) // remembered

		advance(30 * time.Second)
		defer r.backend.Block()()
		within(r.I, patience, func() { // the first is the probe, and has patience
			s, err := r.Get(t.Context(), numbered(0))
			r.NoErr(err)
			r.True(s.Meta().Stale)
		})
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
	})
}

func TestRenewalsAheadInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 3, cache.WithTTL(100*time.Second), cache.WithRefreshAhead(0.8))
		r.has(false, numbered(0), numbered(1))
		advance(80 * time.Second)
		r.breakDown(numbered(2), numbered(2), "another")
		for range 10 { // within the step
			r.has(false, numbered(0), numbered(1))
		}
		synctest.Wait()
		r.Equal(r.backend.Calls(), 5)

		// When it is over, one of them is the probe, for which nobody waits.
		r.backend.Recover()
		release := r.backend.Block()
		advance(past(firstStep))
		for range 10 {
			r.has(false, numbered(0), numbered(1))
		}
		synctest.Wait()
		r.Equal(r.backend.Calls(), 6)
		r.fails(0, numbered(2))
		release()
		synctest.Wait()
		r.has(false, numbered(2))
	})
	run(t, "leave reads quick", []cache.Option{cache.WithTTL(100 * time.Second), cache.WithRefreshAhead(0.8)}, func(f *fixture) {
		f.fresh(1, 1)
		f.at(80 * time.Second)
		f.answers(secrets.ErrUnavailable)
		_, _, _ = f.ask("a"), f.ask("b"), f.ask("c")
		f.fresh(1, 4)
		memory := f.layer.(interface {
			Memorize(key string, doc secrets.Ref, field string)
			Recall(key string) (secrets.Secret, bool)
		})
		memory.Memorize("db", db, "")
		got, known := memory.Recall("db")
		f.True(known)
		f.Equal(got.Reveal(), "db v1")
		advance(past(firstStep))
		_, known = memory.Recall("db") // which would cause no probe
		f.True(!known)
	})
	t.Run("give way to what is needed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 3, cache.WithTTL(100*time.Second), cache.WithRefreshAhead(0.8))
			r.has(false, numbered(0), numbered(1))
			advance(80 * time.Second)
			r.breakDown(numbered(2), numbered(2), "another")
			r.backend.Recover()
			advance(past(firstStep))
			found, err := r.GetMany(t.Context(), numbered(0), numbered(1), numbered(2))
			r.NoErr(err)
			r.Equal(len(found), 3)
			synctest.Wait()
			r.Equal(r.backend.Calls(), 6) // that which is cold
			_, err = r.GetMany(t.Context(), numbered(0), numbered(1))
			r.NoErr(err)
			synctest.Wait()
			r.Equal(r.backend.Calls(), 7)
		})
	})
}

// TestOneProbeAStep lets 1,000 callers ask for 1,000 documents through a minute of outage.
func TestOneProbeAStep(t *testing.T) {
	const every = 200 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 3)
		r.breakDown(numbered(0), numbered(1), numbered(2))
		began := time.Now()
		var probes []time.Time
		r.backend.OnCall(func(context.Context, []secrets.Ref) error {
			probes = append(probes, time.Now()) // one at a time, or the race detector says so
			return secrets.ErrUnavailable
		})
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				for time.Since(began) < time.Minute {
					asked := time.Now()
					if s, err := r.Get(context.Background(), numbered(i)); !isUnavailable(s, err) || time.Since(asked) != 0 {
						t.Errorf("%v after %v", err, time.Since(asked))
					}
					advance(every)
				}
			})
		}
		wg.Wait()
		step, last := firstStep, began
		for _, p := range probes {
			r.True(p.Sub(last) >= step*8/10)
			r.True(p.Sub(last) <= step*12/10+every)
			step, last = min(2*step, 10*time.Second), p
		}
		r.True(time.Since(last) <= step*12/10+every)
	})
}

// A probe is not its caller's: with nobody but callers that have no time, an outage ends all the same.
func TestProbeOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4)
		r.breakDown(numbered(0), numbered(1), numbered(2))
		advance(past(firstStep))
		r.backend.Recover()
		r.backend.SetLatency(3 * time.Second)
		hasty := func(d time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			var err error
			within(r.I, d, func() { _, err = r.Get(ctx, numbered(3)) })
			return err
		}
		r.True(errors.Is(hasty(5*time.Millisecond), secrets.ErrUnavailable)) // what everybody gets, with time for a fallback
		for range 29 {
			advance(100 * time.Millisecond)
			r.True(errors.Is(hasty(0), secrets.ErrUnavailable))
		}
		advance(100 * time.Millisecond)
		r.has(false, numbered(3))
		r.Equal(r.backend.Calls(), 4)
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4)
			r.breakDown(numbered(0), numbered(1), numbered(2))
			advance(past(firstStep))
			r.backend.Recover()
			r.backend.SetLatency(500 * time.Millisecond)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			_, err := r.Get(ctx, numbered(3))
			r.Equal(err, context.Canceled)
			advance(500 * time.Millisecond)
			r.has(false, numbered(3))
		})
	})
	t.Run("patient", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4)
			r.breakDown(numbered(0), numbered(1), numbered(2))
			advance(past(firstStep))
			r.backend.Recover()
			r.backend.SetLatency(patience - 1)
			_, err := r.Get(t.Context(), numbered(3))
			r.NoErr(err)
		})
	})
}

func TestCloseEndsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4)
		r.breakDown(numbered(0), numbered(1), numbered(2))
		advance(past(firstStep))
		defer r.backend.Block()()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := r.Get(context.Background(), numbered(3))
			r.True(errors.Is(err, secrets.ErrClosed))
		})
		synctest.Wait()
		r.Equal(r.backend.Calls(), 4)
		within(r.I, 0, func() { r.NoErr(r.Close()) })
		wg.Wait()
	})
}

func TestBatchInAnOutage(t *testing.T) {
	warm := func(t *testing.T) *remote {
		t.Helper()
		r := newRemote(t, 6, cache.WithTTL(time.Minute), cache.WithRefreshAhead(0))
		r.has(false, "key-1")
		advance(time.Minute)
		r.has(false, "key-0")
		r.breakDown("key-5", "key-5", "another")
		r.backend.ResetCounts()
		return r
	}
	get := func(r *remote) (map[string]secrets.Secret, error) {
		return r.GetMany(context.Background(), "key-0", "key-1", "key-2", "key-3", "none")
	}
	synctest.Test(t, func(t *testing.T) {
		r := warm(t)
		partly := func(d time.Duration, calls int) {
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
		advance(past(firstStep))
		partly(patience, 1)
		partly(0, 1)
		release()
		advance(past(2 * firstStep)) // the probe has failed by now
		partly(0, 2)
		r.Equal(len(r.backend.Batches()), 0)
	})
	t.Run("that is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := warm(t)
			r.backend.Recover()
			advance(past(firstStep))
			found, err := get(r)
			var all secrets.Errors
			r.True(errors.As(err, &all))
			r.Equal(len(all), 1)
			r.Equal(all[0].Err, secrets.ErrNotFound)
			r.Equal(len(found), 4)
			r.True(!found["key-1"].Meta().Stale)
			r.Equal(r.backend.Batches(), [][]string{{"key-2", "key-3", "none"}}) // and key-1 was the probe
			r.Equal(r.backend.Calls(), 2)
		})
	})
}

func TestRefreshInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4)
		r.breakDown("key-0", "key-0", "another")
		// Failures do not put the end of the step off, however many they are.
		for range 31 { // the step takes 320 ms at the least
			advance(10 * time.Millisecond)
			r.breakDown("key-1")
		}
		advance(past(firstStep) - 310*time.Millisecond)
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
			advance(past(firstStep))
			r.breakDown("key-1")
			r.fails(0, "key-2")
			r.Equal(r.backend.Calls(), 4)
		})
	})
}

// TestRenewalFromBeforeTheOutage lets a renewal hang since before it. Its document needs no probe; others do.
func TestRenewalFromBeforeTheOutage(t *testing.T) {
	run(t, "", []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}, func(f *fixture) {
		f.fresh(1, 1)
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
		_, _, _ = f.ask("a"), f.ask("b"), f.ask("c")
		advance(past(firstStep))
		within(f.I, 0, func() { f.staleAnswer(1, 5) })
		f.True(f.ask("d") != nil)
		f.Equal(f.count(), 6)
		wg.Wait()
	})
}

// TestOneSickDocument has one document that can not be had, and others that can: they must not suffer for it.
func TestOneSickDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &source{}
		layer := cache.New(exact).Wrap(secrets.FetcherFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref.Path == "sick" || ref.Path == "sick too" {
				return secrets.Secret{}, secrets.ErrUnavailable
			}
			return backend.Fetch(ctx, ref)
		}))
		get := func(path string) (secrets.Secret, error) { return layer.Fetch(t.Context(), secrets.Ref{Path: path}) }
		fresh := func(path string) {
			is.True(isUnavailable(layer.Fetch(secrets.WithFresh(t.Context()), secrets.Ref{Path: path})))
		}
		for range 10 {
			fresh("sick")
		}
		is.True(monitor(layer).Outage()) // for that document, whose reads are answered at once
		is.True(isUnavailable(get("sick")))
		_, err := get("healthy")
		is.NoErr(err)
		is.True(!monitor(layer).Outage())

		// The control: after the failure of another one, it is the backend's.
		fresh("sick")
		fresh("sick")
		fresh("sick too")
		is.True(isUnavailable(get("cold")))
		is.NoErr(closeLayer(layer))
	})
}

// TestOutageBetweenTheHalves lets an outage begin while a fetch is on its way from the reading half to the filling half.
// TestSickDocumentsTakeNoTurnOfOthers has two documents read a hundred times as often as a healthy one.
func TestSickDocumentsTakeNoTurnOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 1)
		r.backend.FailPath("sick", secrets.ErrUnavailable)
		r.backend.FailPath("sick too", secrets.ErrUnavailable)
		for tick := 0; ; tick++ {
			for _, key := range []string{"sick", "sick too"} {
				r.True(isUnavailable(r.Get(t.Context(), key)))
			}
			if tick >= 1000 && tick%100 == 0 { // the outage has begun
				if s, err := r.Get(t.Context(), numbered(0)); err == nil {
					r.Equal(s.Reveal(), "value of "+numbered(0))
					break
				}
			}
			r.True(tick < 60_000) // a minute
			advance(time.Millisecond)
		}
		r.True(r.backend.Fetches("sick")+r.backend.Fetches("sick too") < 20)
	})
}

func TestSickDocumentKeepsItsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seconds = 60
		r := newRemote(t, seconds)
		r.backend.FailPath("sick", secrets.ErrUnavailable)
		for i := range seconds {
			r.has(false, numbered(i)) // which ends the outage of the sick one
			for range 100 {
				r.True(isUnavailable(r.Get(t.Context(), "sick")))
				advance(10 * time.Millisecond)
			}
		}
		r.True(r.backend.Fetches("sick") < 20) // as many as a back-off up to 10 s has
	})
}

func TestOutageBetweenTheHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		source := &source{err: secrets.ErrUnavailable}
		var filler secrets.Fetcher
		layer := cache.New().Wrap(secrets.FetcherFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			for _, path := range []string{"a", "b", "c"} {
				_, err := filler.Fetch(secrets.WithFresh(ctx), secrets.Ref{Path: path})
				is.True(err != nil)
			}
			return filler.Fetch(ctx, ref)
		}))
		filler = layer.(interface {
			Fill(next secrets.Fetcher) secrets.Fetcher
		}).Fill(source)
		is.True(isUnavailable(layer.Fetch(t.Context(), db)))
		is.Equal(source.count(), 3)
		is.NoErr(closeLayer(layer))
	})
}

// TestPeekInAnOutage asks without a fetch, also when it is time for one.
func TestPeekInAnOutage(t *testing.T) {
	run(t, "", []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}, func(f *fixture) {
		peek := func(path string) (secrets.Result, bool) {
			return f.layer.(interface {
				Peek(ref secrets.Ref) (secrets.Result, bool)
			}).Peek(secrets.Ref{Path: path})
		}
		f.fresh(1, 1)
		_, known := peek("cold")
		f.True(!known)
		f.at(time.Minute)
		f.answers(secrets.ErrUnavailable)
		_, _, _ = f.ask("a"), f.ask("b"), f.ask("c")
		for range 2 {
			r, known := peek("db")
			f.True(known)
			f.NoErr(r.Err)
			f.True(r.Secret.Meta().Stale)
			r, known = peek("cold")
			f.True(known)
			f.True(isUnavailable(r.Secret, r.Err))
			advance(past(firstStep))
		}
		f.Equal(f.count(), 4)
	})
}

// TestInvalidateEndsNoOutage also purges.
func TestInvalidateEndsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4)
		r.has(false, "key-1")
		r.breakDown("key-0", "key-0", "another")
		r.Invalidate("key-0", "key-1", "key-2")
		r.memory.Purge()
		r.fails(0, "key-0", "key-1", "key-2")
		r.Equal(r.backend.Calls(), 4)
	})
}

// outage reports whether f takes its backend to be in an outage.
func (f *fixture) outage() bool { return monitor(f.layer).Outage() }

// ask fetches a cold document.
func (f *fixture) ask(path string) error {
	_, err := f.layer.Fetch(context.Background(), secrets.Ref{Path: path})
	return err
}

func TestWhatCounts(t *testing.T) {
	nth := func(n int) string { return fmt.Sprint("cold-", n) }
	run(t, "three in a row, whatever they ask for", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		for n := range 3 {
			f.True(!f.outage())
			f.True(f.ask(nth(n)) != nil)
		}
		f.True(f.outage())
		f.True(f.ask(nth(3)) != nil)
		f.Equal(f.count(), 3)
	})
	for _, class := range []error{
		nil, secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrUnauthenticated,
		secrets.ErrMalformed, secrets.ErrUnknown,
	} {
		run(t, fmt.Sprint("an answer resets the count, and ends an outage: ", class), nil, func(f *fixture) {
			for n := range 10 {
				f.answers(secrets.ErrUnavailable)
				_, _ = f.ask(nth(3*n)), f.ask(nth(3*n+1))
				f.answers(class)
				f.Equal(secrets.Class(f.ask(nth(3*n+2))), class)
				f.True(!f.outage())
			}
			f.Equal(f.count(), 30)
			f.answers(secrets.ErrUnavailable)
			_, _, _ = f.ask("a"), f.ask("b"), f.ask("c")
			f.True(f.outage())
			f.answers(class)
			advance(past(firstStep))
			f.Equal(secrets.Class(f.ask("d")), class)
			f.True(!f.outage())
		})
	}
	run(t, "ErrClosed does not", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		_, _ = f.ask("a"), f.ask("b")
		f.answers(secrets.ErrClosed)
		_ = f.ask("c")
		f.answers(secrets.ErrUnavailable)
		_ = f.ask("d")
		f.True(f.outage())
	})
	run(t, "the end of a caller's context does not", nil, func(f *fixture) {
		f.set(func(s *source) { s.delay = time.Second })
		for n := range 10 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			_, err := f.layer.Fetch(ctx, secrets.Ref{Path: nth(n)})
			f.Equal(err, context.DeadlineExceeded)
			cancel()
		}
		f.True(!f.outage())
		f.set(func(s *source) { s.delay, s.err = 0, secrets.ErrUnavailable })
		for n := range 3 {
			f.True(!f.outage())
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			f.set(func(s *source) { s.delay = time.Second })
			_, _ = f.layer.Fetch(ctx, secrets.Ref{Path: nth(n)}) // does not reset it either
			f.set(func(s *source) { s.delay = 0 })
			_ = f.ask(nth(n))
		}
		f.True(f.outage())
	})
	run(t, "a batch is one fetch", nil, func(f *fixture) {
		refs := func(n int) []secrets.Ref {
			return []secrets.Ref{{Path: nth(n)}, {Path: nth(n + 1)}, {Path: nth(n + 2)}}
		}
		f.answers(secrets.ErrUnavailable)
		for n := range 3 {
			f.True(!f.outage())
			f.layer.FetchMany(context.Background(), refs(3*n))
		}
		f.True(f.outage())
	})
	run(t, "a batch with one answer is an answer", nil, func(f *fixture) {
		layer := f.cache.Wrap(secrets.FetcherFunc(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref.Path == "good" {
				return secrets.NewSecret("v", secrets.Meta{}), nil
			}
			return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnavailable}
		}))
		for n := range 10 {
			layer.FetchMany(context.Background(), []secrets.Ref{{Path: nth(2 * n)}, {Path: "good"}, {Path: nth(2*n + 1)}})
			layer.(interface{ Invalidate(refs ...secrets.Ref) }).Invalidate(secrets.Ref{Path: "good"})
		}
		f.True(!monitor(layer).Outage())
		f.NoErr(closeLayer(layer))
	})
}

// TestOrderOfOutcomes has no dedup around the cache, so that fetches of one document are many.
func TestOrderOfOutcomes(t *testing.T) {
	// began lets n fetches begin that end after delay with err.
	began := func(f *fixture, wg *sync.WaitGroup, n int, delay time.Duration, err error) {
		f.set(func(s *source) { s.delay, s.err = delay, err })
		for i := range n {
			wg.Go(func() {
				_, _ = f.layer.Fetch(secrets.WithFresh(context.Background()), secrets.Ref{Path: fmt.Sprint(i)})
			})
		}
		synctest.Wait()
		f.set(func(s *source) { s.delay, s.err = 0, nil })
	}
	run(t, "failures that end late declare none", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 10, 2*time.Second, secrets.ErrUnavailable)
		advance(time.Second)
		f.NoErr(f.ask("answered"))
		wg.Wait()
		f.True(!f.outage())
		began(f, &wg, 3, 2*time.Second, secrets.ErrUnavailable) // the control
		wg.Wait()
		f.True(f.outage())
	})
	run(t, "nor do they open it again", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 10, 2*time.Second, secrets.ErrUnavailable)
		began(f, &wg, 3, 0, secrets.ErrUnavailable)
		f.True(f.outage())
		advance(time.Second)
		f.NoErr(f.ask("answered"))
		f.True(!f.outage())
		wg.Wait()
		f.True(!f.outage())
	})
	run(t, "an answer that comes late ends it", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 1, 2*time.Second, nil)
		began(f, &wg, 3, 0, secrets.ErrUnavailable)
		began(f, &wg, 3, 2*time.Second, secrets.ErrUnavailable)
		f.True(f.outage())
		wg.Wait()
		f.True(!f.outage())
	})
	run(t, "many that end late are one step", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 100, time.Second, secrets.ErrUnavailable)
		wg.Wait()
		f.True(f.outage())
		advance(past(firstStep))
		f.NoErr(f.ask("probe"))
		f.True(!f.outage())
	})
}

func TestLeaseEndsInAnOutage(t *testing.T) {
	opts := []cache.Option{cache.WithTTL(10 * time.Second), cache.WithRefreshAhead(0)}
	run(t, "exactly", opts, func(f *fixture) {
		f.set(func(s *source) { s.lease = 20 * time.Second })
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		_, _, _ = f.ask("a"), f.ask("b"), f.ask("c")
		f.at(20*time.Second - 1)
		f.staleAnswer(1, 5) // and was a probe
		f.staleAnswer(1, 5)
		f.at(20 * time.Second)
		f.fails(secrets.ErrUnavailable, 5)
		f.at(25 * time.Second)
		f.fails(secrets.ErrUnavailable, 6)
	})
	run(t, "a probe is not waited for so long that it is lost", opts, func(f *fixture) {
		f.set(func(s *source) { s.lease = 20 * time.Second })
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		_, _, _ = f.ask("a"), f.ask("b"), f.ask("c")
		f.set(func(s *source) { s.delay = timeout })
		f.at(19500 * time.Millisecond)
		within(f.I, 250*time.Millisecond, func() { f.staleAnswer(1, 5) })
		advance(timeout)
	})
}

func TestOutagesAreOfOneBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := cache.New()
		one, two := &source{err: secrets.ErrUnavailable}, &source{}
		first, second := memory.Wrap(one), memory.Wrap(two)
		for n := range 10 {
			_, err := first.Fetch(t.Context(), secrets.Ref{Path: fmt.Sprint(n)})
			is.True(err != nil)
			_, err = second.Fetch(t.Context(), secrets.Ref{Path: fmt.Sprint(n)})
			is.NoErr(err)
		}
		is.Equal(one.count(), 3)
		is.Equal(two.count(), 10)
		is.True(monitor(first).Outage())
		is.True(!monitor(second).Outage())
		is.NoErr(closeLayer(first))
		is.NoErr(closeLayer(second))
	})
}

func TestErrorOfAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 1)
		r.backend.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: "it is sealed"})
		detail := func(key string) string {
			_, err := r.Get(t.Context(), key)
			e, ok := errors.AsType[*secrets.Error](err)
			r.True(ok)
			r.Equal(e.Err, secrets.ErrUnavailable)
			r.Equal(e.Backend, r.backend.Name())
			r.Equal(e.Key, key)
			return e.Detail
		}
		_, _, _ = detail("a"), detail("b"), detail("c")
		got := detail("d#field")
		r.True(strings.HasPrefix(got, "the backend was unavailable 3 times in a row, and is asked again in about "))
		r.True(strings.HasSuffix(got, "00ms; the last time: it is sealed"))

		r.backend.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: strings.Repeat("sealed ", 100)})
		advance(past(firstStep))
		got = detail("e")
		r.True(strings.HasPrefix(got, "the backend was unavailable 4 times in a row, and is asked again in about "))
		r.True(!strings.Contains(got, "sealed"))

		defer r.backend.Block()()
		advance(past(2 * firstStep))
		r.Equal(detail("f"), "the backend was unavailable 4 times in a row, and is asked again now")
	})
}

func TestBackingOffInAnOutage(t *testing.T) {
	run(t, "", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		_, _, _, _ = f.ask("a"), f.ask("b"), f.ask("c"), f.ask("d")
		f.Equal(monitor(f.layer).BackingOff(), 3)
		advance(300 * time.Millisecond)
		f.Equal(monitor(f.layer).BackingOff(), 3) // their own back-offs are over
		f.answers(nil)
		advance(300 * time.Millisecond)
		f.Equal(monitor(f.layer).BackingOff(), 0) // the next reader asks
		f.NoErr(f.ask("d"))
		f.Equal(monitor(f.layer).BackingOff(), 0)
	})
}

// TestStressInOutages lets a backend come and go under all that a program does at once, in the time of a bubble. Nobody gets
// the value of another key, a failure that is not of the backend, or waits for longer than a fetch and a probe take; and when
// the backend is back for good, everybody has everything within one step.
func TestStressInOutages(t *testing.T) {
	const (
		keys = 30
		slow = 2 * time.Second
	)
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, keys, cache.WithSize(keys/2), cache.WithTTL(3*time.Second), cache.WithMaxStale(3*time.Second), cache.WithRefreshAhead(0.5))
		var down, over atomic.Bool
		r.backend.OnCall(func(ctx context.Context, _ []secrets.Ref) error {
			if over.Load() {
				return nil
			}
			lost := down.Load()
			select {
			case <-time.After(time.Duration(rand.Int64N(int64(slow)))):
			case <-ctx.Done():
				return ctx.Err()
			}
			if lost {
				return secrets.ErrUnavailable
			}
			return nil
		})
		var outages atomic.Int64
		check := func(key string, s secrets.Secret, err error) {
			if err != nil {
				r.True(isUnavailable(s, err))
				if strings.Contains(err.Error(), "in a row") {
					outages.Add(1)
				}
			} else {
				r.Equal(s.Reveal(), "value of "+key)
			}
		}
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				for range 300 {
					key, other := numbered(rand.IntN(keys)), numbered(rand.IntN(keys))
					began := time.Now()
					switch rand.IntN(20) {
					case 0:
						r.Invalidate(key)
					case 1:
						s, err := r.Refresh(context.Background(), key)
						check(key, s, err)
					case 2:
						ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.Int64N(int64(slow))))
						if s, err := r.Get(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
							check(key, s, err)
						}
						cancel()
					case 3, 4, 5:
						found, err := r.GetMany(context.Background(), key, other)
						if err == nil {
							check(key, found[key], nil)
							check(other, found[other], nil)
						}
					case 6:
						if rand.IntN(20) == 0 {
							r.memory.Purge()
						}
					default:
						s, err := r.Get(context.Background(), key)
						check(key, s, err)
					}
					r.True(time.Since(began) <= patience+2*slow)
					advance(time.Duration(rand.Int64N(int64(500 * time.Millisecond))))
				}
			})
		}
		stop := make(chan struct{})
		var weather sync.WaitGroup
		weather.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(rand.Int64N(int64(20 * time.Second)))):
					down.Store(!down.Load())
				}
			}
		})
		wg.Wait()
		close(stop)
		weather.Wait()
		r.True(outages.Load() > 100) // there were some
		over.Store(true)
		advance(past(10 * time.Second))
		for i := range keys {
			r.has(false, numbered(i))
		}
	})
}

// TestRefusedKeysAreNoAnswer has a backend refuse keys without asking anybody: that says nothing about its server.
func TestRefusedKeysAreNoAnswer(t *testing.T) {
	for class, open := range map[error]bool{secrets.ErrInvalidKey: true, secrets.ErrNotFound: false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4)
			r.breakDown(numbered(0), numbered(1), "another")
			r.backend.Fail(class)
			_, err := r.Refresh(t.Context(), numbered(2))
			r.True(errors.Is(err, class))
			r.backend.Fail(secrets.ErrUnavailable)
			calls := r.backend.Calls()
			r.fails(0, numbered(3))
			r.Equal(r.backend.Calls() == calls, open)
		})
	}
}
