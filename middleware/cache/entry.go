package cache

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// docKey names an entry in a keyspace. The Client asks a cache for documents alone, which have no field, and mostly for
// their current version: then it is the path, and takes no memory of its own. A version, and the field that a cache meets
// which a program puts elsewhere, stand behind a NUL each: no valid ref has one.
type docKey string

func docKeyOf(ref secrets.Ref) docKey {
	switch {
	case ref.Field != "" || ref.Whole:
		return docKey(ref.Path + "\x00" + ref.Version + "\x00" + ref.Field)
	case ref.Version != "":
		return docKey(ref.Path + "\x00" + ref.Version)
	default:
		return docKey(ref.Path)
	}
}

func (d docKey) ref() secrets.Ref {
	path, rest, _ := strings.Cut(string(d), "\x00")
	version, field, beside := strings.Cut(rest, "\x00")
	return secrets.Ref{Path: path, Version: version, Field: field, Whole: beside && field == ""}
}

// entry is what is known about one document: its value, that it is not there, or that it could not be had. It is immutable
// but for what is marked. There is one for each document in memory, so that what few of them need stands apart.
type entry struct {
	keyspace *keyspace
	document docKey
	breaker  *breaker // of the endpoint of the document
	secret   secrets.Secret
	err      *secrets.Error // of a not-found or back-off, which have no secret

	beganAwake age // the start of the fetch that brought it, awake
	expireAt   age // the value is fresh, or the error holds, before it
	leaseEnd   age // of the value, or 0 if it has no lease

	touched   atomic.Bool             // since it was added, or last spared
	refreshAt atomic.Int64            // an age: a read at or after it renews the value
	renewing  atomic.Bool             // a renewal in the background is under way; begun under Cache.mu
	slow      atomic.Bool             // the patience of a reader has run out, and no fetch has answered since
	refuted   atomic.Bool             // an answer has shown that the value may be wrong: it is not served stale
	trouble   atomic.Pointer[trouble] // of the last attempts to renew or get it, or nil; set under Cache.mu

	key      string    // of a memo of this entry, or "" if it has none; guarded by Cache.mu
	moreKeys *[]string // of its other memos, or nil; guarded by Cache.mu
}

// trouble is what failed attempts to fetch a document leave behind. It is immutable.
type trouble struct {
	failures    int    // in a row
	unavailable error  // the last of them, if it was an ErrUnavailable
	retryAt     age    // after an ErrUnavailable, the backend is not asked before it
	ended       uint64 // breaker.ended by then
}

func (e *entry) isValue() bool { return e.err == nil }

// isNotFound reports whether e is a remembered not-found, and not a back-off.
func (e *entry) isNotFound() bool { return e.err != nil && e.trouble.Load() == nil }

// troubles returns what failed attempts to fetch the document have left behind. What an ErrUnavailable has left is void once the
// breaker has closed.
func (e *entry) troubles() trouble {
	t := e.trouble.Load()
	if t == nil || t.unavailable != nil && t.ended != e.breaker.ended.Load() {
		return trouble{}
	}
	return *t
}

// holds reports whether e, which is an error, is the answer still.
func (e *entry) holds() bool {
	c := e.keyspace.clock
	switch {
	case !c.longBefore(e.expireAt) && !c.before(e.expireAt):
		return false
	case e.isNotFound():
		return true
	default:
		return c.before(e.troubles().retryAt) && e.breaker.opening() == nil
	}
}

// touch marks e as used. It writes only where that changes something, since a write takes the memory from the caches of
// the other processors.
func (e *entry) touch() {
	if !e.touched.Load() {
		e.touched.Store(true)
	}
}

// maxFailureMemos bounds the memos of a not-found. Whoever gives the keys may name any number of fields of a document that is missing.
const maxFailureMemos = 64

// full reports whether e has all the memos that it may have. Those of values are bounded in all: the fields of a document are as many
// as it has. The caller holds the lock of the cache.
func (e *entry) full() bool {
	if !e.isValue() {
		return e.moreKeys != nil && len(*e.moreKeys) >= maxFailureMemos-1
	}
	c := e.keyspace.cache
	return c.memos >= c.maxMemos()
}

