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
// To act on changes, wait for them:
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
// [Derive] does that for something built from a secret, such as a connection pool.
type Handle struct {
	f *follower
}

// Watch returns a Handle for key. It gets the secret as [Client.Get] does, and fails as Get does. Then the Client polls for changes. ctx
// ends the handle: use the context of the service, not that of a request. The handle also ends with [Handle.Close], with the Client, and
// when the program drops it.
//
// With a cache, the Client polls when a fetch may return another value, at 0.8 of the TTL. Without one, it polls every 30 s.
// [WatchInterval] changes both. The Client polls at once when the backend reports a change (see [Info.OnChange]) and after
// [Client.Invalidate]. When [Client.Refresh] returns, the handle has the new value; if Refresh finds the secret missing or denied, the
// handle polls at once. When 70 to 80 % of a lease have passed, the Client fetches a new one. All handles of one document share its polls;
// a poll is one fetch. Polls go through user middleware, with a context of the Client.
//
// A handle keeps its last value after a denial, a deletion, the end of a lease, and the end of the time for which a cache serves stale
// values. Then [Meta].Stale is set, and [Handle.Err] returns the reason. A program that must not use such a value checks Err or Stale
// before each use, or calls Get at each use, which then fails.
//
// The error is that of Get, or names the faults of opts. It is of class [ErrUnknown] if [Info.OnChange] of a Local backend panics.
//
// # Limits
//
// Two handles change one after the other. Read a user and a password that must match from one handle, for the document that holds both.
// In the backend env, two variables are two documents, and no handle holds both.
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
		reason = (&read{key: key, secret: s}).staleReason(nil)
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

// Secret returns the current value, from the last poll that found one. It is one atomic load: it never blocks and never fails.
func (h *Handle) Secret() Secret { return h.f.held.Load().secret }

// Err returns nil while the value is fresh. Otherwise it returns the [*Error] of the last poll, or [ErrClosed] if the handle has ended.
// With a cache, an outage shows only after the TTL; without one, and for any other failure, Err shows the first poll that fails.
func (h *Handle) Err() error { return h.f.held.Load().failure() }

// Changed returns a channel that is closed when another value or version replaces the current one, or when the handle ends; then Err
// returns [ErrClosed]. A change of Meta.Stale, of a lease, or of Err does not close it. Take the channel before you read the value: see
// [Handle]. Keep a reference to the handle while you wait: a dropped handle ends.
func (h *Handle) Changed() <-chan struct{} { return h.f.held.Load().changed }

// Close ends the handle, and each [Live] of it. Secret still returns the last value, with Meta.Stale set. Close may be called several
// times, and returns nil.
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

// Optional makes Watch accept a missing secret, for which Get returns [ErrNotFound]. While it is missing, [Handle.Secret] returns the zero
// Secret (see [Secret.IsZero]), and Err returns nil. When the secret appears or disappears, that is a change. Default: Watch fails, and
// after the secret disappears, the handle keeps its last value.
func Optional() WatchOption { return func(c *watchConfig) { c.optional = true } }

// WatchInterval makes the Client poll every d, minus up to a tenth, even while a cache holds a fresh value. Among the handles of one
// document, the shortest interval wins; polls are at least 100 ms apart. It has no effect on values with a lease, because each fetch
// creates another lease. d must be at least 1 ms. Default: when the cache says so, or 30 s.
func WatchInterval(d time.Duration) WatchOption {
	return func(c *watchConfig) {
		c.interval = d
		c.faults.CheckDuration("WatchInterval", d)
		c.faults.Checkf(d > 0, "WatchInterval: %v is not more than 0", d)
	}
}

// follower is the state of a Handle. Its poller refers to it, and it must not refer to the Handle: a dropped Handle must be collected.
type follower struct {
	key      string
	ref      Ref
	interval time.Duration // or 0: as the cache says
	optional bool          // a missing secret is no failure
	held     atomic.Pointer[held]
	dropped  atomic.Bool // the program has no reference to the handle
	poller   *poller     // set before the follower is shared

	mu        sync.Mutex // for writes
	ended     bool
	leave     func() bool // unregisters from the context of the handle, or nil
	listeners map[listener]struct{}
}

// held is the public state of a handle. It is immutable.
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

// accepts reports whether f takes err for a missing secret, and not for a failure.
func (f *follower) accepts(err error) bool { return f.optional && errors.Is(err, ErrNotFound) }

// follow sets the secret to s. reason is why s is stale, or nil.
func (f *follower) follow(s Secret, reason *Error) {
	f.update(func(old *held) held {
		changed := old.changed
		if isReplaced(old.secret, s) {
			changed = make(chan struct{})
		}
		return held{s, reason, changed}
	})
}

// fail keeps the secret as a stale one, with err as the reason.
func (f *follower) fail(err *Error) {
	f.update(func(old *held) held { return held{stale(old.secret), err, old.changed} })
}

// update replaces the state by the result of change, and reports a new value to waiters and listeners.
func (f *follower) update(change func(old *held) held) {
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

// removeDropped removes the listeners that the program has dropped. Without it they would stay until the next change, perhaps for months.
func (f *follower) removeDropped() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.listeners {
		if l.isDropped() {
			delete(f.listeners, l)
		}
	}
}

// listener gets the changes of a follower. Its methods do not block, and call no code of the program.
type listener interface {
	changed()             // the value has changed
	close() (last func()) // the handle has ended; last, if not nil, runs code of the program, and must be called without a lock
	isDropped() bool      // the program has no reference to it
}

// listen registers l until stop is called. If f has ended, it closes l.
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

// isReplaced reports whether s differs from old in value or version. Versions of different backends cannot be compared.
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

// close removes f from its poller and ends it.
func (f *follower) close() {
	f.poller.remove(f)
	runAll(f.end())
}

// end ends f, which is no longer in its poller. The caller must call the functions that it returns, without holding a lock.
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

// runAll calls all of last, even if one of them panics or ends the goroutine.
func runAll(last []func()) {
	for _, f := range last {
		defer f()
	}
}
