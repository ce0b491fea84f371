package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
)

// closer is a backend, or the part of a layer, that records its end.
type closer struct {
	fetcher
	trail *trail
	name  string
	close func() error
}

type fetcher = secrets.Fetcher

func (c *closer) Name() string { return c.name }

func (c *closer) Close() error {
	c.trail.add(c.name)
	if c.close != nil {
		return c.close()
	}
	return nil
}

func closingLayer(tr *trail, name string) secrets.Middleware {
	return secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher {
		return &closer{fetcher: next, trail: tr, name: name}
	})
}

func TestCloseOrder(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	first := &closer{fetcher: newFake(), trail: tr, name: "first"}
	second := &closer{fetcher: newFake(), trail: tr, name: "second"}
	client, err := secrets.New(first,
		// The parts of these are not the Client's to close: an optional Close is looked for in the slots alone.
		secrets.WithMiddleware(closingLayer(tr, "user")), secrets.WithBackendMiddleware(closingLayer(tr, "inner")),
		secrets.WithRedaction(closingLayer(tr, "redaction")), secrets.WithTracing(closingLayer(tr, "tracing")),
		secrets.WithDedup(closingLayer(tr, "dedup")), secrets.WithCache(closingLayer(tr, "cache")),
		secrets.WithFallback(&chain{backends: []secrets.Backend{second}, wrap: func(sources []secrets.Fetcher) secrets.Fetcher {
			return &closer{fetcher: sources[0], trail: tr, name: "fallback"}
		}}))
	is.NoErr(err)
	is.NoErr(client.Close())
	is.Equal(tr.take(), "fallback cache dedup tracing redaction cache dedup tracing redaction first second")
	is.NoErr(client.Close())
	is.Equal(tr.take(), "") // once only
}

// A layer that passes its next on has no part of its own, and the backend behind it is closed once, last.
func TestCloseBehindTransparentLayers(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	client, err := secrets.New(&closer{fetcher: newFake(), trail: tr, name: "backend"}, secrets.WithCache(pass()),
		secrets.WithRedaction(pass()),
		secrets.WithTracing(pass()), secrets.WithDedup(closingLayer(tr, "dedup")))
	is.NoErr(err)
	is.NoErr(client.Close())
	is.Equal(tr.take(), "dedup backend")
}

func TestCloseReportsErrors(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	errLayer, errBackend := errors.New("layer fault"), errors.New("backend fault")
	slot := func(name string, f func() error) secrets.Middleware {
		return secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher {
			return &closer{fetcher: next, trail: tr, name: name, close: f}
		})
	}
	client, err := secrets.New(&closer{fetcher: newFake(), trail: tr, name: "vault", close: func() error { return errBackend }},
		secrets.WithCache(slot("cache", func() error { return errLayer })), secrets.WithTracing(slot("tracing", func() error { panic(canary) })),
		secrets.WithFallback(&chain{backends: []secrets.Backend{
			&closer{fetcher: newFake(), trail: tr, name: "second", close: func() error { panic(errLayer) }},
			&closer{fetcher: newFake(), trail: tr, name: "third"},
		}}))
	is.NoErr(err)
	err = client.Close()
	is.True(errors.Is(err, errLayer))
	is.True(errors.Is(err, errBackend))
	is.Equal(tr.take(), strings.Repeat("cache tracing ", 3)+"vault second third") // a fault stops nothing
	for _, want := range []string{
		"secrets: close layer: layer fault", "secrets: close layer: a panic with a string",
		"secrets: close backend vault: backend fault", "secrets: close backend second: a panic with a *errors.errorString",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	is.Equal(newDetector(canary).find(err.Error()), "")
	is.True(client.Close() == err) // the same again
}

func TestClosedClient(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	backend := newFake("a", "1")
	client, err := secrets.New(backend, secrets.WithMiddleware(tr.layer("user")), secrets.WithCache(splitCache{tr}))
	is.NoErr(err)
	is.NoErr(client.Close())
	check := func(key string, err error) {
		t.Helper()
		checkClass(t, err, secrets.ErrClosed)
		var e *secrets.Error
		is.True(errors.As(err, &e))
		is.Equal(e.Key, key)
	}
	for _, key := range []string{"a", "none", "a#b", "../x", ""} {
		s, err := client.Get(t.Context(), key)
		check(key, err)
		is.True(s.IsZero())
		s, err = client.GetOr(t.Context(), key, "default")
		check(key, err)
		is.True(s.IsZero()) // that the Client is closed is no absence
		_, err = client.Has(t.Context(), key)
		check(key, err)
		_, err = client.Refresh(t.Context(), key)
		check(key, err)
		many, err := client.GetMany(t.Context(), key)
		check(key, err)
		is.True(many != nil && len(many) == 0)
	}
	_, err = client.GetMany(t.Context())
	check("", err)
	client.Invalidate("a")
	is.Equal(tr.take(), "")
	is.Equal(backend.calls.Load(), int64(0))
}

func TestCloseConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		tr := &trail{}
		fault := errors.New("fault")
		// It takes a second to close, for which every call waits.
		backend := &closer{fetcher: newFake("a", "1"), trail: tr, name: "b", close: func() error { time.Sleep(time.Second); return fault }}
		client, err := secrets.New(backend)
		is.NoErr(err)
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				err := client.Close()
				if !errors.Is(err, fault) || time.Since(start) != time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
			wg.Go(func() {
				if _, err := client.Get(t.Context(), "a"); err != nil && !errors.Is(err, secrets.ErrClosed) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		is.Equal(tr.take(), "b")
	})
}

