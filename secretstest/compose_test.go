package secretstest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Keys must mean the same when programs embed or wrap backends and layers.

// audited embeds a backend.
type audited struct{ secrets.Backend }

// gated wraps a backend and decides who may read.
type gated struct {
	secrets.Backend

	shut atomic.Bool
}

func (g *gated) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if g.shut.Load() {
		return secrets.Secret{}, secrets.NewError(secrets.ErrPermissionDenied, "the gate is shut")
	}
	return g.Backend.Fetch(ctx, ref)
}

func TestKeysOfAnEmbeddedBackendMeanTheSame(t *testing.T) {
	is := is.New(t)
	variables := map[string]string{"DATABASE_PASSWORD": "first"}
	lookup := env.WithLookup(func(name string) (string, bool) { v, set := variables[name]; return v, set })
	c := newClient(t, audited{env.New(lookup)}, middleware.Standard())

	is.Equal(get(t, c, "database#password").Reveal(), "first")
	s, err := c.GetOr(t.Context(), "database#password", "default")
	is.NoErr(err)
	is.Equal(s.Reveal(), "first")

	variables["DATABASE_PASSWORD"] = "second"
	is.Equal(get(t, c, "database#password").Reveal(), "second") // a Local backend is not cached
	found, err := c.GetMany(t.Context(), "database#password")
	is.NoErr(err)
	is.Equal(found["database#password"].Reveal(), "second")
}

// Control: a wrapper that hides Info changes what the keys mean.
func TestHidingInfoChangesTheKeys(t *testing.T) {
	is := is.New(t)
	inner := env.New(env.WithLookup(func(name string) (string, bool) { return "first", name == "DATABASE_PASSWORD" }))
	c := newClient(t, secrets.NewBackend(secrets.Info{Name: "env"}, inner.Fetch))
	_, err := c.Get(t.Context(), "database#password")
	is.Equal(secrets.Class(err), secrets.ErrNotFound)
}

// The fake with batches passes the suite, also when embedded.
func TestAnEmbeddedBackendWithBatchesPassesTheSuite(t *testing.T) {
	secretstest.Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
		return audited{secretstest.NewBackend(documents, secretstest.WithBatch(20))}
	}, secretstest.WithBinary())
}

func TestADenyingWrapperDeniesEveryCall(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{
		"bare":     nil,
		"standard": {middleware.Standard()},
		"tracing":  {middleware.Standard(), secrets.WithTracing(tracing.New(noop.NewTracerProvider()))},
		"layers":   {secrets.WithMiddleware(passThrough()), secrets.WithBackendMiddleware(passThrough())},
		"fallback": {secrets.WithFallback(fallback.To(secretstest.NewBackend(nil, secretstest.WithName("spare"))))},
	} {
		for _, batch := range []int{1, 20} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				inner := secretstest.NewBackend(map[string]string{"a": "1", "b": "2"}, secretstest.WithBatch(batch))
				gate := &gated{Backend: inner}
				c := newClient(t, gate, opts...)
				found, err := c.GetMany(t.Context(), "a", "b") // control: the gate is open
				is.NoErr(err)
				is.Equal(len(found), 2)

				gate.shut.Store(true)
				c.Invalidate("a", "b")
				inner.ResetCounts()
				_, err = c.Get(t.Context(), "a")
				is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
				found, err = c.GetMany(t.Context(), "a", "b")
				is.Equal(len(found), 0)
				all, ok := errors.AsType[secrets.Errors](err)
				is.True(ok)
				is.Equal(len(all), 2)
				for _, e := range all {
					is.Equal(secrets.Class(e), secrets.ErrPermissionDenied)
				}
				_, err = c.GetOr(t.Context(), "a", "default")
				is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
				_, err = c.Refresh(t.Context(), "a")
				is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
				has, err := c.Has(t.Context(), "a")
				is.True(!has)
				is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
				is.Equal(inner.Calls(), 0)
			})
		}
	}
}

func passThrough() secrets.Middleware {
	return secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		return next.Fetch(ctx, ref)
	})
}

// A wrapper sees each document, and the wrapped backend still gathers batches.
func TestAWrapperSeesEachDocumentOfABatch(t *testing.T) {
	is := is.New(t)
	inner := secretstest.NewBackend(map[string]string{"a": "1", "b": "2", "c": "3"}, secretstest.WithBatch(20), secretstest.WithLocal())
	var mu sync.Mutex
	var seen []string
	c := newClient(t, inner, secrets.WithBackendMiddleware(secrets.Intercept(
		func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			mu.Lock()
			seen = append(seen, ref.String())
			mu.Unlock()
			return next.Fetch(ctx, ref)
		})))
	_, err := c.GetMany(t.Context(), "a", "b", "c", "a")
	is.NoErr(err)
	slices.Sort(seen)
	is.Equal(seen, []string{"a", "b", "c"})
	is.Equal(inner.Calls(), 1)
}

