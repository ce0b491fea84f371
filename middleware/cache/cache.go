// Package cache is the layer that remembers secrets.
//
// It belongs into the slot of secrets.WithCache; middleware.Standard puts it there:
//
//	memory := cache.New(cache.WithTTL(time.Minute))
//	client, err := secrets.New(backend, secrets.WithCache(memory), middleware.Standard())
//	…
//	memory.Stats()
//
// A value has three ages, counted from the start of the fetch that brought it:
//
//   - Fresh: it is served from memory.
//   - Past RefreshAhead × TTL: it is served from memory, and renewed in the background by one fetch that no caller waits
//     for or can cancel.
//   - Past the TTL: callers wait for the fetch. If that is secrets.ErrUnavailable, or the deadline of the caller comes
//     first, the old value is served until TTL + MaxStale, with Meta.Stale set. Any other failure is the answer: a denied,
//     deleted or missing secret is never hidden by its old value, which is evicted.
//
// The end of a lease (Meta.ExpiresAt) shortens all of them, and nothing is served past it. With a backend whose reads make
// leases, it takes the place of the TTL: to read sooner would make another lease beside the one that is good.
//
// Not-founds are remembered for the NegativeTTL, in a capacity of their own. After an ErrUnavailable a document is not
// asked for again before a back-off of 100 ms, doubled at each further failure up to 10 s (±20 %); until then the answer
// is the stale value or that error, at once. Other failures are not remembered.
//
// # Outages
//
// When three fetches in a row have found a backend unavailable, it is in an outage, or the one document that all of them
// asked for, until it answers anything else. Meanwhile nobody waits for it: fresh values and remembered not-founds are
// served as ever, expired values are served stale as long as they may be, and the rest is secrets.ErrUnavailable at once. A
// Refresh asks all the same.
//
// After a step of the same back-off, which begins with 400 ms, the next reader that needs a fetch causes a probe: one fetch
// of what it asks for, that no caller can cancel. It waits for the answer for 1 s at the most, and not so long that its
// deadline or the stale value would be over; then it gets what all others get. If the backend answers, the outage is over for
// all its documents. Documents that have not failed yet have their turn first, within the spread of a step. Nothing asks the
// backend without a reader.
//
// A batch counts as one fetch, and has one probe. The end of a caller's context does not count, and neither does a failure
// of a fetch that began before the backend last answered. Each backend of each Client has a state of its own; an
// invalidation does not change it.
//
// # Documents
//
// The cache keeps documents: fields of one document are one entry and one version. An invalidation, or a
// secrets.Client.Refresh, takes effect at once: a fetch that began before it does not fill the cache.
package cache

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/seed-5482dd03/secrets"
)

// Cache is the layer. It may be given to several Clients: they share its capacity and its [Stats], and see nothing of each
// other's secrets. It is safe for concurrent use.
type Cache struct {
	config
	clock *clock

	mu     sync.Mutex // reads of fresh entries do without it
	values order
	faults order // not-founds and back-offs, which must never evict a value
	spaces map[*space]struct{}
	closed Stats // of the spaces that were closed
}

// New returns a cache with the options opts.
func New(opts ...Option) *Cache {
	c := &Cache{config: newConfig(opts), clock: newClock(), spaces: make(map[*space]struct{})}
	c.values, c.faults = newOrder(max(1, c.size)), newOrder(max(1, c.size))
	return c
}

// Validate returns the faults of the options, joined. secrets.New calls it.
func (c *Cache) Validate() error { return c.validate() }

// Wrap returns a Fetcher that remembers what next answers, in a keyspace of its own.
//
// The Fetcher has a method Fill(next) that splits it in two, which secrets.New uses to place the layer of deduplication
// between the half that reads and the half that fills.
func (c *Cache) Wrap(next secrets.Fetcher) secrets.Fetcher {
	s := newSpace(c, next)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spaces[s] = struct{}{}
	return s
}

var _ secrets.Middleware = (*Cache)(nil)

// Stats are the figures of a cache since it was made, over all Clients that share it.
type Stats = secrets.CacheStats

// Stats returns the figures of the cache. Of a call that is under way while its Client closes, they may miss something.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.closed
	for s := range c.spaces {
		all = sum(all, s.CacheStats())
	}
	return all
}

func sum(a, b Stats) Stats {
	return Stats{
		Hits:         a.Hits + b.Hits,
		Misses:       a.Misses + b.Misses,
		Stale:        a.Stale + b.Stale,
		NegativeHits: a.NegativeHits + b.NegativeHits,
		BackedOff:    a.BackedOff + b.BackedOff,
		Evictions:    a.Evictions + b.Evictions,
		Entries:      a.Entries + b.Entries,
	}
}

// Purge forgets everything, for all Clients that share the cache. A fetch that is under way does not fill it; a Get that
// begins while it lasts may still share its answer, as one after secrets.Client.Invalidate does not.
func (c *Cache) Purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.spaces {
		s.purge()
	}
}

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
			evicted.space.evictions.Add(1)
		}
	}
	if e.isValue() {
		e.space.entries.Add(1)
	}
	e.space.inserts.Add(1)
	e.space.index.Store(e.document, e)
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
	return &c.faults
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

// mostSpared bounds what one eviction looks at, since it holds the lock of the cache.
const mostSpared = 64

// add adds e and returns the entry that had to go, or nil.
func (o *order) add(e *entry) *entry {
	var evicted *entry
	for spared := 0; o.lru.Len() >= o.size; {
		oldest, _, _ := o.lru.GetOldest()
		if spared < mostSpared && oldest.touched.CompareAndSwap(true, false) {
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
