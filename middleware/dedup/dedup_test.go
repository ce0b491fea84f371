package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is what the layer stands around: it answers each path with "value of path" after a delay.
type source struct {
	delay time.Duration
	fetch func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) // in place of the delay, if set

	mu      sync.Mutex
	asked   map[string]int
	batches [][]string
	ended   int // calls that their context ended
}

func (s *source) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	r := s.answer(ctx, []secrets.Ref{ref})[0]
	return r.Secret, r.Err
}

func (s *source) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	return s.answer(ctx, refs)
}

func (s *source) answer(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	paths := make([]string, len(refs))
	s.mu.Lock()
	if s.asked == nil {
		s.asked = make(map[string]int)
	}
	for i, ref := range refs {
		paths[i] = ref.Path
		s.asked[ref.Path]++
	}
	s.batches = append(s.batches, paths)
	s.mu.Unlock()

	results := make([]secrets.Result, len(refs))
	if s.fetch != nil {
		for i, ref := range refs {
			results[i].Secret, results[i].Err = s.fetch(ctx, ref)
		}
		return results
	}
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		for i, ref := range refs {
			results[i].Secret = secrets.NewSecret("value of "+ref.Path, secrets.Meta{})
		}
	case <-ctx.Done():
		s.mu.Lock()
		s.ended++
		s.mu.Unlock()
		for i := range refs {
			results[i].Err = ctx.Err()
		}
	}
	return results
}

func (s *source) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.batches)
}

func wrap(s secrets.Fetcher) secrets.Fetcher { return dedup.New().Wrap(s) }

func closeLayer(f secrets.Fetcher) error { return f.(interface{ Close() error }).Close() }

func invalidate(f secrets.Fetcher, paths ...string) {
	for _, p := range paths {
		f.(interface{ Invalidate(refs ...secrets.Ref) }).Invalidate(secrets.Ref{Path: p})
	}
}

var db = secrets.Ref{Path: "db"}

// caller fetches ref after wait, gives up after patience if that is not 0, and notes what it got and when.
type caller struct {
	secret secrets.Secret
	err    error
	at     time.Duration
}

func call(wg *sync.WaitGroup, f secrets.Fetcher, ref secrets.Ref, wait, patience time.Duration) *caller {
	c := &caller{}
	began := time.Now()
	wg.Go(func() {
		time.Sleep(wait)
		ctx := context.Background()
		if patience > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, patience)
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
		f := wrap(s)
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
		f := wrap(s)
		var wg sync.WaitGroup
		first := call(&wg, f, db, 0, 50*time.Millisecond)
		second := call(&wg, f, db, 10*time.Millisecond, 0)
		wg.Wait()
		is.Equal(first.err, context.DeadlineExceeded)
		is.Equal(first.at, 50*time.Millisecond)
		is.NoErr(second.err) // the first caller's end is not the second's
		is.Equal(second.at, 250*time.Millisecond)
		is.Equal(s.calls(), 1)
	})
}

func TestWaiterHasADeadlineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 300 * time.Millisecond}
		f := wrap(s)
		var wg sync.WaitGroup
		first := call(&wg, f, db, 0, 0)
		second := call(&wg, f, db, 10*time.Millisecond, 50*time.Millisecond)
		wg.Wait()
		is.NoErr(first.err)
		is.Equal(second.err, context.DeadlineExceeded)
		is.Equal(second.at, 60*time.Millisecond)
	})
}

func TestNewcomerAfterAllHaveLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 300 * time.Millisecond}
		f := wrap(s)
		var wg sync.WaitGroup
		call(&wg, f, db, 0, 50*time.Millisecond)
		call(&wg, f, db, 0, 60*time.Millisecond)
		newcomer := call(&wg, f, db, 60*time.Millisecond+1, 0)
		wg.Wait()
		is.NoErr(newcomer.err) // it does not join the cancelled flight
		is.Equal(newcomer.at, 360*time.Millisecond+1)
		is.Equal(s.calls(), 2)
		is.Equal(s.ended, 1) // the last one to leave cancelled the first flight
	})
}

func TestGoexitAndPanic(t *testing.T) {
	const canary = "hunter2-canary"
	faults := map[string]func(){
		"goexit":       runtime.Goexit,
		"panic string": func() { panic(canary) },
		"panic error":  func() { panic(errors.New(canary)) },
		"panic nil":    func() { panic(nil) }, // a backend may do it
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
				f := wrap(s)
				var wg sync.WaitGroup
				callers := []*caller{call(&wg, f, db, 0, 0), call(&wg, f, db, time.Millisecond, 0)}
				wg.Wait()
				for _, c := range callers {
					is.True(errors.Is(c.err, secrets.ErrUnknown))
					is.True(c.secret.IsZero())
					is.True(!strings.Contains(c.err.Error(), canary))
				}
				for _, r := range f.FetchMany(t.Context(), []secrets.Ref{db, {Path: "other"}}) {
					is.True(errors.Is(r.Err, secrets.ErrUnknown))
				}
				is.Equal(s.calls(), 2) // nobody is stuck in the first flight
			})
		})
	}
}

