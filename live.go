package secrets

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Live holds a T that is built from the current value of a [Handle], such as a connection pool, a TLS configuration or a parsed document.
// When the value changes, the Live builds a new T. Make one with [Derive]. It is safe for concurrent use.
type Live[T any] struct {
	core    *live[T]
	handles []*Handle // kept alive: the program may have no other reference to them
}

// Derive returns a Live that holds the result of build for the current value of h, and builds again after each change. To build from
// several handles, see [Also]. To close a replaced T, see [Closing].
//
// Derive runs the first build itself; later builds run on a goroutine of the Live, one at a time. If a later build fails, the Live keeps
// its T, and [Live.Err] returns the error. The Live tries again after 1 s, 2 s, up to a minute, or at the next change. A panic of build is
// an error of class [ErrUnknown].
//
// The Live ends with [Live.Close] and with h. Neither waits for a running build; the T of that build ends at once. If the program drops a
// Live without Close, the Live does not build again. Its last T does not end, because it may still be in use.
//
// The error is that of the first build, unchanged, or names the faults of opts, or is [ErrClosed] if h has ended.
func Derive[T any](h *Handle, build func(Secret) (T, error), opts ...DeriveOption[T]) (*Live[T], error) {
	cfg := deriveConfig[T]{faults: faults.List{Prefix: "secrets: Derive: "}}
	cfg.faults.Checkf(h != nil, "a nil Handle")
	cfg.faults.Checkf(build != nil, "a nil build")
	faults.Apply(&cfg.faults, opts, func(o DeriveOption[T]) { o(&cfg) })
	if err := cfg.faults.Err(); err != nil {
		return nil, err
	}
	core := &live[T]{make: build, end: cfg.end}
	handles := append([]*Handle{h}, cfg.others...)
	for _, h := range handles {
		if err := h.Err(); errors.Is(err, ErrClosed) {
			return nil, err
		}
		core.from = append(core.from, h.f)
	}
	all := core.values()
	value, err := core.build(all[0])
	if err != nil {
		return nil, err
	}
	core.current.Store(newVersion(value))
	core.built = all
	core.listen()
	if areReplaced(all, core.values()) { // before we listened
		core.changed()
	}
	l := &Live[T]{core, handles}
	runtime.AddCleanup(l, func(dropped *atomic.Bool) { dropped.Store(true) }, &core.dropped)
	return l, nil
}

// Load returns the current T. It never blocks. [Closing] does not wait for users of this T: if the T must be closed, call [Live.Use]. After
// Close, Load returns the last T.
func (l *Live[T]) Load() T { return l.core.current.Load().value }

// Use calls f with the current T. The T does not end before f returns, even if the Live replaces it. f must not keep the T. Use returns
// the error of f, unchanged. If the Live has ended, Use returns [ErrClosed] and does not call f.
func (l *Live[T]) Use(f func(T) error) error {
	v, err := l.core.acquire()
	if err != nil {
		return err
	}
	defer l.core.release(v)
	return f(v.value)
}

