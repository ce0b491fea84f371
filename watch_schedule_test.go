package secrets_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// times records the times of the calls since the last take.
type times struct {
	mu    sync.Mutex
	began time.Time
	all   []time.Duration
}

func timesOf(b *secretstest.Backend) *times {
	c := &times{began: time.Now()}
	b.OnCall(func(context.Context, []secrets.Ref) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(c.all, time.Since(c.began))
		return nil
	})
	return c
}

func (c *times) take() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all, c.began = nil, time.Now()
	return all
}

// are checks that the calls came at the times want, or earlier by at most slack times the time since the call before.
func (c *times) are(w *watching, slack float64, want ...time.Duration) {
	w.Helper()
	got := c.take()
	w.Equal(len(got), len(want))
	last, lastGot := time.Duration(0), time.Duration(0)
	for i := range want {
		step := want[i] - last
		if d := got[i] - lastGot; d > step || float64(d) < float64(step)*(1-slack) {
			w.Errorf("call %d came %v after the one before it, not %v: %v", i, d, step, got)
		}
		last, lastGot = want[i], got[i]
	}
}

// exact has no jitter.
func exact() secrets.Option {
	return middleware.Standard(cache.WithJitter(0), cache.WithTTL(100*time.Second))
}

func TestAHandlePollsEvery30Seconds(t *testing.T) {
	watch(t, func(w *watching) {
		calls := timesOf(w.backend)
		elapse(95 * time.Second)
		calls.are(w, 0.1, 30*time.Second, 60*time.Second, 90*time.Second)
	})
}

// Programs that start together do not poll together.
func TestPollsAreSpread(t *testing.T) {
	different := map[time.Duration]bool{}
	for range 20 {
		watch(t, func(w *watching) {
			calls := timesOf(w.backend)
			elapse(65 * time.Second)
			got := calls.take()
			w.Equal(len(got), 2)
			different[got[1]-got[0]] = true
		})
	}
	is.New(t).True(len(different) > 10)
}

func TestAHandlePollsWhenTheCacheSaysSo(t *testing.T) {
	watch(t, func(w *watching) {
		calls := timesOf(w.backend)
		w.backend.Set("db", "two")
		elapse(79 * time.Second)
		w.shows("one", nil)
		elapse(time.Second)
		w.shows("two", nil)
		elapse(170 * time.Second)
		calls.are(w, 0, 80*time.Second, 160*time.Second, 240*time.Second)
	}, exact)
}

// A program that reads and watches makes no more calls than one that reads.
func TestReadersAndHandlesShareRenewals(t *testing.T) {
	count := func(handles int) (calls int) {
		watch(t, func(w *watching) {
			w.NoErr(w.handle.Close())
			for range handles {
				_, err := w.client.Watch(w.Context(), "db")
				w.NoErr(err)
			}
			w.backend.ResetCounts()
			w.backend.SetLatency(10 * time.Millisecond)
			for range 10 * 3600 {
				time.Sleep(100 * time.Millisecond)
				_, err := w.client.Get(w.Context(), "db")
				w.NoErr(err)
			}
			synctest.Wait()
			calls = w.backend.Calls()
		}, exact)
		return calls
	}
	is := is.New(t)
	without, with := count(0), count(3)
	is.True(without >= 44 && without <= 45) // one in 80 s
	is.Equal(with, without)
}

func TestWatchInterval(t *testing.T) {
	for name, opts := range map[string][]any{
		"without layers": {}, "with a cache": {exact}, "with a cache alone": {func() secrets.Option { return secrets.WithCache(cache.New()) }},
	} {
		t.Run(name, func(t *testing.T) {
			watch(t, func(w *watching) {
				calls := timesOf(w.backend)
				elapse(31 * time.Second)
				calls.are(w, 0.1, 10*time.Second, 20*time.Second, 30*time.Second)
				w.backend.Set("db", "two")
				elapse(10 * time.Second)
				w.shows("two", nil)
				s, err := w.client.Get(w.Context(), "db") // the cache has the value of the handle
				w.NoErr(err)
				w.Equal(s.Reveal(), "two")
			}, append(opts, secrets.WatchInterval(10*time.Second))...)
		})
	}
}

