package secrets

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Handle holds the current value of a key and follows its changes. Make one with [Client.Watch]. It is safe for concurrent use.
//
// A program that acts on a change waits for it:
//
//	for {
//		changed := h.Changed() // before the value is read: no change comes in between
//		use(h.Secret())
//		select {
//		case <-changed:
//			if errors.Is(h.Err(), secrets.ErrClosed) {
//				return
//			}
//		case <-ctx.Done():
//			return
//		}
//	}
//
// [Derive] does that for what is made of a secret, such as a connection pool.
type Handle struct {
	f *follower
}

// Watch returns a Handle for key. It gets the secret as [Client.Get] does, and fails as that does. Then the Client looks for changes:
// when its cache says that a fetch may bring another value, and every 30 s where there is no cache, or as [WatchInterval] says. It looks
// at once if the backend tells that the document has changed (see [Info.OnChange]), and after an [Client.Invalidate] or [Client.Refresh]
// of the key. A lease is renewed when about three quarters of its time are over. All handles of one document share these looks, each of
// which is one fetch.
//
// The handle ends with [Handle.Close], with ctx, and with the Client. So ctx is that of the service, and not of a request. A handle that
// the program drops ends too.
//
// A handle is the program's own copy: it keeps its last value after a denial, after a deletion, and after the end of a lease or of the
// time for which a cache serves stale values. Then [Meta].Stale is set, and [Handle.Err] says why. A program that must not use
// such a value has two ways: it checks Err or Stale before each use, or it calls Get at each use, which then fails.
//
// Two handles change one after the other. A user and a password that must match are read from one handle, of the document that
// holds both. With the backend env they are two documents, and no handle has both.
//
// The error is that of Get, or tells the faults of opts.
func (c *Client) Watch(ctx context.Context, key string, opts ...WatchOption) (*Handle, error) {
	cfg := watchConfig{faults: faults.List{Prefix: "secrets: Watch: "}}
	faults.Apply(&cfg.faults, opts, func(o WatchOption) { o(&cfg) })
	if err := cfg.faults.Err(); err != nil {
		return nil, err
	}
	if err := c.watches.listen(); err != nil { // before the first fetch, so that no change comes in between
		return nil, failureOf(ctx, err, "", key)
	}
	s, err := c.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	ref, err := ParseRef(key)
	if err != nil {
		return nil, err // user middleware has answered what is no key
	}
	f := &follower{key: key, ref: ref, interval: cfg.interval}
	f.held.Store(&held{secret: s, changed: make(chan struct{})})
	if err := c.watches.add(f); err != nil {
		return nil, failureOf(ctx, err, "", key)
	}
	f.endWith(ctx)
	h := &Handle{f}
	// The cleanup touches no channel and no timer: in a test with testing/synctest it runs outside of the bubble.
	runtime.AddCleanup(h, func(dropped *atomic.Bool) { dropped.Store(true) }, &f.dropped)
	return h, nil
}

// Secret returns the current value: that of the last look which brought one. It takes one atomic load, never blocks and never fails.
func (h *Handle) Secret() Secret { return h.f.held.Load().secret }

// Err returns why the value is not fresh, and nil if it is: the error of the last look, or [ErrClosed] once the handle has ended. It is
// an [*Error]. An outage shows when the cache's TTL is over, and at the next look without a cache. Any other failure shows at once.
func (h *Handle) Err() error { return h.f.held.Load().failure() }

// Changed returns a channel that is closed when the value of this moment is replaced by another value or version, or when the handle
// ends: then Err is [ErrClosed]. A change of Meta.Stale, of a lease, or of Err is none. For the loop, see [Handle]. Keep the handle while
// you wait: one that the program has dropped ends.
func (h *Handle) Changed() <-chan struct{} { return h.f.held.Load().changed }

// Close ends the handle. Secret goes on to return the last value. It may be called often, and returns nil.
func (h *Handle) Close() error {
	h.f.close()
	return nil
}

// WatchOption configures a [Handle].
type WatchOption func(c *watchConfig)

