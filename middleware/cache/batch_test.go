package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// several returns n paths that begin with prefix.
func several(prefix string, n int) []string {
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprint(prefix, i)
	}
	return paths
}

// calling returns a Fetcher that calls answer for each fetch and records, unless call is nil, that call answered it.
func calling(call *atomic.Pointer[fetchctx.Batch], answer func(ref secrets.Ref) error) fetchFunc {
	return func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if b := call.Load(); b != nil {
			fetchctx.Of(ctx).Origin.Set(b)
		}
		if err := answer(ref); err != nil {
			return secrets.Secret{}, err
		}
		return secrets.NewSecret("value of "+ref.Path, secrets.Meta{}), nil
	}
}

func newCall(size int) *fetchctx.Batch {
	b := new(fetchctx.Batch)
	b.Begin(size)
	return b
}

func unavailable(secrets.Ref) error { return secrets.NewError(secrets.ErrUnavailable, "") }

// Twenty fetches that fail in one call of the server count once.
func TestAFailedBatchCountsOnce(t *testing.T) {
	is := is.New(t)
	var call atomic.Pointer[fetchctx.Batch]
	layer := newLayer(cache.New(), calling(&call, unavailable))
	for n := range 3 {
		is.True(!layer.Outage())
		call.Store(newCall(20))
		for _, r := range fetchAll(t.Context(), layer, several(fmt.Sprint(n, "-"), 20)...) {
			is.True(isUnavailable(r.Secret, r.Err))
		}
	}
	is.True(layer.Outage())
	is.NoErr(layer.Close())

	// Control: each fetch in a call of its own.
	call.Store(nil)
	layer = newLayer(cache.New(), calling(&call, unavailable))
	fetchAll(t.Context(), layer, several("", 20)...)
	is.True(layer.Outage())
	is.NoErr(layer.Close())
}

// Documents with values fail three times. One document may fail on its own. Two in one call show an outage, though the call counts once.
func TestAFailedBatchIsOfSeveralDocuments(t *testing.T) {
	for _, paths := range [][]string{{"a"}, {"a", "b"}} {
		is := is.New(t)
		var call atomic.Pointer[fetchctx.Batch]
		var down atomic.Bool
		layer := newLayer(cache.New(), calling(&call, func(ref secrets.Ref) error {
			if down.Load() {
				return unavailable(ref)
			}
			return nil
		}))
		fetchAll(t.Context(), layer, "a", "b", "c")
		down.Store(true)
		for range 3 {
			is.True(!layer.Outage())
			call.Store(newCall(len(paths)))
			for _, path := range paths {
				_, err := layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: path})
				is.True(err != nil)
			}
		}
		is.Equal(layer.Outage(), len(paths) > 1)
		is.NoErr(layer.Close())
	}
}

// The failures of a batch are recorded before its answer, and after it.
func TestABatchWithAnAnswerIsNoFailure(t *testing.T) {
	for _, order := range [][]string{{"bad", "good"}, {"good", "bad"}} {
		is := is.New(t)
		var call atomic.Pointer[fetchctx.Batch]
		var down atomic.Bool
		layer := newLayer(cache.New(), calling(&call, func(ref secrets.Ref) error {
			if ref.Path == "good" || !down.Load() {
				return nil
			}
			return unavailable(ref)
		}))
		fetchAll(t.Context(), layer, "a", "b", "bad")
		down.Store(true)
		fail := func() {
			call.Store(nil)
			for range 2 {
				for _, path := range []string{"a", "b"} {
					_, err := layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: path})
					is.True(err != nil)
				}
			}
		}
		answers := []secrets.Result{{Err: unavailable(db)}, {Secret: secrets.NewSecret("v", secrets.Meta{})}}
		for range 3 {
			call.Store(nil)
			fetchAll(withFresh(t.Context()), layer, "a", "b") // the next failure opens the breaker
			is.True(!layer.Outage())
			both := newCall(2)
			both.End(answers)
			call.Store(both)
			for _, path := range order {
				_, _ = layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: path})
				is.True(!layer.Outage())
			}
		}
		fail() // control
		is.True(layer.Outage())
		is.NoErr(layer.Close())
	}
}

