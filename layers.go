package secrets

import "time"

// The interfaces of the slots. Each slot has its own type: a layer in the wrong slot does not compile. A program may put a type of its own
// into each slot, for example one that wraps a layer of this module.

// CacheLayer makes the caches of a Client, one for each backend. Package cache implements it. Install it with [WithCache].
type CacheLayer interface {
	// Validate returns the faults of the layer's options, joined.
	Validate() error
	// NewCache returns a cache for the backend that info describes. The cache has two halves. The reading half is above the dedup layer.
	// The filling half is below it, and wraps below. NewCache calls share exactly once, with the filling half; the reading half fetches
	// from the Fetcher that share returns.
	NewCache(info Info, below Fetcher, share func(fill Fetcher) Fetcher) Cache
}

// Cache is the cache of one backend of one Client.
type Cache interface {
	Dedup
	CacheMonitor

	// Recall returns the answer of Fetch for the ref of key, if it is in memory and no error. A known zero Secret is a not-found. A key
	// is known only after a Memorize for it.
	Recall(key string) (s Secret, known bool)
	// RecallMany puts the secrets of keys into found, as Recall returns them. It reports whether all of keys are there, and the secrets
	// of each document are of one version. If not, the caller must discard found.
	RecallMany(keys []string, found map[string]Secret) bool
	// Memorize records that key means field of doc, or the whole doc if field is empty.
	Memorize(key string, doc Ref, field string)
	// Peek returns the answer of Fetch for doc, if it is known without a fetch.
	Peek(doc Ref) (r Result, known bool)
	// RenewAt returns the time from which a Fetch of doc may return another value, if doc is in memory. It must not block.
	RenewAt(doc Ref) (at time.Time, known bool)
}

// CacheMonitor is the part of a [Cache] for metrics and logs.
type CacheMonitor interface {
	// CacheStats returns the counters of the cache. It takes no lock.
	CacheStats() CacheStats
	// BackingOff returns the number of documents in back-off after an outage. It visits each document in memory.
	BackingOff() int
	// Outage reports whether the circuit breaker of at least one endpoint of the backend is open. It does not block.
	Outage() bool
	// CountHits makes the cache count its hits from now on.
	CountHits()
}

// CacheStats are the counters of a cache since it was made.
type CacheStats struct {
	// Hits counts answers with a fresh value from memory. It stays 0 without the option WithHitCount of package cache, or a layer that
	// calls CountHits.
	Hits uint64
	// Misses counts reads that memory could not answer: they called the backend, or waited for its answer.
	Misses uint64
	// Stale counts answers with a value past its TTL.
	Stale uint64
	// NegativeHits counts answers with a remembered not-found. A not-found that only leads on to a hit in the cache of a fallback is
	// not counted.
	NegativeHits uint64
	// BackedOff counts answers with ErrUnavailable and without a fetch: during the back-off of a document, or while the circuit breaker
	// is open.
	BackedOff uint64
	// Evictions counts values that were dropped because the cache was full.
	Evictions uint64
	// Entries is the current number of values, including expired ones.
	Entries int
}

// Add returns the sum of s and other.
func (s CacheStats) Add(other CacheStats) CacheStats {
	return CacheStats{
		Hits:         s.Hits + other.Hits,
		Misses:       s.Misses + other.Misses,
		Stale:        s.Stale + other.Stale,
		NegativeHits: s.NegativeHits + other.NegativeHits,
		BackedOff:    s.BackedOff + other.BackedOff,
		Evictions:    s.Evictions + other.Evictions,
		Entries:      s.Entries + other.Entries,
	}
}

// DedupLayer lets concurrent callers of one document share a fetch. Package dedup implements it. Install it with [WithDedup].
type DedupLayer interface {
	// Validate returns the faults of the layer's options, joined.
	Validate() error
	// NewDedup returns a Dedup in front of next, for the backend that info describes.
	NewDedup(info Info, next Fetcher) Dedup
}

// Dedup holds the flights to one backend of one Client.
type Dedup interface {
	Fetcher
	// Invalidate drops the flights for docs: a later Fetch does not get the answer of a fetch that began before.
	Invalidate(docs ...Ref)
	// Close refuses later calls, and waits for running fetches. It need not cancel them: the Client has done so. The Client calls Close
	// once.
	Close() error
}

// TracingLayer observes real fetches. Package tracing implements it. Install it with [WithTracing].
type TracingLayer interface {
	// Validate returns the faults of the layer's options, joined.
	Validate() error
	// NewTracing returns a Fetcher that observes the fetches of next, for the backend that info describes.
	NewTracing(info Info, next Fetcher) Fetcher
	// Observe starts to observe the cache of the backend that info describes. New calls it after NewCache, if there is a cache. The
	// Client calls stop once, unless it is nil. New returns err.
	Observe(info Info, cache CacheMonitor) (stop func(), err error)
}

// RedactionLayer removes values from errors. Package redact implements it. Install it with [WithRedaction].
type RedactionLayer interface {
	// Validate returns the faults of the layer's options, joined.
	Validate() error
	// NewRedaction returns a Redaction in front of next, for the backend that info describes.
	NewRedaction(info Info, next Fetcher) Redaction
}

// Redaction is the redaction of one backend of one Client.
type Redaction interface {
	Fetcher
	// HandedOut reports that the caller gets s for ref. The Client calls it once for each key that this backend answers, with the key's
	// field, but not for hits: an earlier call has reported these. It must not block.
	HandedOut(ref Ref, s Secret)
	// Close releases the resources of this part of the layer. The Client calls it once.
	Close() error
}

// Fallback is a policy: which backends to call after the one given to [New], and when. Package fallback implements it. Install it with
// [WithFallback]. The Client runs the chain.
type Fallback interface {
	// Validate returns the faults of the policy, joined.
	Validate() error
	// Backends returns the backends to call after the one given to New, in their order. From then on, the Client owns them.
	Backends() []Backend
	// GoesOn reports whether the chain calls the next backend after a failure of class. New calls it once for each of these sentinels:
	// ErrNotFound, ErrUnavailable, ErrMalformed, ErrInvalidKey, ErrUnknown. For every other class, such as a denial, a deleted secret or
	// a missing field, a chain always stops.
	GoesOn(class error) bool
}
