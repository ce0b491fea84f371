package cache

import (
	"context"
	"errors"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// filler is the half of a keyspace that fetches from the backend and stores the answers. It runs inside the flight that callers share:
// the answer is stored before the flight ends, so no caller in between starts another fetch.
type filler struct {
	keyspace *keyspace
	next     secrets.Fetcher
}

// Fetch fetches ref. Outside of a flight it uses a goroutine of its own: if the caller leaves, the fetch goes on, its answer is stored,
// and its failure counts.
func (f *filler) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	fetch := fetchctx.Of(ctx)
	if fetch.Flight != nil {
		return f.fetch(ctx, fetch, ref)
	}
	t := newTask(ctx)
	f.keyspace.run(ctx, t, fetch, f, ref, func() {})
	r := t.wait(ctx)
	return r.Secret, r.Err
}

// fetch fetches ref and stores the answer. No caller's context ends it.
func (f *filler) fetch(ctx context.Context, fetch fetchctx.Fetch, ref secrets.Ref) (secrets.Secret, error) {
	k, d := f.keyspace, docKeyOf(ref)
	b := k.breakerOf(d)
	if r, ok := f.recheck(fetch, d, b); ok {
		return r.Secret, r.Err
	}
	if e, found := k.index.Load(d); found {
		if failures := e.retryState().failures; failures > 0 {
			fetch.Attempt = failures + 1
		}
	}
	if fetch.Origin == nil {
		fetch.Origin = new(fetchctx.Origin)
	}
	t := k.begin(d, b)
	a := b.begin(t.began, d)
	defer k.abandon(&t)
	secret, err := f.next.Fetch(fetchctx.With(ctx, fetch), ref)
	r := secrets.Result{Secret: secret, Err: err}
	servable := k.store(&t, r)
	b.record(a, r, fetch.Origin, servable, k.clock.now())
	return secret, err
}

// recheck looks the document up again, inside the flight. An earlier flight may have stored it since the caller's lookup, or the breaker
// may have opened.
func (f *filler) recheck(fetch fetchctx.Fetch, d docKey, b *breaker) (secrets.Result, bool) {
	if fetch.Fresh {
		return secrets.Result{}, false
	}
	now := f.keyspace.clock.now()
	if e, found := f.keyspace.index.Load(d); found {
		until := e.expireAt
		if fetch.Background || fetch.Probe { // it may renew a value before its TTL is over
			until = min(until, age(e.refreshAt.Load()))
		}
		switch {
		case !e.isValue():
			if e.holds() {
				return secrets.Result{Err: e.failure()}, true
			}
		case now < until && !fetch.Renewal.Asks():
			return secrets.Result{Secret: e.secret}, true
		case !fetch.Probe:
			if t := e.retryState(); now < t.retryAt {
				err := *asError(t.unavailable)
				return secrets.Result{Err: &err}, true
			}
		}
	}
	if o := b.open(); o != nil && !fetch.Probe {
		return secrets.Result{Err: o.failure(d.ref(), now)}, true
	}
	return secrets.Result{}, false
}

// fetches numbers the fetches of one document, so that an older answer cannot replace a newer one. It exists while one of them is under
// way.
type fetches struct {
	underWay     int
	next         int // number of the next fetch
	floor        int // lowest number that may fill the cache
	suspectBelow int // values of fetches below it are suspect
}

// ticket is a fetch that may fill the cache.
type ticket struct {
	document   docKey
	breaker    *breaker
	number     int
	began      age
	beganAwake age
	ended      bool
}

// begin returns a ticket for a fetch of d that begins now. store or abandon must follow it.
func (k *keyspace) begin(d docKey, b *breaker) ticket {
	c := k.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	f := k.fetching[d]
	t := ticket{document: d, breaker: b, number: f.next}
	t.began, t.beganAwake = k.clock.both()
	f.underWay++
	f.next++
	k.fetching[d] = f
	return t
}