// TestBatchesInAnOutage counts the calls in an outage: those that open the breaker, and one for each probe.
func TestBatchesInAnOutage(t *testing.T) {
	outages := map[string]struct {
		begin func(b *secretstest.Backend) (end func())
		costs time.Duration
	}{
		"refused": {costs: 0, begin: func(b *secretstest.Backend) func() {
			b.Fail(secrets.ErrUnavailable)
			return b.Recover
		}},
		"hanging": {costs: timeout, begin: func(b *secretstest.Backend) func() { return b.Block() }},
	}
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newBatchRemote(t, 80, 20)
				all := several("key-", 80)
				end := outage.begin(r.backend)
				fails := func(costs time.Duration, keys []string) {
					r.Helper()
					within(r.I, costs, func() {
						found, err := r.GetMany(t.Context(), keys...)
						r.True(err != nil)
						r.Equal(len(found), 0)
					})
				}
				fails(outage.costs, all[:20])
				r.Equal(r.backend.Calls(), 1)
				fails(outage.costs, all[20:40])
				fails(outage.costs, all[40:60])
				fails(0, all[60:])
				r.Equal(r.backend.Calls(), 3)
				time.Sleep(past(firstStep))
				fails(min(outage.costs, maxWait), all[60:])
				r.Equal(r.backend.Calls(), 4)

				end()
				time.Sleep(past(2 * firstStep))
				found, err := r.GetMany(t.Context(), all[60:]...)
				r.NoErr(err)
				r.Equal(len(found), 20)
				if name == "refused" { // the probe that hung has fetched its document
					r.Equal(r.backend.Calls(), 6) // a probe, and the other 19
				}
			})
		})
	}
}

// TestBatchesAreFull reads many more documents than a GetMany fetches at a time: each that is answered lets the next one go on.
func TestBatchesAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRemote(t, 2000, 20)
		r.backend.SetLatency(10 * time.Millisecond)
		found, err := r.GetMany(t.Context(), several("key-", 2000)...)
		r.NoErr(err)
		r.Equal(len(found), 2000)
		r.Equal(r.backend.Calls(), 100)
	})
}

// While the probe of one document takes its time, the other documents of the GetMany wait. Then they are fetched.
func TestGetManyWaitsForItsProbe(t *testing.T) {
	const keys = 60
	setup := func(t *testing.T) (*remote, []string) {
		t.Helper()
		r := newRemote(t, keys)
		r.breakDown("a", "b", "c")
		r.backend.Recover()
		time.Sleep(past(firstStep))
		return r, several("key-", keys)
	}
	synctest.Test(t, func(t *testing.T) {
		r, all := setup(t)
		r.backend.SetLatency(maxWait - 1)
		found, err := r.GetMany(t.Context(), all...)
		r.NoErr(err)
		r.Equal(len(found), keys)
	})
	t.Run("not longer than a probe is waited for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, all := setup(t)
			r.backend.SetLatency(maxWait + 1)
			within(r.I, maxWait, func() { // though they come in several rows of 16
				found, err := r.GetMany(t.Context(), all...)
				r.True(err != nil)
				r.Equal(len(found), 0)
			})
		})
	})
	t.Run("not longer than its own deadline allows", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, all := setup(t)
			r.backend.SetLatency(maxWait - 1)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := r.GetMany(ctx, all...)
			r.True(err != nil)
			r.NoErr(ctx.Err()) // there is time for a fallback
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, all := setup(t)
			r.backend.SetLatency(maxWait - 1)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			within(r.I, 100*time.Millisecond, func() {
				found, err := r.GetMany(ctx, all...)
				r.True(err != nil)
				r.Equal(len(found), 0)
			})
			time.Sleep(maxWait)
			r.backend.SetLatency(0)
			r.has(false, all...) // the probe has closed the breaker all the same
		})
	})
	t.Run("closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, all := setup(t)
			defer r.backend.Block()()
			var wg sync.WaitGroup
			wg.Go(func() {
				found, err := r.GetMany(t.Context(), all...)
				r.True(errors.Is(err, secrets.ErrClosed)) // of the probe; the others are unavailable
				r.Equal(len(found), 0)
			})
			synctest.Wait()
			within(r.I, 0, func() { r.NoErr(r.Close()) })
			wg.Wait()
		})
	})
	t.Run("control: another call does not wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, all := setup(t)
			r.backend.SetLatency(maxWait - 1)
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := r.Get(t.Context(), all[0])
				r.NoErr(err)
			})
			synctest.Wait()
			within(r.I, 0, func() {
				found, err := r.GetMany(t.Context(), all[1:]...)
				r.True(err != nil)
				r.Equal(len(found), 0)
			})
			wg.Wait()
		})
	})
}
