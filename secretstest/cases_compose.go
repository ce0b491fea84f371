package secretstest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
)

// embedding is a backend that a program embeds to add something of its own.
type embedding struct{ secrets.Backend }

// counting is a wrapper that counts the calls of Fetch.
type counting struct {
	secrets.Backend

	calls *atomic.Int64
}

func (b counting) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	b.calls.Add(1)
	return b.Backend.Fetch(ctx, ref)
}

// refusing is a wrapper that denies every key.
type refusing struct{ secrets.Backend }

func (refusing) Fetch(context.Context, secrets.Ref) (secrets.Secret, error) {
	return secrets.Secret{}, secrets.NewError(secrets.ErrPermissionDenied, "the program allows nothing")
}

const spareName = "spare-of-the-suite"

// spare is a fallback policy such as programs write: on not found, it uses a backend in which every document is an object with field.
type spare struct{ field string }

func (spare) Validate() error { return nil }

func (spare) GoesOn(class error) bool { return class == secrets.ErrNotFound }

func (s spare) Backends() []secrets.Backend {
	content := `{` + strconv.Quote(s.field) + `:"spare"}`
	return []secrets.Backend{secrets.NewBackend(secrets.Info{Name: spareName},
		func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret(content, secrets.Meta{}), nil
		})}
}

// wrappers are what the composition cases put around a backend. The suite's own tests replace them with broken ones.
type wrappers struct {
	embed  func(b secrets.Backend) secrets.Backend
	count  func(b secrets.Backend, calls *atomic.Int64) secrets.Backend
	refuse func(b secrets.Backend) secrets.Backend
	layer  secrets.Middleware
	policy secrets.Fallback
}

func plainWrappers() wrappers {
	return wrappers{
		embed:  func(b secrets.Backend) secrets.Backend { return embedding{b} },
		count:  func(b secrets.Backend, calls *atomic.Int64) secrets.Backend { return counting{b, calls} },
		refuse: func(b secrets.Backend) secrets.Backend { return refusing{b} },
		layer: secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			return next.Fetch(ctx, ref)
		}),
		policy: spare{},
	}
}

// requested returns the keys that composition must not change, with their stored values; "" marks a missing one.
func requested() map[string]string {
	return map[string]string{
		"database": database, "database#password": password, "text/plain": plain, "fields#nested.deep.value": canary + "-deep",
		"missing": "", "missing#field": "", "missing/value": "", "database#missing": "",
	}
}

func composeCases() []testCase {
	// same checks that client and a direct Fetch of b return the same, one by one and in a batch.
	same := func(c *check, b secrets.Backend, client *secrets.Client) {
		keys := requested()
		results := c.getMany(c.t.Context(), client, slices.Sorted(maps.Keys(keys))...)
		for key, want := range keys {
			var direct, single secrets.Result
			direct.Secret, direct.Err = c.fetch(c.t.Context(), b, key)
			if want != "" {
				c.wantValue("Fetch of "+key, direct.Secret, direct.Err, want)
			}
			single.Secret, single.Err = c.get(c.t.Context(), client, key)
			c.wantSame("Client.Get of "+key, single, direct)
			c.wantSame(c.many(key), results[key], direct)
		}
	}
	return []testCase{
		{"compose/embedded", "embedding a backend must not silently change what a key means", func(c *check) {
			b := c.backend(nil)
			embedded := c.wrap.embed(b)
			if bare, got := summary(c.info(b)), summary(c.info(embedded)); got != bare {
				c.errorf("Info of the embedded backend is %s; want that of the backend, %s", got, bare)
			}
			same(c, b, c.client(embedded))
		}},
		{"compose/counted", "a wrapper's Fetch must see every call", func(c *check) {
			b, calls := c.backend(nil), new(atomic.Int64)
			client := c.client(c.wrap.count(b, calls))
			ask := func(what string, f func(ctx context.Context) error) {
				before := calls.Load()
				if err := f(c.t.Context()); err != nil {
					c.errorf("%s: %v", what, c.safe(err))
				}
				if calls.Load() == before {
					c.errorf("%s: the Fetch that wraps the backend was not called", what)
				}
			}
			ask("Client.Get", func(ctx context.Context) error { _, err := client.Get(ctx, "database"); return err })
			ask("Client.Refresh", func(ctx context.Context) error { _, err := client.Refresh(ctx, "database"); return err })
			ask("Client.GetMany", func(ctx context.Context) error { _, err := client.GetMany(ctx, "database", "text/plain"); return err })
		}},
		{"compose/refused", "if a wrapper's Fetch denies, no other way may lead to the value", func(c *check) {
			b, calls := c.backend(nil), new(atomic.Int64)
			s, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("Fetch of the bare backend", s, err, database) // the control
			client := c.client(c.wrap.refuse(c.wrap.count(b, calls)))
			refused := func(what string, err error) {
				c.checkError(c.t.Context(), what, err)
				c.wantClass(what+" of a backend that denies", err, secrets.ErrPermissionDenied)
			}
			for _, key := range []string{"database", "database#password", "text/plain"} {
				_, err = c.get(c.t.Context(), client, key)
				refused("Client.Get", err)
				refused("Client.GetMany", c.getMany(c.t.Context(), client, key, "text/other")[key].Err)
				_, err = client.GetOr(c.t.Context(), key, "default")
				refused("Client.GetOr", err)
				_, err = client.Refresh(c.t.Context(), key)
				refused("Client.Refresh", err)
				if has, _ := client.Has(c.t.Context(), key); has {
					c.errorf("Client.Has of a backend that denies is true")
				}
			}
			if n := calls.Load(); n != 0 {
				c.errorf("%d calls bypassed the Fetch that denies", n)
			}
		}},
		{"compose/layers", "a program's own layer that only passes calls on must not change an answer", func(c *check) {
			b := c.backend(nil)
			same(c, b, c.client(b, secrets.WithMiddleware(c.wrap.layer, c.wrap.layer), secrets.WithBackendMiddleware(c.wrap.layer)))
		}},
		{"compose/fallback", "the next backend must answer for a missing secret, and for nothing else", func(c *check) {
			b := c.backend(nil)
			client := c.client(b, secrets.WithFallback(c.wrap.policy))
			results := c.getMany(c.t.Context(), client, "missing", "text/plain", "database#missing")
			s, err := c.get(c.t.Context(), client, "missing")
			c.wantBackend("Client.Get of a missing secret", s, err, spareName)
			c.wantBackend(c.many("missing"), results["missing"].Secret, results["missing"].Err, spareName)
			s, err = c.get(c.t.Context(), client, "text/plain")
			c.wantBackend("Client.Get of a stored secret", s, err, b.Info().Name)
			c.wantBackend(c.many("text/plain"), results["text/plain"].Secret, results["text/plain"].Err, b.Info().Name)
			_, err = c.get(c.t.Context(), client, "database#missing")
			c.wantClass("Client.Get of a missing field", err, secrets.ErrFieldNotFound)
			c.wantClass(c.many("database#missing"), results["database#missing"].Err, secrets.ErrFieldNotFound)
		}},
	}
}

// wantBackend records a failure unless the answer is a secret from that backend.
func (c *check) wantBackend(what string, s secrets.Secret, err error, backend string) {
	switch {
	case err != nil:
		c.errorf("%s: %v; want a secret from %q", what, c.safe(err), backend)
	case s.Meta().Backend != backend:
		c.errorf("%s: the secret is from %q; want one from %q", what, s.Meta().Backend, backend)
	}
}
