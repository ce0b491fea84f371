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

// keyspace is the cache of one backend of one Client. Its Fetch is the half that reads; filler is the half that fetches.
type keyspace struct {
	cache  *Cache
	clock  *clock          // of the cache
	next   secrets.Fetcher // leads to the filler, through dedup if there is one
	leases bool            // a fetch may create a lease, which then takes the place of the TTL

	// Written under Cache.mu, read without:
	index *xsync.Map[docKey, *entry]
	memos *xsync.Map[string, memo]
	// inserts counts new entries. It changes after the memos of the old entry are gone and before the new entry is in the index.
	inserts atomic.Uint64
	entries atomic.Int64 // values in the index

	countHits                                         atomic.Bool
	misses, stale, negativeHits, backedOff, evictions atomic.Uint64
	hits                                              paddedCounter

	endpoint    func(secrets.Ref) string // nil for a backend with one endpoint
	whole       breaker                  // of a backend with one endpoint
	others      breaker                  // of the endpoints past maxEndpoints; inert
	endpointsMu sync.Mutex               // may be taken under Cache.mu
	endpoints   map[string]*breaker      // guarded by endpointsMu

	calls       *inflight.Calls // goroutines of tasks
	renewals    atomic.Int64    // renewals that run in the background now, without probes
	maxRenewals int64

	// Guarded by Cache.mu:
	fetching map[docKey]fetches
	closed   bool
}

func newKeyspace(c *Cache, info secrets.Info) *keyspace {
	k := &keyspace{
		cache:       c,
		clock:       c.clock,
		leases:      info.Leases,
		maxRenewals: int64(fetchctx.Parallel * max(1, info.Batch)),
		index:       xsync.NewMap[docKey, *entry](),
		memos:       xsync.NewMap[string, memo](),
		fetching:    make(map[docKey]fetches),
		calls:       inflight.New(),
		endpoint:    info.Endpoint, endpoints: make(map[string]*breaker),
	}
	k.others.inert = true
	k.countHits.Store(c.config.countHits)
	return k
}

// finding is the outcome of a lookup.
type finding int

const (
	unknown   finding = iota // no result: fetch the document
	answer                   // a result
	due                      // a result, and a renewal that is due and has not begun
	postponed                // a result, and a renewal that is due and waits until the breaker closes
	expired                  // a value past its TTL: renew it, and serve it stale if that fails or takes too long
)

// known reports whether there is a result.
func (f finding) known() bool { return f != unknown && f != expired }

// find looks d up in the index, without the circuit breaker. It takes no lock if it has a result.
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
	if now < e.retryState().retryAt && e.breaker.open() == nil {
		return answer, e, k.staleResult(e)
	}
	return expired, e, secrets.Result{}
}

// findFailure is find for an entry with an error.
func (k *keyspace) findFailure(e *entry) (finding, *entry, secrets.Result) {
	if !e.holds() {
		return unknown, nil, secrets.Result{} // the entry stays, since it counts the failures
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

// expire drops the value of e, but keeps its back-off and its count of failures.
func (k *keyspace) expire(e *entry) {
	c := k.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, found := k.index.Load(e.document); !found || now != e {
		return
	}
	t := e.retryState()
	if t.unavailable == nil {
		c.drop(e)
		return
	}
	failure := k.newFailure(e.document, e.breaker, t.unavailable, t.retryAt)
	failure.retry.Store(&t)
	c.insert(failure, e)
}

// Fetch returns the secret from memory, or fetches it.
func (k *keyspace) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	fetch := fetchctx.Of(ctx)
	if fetch.Fresh {
		return k.next.Fetch(ctx, ref)
	}
	found, e, r, waited := k.lookup(ctx, docKeyOf(ref))
	if fetch.Renewal.Asks() {
		r = k.readNewer(ctx, found, e, r, ref)
	} else {
		r = k.read(ctx, found, e, r, ref, waited)
	}
	if fetch.Renewal != nil && r.Err == nil {
		fetch.Renewal.Fail(k.renewalError(docKeyOf(ref)))
	}
	return r.Secret, r.Err
}

// read turns the outcome of lookup into the result for a read of ref. It starts a renewal or waits for a fetch where needed.
func (k *keyspace) read(
	ctx context.Context, found finding, e *entry, r secrets.Result, ref secrets.Ref, waited time.Duration,
) secrets.Result {
	switch found {
	case postponed:
		k.probeAhead(ctx, e)
	case due:
		k.renewAhead(ctx, e)
	case answer:
	case expired:
		r = k.renew(ctx, e, ref, waited)
	case unknown:
		k.misses.Add(1)
		r.Secret, r.Err = k.next.Fetch(ctx, ref)
	}
	return r
}

// maxWait is the longest time that a reader waits for a fetch if there is a stale value, or if the fetch is a probe.
const maxWait = time.Second

// waitLimit returns how much longer a reader may wait for a fetch. e is the expired value, or nil, and waited is how long the reader has
// waited already. The limit is at most half of the time until the deadline of ctx or the end of e's stale time: the other half is for
// the stale value, or for a fallback.
func (k *keyspace) waitLimit(ctx context.Context, e *entry, waited time.Duration) time.Duration {
	limit := maxWait
	if e != nil {
		if e.slow.Load() {
			return 0
		}
		limit = min(limit, (e.staleFor(k.clock.both())+waited)/2)
	}
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, (time.Until(deadline)+waited)/2)
	}
	return limit - waited
}

