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
	"github.com/seed-5482dd03/secrets/internal/inflight"
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

	endpoint    func(secrets.Ref) string // or nil: then the backend has one
	whole       breaker                  // of a backend with one endpoint
	others      breaker                  // of endpoints without one of their own; it is inert
	endpointsMu sync.Mutex               // may be taken under Cache.mu
	endpoints   map[string]*breaker      // guarded by endpointsMu

	calls    *inflight.Calls // the goroutines of tasks
	ahead    atomic.Int64    // renewals that run in the background, without probes
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
		calls:    inflight.New(),
		endpoint: info.Endpoint, endpoints: make(map[string]*breaker),
	}
	k.others.inert = true
	k.countHits.Store(c.config.countHits)
	return k
}

// finding is what memory knows about a document.
type finding int

const (
	unknown finding = iota // ask, on the caller's context
	answer                 // the result is there
	due                    // the result is there, and a renewal is due that nobody has begun
	putOff                 // the result is there, and the renewal that is due has time until the breaker closes
	expired                // the value is past its TTL: renew it, and serve it stale if that fails or takes long
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
	now, awake := k.clock.both()
	switch {
	case now < e.expireAt:
		e.touch()
		if k.countHits.Load() {
			k.hits.n.Add(1)
		}
		if int64(now) >= e.refreshAt.Load() && !e.renewing.Load() {
			return due, e, secrets.Result{Secret: e.secret}
		}
		return answer, e, secrets.Result{Secret: e.secret}
	case e.staleFor(now, awake) <= 0:
		k.expire(e)
		return k.find(d)
	}
	e.touch()
	if now < e.troubles().retryAt && e.breaker.opening() == nil {
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

// expire drops the value of e, which must not be served any more, but keeps its back-off, and how often the document could not be had.
func (k *keyspace) expire(e *entry) {
	c := k.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, found := k.index.Load(e.document); !found || now != e {
		return
	}
	t := e.troubles()
	if t.unavailable == nil {
		c.drop(e)
		return
	}
	failure := k.newFailure(e.document, e.breaker, t.unavailable, t.retryAt)
	failure.trouble.Store(&t)
	c.insert(failure, e)
}

// Fetch answers from memory, or asks for the secret and waits for it.
func (k *keyspace) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	fetch := fetchctx.Of(ctx)
	if fetch.Fresh {
		return k.next.Fetch(ctx, ref)
	}
	found, e, r, waited := k.lookup(ctx, docKeyOf(ref))
	if fetch.Renewal.Asks() {
		r = k.lookAgain(ctx, found, e, r, ref)
	} else {
		r = k.read(ctx, found, e, r, ref, waited)
	}
	if fetch.Renewal != nil && r.Err == nil {
		fetch.Renewal.Fail(k.whyNoNewer(docKeyOf(ref)))
	}
	return r.Secret, r.Err
}

// read answers a read of ref with what lookup has found, or waits for a fetch.
func (k *keyspace) read(
	ctx context.Context, found finding, e *entry, r secrets.Result, ref secrets.Ref, waited time.Duration,
) secrets.Result {
	switch found {
	case putOff:
		k.probeAhead(ctx, e)
	case due:
		k.renewAhead(ctx, e)
	case answer:
	case expired:
		r = k.renewed(ctx, e, ref, waited)
	case unknown:
		k.misses.Add(1)
		r.Secret, r.Err = k.next.Fetch(ctx, ref)
	}
	return r
}

// maxPatience is for how long a reader waits for a fetch at the most, if there is a stale value, or if the fetch is a probe.
const maxPatience = time.Second

// patience returns for how long a reader with ctx, who has waited so long already, waits for a fetch, if memory has e for it, a value
// past its TTL, or nothing. It keeps the other half of what it had for what it gets else: the stale value, or the time for a fallback.
func (k *keyspace) patience(ctx context.Context, e *entry, waited time.Duration) time.Duration {
	patience := maxPatience
	if e != nil {
		if e.slow.Load() {
			return 0
		}
		patience = min(patience, (e.staleFor(k.clock.both())+waited)/2)
	}
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, (time.Until(deadline)+waited)/2)
	}
	return patience - waited
}

