// Package fetchctx carries what the layers of a client share about one fetch, as one value in the context of the fetch:
//
//	f := fetchctx.Of(ctx)
//	f.Background = true
//	ctx = fetchctx.With(ctx, f)
//
// A hit does not read it.
package fetchctx

import (
	"context"
	"sync/atomic"
)

// Fetch describes a fetch. The zero value is a plain fetch of a single secret.
type Fetch struct {
	// Fresh says that neither memory nor an earlier flight may answer.
	Fresh bool
	// Renewal is a handle's request for a newer value, or nil.
	Renewal *Renewal
	// Peek says that only memory may answer: the backend is not called.
	Peek bool
	// Background says that no caller waited for the fetch when it began.
	Background bool
	// Probe says that the circuit breaker is open, and that the fetch tests whether the backend is back.
	Probe bool
	// Gathered says that a Batcher must wait for all fetches of the group, without a time limit.
	Gathered bool
	// Attempt is 2 or more if the previous fetches of the document failed, and 0 if unknown.
	Attempt int
	// Flight is the fetch detached from its callers, with those that wait for it, or nil if the fetch belongs to its caller.
	Flight *Flight
	// Group is the group of the fetch's GetMany, or nil.
	Group *Group
	// Origin records the call that answers the fetch, or nil.
	Origin *Origin
}

type key struct{}

// fetching is a context with a Fetch.
type fetching struct {
	context.Context

	fetch Fetch
}

func (f *fetching) Value(k any) any {
	if _, ok := k.(key); ok {
		return &f.fetch
	}
	return f.Context.Value(k)
}

// String hides the Fetch from code that prints contexts.
func (*fetching) String() string { return "secrets.fetch" }

// With returns a context with f in place of the Fetch of ctx.
func With(ctx context.Context, f Fetch) context.Context { return &fetching{ctx, f} }

// Detach is With, for a fetch that does not end with ctx.
func Detach(ctx context.Context, f Fetch) context.Context { return With(context.WithoutCancel(ctx), f) }

// Of returns the Fetch of ctx, or the zero Fetch.
func Of(ctx context.Context) Fetch {
	if f, ok := ctx.Value(key{}).(*Fetch); ok {
		return *f
	}
	return Fetch{}
}

// Batch is one call of a backend that answers several fetches. The zero value is a call that has not begun. It is safe for concurrent use.
type Batch struct {
	Origin Origin // in the context of the call itself

	size    atomic.Int64
	results atomic.Pointer[any]
	counted atomic.Bool
}

// Begin records the number of documents of the call.
func (b *Batch) Begin(size int) { b.size.Store(int64(size)) }

// End records the results for all documents of the call.
func (b *Batch) End(results any) { b.results.Store(&results) }

// Origin records which call answers a fetch. The zero value, and nil, mean a call for this fetch alone. It is safe for concurrent use.
type Origin struct {
	batch     atomic.Pointer[Batch]
	throttled atomic.Bool
}

// Throttle records that the server refused the fetch because of too many requests. That says nothing about other documents.
func (a *Origin) Throttle() {
	if a != nil {
		a.throttled.Store(true)
	}
}

// Throttled reports whether Throttle was called for the fetch, or for the call that answers it.
func (a *Origin) Throttled() bool {
	b := a.load()
	return a != nil && a.throttled.Load() || b != nil && b.Origin.Throttled()
}

// Set records that b answers the fetch. It must be called before the fetch can fail: callers may leave while b runs.
func (a *Origin) Set(b *Batch) {
	if a != nil {
		a.batch.Store(b)
	}
}

// Size returns the number of documents of the call.
func (a *Origin) Size() int {
	if b := a.load(); b != nil {
		return max(1, int(b.size.Load()))
	}
	return 1
}

// Results returns the results of the call for all its documents. It is nil before the call has ended, and for a call for this fetch alone.
// The error of one document may quote another.
func (a *Origin) Results() any {
	b := a.load()
	if b == nil {
		return nil
	}
	if results := b.results.Load(); results != nil {
		return *results
	}
	return nil
}

// CountFailure reports whether a failure of the call counts. It returns true once for each call: 20 fetches that fail in one call are one
// failure of the backend.
func (a *Origin) CountFailure() bool {
	b := a.load()
	return b == nil || b.counted.CompareAndSwap(false, true)
}

func (a *Origin) load() *Batch {
	if a == nil {
		return nil
	}
	return a.batch.Load()
}
