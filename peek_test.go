package secrets_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// lessor is a fake whose reads create leases.
type lessor struct {
	*fake
	made   atomic.Int32
	forget func(docs ...secrets.Ref)
}

func newLessor() *lessor {
	l := &lessor{fake: newFake()}
	l.info.Leases = true
	l.info.OnChange = func(forget func(docs ...secrets.Ref)) { l.forget = forget }
	l.fetch = func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path == "missing" {
			return secrets.Secret{}, secrets.ErrNotFound
		}
		l.made.Add(1)
		return secrets.NewSecret(`{"user":"u"}`, secrets.Meta{ExpiresAt: time.Now().Add(time.Minute)}), nil
	}
	return l
}

func TestHasMakesNoLease(t *testing.T) {
	audit := secrets.WithMiddleware(secrets.Intercept(
		func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			_, _ = next.Fetch(ctx, secrets.Ref{Path: "other", Field: "user"}) // a layer that fetches more
			return next.Fetch(ctx, ref)
		}))
	for name, opts := range map[string][]secrets.Option{
		"without a cache":                 nil,
		"with a cache":                    {middleware.Standard()},
		"with a fallback":                 {middleware.Standard(), secrets.WithFallback(fallback.To(env.New(env.WithPrefix("NONE_"))))},
		"below a layer":                   {middleware.Standard(), secrets.WithMiddleware(pass())},
		"below a layer that fetches more": {middleware.Standard(), audit},
		"with every option":               {middleware.Standard(), audit, secrets.WithFallback(fallback.To(env.New(env.WithPrefix("NONE_"))))},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend := newLessor()
			client := open(t, backend, opts...)
			for _, key := range []string{"a", "a#user", "missing"} {
				has, err := client.Has(t.Context(), key)
				is.True(!has)
				is.True(errors.Is(err, secrets.ErrInvalidKey)) // neither "no" nor an unverified "yes"
			}
			is.Equal(backend.made.Load(), int32(0))
			_, err := client.Get(t.Context(), "a#user")
			is.NoErr(err)
			is.True(backend.made.Load() > 0) // a Get makes one
		})
	}
}

func TestHasAnswersFromTheCacheForLeases(t *testing.T) {
	is := is.New(t)
	backend := newLessor()
	client := open(t, backend, middleware.Standard())
	_, err := client.Get(t.Context(), "a#user")
	is.NoErr(err)
	_, err = client.Get(t.Context(), "missing")
	is.True(errors.Is(err, secrets.ErrNotFound))
	for key, want := range map[string]bool{"a": true, "a#user": true, "a#password": false, "missing": false} {
		has, err := client.Has(t.Context(), key)
		is.NoErr(err)
		is.Equal(has, want)
	}
	is.Equal(backend.made.Load(), int32(1))
}

func TestRevokedLeasesAreNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := newLessor()
		client := open(t, backend, middleware.Standard())
		get := func(key string) {
			_, err := client.Get(t.Context(), key)
			is.NoErr(err)
		}
		get("a#user")
		get("b#user")
		get("a#user")
		is.Equal(backend.made.Load(), int32(2)) // the control: leases are cached
		backend.forget(secrets.Ref{Path: "a"})
		get("a#user")
		get("b#user")
		is.Equal(backend.made.Load(), int32(3))

		// A lease that is revoked during the read is not cached either.
		backend.forget(secrets.Ref{Path: "a"})
		fetch := backend.fetch
		backend.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			defer backend.forget(ref)
			return fetch(ctx, ref)
		}
		get("a#user")
		get("a#user")
		is.Equal(backend.made.Load(), int32(5))
	})
}

// TestALeaseReplacesTheTTL reads a secret with a lease of a minute for an hour, with a shorter and a longer TTL.
func TestALeaseReplacesTheTTL(t *testing.T) {
	for _, ttl := range []time.Duration{10 * time.Second, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := newLessor()
			client := open(t, backend, middleware.Standard(cache.WithTTL(ttl), cache.WithJitter(0)))
			for range 3600 {
				s, err := client.Get(t.Context(), "a#user")
				is.NoErr(err)
				is.True(time.Until(s.Meta().ExpiresAt) > 0)
				time.Sleep(time.Second)
			}
			is.Equal(backend.made.Load(), int32(75)) // one in 48 s, which is 0.8 of the lease
		})
	}
}