// memorized notes that key has a memo of e, and reports whether it may. The caller holds the lock of the cache.
func (e *entry) memorized(key string) bool {
	if e.full() {
		return false
	}
	e.countMemos(1)
	switch {
	case e.key == "":
		e.key = key
	case e.moreKeys == nil:
		e.moreKeys = &[]string{key}
	default:
		*e.moreKeys = append(*e.moreKeys, key)
	}
	return true
}

func (e *entry) countMemos(n int) {
	if e.isValue() {
		e.keyspace.cache.memos += n
	}
}

// forget takes e and its memos from memory. The caller holds the lock of the cache.
func (e *entry) forget() {
	e.retire()
	e.keyspace.index.Delete(e.document)
}

// retire takes the memos of e from memory, and e out of the counts. The caller holds the lock of the cache.
func (e *entry) retire() {
	e.breaker.documents.Add(-1)
	if e.isValue() {
		e.breaker.values.Add(-1)
		e.keyspace.entries.Add(-1)
	}
	if e.key != "" {
		e.keyspace.memos.Delete(e.key)
		e.countMemos(-1)
	}
	if e.moreKeys != nil {
		for _, key := range *e.moreKeys {
			e.keyspace.memos.Delete(key)
		}
		e.countMemos(-len(*e.moreKeys))
	}
}

// staleFor returns for how long the value of e may be served after its TTL. It is not more than 0 if that is over.
func (e *entry) staleFor(now, awake age) time.Duration {
	k := e.keyspace
	left := e.beganAwake + age(k.cache.ttl+k.cache.maxStale) - awake
	switch {
	case e.refuted.Load():
		return 0
	case e.leaseEnd == 0:
		return time.Duration(left)
	case k.leases: // the lease takes the place of TTL and MaxStale
		return time.Duration(e.leaseEnd - now)
	default:
		return time.Duration(min(left, e.leaseEnd-now))
	}
}

// isGood reports whether e is a value that may be served, fresh or stale.
func (e *entry) isGood() bool {
	now, awake := e.keyspace.clock.both()
	return e.isValue() && (now < e.expireAt || e.staleFor(now, awake) > 0)
}

// newValue returns an entry for a value that the fetch of t has brought, or nil if its lease is over already.
func (k *keyspace) newValue(t *ticket, secret secrets.Secret) *entry {
	c := k.cache
	e := &entry{keyspace: k, document: t.document, breaker: t.breaker, secret: secret, beganAwake: t.beganAwake}
	fresh := min(age(spread(c.ttl, c.jitter)), age(c.ttl+c.maxStale)) // the jitter does not add to the bound
	if end := secret.Meta().ExpiresAt; !end.IsZero() && time.Until(end) < century {
		now := c.clock.now()
		e.leaseEnd = now + age(time.Until(end.Round(0)))
		if now >= e.leaseEnd {
			return nil
		}
		leased := e.leaseEnd - t.began
		if fresh = min(fresh, leased); k.leases {
			fresh = leased // to fetch sooner would be another lease beside this one
		}
	}
	e.expireAt = t.began + fresh
	e.refreshAt.Store(int64(e.expireAt))
	if c.refreshAhead > 0 {
		e.refreshAt.Store(int64(t.began) + int64(float64(fresh)*c.refreshAhead))
	}
	return e
}

// newFailure returns an entry for an error that holds for d until the age until.
func (k *keyspace) newFailure(d docKey, b *breaker, err error, until age) *entry {
	return &entry{keyspace: k, document: d, breaker: b, err: asError(err), expireAt: until}
}

// asError returns err as an error of its class alone, if it is none yet.
func asError(err error) *secrets.Error {
	if e, ok := errors.AsType[*secrets.Error](err); ok {
		return e
	}
	return &secrets.Error{Err: secrets.Class(err)}
}

// failure returns a copy of the error of e, which the caller may change.
func (e *entry) failure() error {
	err := *e.err
	return &err
}

// stale returns the value of e, marked as stale.
func (e *entry) stale() secrets.Secret {
	meta := e.secret.Meta()
	meta.Stale = true
	return secrets.NewSecret(e.secret.Reveal(), meta)
}