// Err returns the error of the last build, unchanged, if that build was for the current value and failed. Otherwise it returns the first
// error of [Handle.Err] of its handles. After the Live has ended, Err returns [ErrClosed].
func (l *Live[T]) Err() error {
	if l.core.closed.Load() {
		return l.core.closedError()
	}
	if err := l.core.failure.Load(); err != nil {
		return *err
	}
	for _, h := range l.handles {
		if err := h.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Changed returns a channel that is closed when another T replaces the current one, or when the Live ends; then Err returns [ErrClosed].
// Take the channel before you read the T, as with [Handle]. Keep a reference to the Live while you wait: a dropped Live does not build.
func (l *Live[T]) Changed() <-chan struct{} { return l.core.current.Load().replaced }

// Close ends the Live. Its T ends when the last [Live.Use] returns; Close does not wait for that. The handle stays open. Close may be
// called several times, and returns nil.
func (l *Live[T]) Close() error {
	defer runtime.KeepAlive(l) // otherwise l may count as dropped before close returns
	if last := l.core.close(); last != nil {
		last()
	}
	return nil
}

// DeriveOption configures a [Live].
type DeriveOption[T any] func(c *deriveConfig[T])

type deriveConfig[T any] struct {
	end    func(T)
	others []*Handle
	faults faults.List
}

// Closing makes the Live call end once for each T, after another T has replaced it or the Live has ended, and the last [Live.Use] has
// returned. end runs on a goroutine of the Live, or on one that calls Use, or Close of the Live, its handle or the Client. end must not
// close the Client, whose Close waits for it. Default: the Live calls nothing.
func Closing[T any](end func(T)) DeriveOption[T] {
	return func(c *deriveConfig[T]) {
		c.end = end
		c.faults.Checkf(end != nil, "Closing: a nil function")
	}
}

// Also makes the Live follow more handles: it builds again after a change of any of them, and ends when one of them ends. build gets the
// value of the handle given to [Derive], and reads the others with [Handle.Secret]. Also may be given several times. Default: the Live
// follows only the handle given to Derive.
//
// Handles change one after the other. The Live waits for 5 ms after a change, so handles of one document cause one build. But build may see
// the user of one version and the password of another. Read values that must match from one handle, or with [Client.GetMany].
func Also[T any](others ...*Handle) DeriveOption[T] {
	return func(c *deriveConfig[T]) {
		c.faults.Checkf(len(others) > 0, "Also: no Handle")
		for i, h := range others {
			c.faults.Checkf(h != nil, "Also: handle %d is nil", i+1)
		}
		c.others = append(c.others, others...)
	}
}

const (
	firstRebuild = time.Second // after a build that failed
	maxRebuild   = time.Minute
	settling     = 5 * time.Millisecond // between the first change of several handles and the build
)

// live is the state of a Live. Its handles refer to it, and it must not refer to the Live: a dropped Live must be collected.
type live[T any] struct {
	from []*follower // never empty
	make func(Secret) (T, error)
	end  func(T)

	current atomic.Pointer[version[T]]
	failure atomic.Pointer[error] // of the last build, or nil
	closed  atomic.Bool           // written under mu
	dropped atomic.Bool           // the program has no reference to the Live

	mu       sync.Mutex
	stops    []func() // unregister from the handles; called without a lock
	built    []Secret // the values that current is built from, by handle
	tried    []Secret // the values of the last build that failed
	building bool
	again    bool // a handle has changed since that build began
	failures int  // builds that failed, in a row
	retry    *time.Timer
}

// version is one T with its number of users.
type version[T any] struct {
	value    T
	users    atomic.Int64  // the Live itself counts as one; at 0 the T has ended
	replaced chan struct{} // closed when the version is no longer the current one
}

func newVersion[T any](value T) *version[T] {
	v := &version[T]{value: value, replaced: make(chan struct{})}
	v.users.Store(1)
	return v
}

// leave removes a user from v, and reports whether it was the last one.
func (v *version[T]) leave() (last bool) { return v.users.Add(-1) == 0 }

// acquire returns the current version and adds a user to it. The caller must release it.
func (l *live[T]) acquire() (*version[T], error) {
	for !l.closed.Load() {
		v := l.current.Load()
		for n := v.users.Load(); n > 0; n = v.users.Load() {
			if v.users.CompareAndSwap(n, n+1) {
				return v, nil
			}
		}
	}
	return nil, l.closedError()
}

func (l *live[T]) closedError() error { return closedError(l.from[0].key) }

// values returns the current values of the handles.
func (l *live[T]) values() []Secret {
	all := make([]Secret, len(l.from))
	for i, f := range l.from {
		all[i] = f.held.Load().secret
	}
	return all
}

// areReplaced reports whether one of now differs from its counterpart in old. old may be nil.
func areReplaced(old, now []Secret) bool { return !slices.EqualFunc(old, now, isSame) }

func isSame(a, b Secret) bool { return !isReplaced(a, b) }

// listen registers l with its handles.
func (l *live[T]) listen() {
	for _, f := range l.from {
		stop := f.listen(l)
		l.mu.Lock()
		l.stops = append(l.stops, stop)
		l.mu.Unlock()
	}
	if l.closed.Load() { // it ended before the last stop was recorded
		l.unlisten()
	}
}

// unlisten undoes listen. The caller must hold no lock: each handle has one, and Lives may share handles in any order.
func (l *live[T]) unlisten() {
	l.mu.Lock()
	stops := l.stops
	l.stops = nil
	l.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}

// release removes a user from v, and ends v if it was the last one.
func (l *live[T]) release(v *version[T]) {
	if v.leave() {
		l.finish(v.value)
	}
}

// finish ends value. The caller must hold no lock.
func (l *live[T]) finish(value T) {
	if l.end != nil {
		l.end(value)
	}
}

// isDropped reports whether the program has no reference to the Live. A Live keeps its handles, so a dropped handle means a dropped Live;
// the cleanups of both run in any order.
func (l *live[T]) isDropped() bool {
	return l.dropped.Load() || slices.ContainsFunc(l.from, func(f *follower) bool { return f.dropped.Load() })
}

// changed starts a build if none is running. It does not block.
func (l *live[T]) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed.Load():
	case l.building:
		l.again = true
	default:
		l.building = true
		l.start()
	}
}

