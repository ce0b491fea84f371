package secrets

import (
	"context"
	"errors"
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

// Watch returns a Handle for key. It gets the secret as [Client.Get] does, and fails as Get does. Then the Client polls: when the cache
// says that a fetch may bring another value (at 0.8 of its TTL), every 30 s without a cache, or as [WatchInterval] says. It polls at once
// when the backend reports a change (see [Info.OnChange]), and after [Client.Invalidate]. What [Client.Refresh] brings is in the handle
// when it returns; if the secret is gone or denied, the handle polls at once. When 70 to 80 % of a lease have passed, the Client fetches
// a new one. All handles of one document share its polls; a poll is one fetch. Polls go through user middleware, with a context of the
// Client.
//
// The handle ends with [Handle.Close], with ctx, and with the Client. So ctx must be that of the service, not that of a request. A
// handle that the program drops ends too.
//
// A handle is the program's own copy. It keeps its last value after a denial, a deletion, the end of a lease, and the end of the time for
// which a cache serves stale values. Then [Meta].Stale is set, and [Handle.Err] says why. A program that must not use such a value can
// check Err or Stale before each use. Or it calls Get at each use, which then fails.
//
// Two handles change one after the other. Read a user and a password that must match from one handle, of the document that holds both.
// With the backend env they are two documents, and no handle holds both.
//
// The error is that of Get, or names the faults of opts. It is of class [ErrUnknown] if [Info.OnChange] of a Local backend panics.
func (c *Client) Watch(ctx context.Context, key string, opts ...WatchOption) (*Handle, error) {
	cfg := watchConfig{faults: faults.List{Prefix: "secrets: Watch: "}}
	faults.Apply(&cfg.faults, opts, func(o WatchOption) { o(&cfg) })
	if err := cfg.faults.Err(); err != nil {
		return nil, err
	}
	ref, err := ParseRef(key)
	if err != nil {
		return nil, err
	}
	news, err := c.watches.listen()
	if err != nil {
		return nil, failureOf(ctx, err, "", key)
	}
	f := &follower{key: key, ref: ref, interval: cfg.interval, optional: cfg.optional}
	s, err := c.Get(ctx, key)
	var reason *Error
	switch {
	case err == nil:
		reason = (&read{key: key, secret: s}).lookError(nil)
	case !f.accepts(err):
		return nil, err
	}
	f.held.Store(&held{s, reason, make(chan struct{})})
	if err := c.watches.add(f, news); err != nil {
		return nil, failureOf(ctx, err, "", key)
	}
	f.endWith(ctx)
	h := &Handle{f}
	// The cleanup touches no channel and no timer: in a test with testing/synctest it runs outside of the bubble.
	runtime.AddCleanup(h, func(dropped *atomic.Bool) { dropped.Store(true) }, &f.dropped)
	return h, nil
}

// Secret returns the current value: that of the last poll that brought one. It takes one atomic load, never blocks and never fails.
func (h *Handle) Secret() Secret { return h.f.held.Load().secret }

// Err returns nil while the value is fresh. Otherwise it returns an [*Error]: that of the last poll, or [ErrClosed] once the handle has
// ended. An outage shows when the cache's TTL is over; any other failure, or an outage without a cache, shows with the poll that met it.
func (h *Handle) Err() error { return h.f.held.Load().failure() }

// Changed returns a channel that is closed when another value or version replaces the current one, or when the handle ends; then Err is
// [ErrClosed]. A change of Meta.Stale, of a lease, or of Err does not close it. Take the channel before you read the value: see [Handle].
// Keep the handle while you wait: one that the program has dropped ends.
func (h *Handle) Changed() <-chan struct{} { return h.f.held.Load().changed }

// Close ends the handle, and each [Live] of it. Secret still returns the last value, with Meta.Stale set. Close may be called more than
// once, and returns nil.
func (h *Handle) Close() error {
	h.f.close()
	return nil
}

// WatchOption configures a [Handle].
type WatchOption func(c *watchConfig)

type watchConfig struct {
	interval time.Duration
	optional bool
	faults   faults.List
}

// Optional makes Watch accept a secret that is missing: the error of Get is [ErrNotFound]. While it is missing, Secret of the handle is the
// zero Secret, for which [Secret.IsZero] is true, and Err is nil. That a secret appears or goes away is a change. Default: Watch fails, and
// a secret that goes away later leaves its last value in the handle.
func Optional() WatchOption { return func(c *watchConfig) { c.optional = true } }

// WatchInterval makes the Client poll every d, minus up to a tenth, also while a cache holds a fresh value. Of the handles of one
// document, the shortest interval counts; polls are at least 100 ms apart. Values with a lease are polled as without it, because each
// fetch creates another lease. d must be at least 1 ms. Default: when the cache says so, or 30 s.
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
	optional bool          // a missing secret is no failure
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

// accepts reports whether err is an answer for f, and no failure.
func (f *follower) accepts(err error) bool { return f.optional && errors.Is(err, ErrNotFound) }

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

// dropLost lets those listeners go that the program has dropped. Others would stay until the value changes, which may take months.
func (f *follower) dropLost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.listeners {
		if l.isDropped() {
			delete(f.listeners, l)
		}
	}
}

// listener is what follows a follower. Its methods do not block, and call no code of the program.
type listener interface {
	changed()             // the value has changed
	close() (last func()) // the handle has ended; last, if not nil, runs code of the program, under no lock
	isDropped() bool      // the program has lost it
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
		if last := l.close(); last != nil {
			last()
		}
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
	runAll(f.end())
}

// end ends f, which its poll has let go. What it returns is to be called under no lock.
func (f *follower) end() (last []func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return nil
	}
	f.ended = true
	old := f.held.Load()
	f.held.Store(&held{stale(old.secret), &Error{Key: f.key, Err: ErrClosed}, old.changed})
	close(old.changed)
	if f.leave != nil {
		f.leave()
	}
	for l := range f.listeners {
		if end := l.close(); end != nil {
			last = append(last, end)
		}
	}
	f.listeners = nil
	return last
}

// runAll calls all of last, also if one of them panics or ends the goroutine.
func runAll(last []func()) {
	for _, f := range last {
		defer f()
	}
}