func TestNeverAZeroSecretWithoutAnError(t *testing.T) {
	is := is.New(t)
	f := wrap(secrets.FetcherFunc(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		return secrets.Secret{}, nil
	}))
	_, err := f.Fetch(t.Context(), db)
	is.True(errors.Is(err, secrets.ErrUnknown))

	for _, r := range wrap(short{}).FetchMany(t.Context(), []secrets.Ref{db, {Path: "other"}}) {
		is.True(errors.Is(r.Err, secrets.ErrUnknown))
	}
}

// short answers a batch with too few results.
type short struct{ secrets.FetcherFunc }

func (short) FetchMany(context.Context, []secrets.Ref) []secrets.Result { return nil }

func TestInvalidationAndFresh(t *testing.T) {
	later := map[string]func(f secrets.Fetcher) context.Context{
		"invalidated": func(f secrets.Fetcher) context.Context {
			invalidate(f, "db")
			return context.Background()
		},
		"fresh": func(secrets.Fetcher) context.Context { return secrets.WithFresh(context.Background()) },
	}
	for name, prepare := range later {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := &source{delay: 100 * time.Millisecond}
				f := wrap(s)
				var wg sync.WaitGroup
				first := call(&wg, f, db, 0, 0)
				time.Sleep(50 * time.Millisecond)
				began := time.Now()
				_, err := f.Fetch(prepare(f), db)
				is.NoErr(err)
				is.Equal(time.Since(began), 100*time.Millisecond) // not the rest of the first flight
				wg.Wait()
				is.NoErr(first.err)
				is.Equal(first.at, 100*time.Millisecond)
				is.Equal(s.calls(), 2)
			})
		})
	}
}

func TestLaterCallersJoinTheFreshFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 100 * time.Millisecond}
		f := wrap(s)
		var wg sync.WaitGroup
		call(&wg, f, db, 0, 0)
		wg.Go(func() {
			time.Sleep(10 * time.Millisecond)
			_, _ = f.Fetch(secrets.WithFresh(context.Background()), db)
		})
		late := call(&wg, f, db, 20*time.Millisecond, 0)
		wg.Wait()
		is.Equal(late.at, 110*time.Millisecond)
		is.Equal(s.calls(), 2)
	})
}

func TestOverlappingBatchesAskOnceForEachSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 100 * time.Millisecond}
		f := wrap(s)
		var wg sync.WaitGroup
		batch := func(wait time.Duration, paths ...string) {
			refs := make([]secrets.Ref, len(paths))
			for i, p := range paths {
				refs[i].Path = p
			}
			wg.Go(func() {
				time.Sleep(wait)
				for i, r := range f.FetchMany(context.Background(), refs) {
					is.NoErr(r.Err)
					is.Equal(r.Secret.Reveal(), "value of "+paths[i])
				}
			})
		}
		batch(0, "a", "b", "a")
		batch(10*time.Millisecond, "b", "c", "d")
		single := call(&wg, f, secrets.Ref{Path: "c"}, 20*time.Millisecond, 0)
		batch(30*time.Millisecond, "a", "d")
		wg.Wait()
		is.Equal(single.at, 110*time.Millisecond)
		is.Equal(fmt.Sprint(s.batches), "[[a b] [c d]]")
		is.Equal(len(f.FetchMany(t.Context(), nil)), 0)
		is.Equal(s.calls(), 2)
	})
}

func TestBatchIsCancelledWhenNobodyWantsAnyOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: time.Second}
		f := wrap(s)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, r := range f.FetchMany(ctx, []secrets.Ref{{Path: "a"}, {Path: "b"}}) {
				is.Equal(r.Err, context.DeadlineExceeded)
			}
		})
		b := call(&wg, f, secrets.Ref{Path: "b"}, 10*time.Millisecond, 200*time.Millisecond)
		time.Sleep(150 * time.Millisecond)
		is.Equal(s.ended, 0) // b is wanted still
		again := call(&wg, f, secrets.Ref{Path: "a"}, 0, 0)
		wg.Wait()
		is.Equal(b.err, context.DeadlineExceeded)
		is.NoErr(again.err) // a was left by all, and is asked anew
		is.Equal(s.ended, 1)
		is.Equal(s.calls(), 2)
	})
}