// start begins a rebuild. The caller holds l.mu.
func (l *live[T]) start() {
	if len(l.from) == 1 {
		go l.rebuild()
	} else {
		time.AfterFunc(settling, l.rebuild)
	}
}

// rebuild builds a T from the current values, unless there is one. It runs on a goroutine of its own: build or end may end that goroutine.
func (l *live[T]) rebuild() {
	all, needed := l.next()
	if l.isDropped() {
		l.unlisten()
	}
	if !needed {
		return
	}
	var value T
	err := l.failed(errEnded)
	defer func() {
		if over, isOver := l.install(all, value, err); isOver {
			l.finish(over)
		}
	}()
	value, err = l.build(all[0])
}

// next returns the values to build from, if a build is needed.
func (l *live[T]) next() (all []Secret, needed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = false // all misses later changes
	all = l.values()
	if l.retry != nil {
		l.retry.Stop()
	}
	switch {
	case l.closed.Load() || l.isDropped():
	case !areReplaced(l.built, all):
		l.failures = 0
		l.failure.Store(nil)
	default:
		if areReplaced(l.tried, all) { // new values start with a short pause
			l.failures = 0
		}
		return all, true
	}
	l.building = false
	return all, false
}

// build calls the build function of the program with s.
func (l *live[T]) build(s Secret) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = l.failed(panicked(p))
		}
	}()
	return l.make(s)
}

// failed returns the error of a build that panicked or ended its goroutine.
func (l *live[T]) failed(why *Error) error {
	return &Error{Key: l.from[0].key, Err: why.Err, Detail: "build: " + why.Detail}
}

// install makes value, which was built from all, the current T, and starts the next build if there is to be one. If isOver, the caller must
// end over, which has no users.
func (l *live[T]) install(all []Secret, value T, err error) (over T, isOver bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed.Load():
		return value, err == nil
	case err == nil:
		l.built, l.failures = all, 0
		l.failure.Store(nil)
		old := l.current.Swap(newVersion(value))
		over, isOver = old.value, old.leave() // before waiters see the change: one of them may be the last user to leave
		close(old.replaced)
	default:
		l.failures++
		l.failure.Store(&err)
		l.tried = all
	}
	switch l.building = l.again; {
	case l.again:
		l.start()
	case err != nil:
		l.retry = time.AfterFunc(min(maxRebuild, firstRebuild<<min(l.failures-1, 8)), l.changed)
	}
	return over, isOver
}

// close ends the Live. last unregisters it from its handles, and ends the T if it has no users.
func (l *live[T]) close() (last func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Swap(true) {
		return nil
	}
	if l.retry != nil {
		l.retry.Stop()
	}
	v := l.current.Load()
	isOver := !l.isDropped() && v.leave()
	close(v.replaced)
	return func() {
		l.unlisten()
		if isOver {
			l.finish(v.value)
		}
	}
}
