package secrets

import "context"

// Fetcher is what backends and layers are. Fetch is its only method: a type that overrides it, such as one that embeds a
// [Backend], has overridden every way to read a secret.
type Fetcher interface {
	// Fetch returns the secret that ref names. It must be safe for concurrent use, obey ctx, and never return the zero Secret
	// with a nil error. An error says why there is no secret; see [Error] and the classes.
	Fetch(ctx context.Context, ref Ref) (Secret, error)
}

// Middleware is a layer of the program's own: it wraps a Fetcher with another. Give it to [WithMiddleware] or
// [WithBackendMiddleware]. [New] calls Wrap once for each place where the layer stands, which for WithBackendMiddleware is once a
// backend. A Middleware has no lifecycle: who made it closes it.
//
// [Client.GetMany] sends each key through the layers by itself, several at a time.
type Middleware interface {
	Wrap(next Fetcher) Fetcher
}

// Intercept returns a Middleware that sends every fetch through f. next is what is below; f may call it with another ref, several
// times, or not at all. It serves audit and policy. In a [Client.GetMany], what f fetches at the same time beside its own ref may not
// be in the batches of the others. A nil f is an error of [New].
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

// refuseInvalid is a layer that refuses refs which are no valid keys. Middleware of the program may have made them.
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