// store ends the fetch of t, and stores its answer if it belongs in the cache. It reports whether the cache had a value of the document
// before that could be served, fresh or stale.
func (k *keyspace) store(t *ticket, r secrets.Result) (servable bool) {
	class := secrets.Class(r.Err)
	c := k.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	old, _ := k.index.Load(t.document)
	servable = old != nil && old.isServable()
	current, suspect := k.end(t, class)
	if !current || k.closed {
		return servable
	}
	switch {
	case isNoAnswer(r, class):
	case class == nil:
		if e := k.newValue(t, r.Secret); e != nil {
			e.suspect.Store(suspect)
			c.insert(e, old)
		} else if old != nil {
			c.drop(old)
		}
	case errors.Is(class, secrets.ErrUnavailable):
		k.startBackoff(t, old, r.Err)
	case errors.Is(class, secrets.ErrNotFound) && c.negativeTTL > 0:
		c.insert(k.newFailure(t.document, t.breaker, r.Err, c.clock.now()+age(c.negativeTTL)), old)
	case old == nil:
	case errors.Is(class, secrets.ErrNotFound),
		errors.Is(class, secrets.ErrPermissionDenied),
		errors.Is(class, secrets.ErrUnauthenticated),
		!old.isValue():
		c.drop(old)
	default:
		old.noteFailure(class)
	}
	return servable
}

// noteFailure records an answer of that class to a renewal of e, which neither replaces nor drops the value. Callers that wait get the
// answer. A back-off keeps the other reads from repeating the fetch until the value expires. The caller holds Cache.mu.
func (e *entry) noteFailure(class error) {
	if makesSuspect(class) {
		e.suspect.Store(true)
	}
	e.slow.Store(false)
	failures := e.retryState().failures + 1
	e.retry.Store(&retryState{failures: failures}) // without a retryAt: the backend has answered
	e.postpone(e.keyspace.clock.now() + age(backoff(failures)))
}

// startBackoff records that the backend was unavailable for the document of t. The caller holds Cache.mu.
func (k *keyspace) startBackoff(t *ticket, old *entry, err error) {
	failures := 1
	if old != nil {
		failures += old.retryState().failures
	}
	retryAt := k.clock.now() + age(backoff(failures))
	left := &retryState{failures: failures, unavailable: err, retryAt: retryAt, closings: t.breaker.closings.Load()}
	if old != nil && old.isValue() {
		old.retry.Store(left)
		old.postpone(retryAt)
		return
	}
	e := k.newFailure(t.document, t.breaker, err, retryAt)
	e.retry.Store(left)
	k.cache.insert(e, old)
}

// isNoAnswer reports whether r, which is of that class, is no answer of the backend, such as the end of a caller's context.
func isNoAnswer(r secrets.Result, class error) bool {
	return class == nil && r.Secret.IsZero() || errors.Is(class, secrets.ErrClosed) || isContextError(r.Err)
}

// postpone moves the next renewal ahead of the TTL to a later time.
func (e *entry) postpone(to age) { e.refreshAt.Store(max(e.refreshAt.Load(), int64(to))) }

// isDefinitive reports whether an answer of that class gives the document's current state: a value, a not-found or a denial. Answers of
// earlier fetches are discarded after it.
func isDefinitive(class error) bool {
	return class == nil || errors.Is(class, secrets.ErrNotFound) ||
		errors.Is(class, secrets.ErrPermissionDenied) || errors.Is(class, secrets.ErrUnauthenticated)
}

// makesSuspect reports whether an answer of that class makes values of earlier fetches suspect. They are not served stale.
func makesSuspect(class error) bool {
	return errors.Is(class, secrets.ErrMalformed) || errors.Is(class, secrets.ErrUnknown)
}

// abandon ends the fetch of t, unless store has ended it.
func (k *keyspace) abandon(t *ticket) {
	if t.ended {
		return
	}
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	k.end(t, secrets.ErrClosed) // no answer
}

// end ends the fetch of t, whose answer is of that class. current reports whether the answer may fill the cache: the document was not
// invalidated since the fetch began, and no later fetch has had a definitive answer. suspect reports whether a later fetch has made the
// value suspect. The caller holds Cache.mu.
func (k *keyspace) end(t *ticket, class error) (current, suspect bool) {
	t.ended = true
	f := k.fetching[t.document]
	current, suspect = t.number >= f.floor, t.number < f.suspectBelow
	if current && isDefinitive(class) {
		f.floor = t.number + 1
	}
	if makesSuspect(class) {
		f.suspectBelow = max(f.suspectBelow, t.number)
	}
	if f.underWay--; f.underWay == 0 {
		delete(k.fetching, t.document)
	} else {
		k.fetching[t.document] = f
	}
	return current, suspect
}

var _ secrets.Fetcher = (*filler)(nil)
