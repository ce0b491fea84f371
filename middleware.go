package secrets

import "context"

// Fetcher is the common interface of backends and layers. Fetch is the only way to read a secret: a type that embeds a [Backend] and
// overrides Fetch sees every read.
type Fetcher interface {
	// Fetch returns the secret that ref names. It must be safe for concurrent use, obey ctx, and never return the zero Secret with a nil
	// error. An error has a class; see [Error].
	Fetch(ctx context.Context, ref Ref) (Secret, error)
}

// Middleware is a layer of your own: it wraps a Fetcher with another. Install it with [WithMiddleware] or [WithBackendMiddleware].
// [Client.GetMany] sends each key through it separately, several at a time.
type Middleware interface {
	// Wrap returns a Fetcher in front of next. [New] calls it once for WithMiddleware, and once per backend for WithBackendMiddleware. The
	// Client does not close a Middleware.
	Wrap(next Fetcher) Fetcher
}

// Intercept returns a Middleware that sends every fetch through f, for example for an audit log or a policy. next is the layer below. f
// may call it with another ref, several times, or never. In a [Client.GetMany], f may fetch more refs concurrently; these may miss the
// batches of the others. If f is nil, [New] returns an error.
func Intercept(f func(ctx context.Context, ref Ref, next Fetcher) (Secret, error)) Middleware {
	if f == nil {
		return nil
	}
	return interception(f)
}

type interception func(ctx context.Context, ref Ref, next Fetcher) (Secret, error)

// Wrap returns a Fetcher that calls i with next.
func (i interception) Wrap(next Fetcher) Fetcher { return &interceptor{i, next} }

type interceptor struct {
	f    interception
	next Fetcher
}

func (i *interceptor) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	return i.f(ctx, ref, i.next)
}

// refuseInvalid returns a layer that refuses invalid refs, which user middleware may have made.
func refuseInvalid() Middleware {
	return Intercept(func(ctx context.Context, ref Ref, next Fetcher) (Secret, error) {
		if err := ref.Validate(); err != nil {
			return Secret{}, err
		}
		return next.Fetch(ctx, ref)
	})
}

var (
	_ Fetcher    = (*interceptor)(nil)
	_ Middleware = interception(nil)
)
