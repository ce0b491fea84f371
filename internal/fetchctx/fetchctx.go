// Package fetchctx holds what the layers of a client tell each other about one fetch. It travels in the context of the fetch, as
// one value:
//
//	f := fetchctx.Of(ctx)
//	f.Background = true
//	ctx = fetchctx.With(ctx, f)
//
// Nothing of it is read on a hit.
package fetchctx

import (
	"context"
	"sync/atomic"
)

// Fetch is what is known about a fetch. The zero value is a plain fetch of a single secret.
type Fetch struct {
	// Fresh says that no memory may answer, and no flight that began before.
	Fresh bool
	// Renewal is the look of a handle for a newer value, or nil.
	Renewal *Renewal
	// Peek says that only memory may answer: the backend is not asked.
	Peek bool
	// Background says that no caller waited for the fetch when it began.
	Background bool
	// Probe says that the circuit breaker is open, and that the fetch shows whether the backend is back.
	Probe bool
	// Gathered says that all of the group go on together: a Batcher waits for them, however long.
	Gathered bool
	// Attempt is 2 or more if the fetches of the document just before have failed, and 0 if that is not known.
	Attempt int
	// Flight says that the fetch is detached from its callers, and which of them wait for it. It is nil for a fetch that is its
	// caller's.
	Flight *Flight
	// Group is the GetMany that the fetch belongs to, or nil.
	Group *Group
	// Origin is where the call that answers the fetch is noted, or nil.
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

// String keeps what prints a context from printing what the layers keep there.
func (*fetching) String() string { return "secrets.fetch" }

// With returns a context with f in place of what ctx has.
func With(ctx context.Context, f Fetch) context.Context { return &fetching{ctx, f} }

// Detach returns With, for a fetch that does not end with ctx.
func Detach(ctx context.Context, f Fetch) context.Context { return With(context.WithoutCancel(ctx), f) }

// Of returns the Fetch of ctx.
func Of(ctx context.Context) Fetch {
	if f, ok := ctx.Value(key{}).(*Fetch); ok {
		return *f
	}
	return Fetch{}
}

// Batch is one call of a backend that answers several fetches. The zero value is a call that has not begun. It is safe for
// concurrent use.
type Batch struct {
	Origin Origin // of the call itself, in the context of the call

	size    atomic.Int64
	results atomic.Pointer[any]
	counted atomic.Bool
}

// Begin notes that the call asks for that many documents.
func (b *Batch) Begin(size int) { b.size.Store(int64(size)) }

// End notes what the call has brought for all of its documents.
func (b *Batch) End(results any) { b.results.Store(&results) }

// Origin tells which call a fetch is answered by. The zero value, and nil, stand for a call of its own. It is safe for concurrent
// use.
type Origin struct {
	batch     atomic.Pointer[Batch]
	throttled atomic.Bool
}

// Throttle notes that the server refuses the fetch because there were too many. That says nothing about other documents.
func (a *Origin) Throttle() {
	if a != nil {
		a.throttled.Store(true)
	}
}

// Throttled reports whether Throttle was called, for the fetch or the call that answers it.
func (a *Origin) Throttled() bool {
	b := a.load()
	return a != nil && a.throttled.Load() || b != nil && b.Origin.Throttled()
}

// Set notes that b answers the fetch. It must be called before the fetch can fail: those who wait may give up while b runs.
func (a *Origin) Set(b *Batch) {
	if a != nil {
		a.batch.Store(b)
	}
}

// Size returns how many documents the call asked for.
func (a *Origin) Size() int {
	if b := a.load(); b != nil {
		return max(1, int(b.size.Load()))
	}
	return 1
}

// Results returns what the call brought for all of its documents, or nil for a call of its own, and for one that has not ended.
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

// CountFailure reports whether a failure of the call is to be counted. It is true once for each call, so that 20 fetches which
// fail in one call are one failure of the backend.
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
