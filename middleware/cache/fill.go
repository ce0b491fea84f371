package cache

import (
	"context"
	"errors"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// filler is the half of a keyspace that asks the backend and stores the answers. It stands inside the flight that callers
// share, so that nobody who arrives between the end of a flight and the filling asks again.
type filler struct {
	keyspace *keyspace
	next     secrets.Fetcher
}

// Fetch asks for ref, on a goroutine of its own if the fetch is its caller's: it goes on without that, so that its answer is
// remembered and its failure counts.
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

// fetch asks for ref, which no caller ends.
func (f *filler) fetch(ctx context.Context, fetch fetchctx.Fetch, ref secrets.Ref) (secrets.Secret, error) {
	k, d := f.keyspace, docKeyOf(ref)
	b := k.breakerOf(d)
	if r, ok := f.secondLook(fetch, d, b); ok {
		return r.Secret, r.Err
	}
	if e, found := k.index.Load(d); found {
		if failures := e.troubles().failures; failures > 0 {
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
	good := k.settle(&t, r)
	b.judge(a, r, fetch.Origin, good, k.clock.now())
	return secret, err
}

// secondLook answers from memory what an earlier flight has brought since the caller looked, or that the breaker has opened.
func (f *filler) secondLook(fetch fetchctx.Fetch, d docKey, b *breaker) (secrets.Result, bool) {
	if fetch.Fresh {
		return secrets.Result{}, false
	}
	now := f.keyspace.clock.now()
	if e, found := f.keyspace.index.Load(d); found {
		until := e.expireAt
		if fetch.Background || fetch.Probe { // it renews what is good still
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
			if t := e.troubles(); now < t.retryAt {
				err := *asError(t.unavailable)
				return secrets.Result{Err: &err}, true
			}
		}
	}
	if o := b.opening(); o != nil && !fetch.Probe {
		return secrets.Result{Err: o.failure(d.ref(), now)}, true
	}
	return secrets.Result{}, false
}

// fetches keeps the fetches of one document in order, so that no answer is followed by an older one. It lives as long as one
// of them is under way.
type fetches struct {
	underWay int
	next     int // the number of the next one to begin
	floor    int // the lowest number that may still fill the cache
	refuted  int // the highest number whose answer has refuted what those before have brought, or 0
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

// begin returns a ticket for a fetch of d that begins now. settle or abandon must follow it.
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

// settle stores the answer of the fetch of t, as far as it is to be remembered. It reports whether memory had a value of the
// document until now, fresh or stale.
func (k *keyspace) settle(t *ticket, r secrets.Result) (good bool) {
	class := secrets.Class(r.Err)
	c := k.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	old, _ := k.index.Load(t.document)
	good = old != nil && old.isGood()
	current, refuted := k.end(t, class)
	if !current || k.closed {
		return good
	}
	switch {
	case saysNothing(r, class):
	case class == nil:
		if e := k.newValue(t, r.Secret); e != nil {
			e.refuted.Store(refuted)
			c.insert(e, old)
		} else if old != nil {
			c.drop(old)
		}
	case errors.Is(class, secrets.ErrUnavailable):
		k.backOff(t, old, r.Err)
	case errors.Is(class, secrets.ErrNotFound) && c.negativeTTL > 0:
		c.insert(k.newFailure(t.document, t.breaker, r.Err, c.clock.now()+age(c.negativeTTL)), old)
	case old == nil:
	case errors.Is(class, secrets.ErrNotFound),
		errors.Is(class, secrets.ErrPermissionDenied),
		errors.Is(class, secrets.ErrUnauthenticated),
		!old.isValue():
		c.drop(old)
	default:
		old.doubt(class)
	}
	return good
}

// doubt notes an answer of that class for the value e, which does not say what the value is at present. It is the answer to those who
// wait. It must not be sought again by every read until the value expires, but then nothing hides it. The caller holds the lock of the
// cache.
func (e *entry) doubt(class error) {
	if refutes(class) {
		e.refuted.Store(true)
	}
	e.slow.Store(false)
	failures := e.troubles().failures + 1
	e.trouble.Store(&trouble{failures: failures}) // the backend has answered: the back-off is over
	e.postpone(e.keyspace.clock.now() + age(backoff(failures)))
}

// backOff notes that the document of t could not be had. The caller holds the lock of the cache.
func (k *keyspace) backOff(t *ticket, old *entry, err error) {
	failures := 1
	if old != nil {
		failures += old.troubles().failures
	}
	retryAt := k.clock.now() + age(backoff(failures))
	left := &trouble{failures: failures, unavailable: err, retryAt: retryAt, ended: t.breaker.ended.Load()}
	if old != nil && old.isValue() {
		old.trouble.Store(left)
		old.postpone(retryAt)
		return
	}
	e := k.newFailure(t.document, t.breaker, err, retryAt)
	e.trouble.Store(left)
	k.cache.insert(e, old)
}

// saysNothing reports whether r, which is of that class, is no answer at all. The end of a caller's context says nothing
// about the document, nor about the backend.
func saysNothing(r secrets.Result, class error) bool {
	return class == nil && r.Secret.IsZero() || errors.Is(class, secrets.ErrClosed) || isContextError(r.Err)
}

// postpone puts the next renewal ahead of the TTL off.
func (e *entry) postpone(to age) { e.refreshAt.Store(max(e.refreshAt.Load(), int64(to))) }

// tells reports whether an answer of that class says what the document is at present: its value, that it is not there, or
// that it is not for us. After it, no answer of an earlier fetch counts.
func tells(class error) bool {
	return class == nil || errors.Is(class, secrets.ErrNotFound) ||
		errors.Is(class, secrets.ErrPermissionDenied) || errors.Is(class, secrets.ErrUnauthenticated)
}

// refutes reports whether an answer of that class says that the value may be bad. What was fetched before is not served stale then.
func refutes(class error) bool {
	return errors.Is(class, secrets.ErrMalformed) || errors.Is(class, secrets.ErrUnknown)
}

// abandon ends the fetch of t if settle has not.
func (k *keyspace) abandon(t *ticket) {
	if t.ended {
		return
	}
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	k.end(t, secrets.ErrClosed) // which says nothing
}

// end ends the fetch of t, whose answer is of that class. It reports whether the answer is current, so that it may fill the cache: the
// document was not invalidated since the fetch began, and no later fetch has told what it is. refuted says that a later one has refuted
// it. The caller holds the lock of the cache.
func (k *keyspace) end(t *ticket, class error) (current, refuted bool) {
	t.ended = true
	f := k.fetching[t.document]
	current, refuted = t.number >= f.floor, t.number < f.refuted
	if current && tells(class) {
		f.floor = t.number + 1
	}
	if refutes(class) {
		f.refuted = max(f.refuted, t.number)
	}
	if f.underWay--; f.underWay == 0 {
		delete(k.fetching, t.document)
	} else {
		k.fetching[t.document] = f
	}
	return current, refuted
}

var _ secrets.Fetcher = (*filler)(nil)