type watchConfig struct {
	interval time.Duration
	faults   faults.List
}

// WatchInterval makes the Client look for a change every d, minus up to a tenth, past a cache that holds the value. It takes the place
// of the time that the cache says, and of 30 s. Of the handles of one document, the shortest interval counts. A lease is renewed as
// without it, since each fetch would make another. d must be at least 1 ms.
func WatchInterval(d time.Duration) WatchOption {
	return func(c *watchConfig) {
		c.interval = d
		c.faults.CheckDuration("WatchInterval", d)
		c.faults.Checkf(d > 0, "WatchInterval: %v is not more than 0", d)
	}
}

// follower is the state of a handle, which its poll knows. It holds no handle: that must be free to be collected.
type follower struct {
	key      string
	ref      Ref
	interval time.Duration // or 0: as the cache says
	held     atomic.Pointer[held]
	dropped  atomic.Bool // the program has lost the handle
	poll     *poll       // set before anybody else knows the follower

	mu        sync.Mutex // of those who write
	ended     bool
	leave     func() bool // frees the context of the handle, or nil
	listeners map[listener]struct{}
}

// held is what a handle shows. It is immutable.
type held struct {
	secret  Secret
	err     *Error
	changed chan struct{} // closed when the secret is replaced
}

func (h *held) failure() error {
	if h.err == nil {
		return nil
	}
	return h.err.clone()
}

// follow shows s, and why it is no newer, or nil.
func (f *follower) follow(s Secret, reason *Error) {
	f.show(func(old *held) held {
		changed := old.changed
		if isReplaced(old.secret, s) {
			changed = make(chan struct{})
		}
		return held{s, reason, changed}
	})
}

// fail keeps the value, and says why.
func (f *follower) fail(err *Error) {
	f.show(func(old *held) held { return held{stale(old.secret), err, old.changed} })
}

// show puts what change makes in the place of what the handle shows, and tells those who wait.
func (f *follower) show(change func(old *held) held) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	old := f.held.Load()
	now := change(old)
	f.held.Store(&now)
	if now.changed == old.changed {
		return
	}
	close(old.changed)
	for l := range f.listeners {
		l.changed()
	}
}

// listener is what follows a follower.
type listener interface {
	changed() // is called under follower.mu, and does not block
	close()   // the handle has ended
}

// listen makes f tell l of changes until stop is called, and of its end.
func (f *follower) listen(l listener) (stop func()) {
	f.mu.Lock()
	ended := f.ended
	if !ended {
		if f.listeners == nil {
			f.listeners = make(map[listener]struct{})
		}
		f.listeners[l] = struct{}{}
	}
	f.mu.Unlock()
	if ended {
		l.close()
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.listeners, l)
	}
}

// isReplaced reports whether s is another value or another version than old. The versions of two backends do not compare.
func isReplaced(old, s Secret) bool {
	was, is := old.Meta(), s.Meta()
	return was.Backend == is.Backend && was.Version != is.Version || !old.Equal(s)
}

// stale returns s with Meta.Stale set.
func stale(s Secret) Secret {
	meta := s.Meta()
	meta.Stale = true
	return s.withMeta(meta)
}

// endWith closes f when ctx ends.
func (f *follower) endWith(ctx context.Context) {
	leave := context.AfterFunc(ctx, f.close)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leave = leave; f.ended {
		leave()
	}
}

// close ends f and takes it from its poll.
func (f *follower) close() {
	f.poll.remove(f)
	f.end()
}

// end ends f, which its poll has let go.
func (f *follower) end() {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.ended = true
	old := f.held.Load()
	f.held.Store(&held{stale(old.secret), &Error{Key: f.key, Err: ErrClosed}, old.changed})
	close(old.changed)
	if f.leave != nil {
		f.leave()
	}
	listeners := f.listeners
	f.listeners = nil
	f.mu.Unlock()
	for l := range listeners {
		defer l.close() // each, also if one runs code that panics or ends the goroutine
	}
}
