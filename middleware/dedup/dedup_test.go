package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// layer returns a Dedup around next.
func layer(next secrets.Fetcher) secrets.Dedup {
	return dedup.New().NewDedup(secrets.Info{Name: "backend"}, next)
}

// fetchFunc makes a function a Fetcher.
type fetchFunc func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)

func (f fetchFunc) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return f(ctx, ref)
}

// withFresh returns the context of a refresh.
func withFresh(ctx context.Context) context.Context {
	return fetchctx.With(ctx, fetchctx.Fetch{Fresh: true})
}

// source is the backend below the layer. It answers each path with "value of path" after a delay.
type source struct {
	delay time.Duration
	fetch fetchFunc // in place of the delay, if set

	mu                  sync.Mutex
	paths               []string // of the calls
	ended               int      // calls that ended with their context
	running, maxRunning int      // calls
}

func (s *source) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s.mu.Lock()
	s.paths = append(s.paths, ref.Path)
	s.running++
	s.maxRunning = max(s.maxRunning, s.running)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()
	if s.fetch != nil {
		return s.fetch(ctx, ref)
	}
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return secrets.NewSecret("value of "+ref.Path, secrets.Meta{}), nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended++
		return secrets.Secret{}, ctx.Err()
	}
}

// cancelled returns how many calls have ended with their context.
func (s *source) cancelled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *source) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.paths)
}

var db = secrets.Ref{Path: "db"}

// caller fetches ref after wait, gives up after timeout unless that is 0, and records its result and when it came.
type caller struct {
	secret secrets.Secret
	err    error
	at     time.Duration
}

func call(wg *sync.WaitGroup, f secrets.Fetcher, ref secrets.Ref, wait, timeout time.Duration) *caller {
	c := &caller{}
	began := time.Now()
	wg.Go(func() {
		time.Sleep(wait)
		ctx := context.Background()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		c.secret, c.err = f.Fetch(ctx, ref)
		c.at = time.Since(began)
	})
	return c
}

func TestCallersShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 250 * time.Millisecond}
		f := layer(s)
		var wg sync.WaitGroup
		var callers []*caller
		for i := range 1000 {
			callers = append(callers, call(&wg, f, db, time.Duration(i)*200*time.Microsecond, 0))
		}
		wg.Wait()
		for _, c := range callers {
			is.NoErr(c.err)
			is.Equal(c.secret.Reveal(), "value of db")
			is.Equal(c.at, 250*time.Millisecond)
		}
		is.Equal(s.calls(), 1)
	})
}

func TestFirstCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 250 * time.Millisecond}
		f := layer(s)
		var wg sync.WaitGroup
		first := call(&wg, f, db, 0, 50*time.Millisecond)
		second := call(&wg, f, db, 10*time.Millisecond, 0)
		wg.Wait()
		is.Equal(first.err, context.DeadlineExceeded)
		is.Equal(first.at, 50*time.Millisecond)
		is.NoErr(second.err) // the end of the first caller's context does not affect the second
		is.Equal(second.at, 250*time.Millisecond)
		is.Equal(s.calls(), 1)
	})
}

func TestWaiterHasADeadlineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 300 * time.Millisecond}
		f := layer(s)
		var wg sync.WaitGroup
		first := call(&wg, f, db, 0, 0)
		second := call(&wg, f, db, 10*time.Millisecond, 50*time.Millisecond)
		wg.Wait()
		is.NoErr(first.err)
		is.Equal(second.err, context.DeadlineExceeded)
		is.Equal(second.at, 60*time.Millisecond)
	})
}

func TestGoexitAndPanicAreErrors(t *testing.T) {
	const canary = "hunter2-canary"
	faults := map[string]func(){
		"goexit":       runtime.Goexit,
		"panic string": func() { panic(canary) },
		"panic error":  func() { panic(errors.New(canary)) },
		"panic nil":    func() { panic(nil) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := &source{fetch: func(context.Context, secrets.Ref) (secrets.Secret, error) {
					time.Sleep(100 * time.Millisecond)
					fault()
					return secrets.Secret{}, nil
				}}
				f := layer(s)
				var wg sync.WaitGroup
				callers := []*caller{call(&wg, f, db, 0, 0), call(&wg, f, db, time.Millisecond, 0)}
				wg.Wait()
				for _, c := range callers {
					is.True(errors.Is(c.err, secrets.ErrUnknown))
					is.True(c.secret.IsZero())
					is.True(!strings.Contains(c.err.Error(), canary))
				}
				_, err := f.Fetch(t.Context(), db)
				is.True(errors.Is(err, secrets.ErrUnknown))
				is.Equal(s.calls(), 2) // no caller waits for the first flight
			})
		})
	}
}

func TestNeverAZeroSecretWithoutAnError(t *testing.T) {
	is := is.New(t)
	f := layer(fetchFunc(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		return secrets.Secret{}, nil
	}))
	_, err := f.Fetch(t.Context(), db)
	is.True(errors.Is(err, secrets.ErrUnknown))
}

// The layer is used in a Client.
func TestOverlappingGetManysFetchEachSecretOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 100 * time.Millisecond}
		client, err := secrets.New(secrets.NewBackend(secrets.Info{Name: "backend"}, s.Fetch), secrets.WithDedup(dedup.New()))
		is.NoErr(err)
		var wg sync.WaitGroup
		many := func(wait time.Duration, paths ...string) {
			wg.Go(func() {
				time.Sleep(wait)
				found, err := client.GetMany(context.Background(), paths...)
				is.NoErr(err)
				for _, p := range paths {
					is.Equal(found[p].Reveal(), "value of "+p)
				}
			})
		}
		began := time.Now()
		many(0, "a", "b", "a")
		many(10*time.Millisecond, "b", "c", "d")
		wg.Go(func() {
			time.Sleep(20 * time.Millisecond)
			_, err := client.Get(context.Background(), "c")
			is.NoErr(err)
			is.Equal(time.Since(began), 110*time.Millisecond)
		})
		many(30*time.Millisecond, "a", "d")
		wg.Wait()
		slices.Sort(s.paths)
		is.Equal(s.paths, []string{"a", "b", "c", "d"})
		is.NoErr(client.Close())
	})
}

