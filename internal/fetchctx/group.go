package fetchctx

import (
	"context"
	"slices"
	"sync"
)

// Group is the fetches of one GetMany, each on its own goroutine. It coordinates them:
//
//   - A document that several of them need is fetched once; see [Group.Join].
//   - It limits concurrent calls of a backend; see [Group.Acquire].
//   - A backend that gathers a batch waits until no fetch is on its way to it; see [Group.OnIdle]. A fetch is on its way until it waits for
//     something ([Group.Park], or an [Event]) or is answered ([Group.Done]).
//
// It is safe for concurrent use.
type Group struct {
	mu        sync.Mutex
	moving    int             // fetches on their way
	idle      []func()        // called once when no fetch is on its way
	gathering *Event          // ends when no fetch is on its way; or nil
	shared    map[any]*Shared // by document
	renewed   map[any]bool    // the documents of Renew
	// allRenewed is set by RenewAll.
	allRenewed bool
	noted      map[any]bool
	behind     *Group         // of Background, or nil
	limits     map[any]*limit // by backend
}

// limit limits the concurrent calls of one backend.
type limit struct {
	asking  int
	waiting []*Event // one for each waiting fetch, in order
}

// Parallel is the number of concurrent calls of one backend in a GetMany: enough to hide its latency, too few for its rate limits.
const Parallel = 16

// NewGroup returns a Group with this number of fetches.
func NewGroup(fetches int) *Group {
	return &Group{
		moving: fetches, shared: make(map[any]*Shared), limits: make(map[any]*limit),
		renewed: make(map[any]bool), noted: make(map[any]bool),
	}
}

// Add adds fetches.
func (g *Group) Add(fetches int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.moving += fetches
}

// Park records that a fetch waits. [Group.Unpark] must follow when it continues.
func (g *Group) Park() {
	if g == nil {
		return
	}
	g.mu.Lock()
	idle := g.park()
	g.mu.Unlock()
	for _, f := range idle {
		f()
	}
}

// Unpark records that a fetch continues.
func (g *Group) Unpark() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.moving++
}

// Done records that a fetch has been answered.
func (g *Group) Done() { g.Park() }

// Background returns the group of the background fetches that those of g start: they share batches too, and do not delay g. Unpark adds a
// fetch, which ends with Done. The group becomes idle only after g.
func (g *Group) Background() *Group {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.behind == nil {
		g.behind = NewGroup(1)
		g.idle = append(g.idle, g.behind.Done)
	}
	return g.behind
}

// OnIdle registers f. The next call that leaves no fetch on its way calls it, once.
func (g *Group) OnIdle(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle = append(g.idle, f)
}

// park removes one fetch from those on their way. It returns functions to call after releasing g.mu. Gathering fetches continue first. The
// caller holds g.mu.
func (g *Group) park() (idle []func()) {
	g.moving--
	if g.moving > 0 {
		return nil
	}
	if g.gathering != nil {
		g.gathering.end()
		g.gathering = nil
	}
	idle, g.idle = g.idle, nil
	return idle
}

// Gather waits until no fetch is on its way, and returns true: all gathering fetches continue together. If over ends first, it returns
// false.
func (g *Group) Gather(over <-chan struct{}) bool {
	g.mu.Lock()
	if g.gathering == nil {
		g.gathering = g.NewEvent()
	}
	all := g.gathering
	g.mu.Unlock()
	return all.wait(over)
}

// Event is something that fetches of a group wait for. When it ends, all of them are on their way again in one step: otherwise, the first
// to continue would see the others still waiting, and a batch would be sent for it alone.
type Event struct {
	group *Group // nil: nothing is counted
	done  chan struct{}

	// Guarded by group.mu:
	waiting int
	ended   bool
}

// NewEvent returns an Event for g, which may be nil.
func (g *Group) NewEvent() *Event { return &Event{group: g, done: make(chan struct{})} }

// End ends the event: all waiting fetches continue. It must be called once.
func (e *Event) End() {
	if e.group != nil {
		e.group.mu.Lock()
		defer e.group.mu.Unlock()
	}
	e.end()
}

