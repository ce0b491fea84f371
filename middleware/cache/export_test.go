package cache

import (
	"fmt"
	"math"
	"time"
)

// KeepBreakersClosed keeps the circuit breakers of all keyspaces of c closed until their backends answer.
func KeepBreakersClosed(c *Cache) {
	for k := range c.keyspaces {
		k.whole.failures = math.MinInt
	}
}

// SetClock makes read the clocks of c, which must not have been used. read may be called concurrently.
func SetClock(c *Cache, read func() (wall, monotonic time.Duration)) { c.clock = newClock(read) }

// Miscounts returns the counters of c that do not agree with its entries. No fetch may be under way.
func Miscounts(c *Cache) (wrong []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	check := func(what string, got, want int) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s: %d, not %d", what, got, want))
		}
	}
	memos, values, failures, renewing := 0, 0, 0, 0
	for k := range c.keyspaces {
		memos += k.memos.Size()
		documents, ofValues := make(map[*breaker]int), make(map[*breaker]int)
		k.index.Range(func(_ docKey, e *entry) bool {
			documents[e.breaker]++
			if e.isValue() {
				ofValues[e.breaker]++
				values++
			} else {
				failures++
			}
			if e.renewing.Load() {
				renewing++
			}
			return true
		})
		check("renewals", int(k.renewals.Load()), 0)
		check("fetches", len(k.fetching), 0)
		k.breakers(func(b *breaker) {
			check("documents of a breaker", int(b.documents.Load()), documents[b])
			check("values of a breaker", int(b.values.Load()), ofValues[b])
			if o := b.open(); o != nil && (o.known.probe != nil || o.others.probe != nil) {
				wrong = append(wrong, "a probe")
			}
		})
	}
	check("entries that are renewed", renewing, 0)
	check("memos", c.memos, memos)
	check("values", c.values.lru.Len(), values)
	check("failures", c.failures.lru.Len(), failures)
	return wrong
}
