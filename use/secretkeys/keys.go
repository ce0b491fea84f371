package secretkeys

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
)

const (
	defaultInterval = 30 * time.Second
	// defaultOverlap covers the lifetime of most access tokens: an hour at Google and Okta, at most a day at Auth0 by default:
	// https://auth0.com/docs/secure/tokens/access-tokens/update-access-token-lifetime.
	defaultOverlap = 24 * time.Hour
	// maxDuration prevents overflow in sums of options.
	maxDuration = 100 * 365 * 24 * time.Hour
)

// Keys holds the versions of one secret key. Create it with [Open]. It is safe for concurrent use.
type Keys struct {
	ring   *ring
	handle *secrets.Handle
	live   *secrets.Live[struct{}] // derived from the handle
	stop   context.CancelFunc
}

// Open returns the keys of the secret that key names. It gets the current version as [secrets.Client.Get] does, and then polls every
// [Interval] for a new one. Other versions that the backend names ([secrets.Client.Alternates]) also verify. They are the version before
// the current one in Vault's KV v2, and AWSPENDING and AWSPREVIOUS in AWS Secrets Manager.
//
// A later version signs after [ActivateAfter]; several of them sign one after the other. A rollback is such a change too. A version that is
// withdrawn before its turn never signs here.
//
// A starting process does the same as the others. If the current version is younger than ActivateAfter ([secrets.Meta].CreatedAt), the
// version before it signs until then. Without a version before it, the current one signs at once.
//
// Open makes three calls to Vault, four to AWS, and one to a backend that names no other versions. Besides the poll that finds it, a change
// costs two, three or no calls.
//
// The keys are updated until [Keys.Close], until ctx ends, or until the Client closes. Pass the service's ctx, not a request's. The garbage
// collector stops the updates of Keys that the program has dropped.
//
// The error is that of Get or Alternates, or contains the faults of opts. Otherwise the secret has no version that all processes share, or
// its fields or its key are invalid. Open also fails while the version before the current one cannot be fetched. A version of 16
// hexadecimal digits is treated as a fingerprint, which processes do not share. The package comment lists the limits.
func Open(ctx context.Context, client *secrets.Client, key string, opts ...Option) (*Keys, error) {
	c := config{interval: defaultInterval, overlap: defaultOverlap, faults: faults.List{Prefix: "secretkeys: "}}
	c.faults.Checkf(client != nil, "a nil *secrets.Client")
	faults.Apply(&c.faults, opts, func(o Option) { o(&c) })
	if !c.hasActivateAfter {
		c.activateAfter = 2 * c.interval
	}
	c.faults.Checkf(c.overlap >= c.activateAfter,
		"Overlap: %v is less than ActivateAfter, %v: peers may sign with a replaced key for that long", c.overlap, c.activateAfter)
	c.source.name = key
	if err := c.faults.Err(); err != nil {
		return nil, err
	}
	handle, err := client.Watch(ctx, key, secrets.WatchInterval(c.interval))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	r := &ring{source: c.source, activateAfter: c.activateAfter, overlap: c.overlap, start: time.Now()}
	live, err := secrets.Derive(handle, func(s secrets.Secret) (none struct{}, err error) {
		if err := r.follow(s); err != nil {
			return none, err
		}
		return none, r.collect(ctx, client, key)
	})
	if err != nil {
		stop()
		return nil, errors.Join(err, handle.Close())
	}
	keys := &Keys{r, handle, live, stop}
	runtime.AddCleanup(keys, func(stop context.CancelFunc) { stop() }, stop) // otherwise the parent of ctx references it
	return keys, nil
}

// Active returns the key to sign or encrypt with, and its id. It takes no lock and never fails.
func (k *Keys) Active() (id string, key secrets.Secret) { return k.ring.active() }

