package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// keys returns n keys.
func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = "k" + strconv.Itoa(i)
	}
	return all
}

// grace is how long a batch whose time is over is waited for; see guard.go.
const grace = 100 * time.Millisecond

// A backend that does not answer is ErrUnavailable at a time that is known beforehand, whether it obeys its context or not.
func TestTimeout(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts []secrets.Option
		keys int // 0 for a Get
		want time.Duration
	}{
		{"one, by default", nil, 0, 5 * time.Second},
		{"one", []secrets.Option{secrets.WithTimeout(time.Second)}, 0, time.Second},
		{"last option", []secrets.Option{secrets.WithTimeout(time.Hour), secrets.WithTimeout(time.Second)}, 0, time.Second},
		{"default option", []secrets.Option{secrets.WithDefaults(secrets.WithTimeout(2 * time.Second))}, 0, 2 * time.Second},
		{"option over default", []secrets.Option{secrets.WithDefaults(secrets.WithTimeout(9)), secrets.WithTimeout(time.Minute)}, 0, time.Minute},
		{"batch of 1", nil, 1, 5 * time.Second},
		{"batch of 20", nil, 20, 5 * time.Second},
		{"batch of 21", nil, 21, 10 * time.Second},
		{"batch of 40", nil, 40, 10 * time.Second},
		{"batch of 41", []secrets.Option{secrets.WithTimeout(time.Second)}, 41, 3 * time.Second},
		{"layers", []secrets.Option{secrets.WithTracing(secrets.Intercept(passHook)), secrets.WithMiddleware(secrets.Intercept(passHook))}, 0,
			5 * time.Second},
	} {
		for _, obeys := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, obeys %t", tc.name, obeys), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					release := make(chan struct{})
					backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
						if obeys {
							<-ctx.Done()
							return secrets.Secret{}, fmt.Errorf("%s: %w", canary, ctx.Err())
						}
						<-release
						return secrets.NewSecret("late", secrets.Meta{}), nil
					})
					backend.fetchMany = func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
						_, err := backend.fetch(ctx, secrets.Ref{})
						return slices.Repeat([]secrets.Result{{Err: err}}, len(refs))
					}
					client := open(t, backend, tc.opts...)
					start := time.Now()
					want := tc.want
					var err error
					if tc.keys == 0 {
						_, err = client.Get(t.Context(), "a")
					} else {
						if !obeys {
							want += grace
						}
						_, err = client.GetMany(t.Context(), keys(tc.keys)...)
						is.Equal(len(err.(secrets.Errors)), tc.keys)
					}
					is.Equal(time.Since(start), want)
					checkClass(t, err, secrets.ErrUnavailable)
					var e *secrets.Error
					is.True(errors.As(err, &e))
					is.Equal(e.Backend, "fake")
					is.Equal(e.Detail[:len("no answer within ")], "no answer within ")
					close(release)
				})
			})
		}
	}
}

// A backend that answers just in time is believed.
func TestJustInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			time.Sleep(5*time.Second - 1)
			return secrets.NewSecret("in time", secrets.Meta{}), nil
		}))
		start := time.Now()
		s, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		is.Equal(s.Reveal(), "in time")
		is.Equal(time.Since(start), 5*time.Second-1)
		is.True(s.Meta().FetchedAt.Equal(start)) // when the fetch began, not when it ended
	})
}

// A caller's deadline holds to the nanosecond, however the backend behaves, and its error is the context's own.
func TestCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		release := make(chan struct{})
		client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			<-release
			return secrets.Secret{}, secrets.ErrNotFound
		}))
		for _, call := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := client.Get(ctx, "a"); return err },
			func(ctx context.Context) error { _, err := client.GetOr(ctx, "a", "default"); return err },
			func(ctx context.Context) error { _, err := client.Has(ctx, "a"); return err },
			func(ctx context.Context) error { _, err := client.Refresh(ctx, "a"); return err },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			start := time.Now()
			err := call(ctx)
			is.True(err == context.DeadlineExceeded)
			is.Equal(time.Since(start), 50*time.Millisecond)
			cancel()
		}
		close(release)
	})
}

