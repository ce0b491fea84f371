package secrets

import "context"

// A backend of dynamic secrets makes new credentials at each read, with a lease. Two things follow. A question that wants no
// secret must not be answered by a read: see [Client.Has]. And a lease can end before its time, which a cache can not know.

// leaser is an optional interface of a [Backend].
type leaser interface {
	// Leases reports whether a read may make a lease.
	Leases() bool
}

// revoker is an optional interface of a [Backend].
type revoker interface {
	// OnRevoke is called once, before the first fetch. The backend calls forget when documents are void from now on.
	OnRevoke(forget func(docs ...Ref))
}

// peeker is an optional interface of the Fetcher that a cache's Wrap returns.
type peeker interface {
	// Peek returns what Fetch would return for doc, if that is known without a fetch.
	Peek(doc Ref) (r Result, known bool)
}

// lease learns from b whether its reads make leases, and lets it end those that s remembers. cache is the Fetcher before b.
func (c *config) lease(s *source, b owned, cache Fetcher) {
	if l, ok := b.Backend.(leaser); ok {
		c.try("backend "+b.name+": Leases", func() { s.leases = l.Leases() })
		s.peek, _ = cache.(peeker) //nolint:errcheck // nil if it is none
	}
	if r, ok := b.Backend.(revoker); ok {
		c.try("backend "+b.name+": OnRevoke", func() { r.OnRevoke(s.forget) })
	}
}

type peekKey struct{}

// withPeek returns a ctx of a call that must make no lease.
func withPeek(ctx context.Context) context.Context { return context.WithValue(ctx, peekKey{}, true) }

func peeking(ctx context.Context) bool { return ctx.Value(peekKey{}) != nil }

// look answers a call that must make no lease.
func (d *document) look(doc Ref) Result {
	if d.peek != nil {
		if r, known := d.peek.Peek(doc); known {
			return r
		}
	}
	return Result{Err: &Error{Err: ErrInvalidKey, Detail: "whether it exists can not be told without making a lease; Get does so"}}
}
