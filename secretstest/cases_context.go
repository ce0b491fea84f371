package secretstest

import (
	"context"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// wantEnded notes a failure unless an answer under a ctx that is done is right: the value, or an error that the Client
// takes for the end of ctx.
func (c *check) wantEnded(what string, b secrets.Backend, s secrets.Secret, err error, want string) {
	if err == nil {
		if !isLocal(b) {
			c.errorf("%s: an answer although ctx is done; only a backend that is Local may give one", what)
		}
		c.wantValue(what, s, nil, want)
		return
	}
	if class := secrets.Class(err); class != secrets.ErrUnavailable && class != secrets.ErrUnknown {
		c.errorf("%s: ctx is done, and the error is %v; want the error of ctx", what, c.safe(err))
	}
}

func contextCases() []testCase {
	const why = "a caller that gave up must be let go, and its end must not be told as a fact about the secret"
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
			{"context/" + name + "/fetch-many", why, func(c *check) {
				b := c.backend(nil)
				ctx, cancel := end(c.t.Context())
				defer cancel()
				keys := []string{"database", "text/plain", "text/other"}
				for i, r := range c.fetchMany(ctx, b, keys...) {
					c.wantEnded("FetchMany of "+keys[i], b, r.Secret, r.Err, stored(keys[i]))
				}
			}},
			{"context/" + name + "/client", why, func(c *check) {
				client := c.client(c.backend(nil))
				ctx, cancel := end(c.t.Context())
				defer cancel()
				_, err := c.get(ctx, client, "database")
				if err != want { //nolint:errorlint // the error itself is promised
					c.errorf("Client.Get: %v; want %v itself", c.safe(err), want)
				}
			}},
			{"context/" + name + "/next-call", "one caller's end must not fail another", func(c *check) {
				b := c.backend(nil)
				for range 3 {
					ctx, cancel := end(c.t.Context())
					_, _ = c.fetch(ctx, b, "database")
					_ = c.fetchMany(ctx, b, "database", "text/plain")
					cancel()
					s, err := c.fetch(c.t.Context(), b, "database")
					c.wantValue("Fetch after one whose ctx was done", s, err, database)
					r := c.fetchMany(c.t.Context(), b, "text/plain")
					c.wantValue("FetchMany after one whose ctx was done", r[0].Secret, r[0].Err, plain)
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
			client := c.client(c.backend(nil), secrets.WithBackendMiddleware(secrets.Intercept(
				func(ctx context.Context, refs []secrets.Ref, next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
					cancel, _ := ctx.Value(cancelKey{}).(context.CancelFunc)
					cancel()
					return next(ctx, refs)
				})))
			for range 10 { // whether the answer or the end of ctx is seen first is left to chance
				ctx, cancel := context.WithCancel(c.t.Context())
				s, err := c.get(context.WithValue(ctx, cancelKey{}, cancel), client, "database")
				cancel()
				if err == nil {
					c.wantValue("Client.Get", s, nil, database)
				} else if err != context.Canceled { //nolint:errorlint // the error itself is promised
					c.errorf("Client.Get: %v; want %v itself", c.safe(err), context.Canceled)
				}
			}
		}}})
}

func isLocal(b secrets.Backend) bool {
	l, ok := b.(interface{ Local() bool })
	return ok && l.Local()
}

type cancelKey struct{}

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
				c.errorf("the setup of WithStall has a backend that answers")
			}
		}}
	}
	return []testCase{
		with("fetch", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.fetch(ctx, b, key)
			c.wantAbsent("Fetch", err, secrets.ErrUnavailable)
		}),
		with("fetch-many", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			for _, r := range c.fetchMany(ctx, b, key, key) {
				c.wantAbsent("FetchMany", r.Err, secrets.ErrUnavailable)
			}
		}),
		with("client", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.get(ctx, c.client(b), key)
			if err != context.DeadlineExceeded { //nolint:errorlint // the error itself is promised
				c.errorf("Client.Get: %v; want %v itself", c.safe(err), context.DeadlineExceeded)
			}
		}),
		with("timeout", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.get(c.t.Context(), c.client(b, secrets.WithTimeout(soon)), key)
			c.wantClass("Client.Get beyond the Client's own timeout", err, secrets.ErrUnavailable)
			<-ctx.Done()
		}),
	}
}
