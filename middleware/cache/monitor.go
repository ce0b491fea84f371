package cache

import (
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
)

// paddedCounter is a counter on a cache line of its own, since many processors write it.
type paddedCounter struct {
	_ [64]byte
	n atomic.Uint64
	_ [64]byte
}

// CacheStats returns the figures of the keyspace.
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

// BackingOff returns how many documents are not fetched at present, because the backend was unavailable.
func (k *keyspace) BackingOff() (documents int) {
	now := k.clock.now()
	k.index.Range(func(_ docKey, e *entry) bool {
		t, o := e.retryState(), e.breaker.open()
		if t.unavailable != nil && (now < t.retryAt || o != nil && o.schedule(e.breaker.isKnown(e)).blocks(true, now)) {
			documents++
		}
		return true
	})
	return documents
}

// Outage reports whether a circuit breaker is open. Breakers of endpoints that have never answered count only if no endpoint has: keys from
// outside can name endpoints that do not exist.
func (k *keyspace) Outage() bool {
	var seen, open, openUnseen bool
	k.breakers(func(b *breaker) {
		seen = seen || b.everAnswered.Load()
		if b.open() != nil {
			open = open || b.everAnswered.Load()
			openUnseen = openUnseen || !b.everAnswered.Load()
		}
	})
	return open || openUnseen && !seen
}

// CountHits makes the keyspace count its hits. [WithHitCount] does so for all keyspaces of a Cache.
func (k *keyspace) CountHits() { k.countHits.Store(true) }