// watched is a program's wrapper around a cache layer. It also wraps the caches that the layer makes.
type watched struct {
	*cache.Cache

	made     *watchedCache
	isolated bool // it does not pass on Invalidate and Close
}

type watchedCache struct {
	secrets.Cache

	layer               *watched
	invalidated, closed atomic.Int32
}

func (w *watched) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	w.made = &watchedCache{Cache: w.Cache.NewCache(info, below, share), layer: w}
	return w.made
}

func (c *watchedCache) Invalidate(docs ...secrets.Ref) {
	c.invalidated.Add(int32(len(docs)))
	if !c.layer.isolated {
		c.Cache.Invalidate(docs...)
	}
}

func (c *watchedCache) Close() error {
	c.closed.Add(1)
	return c.Cache.Close()
}

func TestAWrappedCacheStaysACache(t *testing.T) {
	for _, isolated := range []bool{false, true} { // the second is the control
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"a": "old", "b": `{"x":"1"}`})
		layer := &watched{Cache: cache.New(cache.WithHitCount()), isolated: isolated}
		c := newClient(t, b, secrets.WithCache(layer), middleware.Standard())

		is.Equal(get(t, c, "a").Reveal(), "old")
		b.Set("a", "new")
		is.Equal(get(t, c, "a").Reveal(), "old") // a hit
		found, err := c.GetMany(t.Context(), "a", "b#x")
		is.NoErr(err)
		is.Equal(found["b#x"].Reveal(), "1")
		is.Equal(b.Calls(), 2)
		is.Equal(layer.Stats().Hits > 0, true)

		c.Invalidate("a")
		is.Equal(layer.made.invalidated.Load(), int32(1))
		want := "new"
		if isolated {
			want = "old"
		}
		is.Equal(get(t, c, "a").Reveal(), want)

		is.NoErr(c.Close())
		is.NoErr(c.Close())
		is.Equal(layer.made.closed.Load(), int32(1))
		is.Equal(layer.Stats().Entries, 0) // the cache below was closed
	}
}

// The layers of the other slots can be wrapped like the cache.
type (
	watchedDedup struct {
		*dedup.Dedup
		made *watchedFlights
	}
	watchedFlights struct {
		secrets.Dedup
		fetched, closed atomic.Int32
	}
	watchedRedaction struct {
		*redact.Redactor
		made *watchedScrubber
	}
	watchedScrubber struct {
		secrets.Redaction
		handedOut, closed atomic.Int32
	}
)

func (w *watchedDedup) NewDedup(info secrets.Info, next secrets.Fetcher) secrets.Dedup {
	w.made = &watchedFlights{Dedup: w.Dedup.NewDedup(info, next)}
	return w.made
}

func (f *watchedFlights) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	f.fetched.Add(1)
	return f.Dedup.Fetch(ctx, ref)
}

func (f *watchedFlights) Close() error {
	f.closed.Add(1)
	return f.Dedup.Close()
}

func (w *watchedRedaction) NewRedaction(info secrets.Info, next secrets.Fetcher) secrets.Redaction {
	w.made = &watchedScrubber{Redaction: w.Redactor.NewRedaction(info, next)}
	return w.made
}

func (s *watchedScrubber) HandedOut(ref secrets.Ref, secret secrets.Secret) {
	s.handedOut.Add(1)
	s.Redaction.HandedOut(ref, secret)
}

func (s *watchedScrubber) Close() error {
	s.closed.Add(1)
	return s.Redaction.Close()
}

func TestOtherWrappedLayersKeepWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const callers = 10
		b := secretstest.NewBackend(map[string]string{"a": "a value to mask"})
		flights, redaction := &watchedDedup{Dedup: dedup.New()}, &watchedRedaction{Redactor: redact.New()}
		c := newClient(t, b, secrets.WithDedup(flights), secrets.WithRedaction(redaction))

		release := b.Block()
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				s, err := c.Get(t.Context(), "a")
				is.NoErr(err)
				is.Equal(s.Reveal(), "a value to mask")
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		is.Equal(b.Calls(), 1) // they shared a flight
		is.Equal(flights.made.fetched.Load(), int32(callers))
		is.Equal(redaction.made.handedOut.Load(), int32(callers))

		var log strings.Builder
		w := redaction.Writer(&log)
		_, err := w.Write([]byte("login with a value to mask\n"))
		is.NoErr(err)
		is.NoErr(w.Close())
		is.True(!strings.Contains(log.String(), "a value to mask"))

		is.NoErr(c.Close())
		is.Equal(flights.made.closed.Load(), int32(1))
		is.Equal(redaction.made.closed.Load(), int32(1))
	})
}

// policy is a program's own Fallback.
type policy struct {
	spare   secrets.Backend
	goesOn  func(class error) bool
	classes []error
}

func (*policy) Validate() error               { return nil }
func (p *policy) Backends() []secrets.Backend { return []secrets.Backend{p.spare} }

