package secrets

import (
	"context"
	"time"
)

// A cached read must be fast and a fetch is rare, so that what layers tell each other about a fetch stands in its context
// alone: nothing of it is looked up on a hit.

// Flight is a fetch that may have more callers than the one whose context it runs with. The layers that share fetches,
// those of packages dedup and cache, put one into the context of what is below them; [FlightOf] finds it. It is for layers
// that observe.
type Flight interface {
	// OnJoin calls f with the context of every other caller that shares the fetch, until the fetch ends: once for each
	// that has joined it, and later for each that does, but for no more than 128 of them, a caller that joins in several
	// ways perhaps more than once. f is called on the goroutines of the callers, several at a time, and must not block;
	// it may still run, for a short time, when the fetch has ended.
	OnJoin(f func(caller context.Context))
	// Background reports whether no caller waited for the fetch when it began: it renews a value that is still fresh. The
	// context that it runs with has the values of that of the read which caused it.
	Background() bool
}

type flightKey struct{}

// WithFlight returns a ctx for a fetch that is f. It has the values of ctx, and neither its deadline nor its end: a flight is not
// bound to any one of its callers. A nil f hides the flight that ctx has, and changes nothing else: what a backend fetches
// for itself is a fetch of its own.
func WithFlight(ctx context.Context, f Flight) context.Context {
	if f == nil {
		return context.WithValue(ctx, flightKey{}, nil)
	}
	return detached{ctx, f}
}

// detached is context.WithoutCancel and context.WithValue in one, since a fetch makes one each time. What package context
// derives from it is as detached; only a context of another make, that ends in its own way, may find the caller's cause.
type detached struct {
	context.Context // the caller's, for its values

	flight Flight
}

func (detached) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }
func (detached) Done() <-chan struct{}                   { return nil }
func (detached) Err() error                              { return nil }

func (d detached) Value(key any) any {
	if _, ok := key.(flightKey); ok {
		return d.flight
	}
	return d.Context.Value(key)
}

// String is what is printed of the context, and no value in it.
func (detached) String() string { return "secrets.WithFlight" }

// FlightOf returns the Flight of ctx, or nil if it has none.
func FlightOf(ctx context.Context) Flight { //nolint:ireturn // a layer of any package makes it
	f, _ := ctx.Value(flightKey{}).(Flight)
	return f
}

type attemptKey struct{}

// WithAttempt returns a ctx for a fetch which is the nth in a row for its document: those before it have failed. The cache
// says so from the second on. 0 stands for not known.
func WithAttempt(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, attemptKey{}, n)
}

// Attempt returns the number that [WithAttempt] has put into ctx, or 0.
func Attempt(ctx context.Context) int {
	n, _ := ctx.Value(attemptKey{}).(int)
	return n
}

type probeKey struct{}

// WithProbe returns a ctx for a fetch that is a probe, or is none: the backend is in an outage, and the fetch shows whether
// it is back. The cache says so of those it sends.
func WithProbe(ctx context.Context, probe bool) context.Context {
	return context.WithValue(ctx, probeKey{}, probe)
}

// Probe reports whether [WithProbe] has made ctx for a probe.
func Probe(ctx context.Context) bool {
	probe, _ := ctx.Value(probeKey{}).(bool)
	return probe
}

// CacheStats are the figures of a cache since it was made.
type CacheStats struct {
	// Hits are answers with a fresh value from memory. They are counted only where the program asks for it: with the
	// option WithHitCount of package cache, or by a layer that observes.
	Hits uint64
	// Misses are questions that memory could not answer, so that the backend was asked or its answer waited for.
	Misses uint64
	// Stale are answers with a value past its TTL.
	Stale uint64
	// NegativeHits are answers with a remembered not-found. One that is only passed over on the way to the cached value of
	// a fallback is no answer.
	NegativeHits uint64
	// BackedOff are answers with ErrUnavailable without a fetch, in the back-off of a document or an outage of the backend.
	BackedOff uint64
	// Evictions are values that went because the cache was full.
	Evictions uint64
	// Entries is the number of values that are held now, expired ones among them.
	Entries int
}

// CacheMonitor is an optional interface of the Fetcher that a cache's Wrap returned: what can be observed of the cache of
// one backend of one Client. [New] hands it to the layers of the same backend that have a method ObserveCache; see [Middleware].
type CacheMonitor interface {
	// CacheStats returns the figures of this part of the cache. It takes no lock.
	CacheStats() CacheStats
	// BackingOff returns how many documents are not asked for at present, because the backend was unavailable. It looks at
	// all that are in memory.
	BackingOff() int
	// Outage reports whether the whole backend is taken to be unavailable: three fetches in a row have found it so, or more,
	// and it has not answered since. It takes no lock.
	Outage() bool
	// CountHits makes the cache count the hits of this part from now on.
	CountHits()
}

// cacheObserver is the optional interface of a slot's Fetcher that asks for the cache of its backend.
type cacheObserver interface {
	ObserveCache(cache CacheMonitor) error
}
