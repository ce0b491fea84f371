package cache

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// document names an entry in a keyspace. It is what a Ref without a field says.
type document struct {
	path, version string
}

func documentOf(ref secrets.Ref) document { return document{ref.Path, ref.Version} }

// entry is what is known about one document: its value, that it is not there, or that it could not be had. Its ages are
// set when it is made; only what a renewal changes is written later.
type entry struct {
	space    *space
	document document
	secret   secrets.Secret
	err      *secrets.Error // of a not-found or back-off, which have no secret
	lease    time.Time      // the wall-clock end of the lease, or zero

	expireAt   age // the value is fresh, or the error holds, before it
	staleUntil age // the value may be served stale before it

	touched   atomic.Bool          // since it was added, or last spared
	refreshAt atomic.Int64         // an age: a read at or after it renews the value
	retryAt   atomic.Int64         // an age: after an ErrUnavailable, the backend is not asked before it
	renewal   atomic.Pointer[call] // under way, or nil; begun under Cache.mu

	// Guarded by Cache.mu:
	failures int      // to renew the value, or to get it, in a row
	outage   error    // the last of them that was an ErrUnavailable
	keys     []string // whose memos are of this entry
}

func (e *entry) isValue() bool { return e.err == nil }

// touch marks e as used. It writes only where that changes something, since a write takes the memory from the caches of
// the other processors.
func (e *entry) touch() {
	if !e.touched.Load() {
		e.touched.Store(true)
	}
}

// forget takes e and its memos from memory. The caller holds the lock of the cache.
func (e *entry) forget() {
	e.space.index.Delete(e.document)
	for _, key := range e.keys {
		e.space.memos.Delete(key)
	}
}

// leaseOver reports whether the lease of e has ended by the wall clock. The monotonic clock, which all ages use, stands
// still while a machine sleeps; the server's clock does not.
func (e *entry) leaseOver() bool {
	return !e.lease.IsZero() && !time.Now().Round(0).Before(e.lease)
}

// newValue returns an entry for a value whose fetch began at age began, or nil if its lease is over already.
func (s *space) newValue(d document, secret secrets.Secret, began age) *entry {
	c := s.cache
	ttl := spread(c.ttl, c.jitter)
	fresh, usable := ttl, c.ttl+c.maxStale
	e := &entry{space: s, document: d, secret: secret}
	if lease := secret.Meta().ExpiresAt; !lease.IsZero() {
		e.lease = lease.Round(0)
		left := time.Until(lease) + time.Duration(c.clock.now()-began)
		if left <= 0 || e.leaseOver() {
			return nil
		}
		fresh, usable = min(fresh, left), min(usable, left)
	}
	e.expireAt, e.staleUntil = began+age(fresh), began+age(usable)
	e.refreshAt.Store(int64(e.expireAt))
	if c.refreshAhead > 0 {
		e.refreshAt.Store(int64(began) + int64(float64(fresh)*c.refreshAhead))
	}
	return e
}

// newFault returns an entry for an error that holds for d from now on.
func (s *space) newFault(doc document, err error, d time.Duration) *entry {
	var e *secrets.Error
	if !errors.As(err, &e) {
		e = &secrets.Error{Err: secrets.Class(err)}
	}
	return &entry{space: s, document: doc, err: e, expireAt: s.cache.clock.now() + age(d)}
}

// fault returns a copy of the error of e, which the caller may change.
func (e *entry) fault() error {
	err := *e.err
	return &err
}

// stale returns the value of e, marked as stale.
func (e *entry) stale() secrets.Secret {
	meta := e.secret.Meta()
	meta.Stale = true
	return secrets.NewSecret(e.secret.Reveal(), meta)
}

// The back-off after an ErrUnavailable.
const (
	backoffMin    = 100 * time.Millisecond
	backoffMax    = 10 * time.Second
	backoffSpread = 0.2
)

// backoff returns how long to wait after that many failures in a row.
func backoff(failures int) time.Duration {
	d := backoffMin
	for range failures - 1 {
		if d *= 2; d >= backoffMax {
			d = backoffMax
			break
		}
	}
	return spread(d, backoffSpread)
}

// spread returns a duration drawn evenly from d ± fraction.
func spread(d time.Duration, fraction float64) time.Duration {
	if fraction == 0 {
		return d
	}
	return time.Duration(float64(d) * (1 + fraction*(2*rand.Float64()-1))) //nolint:gosec // not for security: it only spreads load
}
