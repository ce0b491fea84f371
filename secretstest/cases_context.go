package secretstest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// wantEnded records a failure unless an answer after ctx has ended is correct: the value, or an error that the Client maps to the end of
// ctx.
func (c *check) wantEnded(what string, b secrets.Backend, s secrets.Secret, err error, want string) {
	if err == nil {
		if !b.Info().Local {
			c.errorf("%s: a value although ctx is done; only a Local backend may return one", what)
		}
		c.wantValue(what, s, nil, want)
		return
	}
	if class := secrets.Class(err); class != secrets.ErrUnavailable && class != secrets.ErrUnknown {
		c.errorf("%s: ctx is done, but the error is %v; want the error of ctx", what, c.safe(err))
	}
}

// wantEndOf records a failure unless err is a Client's error for key after its ctx ended with want. backend is the name of the backend that
// was called, or "" if none was.
func (c *check) wantEndOf(what string, err, want error, backend, key string) {
	e, ok := errors.AsType[*secrets.Error](err)
	switch {
	case !ok:
		c.errorf("%s: %v, a %T; want an *Error of %v", what, c.safe(err), err, want)
	case !errors.Is(err, want) || secrets.Class(err) != want:
		c.errorf("%s: %v; want %v", what, c.safe(err), want)
	case e.Key != key:
		c.errorf("%s: the error has the key %q; want %q", what, e.Key, key)
	case e.Backend != backend:
		c.errorf("%s: the error has the backend %q; want %q", what, e.Backend, backend)
	}
}

func contextCases() []testCase {
	const why = "a call must return when its ctx ends, and must not report that as a fact about the secret"
	ended := func(name string, want error, end func(ctx context.Context) (context.Context, context.CancelFunc)) []testCase {
		return []testCase{
			{"context/" + name + "/fetch", why, func(c *check) {
				b := c.backend(nil)
				ctx, cancel := end(c.t.Context())
				defer cancel()
				for _, key := range []string{"database", "text/plain"} {
					s, err := c.fetch(ctx, b, key)
					c.wantEnded("Fetch of "+key, b, s, err, stored(key))
				}
			}},
			{"context/" + name + "/client", why, func(c *check) {
				client := c.client(c.backend(nil))
				ctx, cancel := end(c.t.Context())
				defer cancel()
				_, err := c.get(ctx, client, "database")
				c.wantEndOf("Client.Get", err, want, "", "database")
			}},
			{"context/" + name + "/client-many", why, func(c *check) {
				client := c.client(c.backend(nil))
				ctx, cancel := end(c.t.Context())
				defer cancel()
				for key, r := range c.getMany(ctx, client, "database", "text/plain") {
					c.wantEndOf(c.many(key), r.Err, want, "", key)
				}
			}},
			{"context/" + name + "/next-call", "a caller whose ctx ends must not fail another caller", func(c *check) {
				b := c.backend(nil)
				client := c.client(b)
				for range 3 {
					ctx, cancel := end(c.t.Context())
					_, _ = c.fetch(ctx, b, "database")
					_, _ = c.fetch(ctx, b, "text/plain")
					cancel()
					s, err := c.fetch(c.t.Context(), b, "database")
					c.wantValue("Fetch after one whose ctx was done", s, err, database)
					r := c.getMany(c.t.Context(), client, "database", "text/plain")["text/plain"]
					c.wantValue("Client.GetMany after a Fetch whose ctx was done", r.Secret, r.Err, plain)
				}
			}},
		}
	}
	return slices.Concat(
		ended("cancelled", context.Canceled, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}),
		ended("deadline-past", context.DeadlineExceeded, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Now().Add(-time.Second))
		}),
		[]testCase{{"context/cancelled-on-the-way", why, func(c *check) {
			b := c.backend(nil)
			client := c.client(b, cancelling())
			for range 10 { // chance decides whether the answer or the end of ctx comes first
				ctx, cancel := context.WithCancel(c.t.Context())
				s, err := c.get(context.WithValue(ctx, cancelKey{}, cancel), client, "database")
				cancel()
				if err == nil {
					c.wantValue("Client.Get", s, nil, database)
				} else {
					c.wantEndOf("Client.Get", err, context.Canceled, b.Info().Name, "database")
				}
			}
		}}, {"context/cancelled-on-the-way-many", "found secrets must be returned, and the rest must fail with the error of ctx", func(c *check) {
			b := c.backend(nil)
			client := c.client(b, cancelling())
			for range 10 {
				ctx, cancel := context.WithCancel(c.t.Context())
				ctx = context.WithValue(ctx, cancelKey{}, cancel)
				for key, r := range c.getMany(ctx, client, "database", "text/plain", "text/other") {
					if r.Err == nil {
						c.wantValue(c.many(key), r.Secret, nil, stored(key))
					} else {
						c.wantEndOf(c.many(key), r.Err, context.Canceled, b.Info().Name, key)
					}
				}
				cancel()
			}
		}}})
}

type cancelKey struct{}

// cancelling is a layer that cancels the ctx of a call just before the call of the backend. It must be the outer layer: an inner one would
// change how the Client calls a Nonblocking backend.
func cancelling() secrets.Option {
	return secrets.WithMiddleware(secrets.Intercept(
		func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			cancel, _ := ctx.Value(cancelKey{}).(context.CancelFunc)
			cancel()
			return next.Fetch(ctx, ref)
		}))
}

func stallCases() []testCase {
	const why = "a backend that hangs must not hang its callers"
	const soon = 20 * time.Millisecond
	with := func(name string, run func(c *check, ctx context.Context, b secrets.Backend, key string)) testCase {
		return testCase{"stall/" + name, why, func(c *check) {
			b, key := c.stall(c.t)
			ctx, cancel := context.WithTimeout(c.t.Context(), soon)
			defer cancel()
			run(c, ctx, c.own(b), key)
			if ctx.Err() == nil {
				c.errorf("the backend of WithStall answers; it must hang")
			}
		}}
	}
	return []testCase{
		with("fetch", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.fetch(ctx, b, key)
			c.wantAbsent("Fetch", err, secrets.ErrUnavailable)
		}),
		with("client", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.get(ctx, c.client(b), key)
			c.wantEndOf("Client.Get", err, context.DeadlineExceeded, b.Info().Name, key)
		}),
		with("client-many", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			r := c.getMany(ctx, c.client(b), key, "..")
			c.wantEndOf(c.many(key), r[key].Err, context.DeadlineExceeded, b.Info().Name, key)
			c.wantClass(c.many(".."), r[".."].Err, secrets.ErrInvalidKey)
		}),
		with("timeout", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.get(c.t.Context(), c.client(b, secrets.WithTimeout(soon)), key)
			c.wantClass("Client.Get beyond the Client's own timeout", err, secrets.ErrUnavailable)
			<-ctx.Done()
		}),
	}
}