func TestFlightKeepsContextValuesAndNoDeadline(t *testing.T) {
	is := is.New(t)
	type key struct{}
	f := wrap(secrets.FetcherFunc(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
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
		f := wrap(s)
		var wg sync.WaitGroup
		waiter := call(&wg, f, db, 0, 0)
		time.Sleep(100 * time.Millisecond)
		for range 10 {
			wg.Go(func() { is.NoErr(closeLayer(f)) })
		}
		wg.Wait()
		is.True(errors.Is(waiter.err, secrets.ErrClosed))
		is.Equal(waiter.at, 100*time.Millisecond)
		_, err := f.Fetch(t.Context(), db)
		is.True(errors.Is(err, secrets.ErrClosed))
		is.True(errors.Is(f.FetchMany(t.Context(), []secrets.Ref{db})[0].Err, secrets.ErrClosed))
		is.Equal(s.calls(), 1)
	})
}

// named is a source that has a name, as those that a Client wraps do.
type named struct{ *source }

func (named) Name() string { return "backend" }

// Whoever waits when the group is closed, or comes later, learns which backend it was for.
func TestCloseSaysOfWhichBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := dedup.New().Wrap(named{&source{delay: time.Second}})
		var wg sync.WaitGroup
		waiter := call(&wg, f, db, 0, 0)
		time.Sleep(100 * time.Millisecond)
		is.NoErr(closeLayer(f))
		wg.Wait()
		_, late := f.Fetch(t.Context(), db)
		for _, err := range []error{waiter.err, late, f.FetchMany(t.Context(), []secrets.Ref{db})[0].Err} {
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(*e, secrets.Error{Backend: "backend", Key: db.String(), Err: secrets.ErrClosed})
		}
	})
}

func TestOneLayerInTwoPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		layer := dedup.New()
		one, two := &source{delay: time.Millisecond}, &source{delay: time.Millisecond}
		f, g := layer.Wrap(one), layer.Wrap(two)
		var wg sync.WaitGroup
		call(&wg, f, db, 0, 0)
		call(&wg, g, db, 0, 0)
		wg.Wait()
		is.Equal(one.calls()+two.calls(), 2) // a key means another secret in each
		is.NoErr(closeLayer(f))
		_, err := g.Fetch(t.Context(), db)
		is.NoErr(err)
	})
}

// TestInterleavings checks the rules on random schedules: whoever is patient gets the value, whoever is not leaves at its
// own deadline to the nanosecond, and there is a call only where the last one was left by all or had ended.
func TestInterleavings(t *testing.T) {
	for seed := range uint64(2000) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			r := rand.New(rand.NewPCG(seed, 1))
			s := &source{delay: time.Duration(1 + r.IntN(100))}
			f := wrap(s)
			var wg sync.WaitGroup
			type plan struct {
				*caller
				wait, patience time.Duration
			}
			var plans []plan
			for range 1 + r.IntN(8) {
				p := plan{wait: time.Duration(r.IntN(150)), patience: time.Duration(r.IntN(80))}
				p.caller = call(&wg, f, db, p.wait, p.patience)
				plans = append(plans, p)
			}
			wg.Wait()
			for _, p := range plans {
				took := p.at - p.wait
				if p.err == nil {
					is.True(took <= s.delay)
					is.True(p.patience == 0 || took <= p.patience)
					continue
				}
				is.Equal(p.err, context.DeadlineExceeded)
				is.Equal(took, p.patience)
			}
			is.True(s.calls() <= len(plans))
			synctest.Wait()
		})
	}
}

func TestStress(t *testing.T) {
	is := is.New(t)
	var running, most atomic.Int64
	s := secrets.FetcherFunc(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		for n := running.Add(1); ; {
			old := most.Load()
			if n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		runtime.Gosched()
		running.Add(-1)
		return secrets.NewSecret("value of "+ref.Path, secrets.Meta{}), nil
	})
	f := wrap(s)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for range 200 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(200))*time.Microsecond)
				refs := []secrets.Ref{{Path: fmt.Sprint(r.IntN(4))}, {Path: fmt.Sprint(r.IntN(4))}}
				switch r.IntN(4) {
				case 0:
					ctx = secrets.WithFresh(ctx)
				case 1:
					invalidate(f, refs[0].Path)
				}
				for n, r := range f.FetchMany(ctx, refs) {
					if r.Err == nil && r.Secret.Reveal() != "value of "+refs[n].Path {
						t.Error("the answer of another key")
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
	is.NoErr(closeLayer(f))
	is.True(most.Load() > 1) // the calls did overlap
}