// Calls under way end at once with ErrClosed, and Close has waited for the backend when it returns.
func TestCloseEndsCalls(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{
		"bare": nil,
		"layers": {secrets.WithTracing(secrets.Intercept(passHook)), secrets.WithRedaction(pass()),
			secrets.WithBackendMiddleware(secrets.Intercept(passHook))},
		"user middleware": {secrets.WithMiddleware(secrets.Intercept(passHook))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var ended sync.WaitGroup
				backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
					defer ended.Done()
					<-ctx.Done()
					return secrets.Secret{}, ctx.Err()
				})
				client, err := secrets.New(backend, opts...)
				is.NoErr(err)
				start := time.Now()
				var calls sync.WaitGroup
				for _, call := range []func() error{
					func() error { _, err := client.Get(t.Context(), "a"); return err },
					func() error { _, err := client.GetOr(t.Context(), "a", "default"); return err },
					func() error { _, err := client.Has(t.Context(), "a"); return err },
					func() error { _, err := client.Refresh(t.Context(), "a"); return err },
					func() error { _, err := client.GetMany(t.Context(), "a"); return err },
				} {
					ended.Add(1)
					calls.Go(func() {
						err := call()
						checkClass(t, err, secrets.ErrClosed)
						if time.Since(start) != 0 {
							t.Errorf("it took %v", time.Since(start))
						}
					})
				}
				synctest.Wait()
				is.NoErr(client.Close())
				ended.Wait()
				calls.Wait()
				is.Equal(time.Since(start), time.Duration(0))
			})
		})
	}
}

// A layer that closes ends its flights with the cause ErrClosed. That is what their callers get, and no outage, for which a
// chain would go on; whether or not the backend obeys its context.
func TestFlightsOfAClosedLayer(t *testing.T) {
	for _, cause := range []error{secrets.ErrClosed, nil} {
		for _, obeys := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, obeys %t", cause, obeys), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					release := make(chan struct{})
					backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
						if obeys {
							<-ctx.Done()
							return secrets.Secret{}, ctx.Err()
						}
						<-release
						return secrets.NewSecret("late", secrets.Meta{}), nil
					})
					flights := secrets.Intercept(func(ctx context.Context, refs []secrets.Ref,
						next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
						ctx, cancel := context.WithCancelCause(ctx)
						time.AfterFunc(time.Second, func() { cancel(cause) })
						return next(ctx, refs)
					})
					client := open(t, backend, secrets.WithDedup(flights))
					want := secrets.ErrUnavailable // the control: a flight that ends otherwise
					if cause != nil {
						want = cause
					}
					_, err := client.Get(t.Context(), "a")
					checkClass(t, err, want)
					_, err = client.GetMany(t.Context(), "a", "b")
					is.Equal(len(err.(secrets.Errors)), 2)
					checkClass(t, err, want)
					close(release)
				})
			})
		}
	}
}

// A backend that ignores its context is waited for no longer than WithTimeout says, and closed all the same.
func TestCloseWaitsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		tr := &trail{}
		release := make(chan struct{})
		stuck := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			<-release
			return secrets.NewSecret("late", secrets.Meta{}), nil
		})
		backend := &closer{fetcher: stuck, trail: tr, name: "b"}
		client, err := secrets.New(backend, secrets.WithTimeout(3*time.Second), secrets.WithCache(closingLayer(tr, "cache")))
		is.NoErr(err)
		called := make(chan error, 1)
		go func() { _, err := client.Get(t.Context(), "a"); called <- err }()
		synctest.Wait()
		start := time.Now()
		err = client.Close()
		is.Equal(time.Since(start), 3*time.Second)
		is.Equal(err.Error(), "secrets: close: a backend or layer still runs after 3s")
		is.Equal(tr.take(), "cache b")
		checkClass(t, <-called, secrets.ErrClosed)
		close(release)
		synctest.Wait()
	})
}

// The same for a layer that does not end.
func TestCloseOfAStuckLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		tr := &trail{}
		release := make(chan struct{})
		layer := secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher {
			return &closer{fetcher: next, trail: tr, name: "dedup", close: func() error { <-release; return nil }}
		})
		client, err := secrets.New(&closer{fetcher: newFake(), trail: tr, name: "b"}, secrets.WithDedup(layer))
		is.NoErr(err)
		start := time.Now()
		is.True(client.Close() != nil)
		is.Equal(time.Since(start), 5*time.Second)
		is.Equal(tr.take(), "dedup b")
		close(release)
		synctest.Wait()
	})
}

func TestCloseLeavesNoGoroutines(t *testing.T) {
	before := goleak.IgnoreCurrent()
	client, err := secrets.New(newFake("a", "1"), secrets.WithMiddleware(secrets.Intercept(passHook)))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				_, _ = client.Get(t.Context(), "a")
				_, _ = client.GetMany(t.Context(), "a", "b", "c#d")
			}
		})
	}
	wg.Go(func() { _ = client.Close() })
	wg.Wait()
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