// The context that a backend gets is a context like any other, though it is made only when a backend asks for it: it ends with
// the caller's, at the timeout, and when the call has returned, and so does what is derived from it.
func TestContextOfABackend(t *testing.T) {
	type key struct{}
	cause := errors.New("the caller left")
	for _, tc := range []struct {
		name  string
		wait  time.Duration // of the caller, or 0 for ever
		end   func(cancel context.CancelCauseFunc)
		stays time.Duration // of the backend
		want  error
		at    time.Duration
		cause error
	}{
		{name: "timeout", stays: time.Minute, want: context.DeadlineExceeded, at: 5 * time.Second, cause: context.DeadlineExceeded},
		{name: "the caller's deadline", wait: time.Second, stays: time.Minute, want: context.DeadlineExceeded, at: time.Second,
			cause: context.DeadlineExceeded},
		{name: "the caller's end", end: func(cancel context.CancelCauseFunc) { time.Sleep(time.Second); cancel(cause) }, stays: time.Minute,
			want: context.Canceled, at: time.Second, cause: cause},
		{name: "the return", stays: 2 * time.Second, want: context.Canceled, at: 2 * time.Second, cause: context.Canceled},
	} {
		for asked, derive := range map[string]func(context.Context) context.Context{
			"at once": func(ctx context.Context) context.Context { return ctx },
			"by a context with a value": func(ctx context.Context) context.Context {
				return context.WithValue(ctx, key{}, "derived")
			},
			"by a context with a deadline": func(ctx context.Context) context.Context {
				ctx, cancel := context.WithTimeout(context.WithValue(ctx, key{}, "derived"), time.Hour)
				context.AfterFunc(ctx, cancel)
				return ctx
			},
			"late": nil, // after the call
		} {
			t.Run(tc.name+", asked "+asked, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					given, release := make(chan context.Context, 1), make(chan struct{})
					defer close(release)
					client := open(t, failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
						if derive != nil {
							ctx = derive(ctx)
							is.NoErr(ctx.Err())
							ctx.Done()
						}
						given <- ctx
						select {
						case <-time.After(tc.stays):
						case <-release:
						}
						return secrets.NewSecret("value", secrets.Meta{}), nil
					}))
					ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "caller's"))
					defer cancel(nil)
					if tc.wait > 0 {
						var stop context.CancelFunc
						ctx, stop = context.WithTimeout(ctx, tc.wait)
						defer stop()
					}
					if tc.end != nil {
						go tc.end(cancel)
					}
					begun := time.Now()
					_, err := client.Get(ctx, "a")
					is.Equal(err == nil, tc.stays < time.Minute)
					is.Equal(time.Since(begun), tc.at)
					inner := <-given
					select {
					case <-inner.Done():
					case <-time.After(time.Nanosecond):
						t.Error("the context goes on")
					}
					is.Equal(inner.Err(), tc.want)
					is.Equal(context.Cause(inner), tc.cause)
					end, has := inner.Deadline()
					is.True(has)
					if tc.wait == 0 {
						is.Equal(end.Sub(begun), 5*time.Second)
					} else {
						is.Equal(end.Sub(begun), tc.wait)
					}
					value := inner.Value(key{})
					is.True(value == "derived" || derive == nil && value == "caller's" || asked == "at once" && value == "caller's")
				})
			})
		}
	}
}

// Many calls whose callers share one context end as it does, whoever of them learns of it first.
func TestContextsOfManyCalls(t *testing.T) {
	cause := errors.New("the program ends")
	for name, tc := range map[string]struct {
		begin func(context.Context) (context.Context, func())
		err   error
		cause error
	}{
		"deadline": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			context.AfterFunc(ctx, cancel)
			return ctx, func() { <-ctx.Done() }
		}, context.DeadlineExceeded, context.DeadlineExceeded},
		"end": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(cause) }
		}, context.Canceled, cause},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					var ended, wrong atomic.Int64
					client := open(t, failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
						<-ctx.Done()
						ended.Add(1)
						if ctx.Err() != tc.err || context.Cause(ctx) != tc.cause { // the very errors
							wrong.Add(1)
						}
						return secrets.Secret{}, ctx.Err()
					}))
					ctx, end := tc.begin(t.Context())
					var wg sync.WaitGroup
					for _, key := range keys(100) {
						wg.Go(func() {
							_, err := client.Get(ctx, key)
							is.Equal(err, tc.err)
						})
					}
					synctest.Wait()
					end()
					wg.Wait()
					synctest.Wait()
					is.Equal(ended.Load(), int64(100))
					is.Equal(wrong.Load(), int64(0))
				})
			}
		})
	}
}

