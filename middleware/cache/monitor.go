package cache

import (
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
)

// paddedCounter is a counter that many processors write, on a cache line apart from what they only read.
type paddedCounter struct {
	_ [64]byte
	n atomic.Uint64
	_ [64]byte
}

// CacheStats returns the figures of this keyspace.
func (k *keyspace) CacheStats() secrets.CacheStats {
	return secrets.CacheStats{
		Hits:         k.hits.n.Load(),
		Misses:       k.misses.Load(),
		Stale:        k.stale.Load(),
		NegativeHits: k.negativeHits.Load(),
		BackedOff:    k.backedOff.Load(),
		Evictions:    k.evictions.Load(),
		Entries:      int(k.entries.Load()),
	}
}

// BackingOff returns how many documents are not asked for at present, because the backend was unavailable.
func (k *keyspace) BackingOff() (documents int) {
	now := k.clock.now()
	k.index.Range(func(_ docKey, e *entry) bool {
		t, o := e.troubles(), e.breaker.opening()
		if t.unavailable != nil && (now < t.retryAt || o != nil && o.gate(e.breaker.knows(e)).holds(true, now)) {
			documents++
		}
		return true
	})
	return documents
}

// Outage reports whether a circuit breaker is open. Of endpoints that have never answered, it tells only if no other one has: whoever
// gives the keys can make up endpoints.
func (k *keyspace) Outage() bool {
	var seen, open, openUnseen bool
	k.breakers(func(b *breaker) {
		seen = seen || b.seen.Load()
		if b.opening() != nil {
			open = open || b.seen.Load()
			openUnseen = openUnseen || !b.seen.Load()
		}
	})
	return open || openUnseen && !seen
}

// CountHits makes the keyspace count its hits, as [WithHitCount] does for all of them.
func (k *keyspace) CountHits() { k.countHits.Store(true) }
