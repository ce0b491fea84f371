// Package cache keeps secrets in memory: an LRU cache with a TTL, which serves stale values while a backend is down.
//
// middleware.Standard installs it with its defaults. To set options or to read its [Stats], make one:
//
//	memory := cache.New(cache.WithTTL(time.Minute))
//	client, err := secrets.New(backend, secrets.WithCache(memory), middleware.Standard())
//	…
//	memory.Stats()
//
// A hit takes 20 to 50 ns, like a read of a sync.Map, and allocates nothing. Entries are whole documents: all fields of a document share
// one entry and one version.
//
// # Ages
//
// The age of a value counts from the start of its fetch:
//
//   - Fresh: it is served from memory.
//   - Past RefreshAhead × TTL: it is served from memory, and a read starts a renewal in the background. At most 16 renewals run at a
//     time, or 16 batches. The others start at a later read.
//   - Past the TTL, until TTL + MaxStale: a caller waits for the fetch for at most 1 s, and for at most half of the time until its deadline
//     and until the end of MaxStale. If there is no answer by then, or if it is secrets.ErrUnavailable, the caller gets the old value with
//     Meta.Stale set. The fetch goes on. Until a fetch has answered, later callers get the old value at once.
//
// The end of a lease (Meta.ExpiresAt) limits all ages: nothing is served past it. If reads from a backend create leases, the
// end of the lease replaces TTL and MaxStale: an earlier fetch would create another lease.
//
// A secrets.Client.Refresh or an invalidation takes effect at once: a fetch that began before it does not fill the cache. A fetch does not
// end with its caller. It ends with secrets.WithTimeout or with the Client.
//
// # Errors
//
// Only secrets.ErrUnavailable is answered with a stale value. The caller gets any other failure. After a denial, a deletion, a not-found or
// secrets.ErrUnauthenticated, the old value is dropped. After secrets.ErrMalformed or secrets.ErrUnknown, it is not served stale any more.
//
// A not-found is cached for the NegativeTTL. Not-founds have a capacity of their own.
//
// An ErrUnavailable starts a back-off of 100 ms (±20 %) for the document, which doubles with each failure up to 10 s. Until it is over, a
// read gets the stale value or the error at once. Other failures are not cached.
//
// # Circuit breaker
//
// Each endpoint of a backend (secrets.Info.Endpoint; most backends have one) has a circuit breaker. Three fetches in a row that
// find the endpoint unavailable (secrets.ErrUnavailable) open it. Other failures concern only their document.
//
//   - A failed fetch counts if the cache has a value of its document, or if the endpoint has never answered.
//   - The failures must be of two documents or more, unless the cache holds only one of that endpoint. With these two rules, keys from
//     outside cannot open the breaker of a healthy backend.
//   - A failed batch counts once, and does not count at all if one of its documents was answered.
//   - These do not count: a refusal because of too many requests, the end of a caller's context, and a fetch that began before the last
//     answer of the endpoint.
//
// While the breaker is open, no caller waits for the endpoint. Fresh values and cached not-founds are served as before. Expired values are
// served stale. All other reads return secrets.ErrUnavailable at once. A Refresh still makes its fetch.
//
// After a back-off, which begins with 400 ms and doubles up to 10 s, the breaker is half-open: the next read that needs a fetch starts a
// probe. Its caller waits for it as for a renewal; if the probe fails, the caller gets a stale value or ErrUnavailable. If the read is part
// of a GetMany, the other documents wait as long, and are fetched if the endpoint is back. Documents that have not failed yet may start a
// probe a little earlier. Documents whose failures do not count have probes of their own. Without readers, there are no probes.
//
// Any answer closes the breaker. secrets.ErrUnavailable, secrets.ErrUnknown and secrets.ErrInvalidKey are no answers: a backend may refuse
// a key without a request. An invalidation does not change the breaker.
//
// # Limits
//
// At most 64 endpoints of a backend have a breaker. Documents of further endpoints only have back-offs.
//
// Values age while the machine sleeps: within 200 ms of waking, TTLs and leases that ended during the sleep are over. MaxStale counts only
// while the machine is awake, so a clock that is set at boot drops nothing.
package cache

import (
	"errors"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/seed-5482dd03/secrets"
)