// Where the caller's deadline comes just before that of the backend, it is none that anybody has cancelled. The fake time of
// synctest has no just before, so that this takes its time.
func TestContextAtTwoDeadlines(t *testing.T) {
	is := is.New(t)
	const wait = time.Millisecond
	var ended, wrong atomic.Int64
	client := open(t, failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		<-ctx.Done()
		ended.Add(1)
		if ctx.Err() != context.DeadlineExceeded { // the very error
			wrong.Add(1)
		}
		return secrets.Secret{}, ctx.Err()
	}), secrets.WithTimeout(wait))
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err := client.Get(ctx, "a")
		is.True(err != nil)
		<-ctx.Done() // or else to cancel it would be the end of it
		cancel()
	}
	is.NoErr(client.Close()) // waits for the calls
	is.True(ended.Load() > 0)
	is.Equal(wrong.Load(), int64(0))
}

// unending is a context with a deadline by which it does not end.
type unending struct{ context.Context }

func (unending) Deadline() (time.Time, bool) { return time.Now().Add(-time.Hour), true }

// The backend's context ends also where the caller's is one that does not.
func TestContextOfAnUnendingCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ended := make(chan struct{})
		client := open(t, failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			<-ctx.Done()
			close(ended)
			return secrets.Secret{}, ctx.Err()
		}))
		_, err := client.Get(unending{t.Context()}, "a")
		is.True(errors.Is(err, secrets.ErrUnavailable))
		<-ended
	})
}

// Who prints the context of a backend learns nothing of the call, and may do so at any time.
func TestContextOfABackendIsPrinted(t *testing.T) {
	is := is.New(t)
	returned := make(chan struct{})
	client := open(t, failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		defer close(returned)
		for done := ctx.Done(); ; {
			is.Equal(fmt.Sprintf("%v, %+v", ctx, ctx), "secrets.timeout, secrets.timeout")
			select {
			case <-done:
				return secrets.Secret{}, ctx.Err()
			default:
			}
		}
	}), secrets.WithTimeout(10*time.Millisecond))
	_, err := client.Get(t.Context(), "a")
	is.True(errors.Is(err, secrets.ErrUnavailable))
	<-returned
}

// A batch has its grace also where the deadline of the caller is that of the backend.
func TestGraceAtTheCallersDeadline(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := failing(nil)
			backend.fetchMany = func(ctx context.Context, _ []secrets.Ref) []secrets.Result {
				<-ctx.Done()
				time.Sleep(grace / 2)
				return []secrets.Result{{Secret: secrets.NewSecret("value", secrets.Meta{})}, {Err: ctx.Err()}}
			}
			client := open(t, backend)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			found, err := client.GetMany(ctx, "a", "b")
			is.Equal(found["a"].Reveal(), "value")
			is.True(errors.Is(err, context.DeadlineExceeded))
		})
	}
}

// What a batch has when its time is over is kept; what it has not is ErrUnavailable.
func TestPartialBatch(t *testing.T) {
	for _, tc := range []struct {
		late time.Duration
		kept bool
	}{{0, true}, {grace / 2, true}, {grace - 1, true}, {grace + 1, false}, {time.Minute, false}} {
		t.Run(tc.late.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				backend := &fake{name: "fake", fetchMany: func(ctx context.Context, _ []secrets.Ref) []secrets.Result {
					<-ctx.Done()
					if tc.late > 0 {
						time.Sleep(tc.late)
					}
					return []secrets.Result{
						{Secret: secrets.NewSecret("1", secrets.Meta{})}, {Err: ctx.Err()}, {Err: secrets.ErrPermissionDenied}, {Err: secrets.ErrNotFound},
					}
				}}
				client := open(t, backend, secrets.WithTimeout(time.Hour))
				start := time.Now()
				found, err := client.GetMany(t.Context(), keys(4)...)
				is.Equal(time.Since(start), time.Hour+min(tc.late, grace))
				all := err.(secrets.Errors)
				if !tc.kept {
					is.Equal(len(found), 0)
					is.Equal(len(all), 4)
					for _, e := range all {
						checkClass(t, e, secrets.ErrUnavailable)
					}
					return
				}
				is.Equal(found["k0"].Reveal(), "1")
				is.Equal(len(all), 3)
				checkClass(t, all[0], secrets.ErrUnavailable)
				is.Equal(all[0].Detail, "no answer within 1h0m0s")
				checkClass(t, all[1], secrets.ErrPermissionDenied)
				checkClass(t, all[2], secrets.ErrNotFound)
			})
		})
	}
}

