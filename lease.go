package secrets

import "context"

// A backend of dynamic secrets makes new credentials at each read, with a lease. Two things follow. A question that wants no
// secret must not be answered by a read: see [Client.Has]. And a lease can end before its time, which a cache can not know.

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