// renewed returns the answer of a fetch of ref, which renews e, a value past its TTL. If that is ErrUnavailable, or does not come
// while the caller has patience, it is the stale value. From then on readers get that at once, and renewals run in the background,
// until one of them has answered.
func (k *keyspace) renewed(ctx context.Context, e *entry, ref secrets.Ref, waited time.Duration) secrets.Result {
	if patience := k.patience(ctx, e, waited); patience > 0 {
		k.misses.Add(1)
		patient, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var r secrets.Result
		r.Secret, r.Err = k.next.Fetch(patient, ref)
		late := patient.Err() != nil && isContextError(r.Err)
		switch {
		case late && errors.Is(ctx.Err(), context.Canceled):
			return r
		case late:
			e.slow.Store(true)
		case !errors.Is(r.Err, secrets.ErrUnavailable):
			return r
		}
		if old, ok := k.recollect(e.document); ok {
			return old
		}
		if !late {
			return r
		}
	} else if old, ok := k.recollect(e.document); ok {
		k.renewAhead(ctx, e)
		return old
	}
	var r secrets.Result // nothing in memory helps any more
	r.Secret, r.Err = k.next.Fetch(ctx, ref)
	return r
}

// lookAgain answers a look for a newer value than that of e, or than what memory has said of it, which is r. It waits for the fetch
// however long that takes: who looks holds a value.
func (k *keyspace) lookAgain(ctx context.Context, found finding, e *entry, r secrets.Result, ref secrets.Ref) secrets.Result {
	switch {
	case found == putOff:
		k.probeAhead(ctx, e)
		return r
	case found == answer && !k.isFresh(e): // that of a probe, or what is served in place of one
		return r
	}
	// The half that fills asks nobody in a back-off.
	k.misses.Add(1)
	r.Secret, r.Err = k.next.Fetch(ctx, ref)
	if errors.Is(r.Err, secrets.ErrUnavailable) {
		if old, ok := k.recollect(docKeyOf(ref)); ok {
			return old
		}
	}
	return r
}

// isFresh reports whether e is a value within its TTL.
func (k *keyspace) isFresh(e *entry) bool {
	return e != nil && e.isValue() && k.clock.now() < e.expireAt
}

// whyNoNewer returns why d is not asked for at present, or nil.
func (k *keyspace) whyNoNewer(d docKey) error {
	if o := k.breakerOf(d).opening(); o != nil {
		return o.failure(d.ref(), k.clock.now())
	}
	if e, found := k.index.Load(d); found {
		return e.troubles().unavailable
	}
	return nil
}

// recollect returns the value of d that memory has after a fetch that came to nothing, as long as that may be served. An
// invalidation in the meantime forbids the old value, a refresh has brought a better one.
func (k *keyspace) recollect(d docKey) (r secrets.Result, ok bool) {
	e, found := k.index.Load(d)
	if !found || !e.isValue() {
		return r, false
	}
	switch now, awake := k.clock.both(); {
	case now < e.expireAt:
		return secrets.Result{Secret: e.secret}, true
	case e.staleFor(now, awake) > 0:
		return k.staleResult(e), true
	default:
		return r, false
	}
}

// Peek returns what Fetch would return for ref, if that is in memory or the open breaker says it. It causes no probe.
func (k *keyspace) Peek(ref secrets.Ref) (r secrets.Result, known bool) {
	d := docKeyOf(ref)
	found, _, r := k.find(d)
	if open := k.breakerOf(d).opening(); open != nil && !found.known() {
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
	case e.isValue():
		due = min(age(e.refreshAt.Load()), e.expireAt) // a renewal may have been put off past the TTL
	case e.isNotFound():
		due = e.expireAt
	}
	if open := e.breaker.opening(); open != nil {
		due = max(due, open.gate(e.breaker.knows(e)).opensAt(e.troubles().failures > 0))
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
		k.cache.drop(e)
		return true
	})
}

// Close forgets everything, and waits for the fetches that run, which what is below ends. What belongs to other Clients of the cache
// stays.
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
	k.calls.Close()
	<-k.calls.Idle()
	return nil
}

var _ secrets.Cache = (*keyspace)(nil)