// A long interval saves calls, even if a cache would renew earlier.
func TestALongWatchInterval(t *testing.T) {
	watch(t, func(w *watching) {
		calls := timesOf(w.backend)
		elapse(25 * time.Hour)
		calls.are(w, 0.1, 12*time.Hour, 24*time.Hour)
	}, exact, secrets.WatchInterval(12*time.Hour))
}

func TestTheShortestIntervalCounts(t *testing.T) {
	watch(t, func(w *watching) {
		for _, d := range []time.Duration{20 * time.Second, 10 * time.Second, 15 * time.Second} {
			_, err := w.client.Watch(w.Context(), "db", secrets.WatchInterval(d))
			w.NoErr(err)
		}
		calls := timesOf(w.backend)
		elapse(31 * time.Second)
		calls.are(w, 0.1, 10*time.Second, 20*time.Second, 30*time.Second)
	})
}

// A handle with an interval of a day does not change the polls for other handles of the document.
func TestALongIntervalNextToTheDefault(t *testing.T) {
	watch(t, func(w *watching) {
		long, err := w.client.Watch(w.Context(), "db", secrets.WatchInterval(24*time.Hour))
		w.NoErr(err)
		calls := timesOf(w.backend)
		elapse(61 * time.Second)
		calls.are(w, 0.1, 30*time.Second, 60*time.Second)
		w.NoErr(w.handle.Close())
		w.backend.Set("db", "two")
		elapse(25 * time.Hour)
		w.Equal(long.Secret().Reveal(), "two")
		w.True(len(calls.take()) <= 2)
	})
}

// A poll is one fetch for all handles of one document, whatever their fields.
func TestHandlesOfADocumentSharePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watching{I: is.New(t), T: t, backend: secretstest.NewBackend(map[string]string{"db": `{"a":"1","b":"2"}`, "x": "y"})}
		w.client = open(t, w.backend)
		for i := range 50 {
			_, err := w.client.Watch(t.Context(), []string{"db#a", "db#b", "db"}[i%3])
			w.NoErr(err)
		}
		other, err := w.client.Watch(t.Context(), "x")
		w.NoErr(err)
		w.backend.ResetCounts()
		elapse(30 * time.Second)
		w.Equal(w.backend.Fetches("db"), 1)
		w.Equal(w.backend.Fetches("x"), 1)
		w.NoErr(other.Close())
		elapse(30 * time.Second)
		w.Equal(w.backend.Fetches("x"), 1)
		w.Equal(w.backend.Fetches("db"), 2)
	})
}

// Vault finds the field at the end of a path.
func TestPathsOfOneDocumentSharePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := newFake("app", `{"user":"u","password":"p"}`).resolvedBy(func(ref secrets.Ref) secrets.Ref {
			if field, ok := strings.CutPrefix(ref.Path, "app/"); ok {
				ref.Path, ref.Field = "app", field
			}
			return ref
		})
		client := open(t, backend)
		for _, key := range []string{"app/user", "app/password", "app#user"} {
			_, err := client.Watch(t.Context(), key)
			is.NoErr(err)
		}
		before := backend.calls.Load()
		elapse(30 * time.Second)
		is.Equal(backend.calls.Load(), before+1)
	})
}

func TestALeaseIsRenewedBeforeItsEnd(t *testing.T) {
	for name, opts := range map[string][]any{"without layers": {}, "with a cache": {exact}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				backend := &leaser{ttl: time.Hour}
				client := open(t, backend.backend(), options(opts)...)
				h, err := client.Watch(t.Context(), "creds")
				is.NoErr(err)
				for range 24 * 60 {
					elapse(time.Minute)
					is.NoErr(h.Err())
					is.True(time.Now().Before(h.Secret().Meta().ExpiresAt))
				}
				// 24 h with leases of an hour, of which 70 to 80 % are used.
				is.True(backend.count() >= 30 && backend.count() <= 36)
			})
		})
	}
}

