package cache

import (
	"context"
	"errors"

	"github.com/seed-5482dd03/secrets"
)

// filler is the half of a keyspace that asks the backend and stores the answers. It stands inside the flight that callers
// share, so that nobody who arrives between the end of a flight and the filling asks again.
type filler struct {
	space *space
	next  secrets.Fetcher
}

func (f *filler) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	d := documentOf(ref)
	if r, ok := f.secondLook(ctx, d); ok {
		return r.Secret, r.Err
	}
	if e, found := f.space.index.Load(d); found {
		if failures := e.troubles().failures; failures > 0 {
			ctx = secrets.WithAttempt(ctx, failures+1)
		}
	}
	if f.space.isProbe(ctx) {
		ctx = secrets.WithProbe(ctx, true)
	}
	now := f.space.clock.now()
	a, t := f.space.outage.begin(now, ref), f.space.begin(d, now)
	defer f.space.abandon(&t)
	secret, err := f.next.Fetch(ctx, ref)
	r := secrets.Result{Secret: secret, Err: err}
	f.space.settle(&t, r)
	f.space.judge(a, r)
	return secret, err
}

func (f *filler) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	var (
		results = make([]secrets.Result, len(refs))
		ask     = make([]secrets.Ref, 0, len(refs))
		places  = make([]int, 0, len(refs))
		tickets = make([]ticket, 0, len(refs))
	)
	for i, ref := range refs {
		r, ok := f.secondLook(ctx, documentOf(ref))
		if ok {
			results[i] = r
			continue
		}
		ask, places = append(ask, ref), append(places, i)
	}
	if len(ask) == 0 {
		return results
	}
	now := f.space.clock.now()
	a := f.space.outage.begin(now, ask...)
	for _, ref := range ask {
		tickets = append(tickets, f.space.begin(documentOf(ref), now))
	}
	defer func() {
		for n := range tickets {
			f.space.abandon(&tickets[n])
		}
	}()
	answers := f.next.FetchMany(ctx, ask)
	for n, r := range answers {
		if n < len(ask) {
			results[places[n]] = r
			f.space.settle(&tickets[n], r)
		}
	}
	f.space.judge(a, answers...)
	return results
}

// secondLook answers from memory what an earlier flight has brought since the caller looked, or that an outage has begun. A
// value that is being renewed is no answer: this fetch may be the renewal.
func (f *filler) secondLook(ctx context.Context, d document) (secrets.Result, bool) {
	if secrets.Fresh(ctx) {
		return secrets.Result{}, false
	}
	now := f.space.clock.now()
	if e, found := f.space.index.Load(d); found {
		switch {
		case !e.isValue():
			if e.holds() {
				return secrets.Result{Err: e.fault()}, true
			}
		case now < e.expireAt && !e.leaseOver() && e.renewal.Load() == nil:
			return secrets.Result{Secret: e.secret}, true
		}
	}
	if o := f.space.outage.open(d); o != nil && !f.space.isProbe(ctx) {
		return secrets.Result{Err: o.fault(d.ref(), now)}, true
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
	document document
	number   int
	began    age
	ended    bool
}

// begin returns a ticket for a fetch of d that begins now. settle or abandon must follow it.
func (s *space) begin(d document, now age) ticket {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	f := s.fetching[d]
	t := ticket{document: d, number: f.next, began: now}
	f.underWay++
	f.next++
	s.fetching[d] = f
	return t
}

// settle stores the answer of the fetch of t, as far as it is to be remembered.
func (s *space) settle(t *ticket, r secrets.Result) {
	class := secrets.Class(r.Err)
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if current := s.end(t, tells(class)); !current || s.closed {
		return
	}
	old, _ := s.index.Load(t.document)
	switch {
	case saysNothing(r, class):
	case class == nil:
		if e := s.newValue(t.document, r.Secret, t.began); e != nil {
			c.insert(e, old)
		} else if old != nil {
			c.drop(old)
		}
	case errors.Is(class, secrets.ErrUnavailable):
		s.backOff(t.document, old, r.Err)
	case errors.Is(class, secrets.ErrNotFound) && c.negativeTTL > 0:
		c.insert(s.newFault(t.document, r.Err, c.clock.now()+age(c.negativeTTL)), old)
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
		old.trouble.Store(&trouble{failures: failures}) // the backend has answered: its outage, and the back-off, are over
		old.postpone(c.clock.now() + age(backoff(failures)))
	}
}

// backOff notes that a document could not be had. The caller holds the lock of the cache.
func (s *space) backOff(d document, old *entry, err error) {
	failures := 1
	if old != nil {
		failures += old.troubles().failures
	}
	t := &trouble{failures: failures, outage: err, retryAt: s.clock.now() + age(backoff(failures)), ended: s.outage.ended.Load()}
	if old != nil && old.isValue() {
		old.trouble.Store(t)
		old.postpone(t.retryAt)
		return
	}
	e := s.newFault(d, err, t.retryAt)
	e.trouble.Store(t)
	s.cache.insert(e, old)
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
func (s *space) abandon(t *ticket) {
	if t.ended {
		return
	}
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	s.end(t, false)
}

// end ends the fetch of t, and reports whether it may fill the cache: the document was not invalidated since it began, and
// no later fetch has told what it is. With tells, none that began earlier may do so from now on. The caller holds the lock
// of the cache.
func (s *space) end(t *ticket, tells bool) (current bool) {
	t.ended = true
	f := s.fetching[t.document]
	current = t.number >= f.floor
	if current && tells {
		f.floor = t.number + 1
	}
	if f.underWay--; f.underWay == 0 {
		delete(s.fetching, t.document)
	} else {
		s.fetching[t.document] = f
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
