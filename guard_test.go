package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// A backend that does not answer is ErrUnavailable after exactly the timeout, whether it obeys its context or not.
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
		{"many, of one", nil, 1, 5 * time.Second},
		{"many, at a time", nil, 16, 5 * time.Second},
		{"many, in two turns", nil, 17, 10 * time.Second}, // each document has its own time
		{"many, in three turns", []secrets.Option{secrets.WithTimeout(time.Second)}, 41, 3 * time.Second},
		{"layers", []secrets.Option{secrets.WithTracing(idle()), secrets.WithMiddleware(pass())}, 0, 5 * time.Second},
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
					client := open(t, backend, tc.opts...)
					start := time.Now()
					var err error
					if tc.keys == 0 {
						_, err = client.Get(t.Context(), "a")
					} else {
						_, err = client.GetMany(t.Context(), keys(tc.keys)...)
						is.Equal(len(err.(secrets.Errors)), tc.keys)
					}
					is.Equal(time.Since(start), tc.want)
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

// An answer just before the timeout counts.
func TestAnswersJustInTime(t *testing.T) {
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

// The deadline of a caller is exact, whatever the backend does, and the class is the error of the context.
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
			checkEnded(t, err, context.DeadlineExceeded, "fake", "a")
			is.Equal(err.Error(), "secrets: fake: a: context deadline exceeded")
			is.Equal(time.Since(start), 50*time.Millisecond)
			cancel()
		}
		close(release)
	})
}

// The context of a backend ends with the caller's, at the timeout, and when the call has returned. So does any context
// that is derived from it.
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
		{name: "the caller's end", end: func(cancel context.CancelCauseFunc) { <-time.After(time.Second); cancel(cause) }, stays: time.Minute,
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
					// The guard cancels the context as soon as it has given up, which may be before that has a reason of its own.
					is.True(inner.Err() == tc.want || inner.Err() == context.Canceled)
					is.True(context.Cause(inner) == tc.cause || context.Cause(inner) == context.Canceled)
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

// Many calls that share one context end with it.
func TestContextsOfManyCalls(t *testing.T) {
	for name, tc := range map[string]struct {
		begin func(context.Context) (context.Context, func())
		err   error
	}{
		"deadline": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			context.AfterFunc(ctx, cancel)
			return ctx, func() { <-ctx.Done() }
		}, context.DeadlineExceeded},
		"end": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(errors.New("the program ends")) }
		}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					var ended atomic.Int64
					client := open(t, failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
						<-ctx.Done()
						ended.Add(1)
						return secrets.Secret{}, ctx.Err()
					}))
					ctx, end := tc.begin(t.Context())
					var wg sync.WaitGroup
					for _, key := range keys(100) {
						wg.Go(func() {
							_, err := client.Get(ctx, key)
							checkEnded(t, err, tc.err, "fake", key)
						})
					}
					synctest.Wait()
					end()
					wg.Wait()
					synctest.Wait()
					is.Equal(ended.Load(), int64(100))
				})
			}
		})
	}
}

// unending is a context with a deadline by which it does not end.
type unending struct{ context.Context }

func (unending) Deadline() (time.Time, bool) { return time.Now().Add(-time.Hour), true }

// The context of the backend ends even if that of the caller never does.
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

// A GetMany keeps found secrets when one document times out.
func TestEachDocumentHasItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := failing(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			switch ref.Path {
			case "good":
				<-time.After(time.Hour - 1)
				return secrets.NewSecret("1", secrets.Meta{}), nil
			case "denied":
				return secrets.Secret{}, secrets.ErrPermissionDenied
			case "none":
				return secrets.Secret{}, secrets.ErrNotFound
			}
			<-ctx.Done()
			return secrets.Secret{}, ctx.Err()
		})
		client := open(t, backend, secrets.WithTimeout(time.Hour))
		start := time.Now()
		found, err := client.GetMany(t.Context(), "good", "late", "denied", "none")
		is.Equal(time.Since(start), time.Hour)
		is.Equal(len(found), 1)
		is.Equal(found["good"].Reveal(), "1")
		all := err.(secrets.Errors)
		is.Equal(len(all), 3)
		checkClass(t, all[0], secrets.ErrUnavailable)
		is.Equal(all[0].Detail, "no answer within 1h0m0s")
		checkClass(t, all[1], secrets.ErrPermissionDenied)
		checkClass(t, all[2], secrets.ErrNotFound)
	})
}

// The longest possible timeout does not overflow.
func TestLongestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			select {
			case <-ctx.Done():
				return secrets.Secret{}, ctx.Err()
			case <-time.After(time.Hour):
				return secrets.NewSecret("x", secrets.Meta{}), nil
			}
		})
		client := open(t, backend, secrets.WithTimeout(math.MaxInt64))
		for _, n := range []int{1, 20, 21, 1000} {
			found, err := client.GetMany(t.Context(), keys(n)...)
			is.NoErr(err)
			is.Equal(len(found), n)
		}
	})
}

// If a context of the backend's own ends before the timeout, the error says so.
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

// Whatever single fetches of a GetMany do, each key has its own answer, and the number of concurrent fetches is bounded.
func TestBadAnswersInAGetMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var now, peak atomic.Int64
		client := open(t, failing(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
			n := now.Add(1)
			defer now.Add(-1)
			raise(&peak, n)
			<-time.After(time.Second)
			switch ref.Path[len(ref.Path)-1] {
			case '1':
				return secrets.Secret{}, secrets.ErrPermissionDenied
			case '2':
				panic(canary)
			case '3':
				runtime.Goexit()
			case '4':
				return secrets.Secret{}, nil
			}
			return secrets.NewSecret(ref.Path, secrets.Meta{}), nil
		}))
		start := time.Now()
		found, err := client.GetMany(t.Context(), keys(50)...)
		is.Equal(peak.Load(), int64(16))
		is.Equal(time.Since(start), 4*time.Second) // 50 documents, 16 at a time
		is.Equal(len(found), 30)
		for key, s := range found {
			is.Equal(s.Reveal(), key)
		}
		all := err.(secrets.Errors)
		is.Equal(len(all), 20)
		for _, e := range all {
			want := secrets.ErrUnknown
			if strings.HasSuffix(e.Key, "1") {
				want = secrets.ErrPermissionDenied
			}
			checkClass(t, e, want)
			is.Equal(newDetector(canary).find(e.Error()), "")
		}
	})
}

// Documents that still wait when the context ends are not fetched.
func TestGetManyFetchesNothingAfterItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			select {
			case <-ctx.Done():
				return secrets.Secret{}, ctx.Err()
			case <-time.After(time.Second):
				return secrets.NewSecret("x", secrets.Meta{}), nil
			}
		})
		client := open(t, backend)
		found, err := client.GetMany(ctx, keys(100)...)
		all := err.(secrets.Errors)
		is.Equal(len(all), 100-16)
		for _, e := range all {
			checkEnded(t, e, context.DeadlineExceeded, "fake", e.Key)
		}
		is.Equal(len(found), 16)
		synctest.Wait()
		is.Equal(backend.calls.Load(), int64(32))
	})
}

// A panic or Goexit of a backend never ends the caller's goroutine, and the Client keeps working.
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