// WatchInterval creates no leases.
func TestAnIntervalCreatesNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &leaser{ttl: time.Hour}
		client := open(t, backend.backend(), exact())
		_, err := client.Watch(t.Context(), "creds", secrets.WatchInterval(time.Second))
		is.NoErr(err)
		elapse(40 * time.Minute)
		is.Equal(backend.count(), 1)
	})
}

// A password that changes at a known time has no new value before it.
func TestARotationAtAKnownTime(t *testing.T) {
	for name, opts := range map[string][]any{"without layers": {}, "with a cache": {exact}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				backend := &leaser{ttl: 24 * time.Hour, fixed: true}
				client := open(t, backend.backend(), options(opts)...)
				h, err := client.Watch(t.Context(), "creds")
				is.NoErr(err)
				changed := h.Changed()
				elapse(24*time.Hour - time.Millisecond)
				is.True(!isClosed(changed))
				elapse(time.Second)
				is.True(isClosed(changed))
				is.NoErr(h.Err())
				is.True(backend.count() < 30)
			})
		})
	}
}

// leaser is a backend that creates a lease for each read; if it is fixed, its value changes every ttl instead.
type leaser struct {
	ttl   time.Duration
	fixed bool

	mu    sync.Mutex
	began time.Time
	made  int
}

func (l *leaser) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made
}

func (l *leaser) backend() *fake {
	l.began = time.Now()
	f := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.made++
		end, name := time.Now().Add(l.ttl), l.made
		if l.fixed {
			name = int(time.Since(l.began) / l.ttl)
			end = l.began.Add(time.Duration(name+1) * l.ttl)
		}
		return secrets.NewSecret(fmt.Sprint("password-", name), secrets.Meta{Version: fmt.Sprint(name), ExpiresAt: end}), nil
	})
	f.info.Leases = true
	return f
}

// options returns those of opts that are for New.
func options(opts []any) (all []secrets.Option) {
	for _, o := range opts {
		if o, ok := o.(func() secrets.Option); ok {
			all = append(all, o())
		}
	}
	return all
}

// A backend that reports a change at each fetch is called with pauses.
func TestPollsHaveAPause(t *testing.T) {
	watch(t, func(w *watching) {
		elapse(10 * time.Second)
		w.backend.ResetCounts()
		for range 10_000 {
			time.Sleep(time.Millisecond)
			w.client.Invalidate("db")
		}
		synctest.Wait()
		w.True(w.backend.Calls() > 50)
		w.True(w.backend.Calls() <= 101)
	})
}

// The first polls are spread too: programs may start together.
func TestFirstPollsAreSpread(t *testing.T) {
	different := map[time.Duration]bool{}
	for range 20 {
		watch(t, func(w *watching) {
			calls := timesOf(w.backend)
			elapse(30 * time.Second)
			different[calls.take()[0]] = true
		})
	}
	is.New(t).True(len(different) > 10)
}

func TestTheLongestInterval(t *testing.T) {
	watch(t, func(w *watching) {
		w.backend.ResetCounts()
		elapse(time.Hour)
		w.Equal(w.backend.Calls(), 0)
	}, secrets.WatchInterval(math.MaxInt64))
}

// Pauses after a failure double up to the interval, even a long one.
func TestARemovedSecretWithALongInterval(t *testing.T) {
	watch(t, func(w *watching) {
		w.backend.Remove("db")
		elapse(25 * time.Hour)
		w.backend.ResetCounts()
		elapse(24 * time.Hour)
		w.True(w.backend.Calls() < 100)
	}, secrets.WatchInterval(12*time.Hour))
}
