package cache

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// docKey names an entry in a keyspace: path, version and field, separated by NULs, which no valid ref contains. A Client reads whole
// documents, mostly of the current version. Their docKey is the path alone, without an allocation. Only a cache that a program uses
// outside of a Client sees refs with fields.
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

// entry is the cached state of one document: its value, a not-found, or a back-off without a value. Its fields are immutable, except for
// the atomic and guarded ones. Rarely used fields are behind pointers, to keep entries small.
type entry struct {
	keyspace *keyspace
	document docKey
	breaker  *breaker // of the document's endpoint
	secret   secrets.Secret
	err      *secrets.Error // nil for a value

	beganAwake age // start of the fetch that returned it, awake
	expireAt   age // until then, the value is fresh or the error is current
	leaseEnd   age // of the value; 0 without a lease

	touched   atomic.Bool                // since it was added, or last spared
	refreshAt atomic.Int64               // an age: a read at or after it renews the value
	renewing  atomic.Bool                // a renewal runs in the background; set under Cache.mu
	slow      atomic.Bool                // a reader's wait has timed out, and no fetch has answered since
	suspect   atomic.Bool                // a fetch since then got ErrMalformed or ErrUnknown: not served stale
	retry     atomic.Pointer[retryState] // of failed fetches, or nil; set under Cache.mu

	key      string    // of its first memo, or ""; guarded by Cache.mu
	moreKeys *[]string // of its other memos, or nil; guarded by Cache.mu
}

// retryState is what failed fetches of a document leave behind. It is immutable.
type retryState struct {
	failures    int    // in a row
	unavailable error  // the last failure, if it was an ErrUnavailable
	retryAt     age    // after an ErrUnavailable, the earliest next fetch
	closings    uint64 // breaker.closings at that time
}

func (e *entry) isValue() bool { return e.err == nil }

// isNotFound reports whether e is a cached not-found.
func (e *entry) isNotFound() bool { return e.err != nil && e.retry.Load() == nil }

// retryState returns the state that failed fetches of the document have left. A back-off is void once the breaker has closed.
func (e *entry) retryState() retryState {
	t := e.retry.Load()
	if t == nil || t.unavailable != nil && t.closings != e.breaker.closings.Load() {
		return retryState{}
	}
	return *t
}

// holds reports whether the error of e is still current.
func (e *entry) holds() bool {
	c := e.keyspace.clock
	switch {
	case !c.longBefore(e.expireAt) && !c.before(e.expireAt):
		return false
	case e.isNotFound():
		return true
	default:
		return c.before(e.retryState().retryAt) && e.breaker.open() == nil
	}
}

// touch marks e as used. It writes only if that changes something, since each write invalidates the cache line of other processors.
func (e *entry) touch() {
	if !e.touched.Load() {
		e.touched.Store(true)
	}
}

// maxFailureMemos bounds the memos of a not-found: keys from outside may name any number of fields of a missing document.
const maxFailureMemos = 64

// memosFull reports whether e may have no further memo. Not-founds have a limit each. Values share one, since a document has a limited
// number of fields. The caller holds Cache.mu.
func (e *entry) memosFull() bool {
	if !e.isValue() {
		return e.moreKeys != nil && len(*e.moreKeys) >= maxFailureMemos-1
	}
	c := e.keyspace.cache
	return c.memos >= c.maxMemos()
}

// addMemo records that e has a memo for key. It returns false if e may have no further memo. The caller holds Cache.mu.
func (e *entry) addMemo(key string) bool {
	if e.memosFull() {
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

// remove removes e and its memos from the maps of the keyspace. The caller holds Cache.mu.
func (e *entry) remove() {
	e.detach()
	e.keyspace.index.Delete(e.document)
}

// detach removes the memos of e, and takes e out of the counts. The caller holds Cache.mu.
func (e *entry) detach() {
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

// staleFor returns how much longer the value of e may be served stale. It is 0 or less if it may not.
func (e *entry) staleFor(now, awake age) time.Duration {
	k := e.keyspace
	left := e.beganAwake + age(k.cache.ttl+k.cache.maxStale) - awake
	switch {
	case e.suspect.Load():
		return 0
	case e.leaseEnd == 0:
		return time.Duration(left)
	case k.leases: // the lease takes the place of TTL and MaxStale
		return time.Duration(e.leaseEnd - now)
	default:
		return time.Duration(min(left, e.leaseEnd-now))
	}
}

// isServable reports whether e is a value that may be served, fresh or stale.
func (e *entry) isServable() bool {
	now, awake := e.keyspace.clock.both()
	return e.isValue() && (now < e.expireAt || e.staleFor(now, awake) > 0)
}

// newValue returns an entry for the value that the fetch of t has returned, or nil if its lease is already over.
func (k *keyspace) newValue(t *ticket, secret secrets.Secret) *entry {
	c := k.cache
	e := &entry{keyspace: k, document: t.document, breaker: t.breaker, secret: secret, beganAwake: t.beganAwake}
	fresh := min(age(spread(c.ttl, c.jitter)), age(c.ttl+c.maxStale)) // the jitter must not extend TTL + MaxStale
	if end := secret.Meta().ExpiresAt; !end.IsZero() && time.Until(end) < century {
		now := c.clock.now()
		e.leaseEnd = now + age(time.Until(end.Round(0)))
		if now >= e.leaseEnd {
			return nil
		}
		leased := e.leaseEnd - t.began
		if fresh = min(fresh, leased); k.leases {
			fresh = leased // an earlier fetch would create another lease
		}
	}
	e.expireAt = t.began + fresh
	e.refreshAt.Store(int64(e.expireAt))
	if c.refreshAhead > 0 {
		e.refreshAt.Store(int64(t.began) + int64(float64(fresh)*c.refreshAhead))
	}
	return e
}

// newFailure returns an entry for d with an error that is current until then.
func (k *keyspace) newFailure(d docKey, b *breaker, err error, until age) *entry {
	return &entry{keyspace: k, document: d, breaker: b, err: asError(err), expireAt: until}
}

// asError returns err as a *secrets.Error. If it is none, the result has only its class.
func asError(err error) *secrets.Error {
	if e, ok := errors.AsType[*secrets.Error](err); ok {
		return e
	}
	return &secrets.Error{Err: secrets.Class(err)}
}

// failure returns a copy of the error of e.
func (e *entry) failure() error {
	err := *e.err
	return &err
}

// stale returns the value of e with Meta.Stale set.
func (e *entry) stale() secrets.Secret {
	meta := e.secret.Meta()
	meta.Stale = true
	return secrets.NewSecret(e.secret.Reveal(), meta)
}
