package secrets_test

import (
	"context"
	"errors"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// audited is a backend that embeds another one and changes nothing, as programs write one.
type audited struct{ secrets.Backend }

// A backend that embeds another one has the same keys, hints and freshness.
func TestAnEmbeddedBackendWorksAsItself(t *testing.T) {
	t.Setenv("EMBEDDED_DATABASE_PASSWORD", "first")
	for name, backend := range map[string]secrets.Backend{
		"control": env.New(env.WithPrefix("EMBEDDED_")),
		"audited": audited{env.New(env.WithPrefix("EMBEDDED_"))},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client := open(t, backend, middleware.Standard())
			for _, value := range []string{"first", "second"} {
				t.Setenv("EMBEDDED_DATABASE_PASSWORD", value)
				s, err := client.Get(t.Context(), "database#password")
				is.NoErr(err)
				is.Equal(s.Reveal(), value) // always the current one
				s, err = client.GetOr(t.Context(), "database#password", "default")
				is.NoErr(err)
				is.Equal(s.Reveal(), value)
				found, err := client.GetMany(t.Context(), "database#password", "database/password")
				is.NoErr(err)
				is.Equal(found["database#password"].Reveal(), value)
				is.Equal(found["database/password"].Reveal(), value)
			}
			_, err := client.Get(t.Context(), "database#user")
			is.Equal(err.Error(), "secrets: env: database#user: not found: neither EMBEDDED_database nor EMBEDDED_DATABASE is set; "+
				"EMBEDDED_DATABASE_USER, for the field alone, is not set either") // with the hint
		})
	}
}

// denying is a backend that embeds another one and denies everything.
type denying struct{ secrets.Backend }

func (denying) Fetch(context.Context, secrets.Ref) (secrets.Secret, error) {
	return secrets.Secret{}, secrets.NewError(secrets.ErrPermissionDenied, "the policy refuses it")
}

// A type that overrides Fetch sees every read.
func TestAnOverriddenFetchSeesEveryRead(t *testing.T) {
	for name, below := range map[string]secrets.Backend{
		"single":  newFake("a", "value", "b", "value"),
		"batches": secretstest.NewBackend(map[string]string{"a": "value", "b": "value"}, secretstest.WithBatch(20)),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client := open(t, denying{below}, middleware.Standard())
			_, err := client.Get(t.Context(), "a")
			checkClass(t, err, secrets.ErrPermissionDenied)
			_, err = client.Refresh(t.Context(), "a")
			checkClass(t, err, secrets.ErrPermissionDenied)
			_, err = client.Has(t.Context(), "a")
			checkClass(t, err, secrets.ErrPermissionDenied)
			found, err := client.GetMany(t.Context(), "a", "b")
			is.Equal(len(found), 0)
			is.Equal(len(err.(secrets.Errors)), 2)
			checkClass(t, err, secrets.ErrPermissionDenied)
		})
	}
}

// wrappedCache is a layer of the program that wraps package cache.
type wrappedCache struct {
	*cache.Cache
	made int
}

func (w *wrappedCache) NewCache(
	info secrets.Info, below secrets.Fetcher, share func(fill secrets.Fetcher) secrets.Fetcher,
) secrets.Cache {
	w.made++
	return w.Cache.NewCache(info, below, share)
}

// A wrapped cache works as the cache does.
func TestACacheInACacheWorks(t *testing.T) {
	is := is.New(t)
	backend := newFake("a", "value")
	memory := &wrappedCache{Cache: cache.New()}
	client, err := secrets.New(backend, secrets.WithCache(memory))
	is.NoErr(err)
	for range 3 {
		_, err := client.Get(t.Context(), "a")
		is.NoErr(err)
	}
	is.Equal(backend.calls.Load(), int64(1))
	client.Invalidate("a")
	_, err = client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(backend.calls.Load(), int64(2))
	is.Equal(memory.Stats().Entries, 1)
	is.NoErr(client.Close())
	is.Equal(memory.Stats().Entries, 0)
	is.Equal(memory.made, 1)
}

// A Get with the context of another fetch is an ordinary Get: a backend or layer may use a Client.
func TestAGetWithinARefreshIsAGet(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{
		"control":              nil,
		"with user middleware": {secrets.WithMiddleware(pass())},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend := newFake("a", "value")
			helper := open(t, backend, append(opts, secrets.WithCache(cache.New()))...)
			var fresh bool
			outer := open(t, failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
				fresh = fetchctx.Of(ctx).Fresh
				found, err := helper.GetMany(ctx, "a")
				return found["a"], errors.Join(err)
			}))
			for range 3 {
				_, err := outer.Refresh(t.Context(), "b")
				is.NoErr(err)
				is.True(fresh)
				_, err = helper.Get(t.Context(), "a")
				is.NoErr(err)
			}
			is.Equal(backend.calls.Load(), int64(1))
		})
	}
}
