package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// keyspace is the memory for one backend of one Client. As a Fetcher it is the half of the cache that reads.
type keyspace struct {
	cache  *Cache
	clock  *clock          // of the cache
	next   secrets.Fetcher // what a miss asks: what leads to the filler
	leases bool            // a fetch may make a lease, which is then the age of what it brings

	// Written under Cache.mu, read without:
	index *xsync.Map[docKey, *entry]
	memos *xsync.Map[string, memo]
	// inserts is the number of entries made. It is counted up after an old entry has gone and before the new one comes.
	inserts atomic.Uint64
	entries atomic.Int64 // that are values

	countHits                                         atomic.Bool
	misses, stale, negativeHits, backedOff, evictions atomic.Uint64
	hits                                              paddedCounter

	breaker breaker // of the backend

	life    context.Context
	cancel  context.CancelCauseFunc // of life
	running sync.WaitGroup          // of renewals and probes

	ahead    atomic.Int64 // renewals that run in the background, without probes
	maxAhead int64

	// Guarded by Cache.mu:
	fetching map[docKey]fetches
	closed   bool
}

func newKeyspace(c *Cache, info secrets.Info) *keyspace {
	k := &keyspace{
		cache:    c,
		clock:    c.clock,
		leases:   info.Leases,
		maxAhead: int64(fetchctx.Parallel * max(1, info.Batch)),
		index:    xsync.NewMap[docKey, *entry](),
		memos:    xsync.NewMap[string, memo](),
		fetching: make(map[docKey]fetches),
	}
	k.countHits.Store(c.config.countHits)
	k.life, k.cancel = context.WithCancelCause(context.Background())
	return k
}

// finding is what memory knows about a document.
type finding int

const (
	unknown finding = iota // ask, on the caller's context
	answer                 // the result is there
	due                    // the result is there, and a renewal is due that nobody has begun
	putOff                 // the result is there, and the renewal that is due has time until the breaker closes
	expired                // the value is past its TTL: renew it, and serve it stale if that fails
)

// known reports whether the result is there.
func (f finding) known() bool { return f != unknown && f != expired }

// find returns what memory knows about d. It takes no lock where it has an answer.
func (k *keyspace) find(d docKey) (finding, *entry, secrets.Result) {
	e, found := k.index.Load(d)
	if !found {
		return unknown, nil, secrets.Result{}
	}
	if !e.isValue() {
		return k.findFailure(e)
	}
	now := k.clock.now()
	switch {
	case e.leaseOver(), now >= e.staleUntil():
		k.expire(e)
		return k.find(d)
	case now < e.expireAt:
		e.touch()
		if k.countHits.Load() {
			k.hits.n.Add(1)
		}
		if int64(now) >= e.refreshAt.Load() && e.renewal.Load() == nil {
			return due, e, secrets.Result{Secret: e.secret}
		}
		return answer, e, secrets.Result{Secret: e.secret}
	}
	e.touch()
	if now < e.troubles().retryAt && k.breaker.openFor(e.document) == nil {
		return answer, e, k.staleResult(e)
	}
	return expired, e, secrets.Result{}
}

// findFailure is find for an entry that is an error.
func (k *keyspace) findFailure(e *entry) (finding, *entry, secrets.Result) {
	if !e.holds() {
		return unknown, nil, secrets.Result{} // the entry stays: its failures count on
	}
	e.touch()
	if errors.Is(e.err, secrets.ErrNotFound) {
		k.negativeHits.Add(1)
	} else {
		k.backedOff.Add(1)
	}
	return answer, e, secrets.Result{Err: e.failure()}
}

func (k *keyspace) staleResult(e *entry) secrets.Result {
	k.stale.Add(1)
	return secrets.Result{Secret: e.stale()}
}

// expire drops the value of e, which must not be served any more, but keeps its back-off.
func (k *keyspace) expire(e *entry) {
	c := k.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, found := k.index.Load(e.document); !found || now != e {
		return
	}
	t := e.troubles()
	if c.clock.now() >= t.retryAt {
		c.drop(e)
		return
	}
	failure := k.newFailure(e.document, t.unavailable, t.retryAt)
	failure.trouble.Store(&t)
	c.insert(failure, e)
}