func TestFlightKeepsContextValuesAndNoDeadline(t *testing.T) {
	is := is.New(t)
	type key struct{}
	f := layer(fetchFunc(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		_, has := ctx.Deadline()
		is.True(!has)
		return secrets.NewSecret(ctx.Value(key{}).(string), secrets.Meta{}), nil
	}))
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "first"), time.Hour)
	defer cancel()
	got, err := f.Fetch(ctx, db)
	is.NoErr(err)
	is.Equal(got.Reveal(), "first")
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: time.Second}
		f := layer(s)
		var wg sync.WaitGroup
		waiter := call(&wg, f, db, 0, 0)
		time.Sleep(100 * time.Millisecond)
		for range 10 {
			wg.Go(func() { is.NoErr(f.Close()) })
		}
		wg.Wait()
		is.True(errors.Is(waiter.err, secrets.ErrClosed))
		is.Equal(waiter.at, 100*time.Millisecond)
		_, err := f.Fetch(t.Context(), db)
		is.True(errors.Is(err, secrets.ErrClosed))
		is.Equal(s.calls(), 1)
	})
}

// The error after Close names the backend, for callers that wait and for later ones.
func TestErrorsAfterCloseNameTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := layer(&source{delay: time.Second})
		var wg sync.WaitGroup
		waiter := call(&wg, f, db, 0, 0)
		time.Sleep(100 * time.Millisecond)
		is.NoErr(f.Close())
		wg.Wait()
		_, closed := f.Fetch(t.Context(), db)
		for _, err := range []error{waiter.err, closed} {
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(*e, secrets.Error{Backend: "backend", Key: db.String(), Err: secrets.ErrClosed})
		}
	})
}

func TestOneLayerInTwoPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		shared := dedup.New()
		one, two := &source{delay: time.Millisecond}, &source{delay: time.Millisecond}
		f, g := shared.NewDedup(secrets.Info{Name: "f"}, one), shared.NewDedup(secrets.Info{Name: "g"}, two)
		var wg sync.WaitGroup
		call(&wg, f, db, 0, 0)
		call(&wg, g, db, 0, 0)
		wg.Wait()
		is.Equal(one.calls()+two.calls(), 2) // the same key is a different secret in each
		is.NoErr(f.Close())
		_, err := g.Fetch(t.Context(), db)
		is.NoErr(err)
	})
}

// TestInterleavings checks the rules on random schedules: a caller without a deadline gets the value, others leave exactly at their
// deadline, and at most three fetches run at a time.
func TestInterleavings(t *testing.T) {
	for seed := range uint64(2000) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			r := rand.New(rand.NewPCG(seed, 1))
			s := &source{delay: time.Duration(1 + r.IntN(100))}
			f := layer(s)
			var wg sync.WaitGroup
			type plan struct {
				*caller
				wait, timeout time.Duration
			}
			var plans []plan
			for range 1 + r.IntN(8) {
				p := plan{wait: time.Duration(r.IntN(150)), timeout: time.Duration(r.IntN(80))}
				p.caller = call(&wg, f, db, p.wait, p.timeout)
				plans = append(plans, p)
			}
			wg.Wait()
			for _, p := range plans {
				took := p.at - p.wait
				if p.err == nil {
					is.True(took <= s.delay)
					is.True(p.timeout == 0 || took <= p.timeout)
					continue
				}
				is.Equal(p.err, context.DeadlineExceeded)
				is.Equal(took, p.timeout)
			}
			is.True(s.calls() <= len(plans))
			is.NoErr(f.Close())
			is.Equal(s.cancelled(), 0)
			is.True(s.maxRunning <= 3)
		})
	}
}

func TestStress(t *testing.T) {
	is := is.New(t)
	var running, maxRunning atomic.Int64
	s := fetchFunc(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		for n := running.Add(1); ; {
			old := maxRunning.Load()
			if n <= old || maxRunning.CompareAndSwap(old, n) {
				break
			}
		}
		runtime.Gosched()
		running.Add(-1)
		return secrets.NewSecret("value of "+ref.Path, secrets.Meta{}), nil
	})
	f := layer(s)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for range 400 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(200))*time.Microsecond)
				ref := secrets.Ref{Path: fmt.Sprint(r.IntN(4))}
				switch r.IntN(4) {
				case 0:
					ctx = withFresh(ctx)
				case 1:
					f.Invalidate(ref)
				}
				if s, err := f.Fetch(ctx, ref); err == nil && s.Reveal() != "value of "+ref.Path {
					t.Error("the answer of another key")
				}
				cancel()
			}
		})
	}
	wg.Wait()
	is.NoErr(f.Close())
	is.True(maxRunning.Load() > 1) // the calls did overlap
}

func TestTheZeroValueIsAFault(t *testing.T) {
	is := is.New(t)
	_, err := secrets.New(secrets.NewBackend(secrets.Info{Name: "backend"}, (&source{}).Fetch), secrets.WithDedup(&dedup.Dedup{}))
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "dedup.New"))
	is.NoErr(dedup.New().Validate())
}
