// Package cache is the layer that remembers secrets.
//
// Install it with secrets.WithCache, or with middleware.Standard:
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
//     for or can cancel. Up to 16 of these run at a time, or 16 batches; what is left is due at its next read.
//   - Past the TTL: a caller waits for the fetch, but for 1 s at the most, and for no more than half of the time that its deadline
//     or the stale time leaves. If there is no answer by then, or it is secrets.ErrUnavailable, the caller gets the old value until
//     TTL + MaxStale, with Meta.Stale set. The fetch goes on. Until one has answered, later callers get the old value at once, and
//     renewals run in the background.
//
// Any other failure is the answer: a denied, deleted or missing secret is never hidden by its old value, which is evicted. After
// secrets.ErrMalformed or secrets.ErrUnknown the old value is not served stale any more.
//
// Nobody cancels a fetch: it goes on when its callers leave, until secrets.WithTimeout or the end of the Client.
//
// The end of a lease (Meta.ExpiresAt) shortens all of them, and nothing is served past it. With a backend whose reads make
// leases, it takes the place of the TTL: to read sooner would make another lease beside the one that is good.
//
// Not-founds are remembered for the NegativeTTL, in a capacity of their own. After an ErrUnavailable a document is not
// asked for again before a back-off of 100 ms, doubled at each further failure up to 10 s (±20 %); until then the answer
// is the stale value or that error, at once. Other failures are not remembered.
//
// # Circuit breaker
//
// Three failed fetches in a row open the circuit breaker of an endpoint (secrets.Info.Endpoint; most backends have one). A fetch fails
// if it finds the endpoint unavailable. It counts if the cache has a value of its document, or if the endpoint has never answered.
// Other failures say something about their document alone, so that keys from outside cannot open the breaker of a healthy backend. The
// failures must be of two documents or more, unless memory holds only one. While the breaker is open, nobody waits for the endpoint:
// fresh values and remembered not-founds are served as ever, expired values are served stale as long as they may be, and the rest is
// secrets.ErrUnavailable at once. A Refresh asks all the same.
//
// After a step of the same back-off, which begins with 400 ms, the breaker is half-open: the next reader that needs a fetch causes
// a probe, which is one fetch of what it asks for, that no caller can cancel. It waits for the answer as for a renewal, with or without
// an old value; then it gets what all others get. If it came with a GetMany, the other documents of that wait as long, and are fetched
// if the endpoint is back. Any answer closes the breaker for all documents: anything but
// secrets.ErrUnavailable, secrets.ErrUnknown and secrets.ErrInvalidKey, for which a backend need not ask anybody. Those
// that have not failed yet may cause a probe first, within the spread of a step. Documents whose failures do not count have a
// probe of their own. Nothing asks the endpoint without a reader.
//
// Where the server of a backend takes several documents in a call, a call that fails counts once, and not at all if one of its
// documents was answered. Refusals because of too many requests do not count, nor does the end of a caller's context, nor the failure
// of a fetch that began before the endpoint last answered. At most 64 endpoints of a backend have a breaker. An invalidation does not
// change it.
//
// # Clocks
//
// A machine that sleeps ages values too: within 200 ms of waking, TTLs and leases are over. MaxStale is measured while the machine is
// awake, so that a clock which is set at boot takes nothing away.
//
// # Documents
//
// The cache keeps documents: fields of one document are one entry and one version. An invalidation, or a
// secrets.Client.Refresh, takes effect at once: a fetch that began before it does not fill the cache.
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
