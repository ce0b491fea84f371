package secrets_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// errText checks that Err says part.
func (w *watching) errText(part string) {
	w.Helper()
	if err := w.handle.Err(); err == nil || !strings.Contains(err.Error(), part) {
		w.Errorf("Err is %v, without %q", err, part)
	}
}

// A denial or a deletion shows at the next poll. The value stays, and Changed stays open.
func TestDenialsAndDeletionsShowAtOnce(t *testing.T) {
	for name, layers := range map[string][]any{"without layers": {}, "with a cache": {exact}} {
		for what, change := range map[string]struct {
			change func(*secretstest.Backend)
			class  error
		}{
			"denied":          {func(b *secretstest.Backend) { b.Fail(secrets.ErrPermissionDenied) }, secrets.ErrPermissionDenied},
			"unauthenticated": {func(b *secretstest.Backend) { b.Fail(secrets.ErrUnauthenticated) }, secrets.ErrUnauthenticated},
			"deleted":         {func(b *secretstest.Backend) { b.Delete("db") }, secrets.ErrDeleted},
			"removed":         {func(b *secretstest.Backend) { b.Remove("db") }, secrets.ErrNotFound},
			"malformed":       {func(b *secretstest.Backend) { b.Fail(secrets.ErrMalformed) }, secrets.ErrMalformed},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				watch(t, func(w *watching) {
					changed := w.handle.Changed()
					change.change(w.backend)
					elapse(80 * time.Second)
					w.shows("one", change.class)
					w.errText("db: ")
					elapse(time.Hour)
					w.shows("one", change.class)
					w.True(!isClosed(changed))

					w.backend.Recover()
					w.backend.Set("db", "two")
					elapse(time.Minute)
					w.True(isClosed(changed))
					w.shows("two", nil)
				}, layers...)
			})
		}
	}
}

// Without a cache, a handle is stale after the first poll that fails. Polls follow after a second, then two, up to the interval.
func TestAnOutageWithoutACache(t *testing.T) {
	watch(t, func(w *watching) {
		changed := w.handle.Changed()
		w.backend.Fail(secrets.ErrUnavailable)
		calls := timesOf(w.backend)
		elapse(2 * time.Minute)
		w.shows("one", secrets.ErrUnavailable)
		w.errText("the test told the fake backend to fail")
		got := calls.take()
		for i, step := range []int{1, 2, 4, 8, 16} {
			w.Equal(got[i+1]-got[i], time.Duration(step)*time.Second)
		}
		for i := 6; i < len(got); i++ {
			w.True(got[i]-got[i-1] > 26*time.Second && got[i]-got[i-1] <= 30*time.Second)
		}
		w.True(len(got) >= 7)
		w.backend.Recover()
		elapse(30 * time.Second)
		w.shows("one", nil)
		w.True(!isClosed(changed))
	})
}

// With a cache, a handle is like a Get: fresh until the TTL, then stale, and after MaxStale the error of a Get. It keeps the value.
func TestAnOutageWithACache(t *testing.T) {
	watch(t, func(w *watching) {
		_, err := w.client.Watch(w.Context(), "other") // so that the circuit breaker opens
		w.NoErr(err)
		w.backend.Fail(secrets.NewError(secrets.ErrUnavailable, "no route"))
		elapse(99 * time.Second)
		w.shows("one", nil)
		elapse(15 * time.Second)
		w.shows("one", secrets.ErrUnavailable)
		w.errText("no route")
		elapse(time.Hour)
		w.shows("one", secrets.ErrUnavailable)
		w.errText("no route")
		_, err = w.client.Get(w.Context(), "db")
		w.True(errors.Is(err, secrets.ErrUnavailable)) // MaxStale is over
		calls := w.backend.Calls()
		elapse(10 * time.Minute)
		w.True(w.backend.Calls()-calls < 200) // the back-off of the cache holds
		w.backend.Recover()
		elapse(15 * time.Second)
		w.shows("one", nil)
	}, exact)
}

// While a fetch is slow, the value is stale.
func TestASlowBackend(t *testing.T) {
	watch(t, func(w *watching) {
		w.backend.SetLatency(4 * time.Second)
		w.backend.Set("db", "two")
		elapse(83 * time.Second)
		w.shows("one", nil)
		elapse(time.Second)
		w.shows("two", nil)
	}, exact)
}

func TestTheEndOfALease(t *testing.T) {
	for name, layers := range map[string][]any{"without layers": {}, "with a cache": {exact}} {
		for what, fault := range map[string]func(*secretstest.Backend){
			"an outage": func(b *secretstest.Backend) { b.Fail(secrets.ErrUnavailable) },
			"a hang":    func(b *secretstest.Backend) { b.Block() },
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := &watching{I: is.New(t), T: t, backend: secretstest.NewBackend(map[string]string{"db": "one"})}
					w.backend.SetLease("db", time.Hour)
					w.client = open(t, w.backend, options(layers)...)
					var err error
					w.handle, err = w.client.Watch(t.Context(), "db")
					w.NoErr(err)
					w.backend.SetLease("db", time.Minute)
					elapse(50 * time.Minute)
					end := w.handle.Secret().Meta().ExpiresAt
					fault(w.backend)
					elapse(time.Until(end) + 150*time.Millisecond) // two polls are 100 ms apart
					w.shows("one", secrets.ErrUnavailable)
				})
			})
		}
	}
}

