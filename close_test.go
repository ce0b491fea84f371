package secrets_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
)

func TestCloseOrder(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	client, err := secrets.New(tr.backend("first", nil),
		secrets.WithMiddleware(pass()), secrets.WithBackendMiddleware(pass()), // which are not closed
		secrets.WithRedaction(tr.closing("redaction")), secrets.WithTracing(tr.closing("tracing")),
		secrets.WithDedup(tr.closing("dedup")), secrets.WithCache(tr.closing("cache")),
		to(tr.backend("second", nil)))
	is.NoErr(err)
	is.NoErr(client.Close())
	is.Equal(tr.take(), "cache tracing dedup redaction cache tracing dedup redaction first second")
	is.NoErr(client.Close())
	is.Equal(tr.take(), "") // once only
}

// A Local backend has no cache, no observer of a cache, and no dedup.
func TestCloseOfALocalBackend(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	client, err := secrets.New(local(tr.backend("backend", nil)), secrets.WithCache(tr.closing("cache")),
		secrets.WithDedup(tr.closing("dedup")), secrets.WithTracing(tr.closing("tracing")), secrets.WithRedaction(tr.closing("redaction")))
	is.NoErr(err)
	is.NoErr(client.Close())
	is.Equal(tr.take(), "redaction backend")
}

func TestCloseReportsErrors(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	errLayer, errBackend := errors.New("layer fault"), errors.New("backend fault")
	client, err := secrets.New(tr.backend("vault", func() error { return errBackend }),
		secrets.WithCache(tr.closingWith("cache", func() error { return errLayer })),
		secrets.WithTracing(tr.closingWith("tracing", func() error { panic(canary) })),
		to(tr.backend("second", func() error { panic(errLayer) }), tr.backend("third", nil)))
	is.NoErr(err)
	err = client.Close()
	is.True(errors.Is(err, errLayer))
	is.True(errors.Is(err, errBackend))
	is.Equal(tr.take(), strings.Repeat("cache tracing ", 3)+"vault second third") // an error does not stop Close
	for _, want := range []string{
		"secrets: close the cache: layer fault", "secrets: close the tracing layer: a panic with a string",
		"secrets: close backend vault: backend fault", "secrets: close backend second: a panic with a *errors.errorString",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	is.Equal(newDetector(canary).find(err.Error()), "")
	is.True(client.Close() == err) // the same error
}

func TestClosedClient(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	backend := newFake("a", "1")
	client, err := secrets.New(backend, secrets.WithMiddleware(tr.middleware("user")), secrets.WithCache(tr.cache()))
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
		is.True(s.IsZero()) // a closed Client is not "not found"
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
		// The backend takes a second to close; every call waits for it.
		backend := tr.backend("b", func() error { <-time.After(time.Second); return fault })
		backend.docs["a"] = "1"
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

// Running calls end at once with ErrClosed, and Close waits for the backend.
func TestCloseEndsCalls(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{
		"bare":            nil,
		"layers":          {secrets.WithTracing(idle()), secrets.WithRedaction(idle()), secrets.WithBackendMiddleware(pass())},
		"user middleware": {secrets.WithMiddleware(pass())},
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

// Close waits for a backend that ignores its context for at most WithTimeout, and then closes it.
func TestCloseWaitsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		tr := &trail{}
		release := make(chan struct{})
		backend := tr.backend("b", nil)
		backend.fetch = func(context.Context, secrets.Ref) (secrets.Secret, error) {
			<-release
			return secrets.NewSecret("late", secrets.Meta{}), nil
		}
		client, err := secrets.New(backend, secrets.WithTimeout(3*time.Second), secrets.WithCache(tr.closing("cache")))
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
		layer := tr.closingWith("dedup", func() error { <-release; return nil })
		client, err := secrets.New(tr.backend("b", nil), secrets.WithDedup(layer))
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
	client, err := secrets.New(newFake("a", "1"), secrets.WithMiddleware(pass()))
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

func TestCloseOfABackendThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		release := make(chan struct{})
		backend := (&trail{}).backend("b", func() error { <-release; return nil })
		client, err := secrets.New(backend, secrets.WithTimeout(3*time.Second))
		is.NoErr(err)
		start := time.Now()
		is.Equal(client.Close().Error(), "secrets: close: backend b still runs after 3s")
		is.Equal(time.Since(start), 3*time.Second)
		close(release)
	})
}

func TestCloseOfAZeroClient(t *testing.T) {
	is := is.New(t)
	var client secrets.Client
	is.NoErr(client.Close())
	is.NoErr(client.Close())
}
