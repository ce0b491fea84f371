// Package cache keeps secrets in memory: an LRU with a TTL, which serves stale values while a backend is down.
//
// middleware.Standard installs it. To set it up or to look at its figures, make one:
//
//	memory := cache.New(cache.WithTTL(time.Minute))
//	client, err := secrets.New(backend, secrets.WithCache(memory), middleware.Standard())
//	…
//	memory.Stats()
//
// A hit takes 20 ns and allocates nothing. The cache keeps documents: the fields of one document are one entry, and of one version.
//
// # Ages
//
// The age of a value counts from the start of its fetch:
//
//   - Fresh: it is served from memory.
//   - Past RefreshAhead × TTL: it is served from memory, and one fetch renews it in the background. At most 16 of these run at a time,
//     or 16 batches. The others begin at the next read.
//   - Past the TTL: a caller waits for the fetch, for at most 1 s, and at most half of what its deadline or the stale time leaves. If
//     there is no answer by then, or if it is secrets.ErrUnavailable, the caller gets the old value, with Meta.Stale set, until
//     TTL + MaxStale. The fetch goes on. Until one has answered, later callers get the old value at once.
//
// Any other failure is the answer. A denied, deleted or missing secret is never hidden by its old value, which is dropped. After
// secrets.ErrMalformed or secrets.ErrUnknown, the old value is not served stale any more.
//
// The end of a lease (Meta.ExpiresAt) shortens all ages: nothing is served past it. For a backend whose reads make leases, it takes the
// place of the TTL, since a fetch before it would make another lease.
//
// A not-found is cached for the NegativeTTL. Not-founds have a capacity of their own. After an ErrUnavailable, a document is not fetched
// again before a back-off of 100 ms, doubled with each failure up to 10 s (±20 %). Until then, the answer is the stale value or that
// error, at once. Other failures are not cached.
//
// A secrets.Client.Refresh or an invalidation takes effect at once: a fetch that began before it does not fill the cache. A caller that
// leaves does not cancel a fetch, which ends by secrets.WithTimeout or with the Client.
//
// # Circuit breaker
//
// Each endpoint of a backend (secrets.Info.Endpoint; most have one) has a circuit breaker. Three failed fetches in a row open it. A failed
// fetch counts if the cache has a value of its document, or if the endpoint has never answered. The failures must be of two documents or
// more, unless the cache holds only one of that endpoint. So keys from outside cannot open the breaker of a healthy backend.
//
// While the breaker is open, no caller waits for the endpoint. Fresh values and cached not-founds are served as before. Expired values are
// served stale. Everything else is secrets.ErrUnavailable at once. A Refresh still asks.
//
// After a back-off, which begins with 400 ms and doubles up to 10 s, the breaker is half-open. The next read that needs a fetch becomes a
// probe. Its caller waits as for a renewal, and then gets what all others get. If it is part of a GetMany, its other documents wait as
// long, and are fetched if the endpoint is back. Documents that have not failed yet may cause a probe a little earlier, and those whose
// failures do not count have a probe of their own. Nothing asks the endpoint without a reader.
//
// Any answer closes the breaker: anything but secrets.ErrUnavailable, secrets.ErrUnknown, and secrets.ErrInvalidKey, for which a backend
// need not ask its server.
//
// These do not count: a refusal because of too many requests, the end of a caller's context, a fetch that began before the endpoint's last
// answer, and a batch of which one document was answered. A batch that fails counts once. At most 64 endpoints of a backend have a
// breaker. An invalidation does not change it.
//
// # Clocks
//
// A machine that sleeps ages values too: within 200 ms of waking, TTLs and leases are over. MaxStale counts only while the machine is
// awake, so that a clock which is set at boot drops nothing.
package cache

import (
	"errors"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/seed-5482dd03/secrets"
)

// Cache is the layer. It may be given to several Clients: they share its capacity and its [Stats], and see nothing of each
// other's secrets. It is safe for concurrent use.
type Cache struct {
	config
	clock *clock

	mu        sync.Mutex // reads of fresh entries do without it
	values    order
	failures  order // not-founds and back-offs, which must never evict a value
	keyspaces map[*keyspace]struct{}
	memos     int   // of values, of all keyspaces
	closed    Stats // of the keyspaces that were closed
}

// New returns a cache with the options opts. Each keyspace is closed with its Client; the Cache itself needs no end.
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

// NewCache returns the cache of one backend, a keyspace of its own. secrets.New calls it.
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

// Stats are the figures of a cache since it was made, over all Clients that share it.
type Stats = secrets.CacheStats

// Stats returns the figures of the cache. Of a call that is under way while its Client closes, they may miss something.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.closed
	for k := range c.keyspaces {
		all = all.Add(k.CacheStats())
	}
	return all
}

// Purge forgets everything, for all Clients that share the cache. A fetch that is under way does not fill it; a Get that
// begins while it lasts may still share its answer, as one after secrets.Client.Invalidate does not.
func (c *Cache) Purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.keyspaces {
		k.purge()
	}
}

// maxMemos is how many memos of values there may be: enough for 64 keys of each document, on average.
func (c *Cache) maxMemos() int { return 64 * c.size }

// insert adds e, which takes the place of old, an entry of the same document, if that is not nil. The caller holds c.mu.
//
// The index has old until it has e: a reader that found neither would take the document for one that is not in memory.
func (c *Cache) insert(e, old *entry) {
	if old != nil {
		old.retire()
		c.orderOf(old).remove(old)
	}
	if evicted := c.orderOf(e).add(e); evicted != nil {
		evicted.forget()
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
	e.forget()
	c.orderOf(e).remove(e)
}

func (c *Cache) orderOf(e *entry) *order {
	if e.isValue() {
		return &c.values
	}
	return &c.failures
}

// order keeps up to size entries in the order of their use, by the second-chance rule: a read only marks an entry as
// touched, which takes no lock, and an eviction spares the entries that were touched since the last one came by. Its hit
// ratio is never below that of an exact LRU on the traces it was measured with.
type order struct {
	size int
	lru  *simplelru.LRU[*entry, struct{}]
}

func newOrder(size int) order {
	lru, err := simplelru.NewLRU[*entry, struct{}](size, nil)
	if err != nil {
		panic(err) // the size was validated
	}
	return order{size: size, lru: lru}
}

func (o *order) remove(e *entry) { o.lru.Remove(e) }

// maxSpared bounds what one eviction looks at, since it holds the lock of the cache.
const maxSpared = 64

// add adds e and returns the entry that had to go, or nil.
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
