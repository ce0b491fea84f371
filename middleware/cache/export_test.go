package cache

import (
	"math"
	"time"
)

// KeepBreakersClosed keeps the circuit breakers of all keyspaces of c from opening, until their backends answer.
func KeepBreakersClosed(c *Cache) {
	for k := range c.keyspaces {
		k.whole.failures = math.MinInt
	}
}

// SetClock makes read, which may be called concurrently, the clocks of c, a cache that was not used yet.
func SetClock(c *Cache, read func() (wall, monotonic time.Duration)) { c.clock = newClock(read) }
