package pool_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

// Concurrent logins share one handle, and New makes no call.
func TestBeginIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t)
		c := credential(t, client)
		is.Equal(backend.Calls(), 0)
		release := backend.Block()
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				_, err := c.Begin(t.Context())
				is.NoErr(err)
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		_, err := c.Begin(t.Context())
		is.NoErr(err)
		is.Equal(backend.Calls(), 1)
	})
}

// A caller returns when its context ends. The handle outlives the login that came first.
func TestBeginOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t, middleware.Standard())
		c := credential(t, client, pool.RetireOnChange())
		backend.SetLatency(2 * time.Second)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		began := time.Now()
		_, err := c.Begin(short)
		cancel()
		is.Equal(err, context.DeadlineExceeded)
		is.Equal(time.Since(began), time.Second)
		l := logIn(t, c)
		is.Equal(backend.Calls(), 1)
		backend.Set(key, "battery staple")
		time.Sleep(10 * time.Minute)
		is.True(l.IsOver())
	})
}

func TestBeginTriesAgain(t *testing.T) {
	is := is.New(t)
	client, backend := open(t)
	c := credential(t, client)
	backend.Fail(secrets.ErrUnavailable)
	_, err := c.Begin(t.Context())
	is.True(errors.Is(err, secrets.ErrUnavailable))
	backend.Recover()
	logIn(t, c)
}

// A panic of a middleware must not crash the program from a goroutine whose panics nobody recovers.
func TestMiddlewareThatPanics(t *testing.T) {
	for name, do := range map[string]func(){
		"panic":     func() { panic("correct horse") },
		"nil panic": func() { panic(nil) },
		"Goexit":    runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var sick atomic.Bool
			sick.Store(true)
			client, _ := open(t, secrets.WithMiddleware(secrets.Intercept(
				func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
					if sick.Load() {
						do()
					}
					return next.Fetch(ctx, ref)
				})))
			var returned bool // control: Get does not return to its caller
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { _ = recover() }()
				_, err := client.Get(t.Context(), key)
				returned = err == nil || !errors.Is(err, secrets.ErrUnknown)
			})
			wg.Wait()
			is.True(!returned)

			c := credential(t, client)
			_, err := c.Begin(t.Context())
			is.Equal(secrets.Class(err), secrets.ErrUnknown)
			is.True(!strings.Contains(err.Error(), "correct horse"))
			sick.Store(false)
			logIn(t, c)
		})
	}
}

// Close ends the handle, whether its first fetch is done, running or not yet started. TestMain checks that no goroutine stays.
func TestClose(t *testing.T) {
	polls := func(t *testing.T, when func(c *pool.Credential, release func())) int {
		t.Helper()
		var polls int
		synctest.Test(t, func(t *testing.T) {
			client, backend := open(t)
			release := backend.Block()
			c, err := pool.New("test: ", client, key, nil, noFault)
			is.New(t).NoErr(err)
			when(c, release)
			synctest.Wait()
			backend.ResetCounts()
			time.Sleep(time.Hour)
			polls = backend.Calls()
		})
		return polls
	}
	begin := func(c *pool.Credential) { _, _ = c.Begin(context.Background()) }
	for name, c := range map[string]struct {
		when  func(c *pool.Credential, release func())
		polls bool
	}{
		"never":  {func(c *pool.Credential, release func()) { release(); begin(c) }, true}, // the control
		"after":  {func(c *pool.Credential, release func()) { release(); begin(c); c.Close(); c.Close() }, false},
		"before": {func(c *pool.Credential, release func()) { c.Close(); release(); begin(c); begin(c) }, false},
		"under way": {func(c *pool.Credential, release func()) {
			var wg sync.WaitGroup
			wg.Go(func() { begin(c) })
			synctest.Wait()
			c.Close()
			release()
			wg.Wait()
		}, false},
	} {
		t.Run(name, func(t *testing.T) { is.New(t).Equal(polls(t, c.when) > 0, c.polls) })
	}
}

func TestCloseRacesWithBegin(t *testing.T) {
	client, _ := open(t, middleware.Standard())
	for range 200 {
		c, err := pool.New("test: ", client, key, nil, noFault)
		is.New(t).NoErr(err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				l, err := c.Begin(t.Context())
				is.New(t).NoErr(err)
				is.New(t).True(!l.IsOver())
			})
		}
		wg.Go(c.Close)
		wg.Wait()
	}
}

func TestBeginAfterTheClient(t *testing.T) {
	is := is.New(t)
	client, _ := open(t)
	c := credential(t, client)
	is.NoErr(client.Close())
	_, err := c.Begin(t.Context())
	is.True(errors.Is(err, secrets.ErrClosed))
}
