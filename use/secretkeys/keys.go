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
	// defaultOverlap is the lifetime of most access tokens, or more: an hour at Google and Okta, at most a day at Auth0 by default:
	// https://auth0.com/docs/secure/tokens/access-tokens/update-access-token-lifetime.
	defaultOverlap = 24 * time.Hour
	// maxDuration keeps sums of options from an overflow.
	maxDuration = 100 * 365 * 24 * time.Hour
)

// Keys are the versions of one secret key. Make them with [Open]. They are safe for concurrent use.
type Keys struct {
	ring   *ring
	handle *secrets.Handle
	live   *secrets.Live[struct{}] // which follows the handle
	stop   context.CancelFunc
}

// Open returns the keys of the secret that key names. It gets the current version as [secrets.Client.Get] does, and then looks for a new
// one every [Interval]. Other versions that the backend names ([secrets.Client.Alternates]) verify too: the version before the current one
// of Vault's KV version 2, and AWSPENDING and AWSPREVIOUS of AWS Secrets Manager.
//
// A version that comes later signs after [ActivateAfter]. If several come meanwhile, each has its turn. A rollback is such a change, too;
// a version that is taken back before its turn never signs here.
//
// A process that starts does what the others do. If the current version was created less than ActivateAfter ago
// ([secrets.Meta].CreatedAt), the version before it signs until then. If there is none before it, the current version signs at once.
//
// Open costs three calls of Vault, four of AWS, and one of a backend that names no other versions. Each change costs two, three or no calls
// beside the look that has found it.
//
// The keys follow until [Keys.Close], until ctx ends, and until the Client closes. So ctx must be that of the service, not that of a
// request. Keys that the program drops stop following.
//
// The error is that of Get or of Alternates, or names the faults of opts, or says that the secret has no version that all processes share,
// or what is wrong with its fields or its key. So Open fails while the version before the current one cannot be had. A version of 16
// hexadecimal digits is taken for a fingerprint, which processes do not share. The package comment lists the limits.
func Open(ctx context.Context, client *secrets.Client, key string, opts ...Option) (*Keys, error) {
	c := config{interval: defaultInterval, overlap: defaultOverlap, faults: faults.List{Prefix: "secretkeys: "}}
	c.faults.Checkf(client != nil, "a nil *secrets.Client")
	faults.Apply(&c.faults, opts, func(o Option) { o(&c) })
	if !c.hasActivateAfter {
		c.activateAfter = 2 * c.interval
	}
	c.faults.Checkf(c.overlap >= c.activateAfter,
		"Overlap: %v is less than ActivateAfter, %v: peers may sign with a replaced key so much longer", c.overlap, c.activateAfter)
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
	runtime.AddCleanup(keys, func(stop context.CancelFunc) { stop() }, stop) // or the parent of ctx keeps it
	return keys, nil
}

// Active returns the key to sign or encrypt with, and its id. It takes no lock and never fails.
func (k *Keys) Active() (id string, key secrets.Secret) { return k.ring.active() }

// ByID returns the key with that id, to verify or decrypt with. It is found if it signs, is to sign, or was replaced at most [Overlap] ago.
// ByID takes no lock and asks no backend, so that id may come from anybody.
func (k *Keys) ByID(id string) (key secrets.Secret, ok bool) { return k.ring.byID(id) }

// Err returns nil while the keys are up to date. Otherwise it is the error of the last look, as of [secrets.Handle.Err]: Active and ByID
// go on with the keys that they have, also after a denial or a deletion. It says so too if the new version cannot be used, or if other
// versions cannot be had; the keys ask for those again after 1 s, 2 s, up to a minute. After Close it is [secrets.ErrClosed].
func (k *Keys) Err() error { return k.live.Err() }

// Close stops following. Active and ByID go on with the keys that they have. Close may be called more than once, and returns nil.
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

// Interval makes a process look for a new key every d, minus up to a tenth, also while a cache holds a fresh value. All processes must have
// the same. d must be at least 1 ms. Default: 30 s, which is 120 calls of the backend an hour.
func Interval(d time.Duration) Option {
	return func(c *config) {
		c.interval = d
		c.check("Interval", d)
	}
}

// ActivateAfter makes a new key sign d after this process has seen it. Peers must have seen it by then, so d is to be more than [Interval]
// and the time for which the backend may be away. For files of Kubernetes, take 5 minutes: a node may write them 2 minutes after another,
// see https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/#mounted-configmaps-are-updated-automatically.
// All processes must have the same. d must be at least 1 ms. Default: twice Interval.
func ActivateAfter(d time.Duration) Option {
	return func(c *config) {
		c.activateAfter, c.hasActivateAfter = d, true
		c.check("ActivateAfter", d)
	}
}

// Overlap makes a key verify for d after another one signs in its place. Choose the lifetime of what the keys sign, plus [ActivateAfter],
// for which a peer may sign longer. It must not be less than ActivateAfter, nor more than 100 years. Default: 24 hours, since most tokens
// live for a day at most.
func Overlap(d time.Duration) Option {
	return func(c *config) {
		c.overlap = d
		c.check("Overlap", d)
	}
}

// Fields makes the secret a JSON document, or a directory of package file, whose field id names the version, and whose field key is the
// key. So a backend needs no versions of its own:
//
//	secretkeys.Open(ctx, client, "signing", secretkeys.Fields("id", "key")) // the files signing/id and signing/key
//
// Write both fields in one step, as Kubernetes does, and never an id again: a key with an id that is known takes the place of that key at
// once. With KV version 2 or AWS, keep nothing else in the document: each write of it counts as a rotation.
//
// An id is 1 to 128 printable ASCII characters without a space. A file with a key must be text. Default: the version that the backend
// names is the id, and the whole secret is the key.
func Fields(id, key string) Option {
	return func(c *config) {
		c.source.idField, c.source.keyField = id, key
		c.faults.Checkf(id != "", "Fields: the field of the id is empty")
		c.faults.Checkf(key != "", "Fields: the field of the key is empty")
		c.faults.Checkf(id != key || id == "", "Fields: both fields are %q", id)
	}
}

// ring is the state of Keys. Its closures reach no Keys: those that the program drops must be free to be collected.
type ring struct {
	source                 source
	activateAfter, overlap time.Duration
	start                  time.Time // the times of a snapshot count from it: time.Since is cheaper than time.Now

	now atomic.Pointer[snapshot]

	mu     sync.Mutex // of those who write
	isOpen bool       // Open has the other versions
}
