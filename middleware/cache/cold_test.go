package cache_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Callers with a deadline of 300 ms read one cold key in turn, while the backend hangs for 12 s. Their fetches go on without them, at most
// three at a time. They fail after 5 s and open the breaker.
func TestColdKeyOfABackendThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 310 * time.Millisecond
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": "v1"})
		var running, maxRunning atomic.Int64
		backend.OnCall(func(context.Context, []secrets.Ref) error {
			maxRunning.Store(max(maxRunning.Load(), running.Add(1)))
			time.AfterFunc(timeout, func() { running.Add(-1) })
			return nil
		})
		client := newClient(t, backend, middleware.Standard(cache.WithJitter(0)), secrets.WithTimeout(timeout))
		release := backend.Block()
		began := time.Now()
		ask := func(n int) (string, time.Duration) {
			until(began, time.Duration(n)*every)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			asked := time.Now()
			_, err := client.Get(ctx, "db")
			took := time.Since(asked)
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				return "waited", took
			case isUnavailable(secrets.Secret{}, err) && strings.Contains(err.Error(), "times in a row"):
				return "open", took
			default:
				return err.Error(), took
			}
		}
		for n := range 39 {
			got, took := ask(n)
			switch at := time.Duration(n) * every; {
			case at < timeout+2*every: // the first has failed at 5 s, the second at 5.31 s, the third does so at 5.62 s
				is.Equal(got, "waited")
				is.Equal(took, 300*time.Millisecond)
			case n == 20: // a probe: the breaker has opened at 5.62 s, and the step of 400 ms is over
				is.Equal(got, "open")
				is.Equal(took, 150*time.Millisecond)
			default:
				is.Equal(got, "open")
				is.Equal(took, time.Duration(0))
			}
			calls := 3 // until the first has failed: later callers join the third
			switch {
			case n < 3:
				calls = n + 1
			case n >= 20:
				calls = 6
			case n >= 18:
				calls = 5
			case n >= 17:
				calls = 4
			}
			is.Equal(backend.Calls(), calls)
		}
		is.Equal(maxRunning.Load(), int64(3))

		until(began, 12*time.Second)
		release()
		time.Sleep(past(2 * firstStep))
		s, err := client.Get(t.Context(), "db")
		is.NoErr(err)
		is.Equal(s.Reveal(), "v1")
		is.True(!s.Meta().Stale)
		is.Equal(backend.Calls(), 7)
	})
}

// The answer is stored even if its caller has left, with dedup and without.
func TestColdFetchOutlivesItsCaller(t *testing.T) {
	for name, run := range map[string]func(*testing.T, string, []cache.Option, func(*fixture)){"with dedup": run, "alone": runAlone} {
		run(t, name, nil, func(f *fixture) {
			f.set(func(s *source) { s.delay = time.Second })
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			_, err := f.layer.Fetch(ctx, db)
			f.Equal(err, context.DeadlineExceeded)
			f.at(time.Second - 1)
			_, known := f.layer.Peek(db)
			f.True(!known)
			f.at(time.Second)
			f.fresh(1, 1)
		})
	}
}

// Control for dedup: without it, misses are not shared.
func TestMissesAreNotSharedWithoutDedup(t *testing.T) {
	for name, c := range map[string]struct {
		run   func(*testing.T, string, []cache.Option, func(*fixture))
		calls int
	}{"with dedup": {run, 1}, "alone": {runAlone, 10}} {
		c.run(t, name, nil, func(f *fixture) {
			f.set(func(s *source) { s.delay = time.Second })
			paths := make([]string, 10)
			for i := range paths {
				paths[i] = "db"
			}
			for _, r := range fetchAll(context.Background(), f.layer, paths...) {
				f.NoErr(r.Err)
			}
			f.Equal(f.count(), c.calls)
		})
	}
}
