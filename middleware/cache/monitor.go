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
func (s *space) CacheStats() secrets.CacheStats {
	return secrets.CacheStats{
		Hits:         s.hits.n.Load(),
		Misses:       s.misses.Load(),
		Stale:        s.stale.Load(),
		NegativeHits: s.negativeHits.Load(),
		BackedOff:    s.backedOff.Load(),
		Evictions:    s.evictions.Load(),
		Entries:      int(s.entries.Load()),
	}
}

// BackingOff returns how many documents are not asked for at present, because the backend was unavailable.
func (s *space) BackingOff() (documents int) {
	now := s.clock.now()
	s.index.Range(func(d document, e *entry) bool {
		if t := e.troubles(); t.outage != nil && (s.outage.open(d).holds(true, now) || now < t.retryAt) {
			documents++
		}
		return true
	})
	return documents
}

// Outage reports whether the backend is in an outage, as far as fetches have shown.
func (s *space) Outage() bool { return s.outage.state.Load() != nil }

// CountHits makes the keyspace count its hits, as [WithHitCount] does for all of them.
func (s *space) CountHits() { s.countHits.Store(true) }

var _ secrets.CacheMonitor = (*space)(nil)
