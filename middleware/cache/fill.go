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

func (f *filler) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	k, d, fetch := f.keyspace, docKeyOf(ref), fetchctx.Of(ctx)
	if r, ok := f.secondLook(fetch, d); ok {
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
	now := k.clock.now()
	a, t := k.breaker.begin(now, d), k.begin(d, now)
	defer k.abandon(&t)
	secret, err := f.next.Fetch(fetchctx.With(ctx, fetch), ref)
	r := secrets.Result{Secret: secret, Err: err}
	k.settle(&t, r)
	k.judge(a, r, fetch.Origin)
	return secret, err
}

// secondLook answers from memory what an earlier flight has brought since the caller looked, or that the breaker has opened. A
// value that is being renewed is no answer: this fetch may be the renewal.
func (f *filler) secondLook(fetch fetchctx.Fetch, d docKey) (secrets.Result, bool) {
	if fetch.Fresh {
		return secrets.Result{}, false
	}
	now := f.keyspace.clock.now()
	if e, found := f.keyspace.index.Load(d); found {
		switch {
		case !e.isValue():
			if e.holds() {
				return secrets.Result{Err: e.failure()}, true
			}
		case now < e.expireAt && !e.leaseOver() && e.renewal.Load() == nil:
			return secrets.Result{Secret: e.secret}, true
		}
	}
	if o := f.keyspace.breaker.openFor(d); o != nil && !fetch.Probe {
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
}

// ticket is a fetch that may fill the cache.
type ticket struct {
	document docKey
	number   int
	began    age
	ended    bool
}

// begin returns a ticket for a fetch of d that begins now. settle or abandon must follow it.
func (k *keyspace) begin(d docKey, now age) ticket {
	c := k.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	f := k.fetching[d]
	t := ticket{document: d, number: f.next, began: now}
	f.underWay++
	f.next++
	k.fetching[d] = f
	return t
}

// settle stores the answer of the fetch of t, as far as it is to be remembered.
func (k *keyspace) settle(t *ticket, r secrets.Result) {
	class := secrets.Class(r.Err)
	c := k.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if current := k.end(t, tells(class)); !current || k.closed {
		return
	}
	old, _ := k.index.Load(t.document)
	switch {
	case saysNothing(r, class):
	case class == nil:
		if e := k.newValue(t.document, r.Secret, t.began); e != nil {
			c.insert(e, old)
		} else if old != nil {
			c.drop(old)
		}
	case errors.Is(class, secrets.ErrUnavailable):
		k.backOff(t.document, old, r.Err)
	case errors.Is(class, secrets.ErrNotFound) && c.negativeTTL > 0:
		c.insert(k.newFailure(t.document, r.Err, c.clock.now()+age(c.negativeTTL)), old)
	case old == nil:
	case errors.Is(class, secrets.ErrNotFound),
		errors.Is(class, secrets.ErrPermissionDenied),
		errors.Is(class, secrets.ErrUnauthenticated),
		!old.isValue():
		c.drop(old)
	default:
		// The failure says nothing about the value, and is the answer to those who wait. It must not be sought again by
		// every read until the value expires.
		failures := old.troubles().failures + 1
		old.trouble.Store(&trouble{failures: failures}) // the backend has answered: the back-off is over
		old.postpone(c.clock.now() + age(backoff(failures)))
	}
}

// backOff notes that a document could not be had. The caller holds the lock of the cache.
func (k *keyspace) backOff(d docKey, old *entry, err error) {
	failures := 1
	if old != nil {
		failures += old.troubles().failures
	}
	t := &trouble{failures: failures, unavailable: err, retryAt: k.clock.now() + age(backoff(failures)), ended: k.breaker.ended.Load()}
	if old != nil && old.isValue() {
		old.trouble.Store(t)
		old.postpone(t.retryAt)
		return
	}
	e := k.newFailure(d, err, t.retryAt)
	e.trouble.Store(t)
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

// abandon ends the fetch of t if settle has not.
func (k *keyspace) abandon(t *ticket) {
	if t.ended {
		return
	}
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	k.end(t, false)
}

// end ends the fetch of t, and reports whether it may fill the cache: the document was not invalidated since it began, and
// no later fetch has told what it is. With tells, none that began earlier may do so from now on. The caller holds the lock
// of the cache.
func (k *keyspace) end(t *ticket, tells bool) (current bool) {
	t.ended = true
	f := k.fetching[t.document]
	current = t.number >= f.floor
	if current && tells {
		f.floor = t.number + 1
	}
	if f.underWay--; f.underWay == 0 {
		delete(k.fetching, t.document)
	} else {
		k.fetching[t.document] = f
	}
	return current
}

func isContextError(err error) bool {
	if err == nil {
		return false
	}
	var own *secrets.Error
	return !errors.As(err, &own) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

var _ secrets.Fetcher = (*filler)(nil)