func (p *policy) GoesOn(class error) bool {
	p.classes = append(p.classes, class)
	return p.goesOn(class)
}

func TestAPolicyOfTheProgramRunsAChain(t *testing.T) {
	is := is.New(t)
	first := secretstest.NewBackend(map[string]string{"database": `{"user":"app"}`, "deleted": "gone"})
	first.Delete("deleted")
	spare := secretstest.NewBackend(map[string]string{
		"database": `{"user":"weak","password":"weak"}`, "deleted": "weak", "denied": "weak", "a": "weak", "login": "weak",
	}, secretstest.WithName("spare"))
	p := &policy{spare: spare, goesOn: func(error) bool { return true }}
	c := newClient(t, first, secrets.WithFallback(p), middleware.Standard())

	seen := len(p.classes)
	is.True(seen > 0)
	slices.SortFunc(p.classes, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	is.Equal(len(slices.Compact(p.classes)), seen) // one call per class

	s := get(t, c, "a")
	is.Equal(s.Meta().Backend, "spare")
	is.Equal(get(t, c, "a").Reveal(), "weak")
	is.Equal(first.Calls(), 1) // the not-found is cached
	is.Equal(spare.Calls(), 1) // and so is the value
	c.Invalidate("a")
	first.Set("a", "strong")
	is.Equal(get(t, c, "a").Reveal(), "strong")

	// Whatever the policy returns, the next backend must not replace these errors.
	first.FailPath("denied", secrets.ErrPermissionDenied)
	first.FailPath("login", secrets.ErrUnauthenticated)
	for key, class := range map[string]error{
		"denied": secrets.ErrPermissionDenied, "login": secrets.ErrUnauthenticated, "deleted": secrets.ErrDeleted,
		"database#password": secrets.ErrFieldNotFound,
	} {
		_, err := c.Get(t.Context(), key)
		is.Equal(secrets.Class(err), class)
		found, err := c.GetMany(t.Context(), key)
		is.Equal(secrets.Class(err), class)
		is.Equal(len(found), 0)
	}
	first.Fail(secrets.ErrUnavailable)
	is.Equal(get(t, c, "database?version=1#user").Reveal(), "weak") // the control
	is.Equal(len(p.classes), seen)                                  // only New calls GoesOn
	is.NoErr(c.Close())
	is.Equal(spare.Closes(), 1) // the backends of a policy belong to the Client
}

// faultyLayer is a Middleware that returns the same Fetcher for everything.
type faultyLayer struct{ nothing secrets.Fetcher }

func (l faultyLayer) Wrap(secrets.Fetcher) secrets.Fetcher { return l.nothing }

func TestNewRefusesALayerThatReturnsNil(t *testing.T) {
	var typed *gated
	for _, nothing := range []secrets.Fetcher{nil, typed} {
		for option, with := range map[string]func(...secrets.Middleware) secrets.Option{
			"WithMiddleware": secrets.WithMiddleware, "WithBackendMiddleware": secrets.WithBackendMiddleware,
		} {
			is := is.New(t)
			b := secretstest.NewBackend(map[string]string{"a": "1"})
			c, err := secrets.New(b, with(faultyLayer{nothing}), middleware.Standard())
			is.True(c == nil)
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), option+": Wrap returned nil"))
			is.True(!b.Closed()) // it still belongs to the caller

			_, err = secrets.New(b, with(nil))
			is.True(err != nil)
			_, err = secrets.New(b, with(secrets.Intercept(nil)))
			is.True(err != nil)

			c, err = secrets.New(b, with(faultyLayer{b})) // the control
			is.NoErr(err)
			is.NoErr(c.Close())
		}
	}
}

// A layer compiles only in its own slot.
func TestALayerFitsOnlyItsOwnSlot(t *testing.T) {
	fits := func(layer any) string {
		var slots []string
		note := func(slot string, fits bool) {
			if fits {
				slots = append(slots, slot)
			}
		}
		_, ok := layer.(secrets.CacheLayer)
		note("cache", ok)
		_, ok = layer.(secrets.DedupLayer)
		note("dedup", ok)
		_, ok = layer.(secrets.TracingLayer)
		note("tracing", ok)
		_, ok = layer.(secrets.RedactionLayer)
		note("redaction", ok)
		_, ok = layer.(secrets.Fallback)
		note("fallback", ok)
		_, ok = layer.(secrets.Middleware)
		note("middleware", ok)
		return strings.Join(slots, " ")
	}
	is := is.New(t)
	is.Equal(fits(cache.New()), "cache")
	is.Equal(fits(dedup.New()), "dedup")
	is.Equal(fits(tracing.New(noop.NewTracerProvider())), "tracing")
	is.Equal(fits(redact.New()), "redaction")
	is.Equal(fits(fallback.To()), "fallback")
	is.Equal(fits(passThrough()), "middleware")
	is.Equal(fits(&watched{Cache: cache.New()}), "cache")
}
