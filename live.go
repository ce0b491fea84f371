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
// When the value changes, it is built again. Make one with [Derive]. It is safe for concurrent use.
type Live[T any] struct {
	core    *live[T]
	handles []*Handle // which the program may have no other reference to
}

// Derive calls build with the current value of h, and again after each change. The Live holds the last T. The Live runs one build at a
// time, on a goroutine of its own after the first. If build fails, the Live keeps its T, and [Live.Err] returns the error. It tries again
// after 1 s, 2 s, up to a minute, or at the next change. A panic of build is an error of class [ErrUnknown].
//
// The Live ends with [Live.Close] and with h. Neither waits for a build under way, whose T then ends at once. If the program drops a Live
// without Close, no build follows, and its last T does not end: somebody may use it. For what is made of several secrets, see [Also].
//
// The error is that of the first build, as it is, or names the faults of opts, or is [ErrClosed] if h has ended.
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

// Load returns the current T, without counting who uses it: for a T that needs no end. It never blocks. After Close it is the last one.
func (l *Live[T]) Load() T { return l.core.current.Load().value }

// Use calls f with the current T. The T does not end before f returns, even if it is replaced meanwhile. f must not keep it. Use returns
// the error of f as it is, or [ErrClosed] without a call of f if the Live has ended.
func (l *Live[T]) Use(f func(T) error) error {
	v, err := l.core.acquire()
	if err != nil {
		return err
	}
	defer l.core.release(v)
	return f(v.value)
}

// Err returns the error of the last build, as it is, if that failed for the current value, and otherwise that of [Handle.Err]: of several
// handles the first that has one. Once the Live has ended, it is [ErrClosed].
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

// Changed returns a channel that is closed when the T of this moment is replaced, or when the Live ends: then Err is [ErrClosed]. Take
// it before the T is read, as with [Handle]. Keep the Live while you wait: one that the program has dropped builds no more.
func (l *Live[T]) Changed() <-chan struct{} { return l.core.current.Load().replaced }

// Close ends the Live. Its T ends after its last user, for which Close does not wait. The handle goes on. Close may be called often, and
// returns nil.
func (l *Live[T]) Close() error {
	defer runtime.KeepAlive(l) // else it may be taken for a dropped one meanwhile
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

// Closing makes the Live call end once for each T: after the T was replaced or the Live has ended, and the last [Live.Use] has returned.
// Any goroutine that calls Use, or Close of the Live, its handle or the Client, may run end, and so may a goroutine of the Live. end must
// not close the Client, whose Close waits for it. Default: the Live calls nothing.
func Closing[T any](end func(T)) DeriveOption[T] {
	return func(c *deriveConfig[T]) {
		c.end = end
		c.faults.Checkf(end != nil, "Closing: a nil function")
	}
}

// Also makes the Live follow others, too: it builds again after a change of any of them, and ends with the first of them that ends. build
// gets the value of the first handle, and reads those of others with [Handle.Secret]. Handles change one after the other. So the Live waits
// for 5 ms after a change, and handles of one document make one build. But build may see the user of one version and the password of
// another. What must match is read from one handle, or with [Client.GetMany]. Also may be given several times. Default: the Live follows
// the handle that [Derive] gets.
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
	settling     = 5 * time.Millisecond // of several handles, after one has changed
)

// live is the state of a Live, which its handle knows. It holds no Live: that must be free to be collected.
type live[T any] struct {
	from []*follower // never empty
	make func(Secret) (T, error)
	end  func(T)

	current atomic.Pointer[version[T]]
	failure atomic.Pointer[error] // of the last build, or nil
	closed  atomic.Bool           // written under mu
	dropped atomic.Bool           // the program has lost the Live

	mu       sync.Mutex
	stops    []func() // end what tells of changes; called under no lock
	built    []Secret // what current is made of, by handle
	tried    []Secret // what the last build that failed was of
	building bool
	again    bool // there was a change since that build began
	failures int  // of builds, in a row
	retry    *time.Timer
}

// version is one T, and who uses it.
type version[T any] struct {
	value    T
	users    atomic.Int64  // the Live itself is one; at 0 the T has ended
	replaced chan struct{} // closed when it is not the current one any more
}

func newVersion[T any](value T) *version[T] {
	v := &version[T]{value: value, replaced: make(chan struct{})}
	v.users.Store(1)
	return v
}

// leave notes that v has a user less, and reports whether it was the last one.
func (v *version[T]) leave() (last bool) { return v.users.Add(-1) == 0 }

// acquire returns the current version, which release must follow.
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

// areReplaced reports whether one of now replaces its counterpart in old, which may be nil.
func areReplaced(old, now []Secret) bool { return !slices.EqualFunc(old, now, isSame) }

func isSame(a, b Secret) bool { return !isReplaced(a, b) }

// listen makes the handles tell of changes, and of their end.
func (l *live[T]) listen() {
	for _, f := range l.from {
		stop := f.listen(l)
		l.mu.Lock()
		l.stops = append(l.stops, stop)
		l.mu.Unlock()
	}
	if l.closed.Load() { // meanwhile
		l.silence()
	}
}

// silence ends what listen began. The caller holds no lock: each handle has one, and Lives may share them in any order.
func (l *live[T]) silence() {
	l.mu.Lock()
	stops := l.stops
	l.stops = nil
	l.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}

// release notes that v has a user less. The last one ends it.
func (l *live[T]) release(v *version[T]) {
	if v.leave() {
		l.finish(v.value)
	}
}

// finish ends value. The caller holds no lock.
func (l *live[T]) finish(value T) {
	if l.end != nil {
		l.end(value)
	}
}

// isDropped reports whether the program has lost the Live. One that it has keeps the handles, and their cleanups run in any order.
func (l *live[T]) isDropped() bool {
	return l.dropped.Load() || slices.ContainsFunc(l.from, func(f *follower) bool { return f.dropped.Load() })
}

// changed notes that there may be another value. It does not block.
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

// rebuild makes a T of the current values, if it is not made yet. It has a goroutine of its own, which build or end may end.
func (l *live[T]) rebuild() {
	all, needed := l.next()
	if l.isDropped() {
		l.silence()
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
	l.again = false // what changes from here on is not in all
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
		if areReplaced(l.tried, all) { // it deserves pauses of its own
			l.failures = 0
		}
		return all, true
	}
	l.building = false
	return all, false
}

// build makes a T of s.
func (l *live[T]) build(s Secret) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = l.failed(panicked(p))
		}
	}()
	return l.make(s)
}

// failed returns the error of a build that has not returned.
func (l *live[T]) failed(why *Error) error {
	return &Error{Key: l.from[0].key, Err: why.Err, Detail: "build: " + why.Detail}
}

// install puts the T that was built of all in the place of the current one, and sees to the next build. over is a T that nobody
// uses, if isOver.
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
		over, isOver = old.value, old.leave() // before anybody learns of it: a user who does and leaves is the last one
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

// close ends the Live. last lets the handles forget it, and ends the T if nobody uses it.
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
		l.silence()
		if isOver {
			l.finish(v.value)
		}
	}
}