// The longest timeout there is does not overflow for a batch, and end it before it has begun.
func TestLongestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &fake{name: "fake", fetchMany: func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
			select {
			case <-ctx.Done():
				return slices.Repeat([]secrets.Result{{Err: ctx.Err()}}, len(refs))
			case <-time.After(time.Hour):
				return slices.Repeat([]secrets.Result{{Secret: secrets.NewSecret("x", secrets.Meta{})}}, len(refs))
			}
		}}
		client := open(t, backend, secrets.WithTimeout(math.MaxInt64))
		for _, n := range []int{1, 20, 21, 1000} {
			found, err := client.GetMany(t.Context(), keys(n)...)
			is.NoErr(err)
			is.Equal(len(found), n)
		}
	})
}

// A backend whose own context ends before the timeout has not been waited for in vain.
func TestBackendGivesUp(t *testing.T) {
	is := is.New(t)
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, fmt.Errorf("dial: %w", context.DeadlineExceeded)} {
		_, err := open(t, failing(returns(err))).Get(t.Context(), "a")
		is.Equal(err.Error(), "secrets: fake: a: unavailable: the backend gave up before the timeout")
	}
}

func TestMetaIsStamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
		now := time.Now()
		for _, tc := range []struct{ meta, want secrets.Meta }{
			{secrets.Meta{}, secrets.Meta{Backend: "fake", FetchedAt: now}},
			{secrets.Meta{Version: "7", ExpiresAt: own, Stale: true},
				secrets.Meta{Backend: "fake", FetchedAt: now, Version: "7", ExpiresAt: own, Stale: true}},
			{secrets.Meta{Backend: "replica"}, secrets.Meta{Backend: "replica", FetchedAt: now}},
			{secrets.Meta{FetchedAt: own}, secrets.Meta{Backend: "fake", FetchedAt: own}},
			{secrets.Meta{Backend: "replica", FetchedAt: own}, secrets.Meta{Backend: "replica", FetchedAt: own}},
		} {
			is := is.New(t)
			client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
				return secrets.NewSecret(`{"x":""}`, tc.meta), nil
			}))
			s, err := client.Get(t.Context(), "a")
			is.NoErr(err)
			is.Equal(s.Meta(), tc.want)
			found, err := client.GetMany(t.Context(), "a#x")
			is.NoErr(err)
			is.Equal(found["a#x"].Meta(), tc.want) // a field has the Meta of its document
		}
	})
}

// A backend may keep and change the refs that it gets, also when nobody waits for it any more.
func TestRefsAreLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		client := open(t, &fake{name: "fake", fetchMany: func(_ context.Context, refs []secrets.Ref) []secrets.Result {
			<-release
			for i := range refs {
				refs[i] = secrets.Ref{Path: "changed"}
			}
			return nil
		}})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := client.GetMany(t.Context(), "a", "b")
			for i, e := range err.(secrets.Errors) {
				if want := []string{"a", "b"}[i]; e.Key != want {
					t.Errorf("%v is of %q, want %q", e, e.Key, want)
				}
			}
		}()
		time.Sleep(5*time.Second + grace) // to the moment: the race detector sees both at work
		close(release)
		<-done
	})
}

func TestFetchEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		refs := make([]secrets.Ref, 50)
		for i := range refs {
			refs[i].Path = strconv.Itoa(i)
		}
		var now, most atomic.Int64
		start := time.Now()
		results := secrets.FetchEach(t.Context(), func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m; m = most.Load() {
				if most.CompareAndSwap(m, n) {
					break
				}
			}
			time.Sleep(time.Second)
			switch n, _ := strconv.Atoi(ref.Path); n % 10 {
			case 1:
				return secrets.Secret{}, secrets.ErrPermissionDenied
			case 2:
				panic(canary)
			case 3:
				runtime.Goexit()
			case 4:
				return secrets.Secret{}, nil
			}
			return secrets.NewSecret(ref.Path, secrets.Meta{}), nil
		}, refs)
		is.Equal(most.Load(), int64(8))
		is.Equal(time.Since(start), 7*time.Second) // 50 refs, 8 at a time
		is.Equal(len(results), 50)
		for i, r := range results {
			want := secrets.ErrUnknown
			switch i % 10 {
			case 1:
				want = secrets.ErrPermissionDenied
			case 2, 3, 4:
			default:
				is.NoErr(r.Err)
				is.Equal(r.Secret.Reveal(), strconv.Itoa(i)) // in order
				continue
			}
			checkClass(t, r.Err, want)
			is.Equal(newDetector(canary).find(r.Err.Error()), "")
		}
		is.Equal(len(secrets.FetchEach(t.Context(), nil, nil)), 0)
		checkClass(t, secrets.FetchEach(t.Context(), nil, refs[:1])[0].Err, secrets.ErrUnknown) // nobody to ask
	})
}

// Refs that were not begun when the context ended have its error, and are not begun.
func TestFetchEachEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		var begun atomic.Int64
		results := secrets.FetchEach(ctx, func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			begun.Add(1)
			select {
			case <-ctx.Done():
				return secrets.Secret{}, ctx.Err()
			case <-time.After(time.Second):
				return secrets.NewSecret("x", secrets.Meta{}), nil
			}
		}, make([]secrets.Ref, 100))
		is.Equal(begun.Load(), int64(16))
		for i, r := range results {
			if i < 8 {
				is.NoErr(r.Err)
			} else {
				is.True(r.Err == context.DeadlineExceeded)
			}
		}
	})
}

// FetcherFunc and Intercept are what they say also without a Client around them.
func TestFetcherFunc(t *testing.T) {
	is := is.New(t)
	f := secrets.FetcherFunc(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path == "" {
			panic("empty")
		}
		return secrets.NewSecret(ref.Path, secrets.Meta{}), nil
	})
	s, err := f.Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.NoErr(err)
	is.Equal(s.Reveal(), "a")
	results := secrets.Intercept(passHook).Wrap(f).FetchMany(t.Context(), []secrets.Ref{{Path: "a"}, {}, {Path: "b"}})
	is.Equal(results[0].Secret.Reveal(), "a")
	checkClass(t, results[1].Err, secrets.ErrUnknown)
	is.Equal(results[2].Secret.Reveal(), "b")
}

// A guard with nothing to do asks nobody.
func TestEmptyBatch(t *testing.T) {
	is := is.New(t)
	backend := newFake("a", "1")
	var answers int
	hook := secrets.Intercept(func(ctx context.Context, refs []secrets.Ref,
		next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
		answers = len(next(ctx, nil)) + len(next(ctx, []secrets.Ref{}))
		return next(ctx, refs)
	})
	client := open(t, backend, secrets.WithMiddleware(hook), secrets.WithBackendMiddleware(hook))
	_, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(answers, 0)
	is.Equal(len(backend.batches), 0)
}

// A goroutine that a panic or Goexit of a backend ends is never the caller's, and the Client works on.
func TestClientSurvivesItsBackend(t *testing.T) {
	is := is.New(t)
	var n atomic.Int64
	client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		switch n.Add(1) % 3 {
		case 1:
			panic("x")
		case 2:
			runtime.Goexit()
		}
		return secrets.NewSecret("fine", secrets.Meta{}), nil
	}))
	var wg sync.WaitGroup
	var fine, failed atomic.Int64
	for range 30 {
		wg.Go(func() {
			if _, err := client.Get(t.Context(), "a"); err == nil {
				fine.Add(1)
			} else if secrets.Class(err) == secrets.ErrUnknown {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	is.Equal(fine.Load(), int64(10))
	is.Equal(failed.Load(), int64(20))
}