// ByID returns the key with that id, to verify or decrypt with. ok is true for the active key, for one that will sign later, and for one
// that was replaced at most [Overlap] ago. ByID takes no lock and makes no calls, so id may be untrusted.
func (k *Keys) ByID(id string) (key secrets.Secret, ok bool) { return k.ring.byID(id) }

// Err returns nil while the keys are up to date. Otherwise it returns the error of the last poll, as [secrets.Handle.Err] does, or why the
// new version or other versions cannot be used. Active and ByID keep their keys, also after a denial or a deletion. Failed reads of other
// versions are retried after 1 s, 2 s, up to a minute. After Close, Err returns [secrets.ErrClosed].
func (k *Keys) Err() error { return k.live.Err() }

// Close stops the updates. Active and ByID keep their keys. Close may be called more than once, and returns nil.
func (k *Keys) Close() error {
	k.stop()
	return errors.Join(k.live.Close(), k.handle.Close())
}

// Option configures [Keys].
type Option func(c *config)

type config struct {
	interval, activateAfter, overlap time.Duration
	hasActivateAfter                 bool
	source                           source
	faults                           faults.List
}

func (c *config) check(option string, d time.Duration) {
	c.faults.CheckDuration(option, d)
	c.faults.Checkf(d > 0, "%s: %v is not more than 0", option, d)
	c.faults.Checkf(d <= maxDuration, "%s: more than 100 years", option)
}

// Interval sets the time between polls for a new key, minus up to a tenth. Polls bypass the cache. All processes must use the same. d must
// be at least 1 ms. Default: 30 s, which is 120 calls of the backend an hour.
func Interval(d time.Duration) Option {
	return func(c *config) {
		c.interval = d
		c.check("Interval", d)
	}
}

// ActivateAfter sets how long after this process has fetched a new key it signs with it. By then, peers must have fetched it: d should
// exceed [Interval] plus the longest outage of the backend to cover. For Kubernetes files, use 5 minutes: a node may write them 2 minutes
// after another, see
// https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/#mounted-configmaps-are-updated-automatically. All
// processes must use the same. d must be at least 1 ms. Default: twice Interval.
func ActivateAfter(d time.Duration) Option {
	return func(c *config) {
		c.activateAfter, c.hasActivateAfter = d, true
		c.check("ActivateAfter", d)
	}
}

// Overlap sets how long a key verifies after another one signs in its place. Use the lifetime of what the keys sign, plus [ActivateAfter],
// since a peer may sign for that much longer. It must be at least ActivateAfter and at most 100 years. Default: 24 hours, since most tokens
// live for a day at most.
func Overlap(d time.Duration) Option {
	return func(c *config) {
		c.overlap = d
		c.check("Overlap", d)
	}
}

// Fields reads the id and the key from two fields of the secret: a JSON document, or a directory of package file. The backend then needs no
// versions of its own:
//
//	secretkeys.Open(ctx, client, "signing", secretkeys.Fields("id", "key")) // the files signing/id and signing/key
//
// Write both fields in one step, as Kubernetes does, and never reuse an id: a key with a known id replaces that key at once. With KV v2 or
// AWS, keep nothing else in the document: each write of it counts as a rotation.
//
// An id is 1 to 128 printable ASCII characters without a space. A file with a key must be text. Default: the id is the backend's version,
// and the key is the whole secret.
func Fields(id, key string) Option {
	return func(c *config) {
		c.source.idField, c.source.keyField = id, key
		c.faults.Checkf(id != "", "Fields: the field of the id is empty")
		c.faults.Checkf(key != "", "Fields: the field of the key is empty")
		c.faults.Checkf(id != key || id == "", "Fields: both fields are %q", id)
	}
}

// ring is the state of Keys. Its closures do not reference Keys, so that dropped Keys can be collected.
type ring struct {
	source                 source
	activateAfter, overlap time.Duration
	start                  time.Time // base of the times in a snapshot: time.Since is cheaper than time.Now

	now atomic.Pointer[snapshot]

	mu     sync.Mutex // held by writers
	isOpen bool       // Open has added the other versions
}