// Cache is the layer. Install it with secrets.WithCache. Several Clients may share one: they share its capacity and its [Stats], but not
// their secrets. It is safe for concurrent use.
type Cache struct {
	config
	clock *clock

	mu        sync.Mutex // not taken by reads of fresh entries
	values    order
	failures  order // not-founds and back-offs: they must not evict values
	keyspaces map[*keyspace]struct{}
	memos     int   // of values, in all keyspaces
	closed    Stats // of closed keyspaces
}

// New returns a cache. It needs no Close: a Client that closes drops its part of the cache.
func New(opts ...Option) *Cache {
	c := &Cache{config: newConfig(opts), clock: newClock(systemClock()), keyspaces: make(map[*keyspace]struct{})}
	c.values, c.failures = newOrder(max(1, c.size)), newOrder(max(1, c.size))
	return c
}

// Validate returns the faults of the options, joined. secrets.New calls it.
func (c *Cache) Validate() error {
	if c.clock == nil {
		return errors.New("cache: a zero Cache; make it with cache.New")
	}
	return c.config.faults.Err()
}

// NewCache returns the cache of one backend of one Client. secrets.New calls it.
func (c *Cache) NewCache(
	info secrets.Info, below secrets.Fetcher, share func(fill secrets.Fetcher) secrets.Fetcher,
) secrets.Cache {
	k := newKeyspace(c, info)
	k.next = share(&filler{keyspace: k, next: below})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keyspaces[k] = struct{}{}
	return k
}

var _ secrets.CacheLayer = (*Cache)(nil)

// Stats are the figures of a cache since [New], for all Clients that share it.
type Stats = secrets.CacheStats

// Stats returns the figures of the cache. They may lack calls that are under way while their Client closes.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.closed
	for k := range c.keyspaces {
		all = all.Add(k.CacheStats())
	}
	return all
}

// Purge drops all documents of all Clients that share the cache. A fetch that is under way does not fill the cache. Until it ends, a Get
// may still share its answer; secrets.Client.Invalidate prevents that too.
func (c *Cache) Purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.keyspaces {
		k.purge()
	}
}

// maxMemos is how many memos values may have in total: on average, enough for 64 keys of each document.
func (c *Cache) maxMemos() int { return 64 * c.size }

// insert adds e. If old is not nil, e replaces it; both are of the same document. The caller holds c.mu.
//
// The index keeps old until it has e: a reader that found neither would fetch the document.
func (c *Cache) insert(e, old *entry) {
	if old != nil {
		old.detach()
		c.orderOf(old).remove(old)
	}
	if evicted := c.orderOf(e).add(e); evicted != nil {
		evicted.remove()
		if evicted.isValue() {
			evicted.keyspace.evictions.Add(1)
		}
	}
	e.breaker.documents.Add(1)
	if e.isValue() {
		e.breaker.values.Add(1)
		e.keyspace.entries.Add(1)
	}
	e.keyspace.inserts.Add(1)
	e.keyspace.index.Store(e.document, e)
}

// drop removes e. The caller holds c.mu.
func (c *Cache) drop(e *entry) {
	e.remove()
	c.orderOf(e).remove(e)
}

func (c *Cache) orderOf(e *entry) *order {
	if e.isValue() {
		return &c.values
	}
	return &c.failures
}

// order is an LRU of up to size entries, with the second-chance rule: a read only marks its entry as touched, which takes no lock, and
// an eviction spares entries that were touched since they were last spared. On the traces it was measured with, its hit ratio is never
// below that of an exact LRU.
type order struct {
	size int
	lru  *simplelru.LRU[*entry, struct{}]
}

func newOrder(size int) order {
	lru, err := simplelru.NewLRU[*entry, struct{}](size, nil)
	if err != nil {
		panic(err) // the size is at least 1
	}
	return order{size: size, lru: lru}
}

func (o *order) remove(e *entry) { o.lru.Remove(e) }

// maxSpared bounds how many entries one eviction spares, since it holds Cache.mu.
const maxSpared = 64

// add adds e and returns the evicted entry, or nil.
func (o *order) add(e *entry) *entry {
	var evicted *entry
	for spared := 0; o.lru.Len() >= o.size; {
		oldest, _, _ := o.lru.GetOldest()
		if spared < maxSpared && oldest.touched.CompareAndSwap(true, false) {
			o.lru.Get(oldest) // moves it to the front
			spared++
			continue
		}
		o.lru.Remove(oldest)
		evicted = oldest
	}
	o.lru.Add(e, struct{}{})
	return evicted
}
