package secrets

import "context"

// Middleware is a layer: it wraps a Fetcher with another. [New] calls Wrap once for each place where the layer stands,
// which for the layers around a backend is once a backend; each Wrap opens its own keyspace, flights and state. The Fetcher
// that is handed to such a layer has a method Name() string with the name of the backend below it.
//
// A Middleware given to [New] may have a method Validate() error; New returns its faults. The Fetcher that the Wrap of a
// slot's own layer returned (see [WithCache], [WithDedup], [WithTracing], [WithRedaction]) may have these:
//
//   - Close() error: ends what this part of the layer runs. [Client.Close] calls it.
//   - Invalidate(refs ...Ref): forget these documents. [Client.Invalidate] calls it.
//   - Fill(next Fetcher) Fetcher, on a cache: the half of the cache that stores, to be placed inside the dedup layer.
//   - Peek(doc Ref) (Result, bool), on a cache: what Fetch would return for doc, if that is known without a fetch.
//   - HandedOut(ref Ref, s Secret), on the layer of redaction: the caller gets s for ref. It is called for what this backend
//     answered, field by field as it was asked for, but not for what the Client knows from memory: it was handed out before.
//     It must not block.
//   - The methods of [CacheMonitor], on a cache.
//   - ObserveCache(cache CacheMonitor) error, on a layer that observes: what there is to see of the cache before the same
//     backend, if there is one. New calls it once, and returns its error.
//
// The Fetcher that is handed to a layer around a backend has methods Local() bool and Leases() bool too, which say what the
// backend says of itself.
type Middleware interface {
	Wrap(next Fetcher) Fetcher
}

// MiddlewareFunc makes a Middleware of a function.
type MiddlewareFunc func(next Fetcher) Fetcher

// Wrap calls f.
func (f MiddlewareFunc) Wrap(next Fetcher) Fetcher { return f(next) }

var _ Middleware = MiddlewareFunc(nil)

// Intercept returns a Middleware that sends every call through f, a single fetch as a batch of one. next asks what is
// below; f may ask it for other refs, several times, or not at all, and answers refs in order, one Result each. It serves
// audit and policy: one hook that keeps batches whole.
//
// If f returns more or fewer Results than it got refs, all of them are [ErrUnknown]: which belongs to which is not known. A
// nil f is a fault that [New] returns.
func Intercept(f func(ctx context.Context, refs []Ref, next func(context.Context, []Ref) []Result) []Result) Middleware {
	if f == nil {
		return MiddlewareFunc(nil)
	}
	return MiddlewareFunc(func(next Fetcher) Fetcher { return &interceptor{hook: f, next: next} })
}

type interceptor struct {
	hook func(context.Context, []Ref, func(context.Context, []Ref) []Result) []Result
	next Fetcher
}

func (i *interceptor) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	r := i.FetchMany(ctx, []Ref{ref})[0]
	return r.Secret, r.Err
}

func (i *interceptor) FetchMany(ctx context.Context, refs []Ref) []Result {
	answers := i.hook(ctx, refs, i.ask)
	if len(answers) == len(refs) {
		return answers
	}
	results := make([]Result, len(refs))
	for n := range results {
		results[n].Err = &Error{Err: ErrUnknown, Detail: "a middleware: " + wrongCount(len(answers), len(refs))}
	}
	return results
}

// ask keeps a single fetch single, so that a backend is not asked for a batch of one.
func (i *interceptor) ask(ctx context.Context, refs []Ref) []Result {
	if len(refs) == 1 {
		return single(i.next.Fetch(ctx, refs[0]))
	}
	return i.next.FetchMany(ctx, refs)
}

// Fallback decides which of several backends answers. It is made by package fallback.
type Fallback interface {
	// Backends are the backends to ask after the one given to [New]. They belong to the Client from then on.
	Backends() []Backend
	// Chain returns a Fetcher that asks sources, the first of which is the backend given to New and the others Backends,
	// each with its layers around it. Each source has a method Name() string.
	Chain(sources []Fetcher) Fetcher
}

type freshKey struct{}

// WithFresh returns a ctx that tells the layers to ask the backend: [Client.Refresh] uses it. A layer that answers from
// memory looks at [Fresh] before it does so. [Client.Get] and [Client.GetMany] may answer from memory before any layer is
// asked, so that a program which wants a fresh value calls Refresh.
func WithFresh(ctx context.Context) context.Context { return context.WithValue(ctx, freshKey{}, true) }

// Fresh reports whether ctx is from [WithFresh].
func Fresh(ctx context.Context) bool { return ctx.Value(freshKey{}) != nil }