// end is End for a caller that holds the lock of the group.
func (e *Event) end() {
	e.ended = true
	if e.group != nil {
		e.group.moving += e.waiting
	}
	close(e.done)
}

// Done returns a channel that End closes. A fetch that receives from it directly still counts as on its way; see [Event.Wait].
func (e *Event) Done() <-chan struct{} { return e.done }

// Ended reports whether End was called.
func (e *Event) Ended() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// Wait waits for End or ctx. It returns the error of ctx.
func (e *Event) Wait(ctx context.Context) error {
	if e.wait(ctx.Done()) {
		return nil
	}
	return ctx.Err()
}

// wait returns true after End, or false after over.
func (e *Event) wait(over <-chan struct{}) bool {
	g := e.group
	if g == nil {
		select {
		case <-e.done:
			return true
		case <-over:
			return false
		}
	}
	g.mu.Lock()
	if e.ended {
		g.mu.Unlock()
		return true
	}
	e.waiting++
	idle := g.park()
	g.mu.Unlock()
	for _, f := range idle {
		f()
	}
	select {
	case <-e.done:
		return true
	case <-over:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !e.ended {
		e.waiting--
		g.moving++
	}
	return e.ended
}

// Shared is the fetch of one document, shared by all fetches of a group that need it.
type Shared struct {
	*Event // ends when Value is set

	// Renewed says that the fetch replaces an earlier one: see [Group.Renew].
	Renewed bool
	// Value is the result of the fetch. The owner, for which [Group.Join] returned mine, sets it before it calls End.
	Value any
}

// Join returns the fetch of the document key. If mine is true, the caller must run it and call End.
func (g *Group) Join(key any) (s *Shared, mine bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.shared[key]; ok {
		return s, false
	}
	s = &Shared{Event: g.NewEvent(), Renewed: g.allRenewed || g.renewed[key]}
	if g.shared != nil {
		g.shared[key] = s
	}
	return s, true
}

// Close drops the results, which a retained context would otherwise keep alive. Nothing is shared after that.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shared = nil
}

// Forget drops s, so the next Join for key starts a new fetch.
func (g *Group) Forget(key any, s *Shared) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared[key] == s {
		delete(g.shared, key)
	}
}

// Renew is Forget, for an answer that had expired on arrival. Later fetches of the document have Renewed set.
func (g *Group) Renew(key any, s *Shared) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared[key] == s {
		delete(g.shared, key)
		g.renewed[key] = true
	}
}

// Note records key until the end of the call. On a nil Group, it does nothing.
func (g *Group) Note(key any) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.noted[key] = true
}

// Noted reports whether Note was called with key.
func (g *Group) Noted(key any) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.noted[key]
}

// RenewAll is Renew for all documents.
func (g *Group) RenewAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.shared)
	g.allRenewed = true
}

// Acquire waits until fewer than atOnce fetches use the backend key, or for ctx, whose error it returns. Without an error, release must be
// called after the backend's answer.
func (g *Group) Acquire(ctx context.Context, key any, atOnce int) (release func(), err error) {
	g.mu.Lock()
	l, ok := g.limits[key]
	if !ok {
		l = new(limit)
		g.limits[key] = l
	}
	release = func() { g.release(l) }
	if l.asking < atOnce {
		l.asking++
		g.mu.Unlock()
		return release, nil
	}
	free := g.NewEvent()
	l.waiting = append(l.waiting, free)
	g.mu.Unlock()
	if !free.wait(ctx.Done()) {
		g.abandon(l, free)
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil { // ctx ended as the slot became free
		release()
		return nil, err
	}
	return release, nil
}

// release passes the slot to the next waiting fetch.
func (g *Group) release(l *limit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(l.waiting) == 0 {
		l.asking--
		return
	}
	l.waiting[0].end()
	l.waiting = l.waiting[1:]
}

// abandon removes the caller that waited for free from l.
func (g *Group) abandon(l *limit, free *Event) {
	g.mu.Lock()
	i := slices.Index(l.waiting, free)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 { // it got the slot just now
		g.release(l)
	}
}