// A handle follows a chain as Get does: a stale value of the first source comes before a fresh one of the next.
func TestHandleOfAChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		first := secretstest.NewBackend(map[string]string{"db": "first"}, secretstest.WithName("first"))
		second := secretstest.NewBackend(map[string]string{"db": "second", "only": "second"}, secretstest.WithName("second"))
		policy := &chain{backends: []secrets.Backend{second}, goesOn: []error{secrets.ErrNotFound, secrets.ErrUnavailable}}
		client := open(t, first, secrets.WithFallback(policy), exact())
		db, err := client.Watch(t.Context(), "db")
		is.NoErr(err)
		only, err := client.Watch(t.Context(), "only")
		is.NoErr(err)
		is.Equal(only.Secret().Meta().Backend, "second")
		first.Fail(secrets.ErrUnavailable)
		elapse(30 * time.Minute)
		is.Equal(db.Secret().Reveal(), "first")
		is.True(db.Secret().Meta().Stale)
		is.Equal(only.Secret().Reveal(), "second")
		first.Recover()
		first.Set("only", "first")
		elapse(30 * time.Second)
		is.Equal(only.Secret().Reveal(), "first")
		is.Equal(db.Secret().Meta().Stale, false)
	})
}

// The program may change the error of a handle.
func TestErrorsOfHandlesAreCopies(t *testing.T) {
	watch(t, func(w *watching) {
		w.backend.Fail(secrets.ErrPermissionDenied)
		elapse(time.Minute)
		e, ok := errors.AsType[*secrets.Error](w.handle.Err())
		w.True(ok)
		e.Err = nil
		w.True(errors.Is(w.handle.Err(), secrets.ErrPermissionDenied))
	})
}

// Middleware that panics, or ends the goroutine, does not stop the polls.
func TestMiddlewareThatBreaksAPoll(t *testing.T) {
	for name, broken := range map[string]func(){
		"a panic":                func() { panic("canary") },
		"the end of a goroutine": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var breaks atomic.Bool
				backend := secretstest.NewBackend(map[string]string{"db": "one"}, secretstest.WithLocal())
				client := open(t, backend, secrets.WithMiddleware(secrets.Intercept(
					func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
						if breaks.Load() {
							broken()
						}
						return next.Fetch(ctx, ref)
					})))
				h, err := client.Watch(t.Context(), "db")
				is.NoErr(err)
				breaks.Store(true)
				elapse(30 * time.Second)
				is.Equal(secrets.Class(h.Err()), secrets.ErrUnknown)
				breaks.Store(false)
				backend.Set("db", "two")
				elapse(30 * time.Second)
				is.Equal(h.Secret().Reveal(), "two")
				is.NoErr(h.Err())
			})
		})
	}
}

// A Watch in an outage may begin with a stale value. Err says so at once.
func TestWatchInAnOutage(t *testing.T) {
	watch(t, func(w *watching) {
		w.NoErr(w.handle.Close())
		_, err := w.client.Get(w.Context(), "db")
		w.NoErr(err)
		w.backend.Fail(secrets.NewError(secrets.ErrUnavailable, "no route"))
		elapse(10 * time.Minute)
		h, err := w.client.Watch(w.Context(), "db")
		w.NoErr(err)
		w.True(h.Secret().Meta().Stale) // the control
		w.True(h.Err() != nil)          // at once
	}, exact)
}

// Middleware that hangs until its context ends delays one poll, and does not end the handle.
func TestAPollThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var calls atomic.Int64
		stuck := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			if calls.Add(1) == 2 {
				<-ctx.Done()
				return secrets.Secret{}, ctx.Err()
			}
			return next.Fetch(ctx, ref)
		})
		b := secretstest.NewBackend(map[string]string{"db": "one"})
		c := open(t, b, secrets.WithMiddleware(stuck))
		h, err := c.Watch(t.Context(), "db")
		is.NoErr(err)
		b.Set("db", "two")
		elapse(24 * time.Hour)
		is.True(h.Secret().Reveal() == "two" || h.Err() != nil)
	})
}

func TestATimeoutOfMiddlewareIsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		short := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return next.Fetch(ctx, ref)
		})
		b := secretstest.NewBackend(map[string]string{"db": "one"})
		c := open(t, b, secrets.WithMiddleware(short))
		h, err := c.Watch(t.Context(), "db")
		is.NoErr(err)
		b.SetLatency(3 * time.Second)
		elapse(time.Minute)
		is.True(h.Err() != nil)
		is.True(!strings.Contains(h.Err().Error(), "lease"))
	})
}