// renew fetches ref to renew e, a value past its TTL. If the fetch fails with ErrUnavailable or exceeds the waitLimit, renew returns the
// stale value. After a timeout, readers get the stale value at once, and renewals run in the background until one has answered.
func (k *keyspace) renew(ctx context.Context, e *entry, ref secrets.Ref, waited time.Duration) secrets.Result {
	if limit := k.waitLimit(ctx, e, waited); limit > 0 {
		k.misses.Add(1)
		waitCtx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var r secrets.Result
		r.Secret, r.Err = k.next.Fetch(waitCtx, ref)
		late := waitCtx.Err() != nil && isContextError(r.Err)
		switch {
		case late && errors.Is(ctx.Err(), context.Canceled):
			return r
		case late:
			e.slow.Store(true)
		case !errors.Is(r.Err, secrets.ErrUnavailable):
			return r
		}
		if old, ok := k.servable(e.document); ok {
			return old
		}
		if !late {
			return r
		}
	} else if old, ok := k.servable(e.document); ok {
		k.renewAhead(ctx, e)
		return old
	}
	var r secrets.Result // the stale value may not be served any more
	r.Secret, r.Err = k.next.Fetch(ctx, ref)
	return r
}

// readNewer is read for a handle that looks for a newer value. r is the result of lookup. readNewer waits for the fetch without a limit,
// since the handle has a value to serve in the meantime.
func (k *keyspace) readNewer(ctx context.Context, found finding, e *entry, r secrets.Result, ref secrets.Ref) secrets.Result {
	switch {
	case found == postponed:
		k.probeAhead(ctx, e)
		return r
	case found == answer && !k.isFresh(e): // the answer of a probe, or the result without one
		return r
	}
	// In a back-off, the filler makes no fetch.
	k.misses.Add(1)
	r.Secret, r.Err = k.next.Fetch(ctx, ref)
	if errors.Is(r.Err, secrets.ErrUnavailable) {
		if old, ok := k.servable(docKeyOf(ref)); ok {
			return old
		}
	}
	return r
}

// isFresh reports whether e is a value within its TTL.
func (k *keyspace) isFresh(e *entry) bool {
	return e != nil && e.isValue() && k.clock.now() < e.expireAt
}

// renewalError returns the failure because of which d is not renewed at present, or nil.
func (k *keyspace) renewalError(d docKey) error {
	if o := k.breakerOf(d).open(); o != nil {
		return o.failure(d.ref(), k.clock.now())
	}
	if e, found := k.index.Load(d); found {
		return e.retryState().unavailable
	}
	return nil
}

// servable returns the value of d that may be served after a failed fetch. It looks d up again, since the old value may have been
// invalidated or replaced in the meantime.
func (k *keyspace) servable(d docKey) (r secrets.Result, ok bool) {
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

// Peek returns what Fetch would return for ref, if that needs no fetch and no probe.
func (k *keyspace) Peek(ref secrets.Ref) (r secrets.Result, known bool) {
	d := docKeyOf(ref)
	found, _, r := k.find(d)
	if open := k.breakerOf(d).open(); open != nil && !found.known() {
		return k.withoutAsking(d, open), true
	}
	return r, found.known()
}

// RenewAt returns the earliest time at which a Fetch of ref may return another value: when a renewal is due and no back-off blocks it.
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
		due = min(age(e.refreshAt.Load()), e.expireAt) // a renewal may be postponed past the TTL
	case e.isNotFound():
		due = e.expireAt
	}
	if open := e.breaker.open(); open != nil {
		due = max(due, open.schedule(e.breaker.isKnown(e)).dueAt(e.retryState().failures > 0))
	} else {
		due = max(due, e.retryState().retryAt)
	}
	return time.Now().Add(time.Duration(due - now)), true
}

// Invalidate drops the documents of refs. Fetches of them that are under way do not fill the cache.
func (k *keyspace) Invalidate(refs ...secrets.Ref) {
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	for _, ref := range refs {
		d := docKeyOf(ref)
		k.discardFetches(d)
		if e, found := k.index.Load(d); found {
			k.cache.drop(e)
		}
	}
}

// discardFetches keeps the fetches of d that are under way from filling the cache. The caller holds Cache.mu.
func (k *keyspace) discardFetches(d docKey) {
	if f, underWay := k.fetching[d]; underWay {
		f.floor = f.next
		k.fetching[d] = f
	}
}

// purge drops all documents. The caller holds Cache.mu.
func (k *keyspace) purge() {
	for d := range k.fetching {
		k.discardFetches(d)
	}
	k.index.Range(func(_ docKey, e *entry) bool {
		k.cache.drop(e)
		return true
	})
}

// Close drops the documents of the keyspace, and waits for its fetches, which the layers below have to end. Other keyspaces of the cache
// are not affected.
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
