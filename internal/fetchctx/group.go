package fetchctx

import (
	"context"
	"slices"
	"sync"
)

// Group is the fetches of one GetMany, each on a goroutine of its own. It answers three questions about them:
//
//   - Who fetches a document that several of them need? See [Group.Join].
//   - How many of them may ask one backend at a time? See [Group.Acquire].
//   - Is one of them still on its way to a backend that gathers a batch? See [Group.OnIdle]. A fetch is on its way until it waits
//     for something ([Group.Park], or an [Event]) or is answered ([Group.Done]).
//
// It is safe for concurrent use.
type Group struct {
	mu        sync.Mutex
	moving    int             // fetches that are on their way
	idle      []func()        // to call once when none is
	gathering *Event          // ends when none is, or nil
	shared    map[any]*Shared // by document
	renewed   map[any]bool    // the documents of Renew
	// allRenewed is set by RenewAll.
	allRenewed bool
	noted      map[any]bool
	behind     *Group         // of Background, or nil
	limits     map[any]*limit // by backend
}

// limit is how many fetches of a group may ask a backend at a time.
type limit struct {
	asking  int
	waiting []*Event // one for each that waits, in order
}

// Parallel is how many calls of one backend a GetMany has under way at a time: enough to hide its latency, too few to trip its rate
// limits.
const Parallel = 16

// NewGroup returns a Group of that many fetches.
func NewGroup(fetches int) *Group {
	return &Group{
		moving: fetches, shared: make(map[any]*Shared), limits: make(map[any]*limit),
		renewed: make(map[any]bool), noted: make(map[any]bool),
	}
}

// Add adds that many fetches.
func (g *Group) Add(fetches int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.moving += fetches
}

// Park notes that a fetch waits. [Group.Unpark] must follow when it goes on.
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

// Unpark notes that a fetch goes on.
func (g *Group) Unpark() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.moving++
}

// Done notes that a fetch has been answered.
func (g *Group) Done() { g.Park() }

// Background returns the group of the fetches that those of g cause and that nobody waits for, so that they share batches, too, and
// hold up no fetch of g. Unpark adds one, which ends with Done. The group is not idle before g has been.
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

// OnIdle makes the next call that leaves no fetch on its way call f, once.
func (g *Group) OnIdle(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle = append(g.idle, f)
}

// park takes one fetch out of those on their way, and returns what is to be called once g.mu is free. Those who gather go on
// first. The caller holds g.mu.
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

// Gather waits until no fetch is on its way, so that those which gather go on together, and returns true. If over ends first, it
// returns false: others are still on their way.
func (g *Group) Gather(over <-chan struct{}) bool {
	g.mu.Lock()
	if g.gathering == nil {
		g.gathering = g.NewEvent()
	}
	all := g.gathering
	g.mu.Unlock()
	return all.wait(over)
}

// Event is something that fetches of a group wait for. When it ends, all of them are on their way again in one step: if they
// were so one by one, the first to go on would find that all others wait, and a batch would be sent for it alone.
type Event struct {
	group *Group // or nil: then nothing is counted
	done  chan struct{}

	// Guarded by group.mu:
	waiting int
	ended   bool
}

// NewEvent returns an Event for g, which may be nil.
func (g *Group) NewEvent() *Event { return &Event{group: g, done: make(chan struct{})} }

// End lets those who wait go on. It must be called once.
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

// Done is closed by End. Who waits for it is on its way all the same: see [Event.Wait].
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

// Wait waits for End, or for ctx, whose error it returns.
func (e *Event) Wait(ctx context.Context) error {
	if e.wait(ctx.Done()) {
		return nil
	}
	return ctx.Err()
}

// wait waits for End, and returns true, or for over.
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

// Shared is the fetch of one document, for all fetches of a group that need it.
type Shared struct {
	*Event // ends when Value is set

	// Renewed says that the fetch takes the place of another one: see [Group.Renew].
	Renewed bool
	// Value is what the fetch has brought. It is set by who got mine from [Group.Join], before it calls End.
	Value any
}

// Join returns the fetch of the document that key names. If mine is true, the caller has to run it and call End.
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

// Close forgets what the fetches have brought, for a context that somebody keeps leads to it. Nothing is shared from then on.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shared = nil
}

// Forget makes the next Join for key begin anew, if s is what it would return.
func (g *Group) Forget(key any, s *Shared) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared[key] == s {
		delete(g.shared, key)
	}
}

// Renew is Forget, for an answer that was over on arrival. From then on the fetches of the document know that.
func (g *Group) Renew(key any, s *Shared) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared[key] == s {
		delete(g.shared, key)
		g.renewed[key] = true
	}
}

// Note keeps a fact, key, for the end of the call. On a nil Group it does nothing.
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

// RenewAll is Renew for each document.
func (g *Group) RenewAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.shared)
	g.allRenewed = true
}

// Acquire waits until fewer than atOnce fetches ask the backend that key names, or for ctx, whose error it returns. Unless there is
// an error, release must be called when the backend has answered.
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
	if err := ctx.Err(); err != nil { // it has ended while the slot came
		release()
		return nil, err
	}
	return release, nil
}

// release lets the next one ask.
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

// abandon takes the caller that does not wait for free any more out of l.
func (g *Group) abandon(l *limit, free *Event) {
	g.mu.Lock()
	i := slices.Index(l.waiting, free)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 { // it was let in just now
		g.release(l)
	}
}