// Fetch answers from memory, or asks for the secret and waits for it.
func (k *keyspace) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	d := docKeyOf(ref)
	if fetchctx.Of(ctx).Fresh {
		k.abandonRenewal(d)
		return k.next.Fetch(ctx, ref)
	}
	found, e, r := k.lookup(ctx, d)
	switch found {
	case putOff:
		k.probeAhead(ctx, e)
		return r.Secret, r.Err
	case due:
		k.renewAhead(ctx, e)
		return r.Secret, r.Err
	case answer:
		return r.Secret, r.Err
	case unknown, expired:
	}
	k.misses.Add(1)
	if found == expired {
		if renewal, mine := k.join(ctx, e); renewal != nil {
			r = k.renewed(ctx, e, renewal, mine)
			return r.Secret, r.Err
		}
	}
	return k.next.Fetch(ctx, ref)
}

// recollect returns the value of d that memory has after a fetch that came to nothing, as long as that may be served. An
// invalidation in the meantime forbids the old value, a refresh has brought a better one.
func (k *keyspace) recollect(d docKey) (r secrets.Result, ok bool) {
	e, found := k.index.Load(d)
	switch now := k.clock.now(); {
	case !found || !e.isValue() || e.leaseOver() || now >= e.staleUntil():
		return r, false
	case now < e.expireAt:
		return secrets.Result{Secret: e.secret}, true
	default:
		return k.staleResult(e), true
	}
}

// Peek returns what Fetch would return for ref, if that is in memory or the open breaker says it. It causes no probe.
func (k *keyspace) Peek(ref secrets.Ref) (r secrets.Result, known bool) {
	d := docKeyOf(ref)
	found, _, r := k.find(d)
	if open := k.breaker.openFor(d); open != nil && !found.known() {
		return k.withoutAsking(d, open), true
	}
	return r, found.known()
}

// RenewAt returns the time from which a Fetch of ref may bring another value: when a renewal is due, and no back-off forbids it.
func (k *keyspace) RenewAt(ref secrets.Ref) (at time.Time, known bool) {
	d := docKeyOf(ref)
	e, found := k.index.Load(d)
	if !found {
		return time.Time{}, false
	}
	now := k.clock.now()
	due := now
	switch {
	case e.isValue() && !e.leaseOver():
		due = min(age(e.refreshAt.Load()), e.expireAt) // a renewal may have been put off past the TTL
	case e.isNotFound():
		due = e.expireAt
	}
	if open := k.breaker.openFor(d); open != nil {
		due = max(due, open.retryFor(k.hasFailed(d)))
	} else {
		due = max(due, e.troubles().retryAt)
	}
	return time.Now().Add(time.Duration(due - now)), true
}

// Invalidate forgets the documents that refs name. A fetch of them that is under way does not fill the cache.
func (k *keyspace) Invalidate(refs ...secrets.Ref) {
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	for _, ref := range refs {
		d := docKeyOf(ref)
		k.outdate(d)
		if e, found := k.index.Load(d); found {
			e.renewal.Store(nil)
			k.cache.drop(e)
		}
	}
}

// outdate makes sure that no fetch of d that has begun fills the cache. The caller holds the lock of the cache.
func (k *keyspace) outdate(d docKey) {
	if f, underWay := k.fetching[d]; underWay {
		f.floor = f.next
		k.fetching[d] = f
	}
}

// purge forgets everything. The caller holds the lock of the cache.
func (k *keyspace) purge() {
	for d := range k.fetching {
		k.outdate(d)
	}
	k.index.Range(func(_ docKey, e *entry) bool {
		e.renewal.Store(nil)
		k.cache.drop(e)
		return true
	})
}

// Close forgets everything, ends the renewals and waits for them. What belongs to other Clients of the cache stays.
func (k *keyspace) Close() error {
	k.cache.mu.Lock()
	first := !k.closed
	k.closed = true
	k.purge()
	delete(k.cache.keyspaces, k)
	if first {
		k.cache.closed = k.cache.closed.Add(k.CacheStats())
	}
	if len(k.cache.keyspaces) == 0 {
		k.clock.stop()
	}
	k.cache.mu.Unlock()
	k.cancel(secrets.ErrClosed)
	k.running.Wait()
	return nil
}

var _ secrets.Cache = (*keyspace)(nil)
