package secrets

import "time"

// The slots of the onion, and what root and a layer ask of each other. Each slot takes its own type, so that a layer in the wrong
// slot does not compile. A type of the program's own may stand in each slot, also one that wraps a layer of this module.

// CacheLayer remembers documents. It is made by package cache, and installed with [WithCache].
type CacheLayer interface {
	// Validate returns the faults of the layer's options, joined.
	Validate() error
	// NewCache returns a cache for the backend that info describes. It has two halves: one that reads, and stands outside of the
	// layer of deduplication, and one that fills, and stands inside of it, around below. NewCache calls share exactly once, with
	// the half that fills; what share returns is what the half that reads asks.
	NewCache(info Info, below Fetcher, share func(fill Fetcher) Fetcher) Cache
}

// Cache is the cache of one backend of one Client.
type Cache interface {
	Dedup
	CacheMonitor

	// Recall returns what Fetch would return for the ref of key, without an error and without a fetch. A zero Secret that is
	// known is a not-found. It is known only if an earlier call of Memorize has said what key means.
	Recall(key string) (s Secret, known bool)
	// RecallMany puts what Recall returns for each of keys into found, and reports whether all of it is there and a secret, and
	// the secrets of each document of one version. If not, what it has put there is of no use.
	RecallMany(keys []string, found map[string]Secret) bool
	// Memorize says that key means field of doc, or the whole if field is empty.
	Memorize(key string, doc Ref, field string)
	// Peek returns what Fetch would return for doc, if that is known without a fetch.
	Peek(doc Ref) (r Result, known bool)
	// RenewAt returns the time from which a Fetch of doc may bring another value, if doc is in memory. It must not block.
	RenewAt(doc Ref) (at time.Time, known bool)
}

// CacheMonitor is what can be observed of a [Cache].
type CacheMonitor interface {
	// CacheStats returns the figures of the cache. It takes no lock.
	CacheStats() CacheStats
	// BackingOff returns how many documents are not fetched at present, because the backend was unavailable. It looks at all
	// that are in memory.
	BackingOff() int
	// Outage reports whether a circuit breaker of the backend is open: that of one of its endpoints. It does not block.
	Outage() bool
	// CountHits makes the cache count its hits from now on.
	CountHits()
}

// CacheStats are the figures of a cache since it was made.
type CacheStats struct {
	// Hits are answers with a fresh value from memory. They are counted only where the program asks for it: with the option
	// WithHitCount of package cache, or by a layer that observes.
	Hits uint64
	// Misses are reads that memory could not answer, so that the backend was asked or its answer waited for.
	Misses uint64
	// Stale are answers with a value past its TTL.
	Stale uint64
	// NegativeHits are answers with a remembered not-found. One that is only passed over on the way to the cached value of a
	// fallback is no answer.
	NegativeHits uint64
	// BackedOff are answers with ErrUnavailable without a fetch, in the back-off of a document or while the circuit breaker is
	// open.
	BackedOff uint64
	// Evictions are values that went because the cache was full.
	Evictions uint64
	// Entries is the number of values that are held now, expired ones among them.
	Entries int
}

// Add returns the sums of s and other.
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

// DedupLayer lets concurrent callers of one document share a fetch. It is made by package dedup, and installed with [WithDedup].
type DedupLayer interface {
	// Validate returns the faults of the layer's options, joined.
	Validate() error
	// NewDedup returns the flights to next, for the backend that info describes.
	NewDedup(info Info, next Fetcher) Dedup
}

// Dedup is the flights to one backend of one Client.
type Dedup interface {
	Fetcher
	// Invalidate forgets docs: a later Fetch gets no answer of a fetch that began before.
	Invalidate(docs ...Ref)
	// Close refuses later calls, and waits for the fetches that run. It need not end them: the Client has told what is below to do
	// that. The Client calls it once.
	Close() error
}

// TracingLayer observes real fetches. It is made by package tracing, and installed with [WithTracing].
type TracingLayer interface {
	// Validate returns the faults of the layer's options, joined.
	Validate() error
	// NewTracing returns a Fetcher that observes the fetches of next, from the backend that info describes.
	NewTracing(info Info, next Fetcher) Fetcher
	// Observe begins to observe the cache of the backend that info describes. New calls it once the cache stands, if there is
	// one. stop, which may be nil, ends that; the Client calls it once. New returns err.
	Observe(info Info, cache CacheMonitor) (stop func(), err error)
}

// RedactionLayer takes values out of errors. It is made by package redact, and installed with [WithRedaction].
type RedactionLayer interface {
	// Validate returns the faults of the layer's options, joined.
	Validate() error
	// NewRedaction returns a Redaction of what next answers, for the backend that info describes.
	NewRedaction(info Info, next Fetcher) Redaction
}

// Redaction is the redaction of one backend of one Client.
type Redaction interface {
	Fetcher
	// HandedOut says that the caller gets s for ref. It is called for what this backend answered, field by field as it was asked
	// for, but not for hits, which were handed out before. It must not block.
	HandedOut(ref Ref, s Secret)
	// Close ends what this part of the layer runs. The Client calls it once.
	Close() error
}

// Fallback is a policy: which backends to ask after the one given to [New], and when. It is made by package fallback, and
// installed with [WithFallback]. The Client runs the chain.
type Fallback interface {
	// Validate returns the faults of the policy, joined.
	Validate() error
	// Backends are the backends to ask, in turn, after the one given to New. They belong to the Client from then on.
	Backends() []Backend
	// GoesOn reports whether the next backend is asked after a failure of class, which is one of these sentinels themselves:
	// ErrNotFound, ErrUnavailable, ErrMalformed, ErrInvalidKey, ErrUnknown. New calls it once for each. After a denial, a deleted
	// secret, a missing field and ErrClosed, a chain never goes on, and GoesOn is not asked.
	GoesOn(class error) bool
}
