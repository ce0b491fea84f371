package secrets

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/internal/inflight"
)

const (
	// defaultInterval is how often a handle looks where no cache says when.
	defaultInterval = 30 * time.Second
	// minPause is the least time between two looks at a document, for a backend or a cache that asks for more of them.
	minPause = 100 * time.Millisecond
	// firstRetry is how long after a look that failed the next one comes, where no cache says when. It doubles up to the interval.
	firstRetry = time.Second
)

// watches are the polls of a Client.
type watches struct {
	client *Client
	ctx    context.Context //nolint:containedctx // of all looks: no call carries it
	cancel context.CancelFunc
	looks  *inflight.Calls // that run

	mu     sync.Mutex
	closed bool
	polls  map[Ref]*poll
}

func newWatches(c *Client) *watches {
	w := &watches{client: c, looks: inflight.New(), polls: make(map[Ref]*poll)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// poll looks at one document for all handles of it. Between two looks there is a timer and no goroutine.
type poll struct {
	of     *watches
	doc    Ref
	ctx    context.Context //nolint:containedctx // of the looks of this poll
	cancel context.CancelFunc

	// Guarded by watches.mu:
	followers map[*follower]struct{} // never empty while the poll is in the table
	timer     *time.Timer
	looking   bool
	woken     bool      // there may be news
	at        time.Time // of the next look
	force     bool      // it asks past a cache that holds a fresh value
	usual     bool      // a handle leaves it to the cache when to look
	looked    time.Time // when the last look ended, or the poll began
	pause     time.Time // the next look is not before it
	share     float64   // of the jitter: between 0 and 0.1, drawn for each look
	failures  int       // of looks, in a row
	told      string    // the last failure that was logged
}

// listen makes all backends tell of changes.
func (w *watches) listen() error {
	if w == nil { // of a Client that New has not made
		return NewError(ErrClosed, "")
	}
	for _, s := range w.client.stacks {
		if fault := s.listen(); fault != "" {
			return &Error{Backend: s.info.Name, Err: ErrUnknown, Detail: fault}
		}
	}
	return nil
}

// add lets a poll follow for f.
func (w *watches) add(f *follower) error {
	doc := w.client.stacks[0].place(f.ref)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return NewError(ErrClosed, "")
	}
	p := w.polls[doc]
	if p == nil {
		p = &poll{of: w, doc: doc, followers: make(map[*follower]struct{}), looked: time.Now()}
		p.ctx, p.cancel = context.WithCancel(w.ctx)
		w.polls[doc] = p
	}
	f.poll = p
	p.followers[f] = struct{}{}
	if usual := f.interval == 0 && f.held.Load().secret.Meta().ExpiresAt.IsZero(); p.timer == nil || !usual || !p.usual {
		p.schedule() // others change nothing: there may be thousands
	}
	return nil
}

// place returns the document of ref as far as it says which handles look together. That of a Local backend may change.
func (s *stack) place(ref Ref) Ref {
	if s.info.Local {
		return locationOf(ref).doc
	}
	return s.constantLocation(ref).doc
}

// remove takes f, which ends, from p. With its last handle the poll ends.
func (p *poll) remove(f *follower) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	delete(p.followers, f)
	p.endIfAlone()
}

// endIfAlone ends p if no handle needs it. The caller holds watches.mu.
func (p *poll) endIfAlone() {
	if len(p.followers) > 0 || p.of.polls[p.doc] != p {
		return
	}
	delete(p.of.polls, p.doc)
	p.timer.Stop()
	p.cancel()
}

// end ends all handles, and the looks that run.
func (w *watches) end() {
	w.mu.Lock()
	w.closed = true
	var all []*follower
	for _, p := range w.polls {
		for f := range p.followers {
			all = append(all, f)
			delete(p.followers, f)
		}
		p.endIfAlone()
	}
	w.mu.Unlock()
	w.cancel()
	w.looks.Close()
	for _, f := range all {
		f.end()
	}
}

// changed notes that s says that docs have changed.
func (w *watches) changed(s *stack, docs []Ref) {
	w.wake(func(f *follower) bool {
		place := s.place(f.ref)
		return slices.ContainsFunc(docs, func(doc Ref) bool {
			return doc == place || s.info.Local && (isWithin(doc.Path, place.Path) || isWithin(place.Path, doc.Path))
		})
	})
}

// isWithin reports whether path is below dir. A Local backend may keep the fields of a document as documents of their own.
func isWithin(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && strings.HasPrefix(rest, "/")
}

// invalidated notes that refs are not in memory any more.
func (w *watches) invalidated(refs []Ref) {
	w.wake(func(f *follower) bool {
		place := w.client.stacks[0].place(f.ref)
		return slices.ContainsFunc(refs, func(ref Ref) bool { return w.client.stacks[0].place(ref) == place })
	})
}

// refreshed notes that a Refresh of ref has brought s.
func (w *watches) refreshed(ref Ref, s Secret) {
	w.wake(func(f *follower) bool { return f.ref == ref && isReplaced(f.held.Load().secret, s) })
}

// wake makes those polls look at once that have a handle for which is is true.
func (w *watches) wake(is func(f *follower) bool) {
	if w == nil { // of a Client that New has not made
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.polls {
		for f := range p.followers {
			if is(f) {
				p.woken = true
				p.schedule()
				break
			}
		}
	}
}

// schedule sets the timer for the next look. The caller holds watches.mu.
func (p *poll) schedule() {
	if p.looking || p.of.polls[p.doc] != p {
		return // it is scheduled at the end of the look
	}
	now := time.Now()
	if p.at, p.force = p.plan(now); p.woken {
		p.at, p.force = now, false
	}
	if p.at.Before(p.pause) {
		p.at = p.pause
	}
	p.arm()
}

// arm sets the timer. Where a machine sleeps, timers stand still: so it looks at the clock every defaultInterval.
func (p *poll) arm() {
	wait := min(max(time.Until(p.at), 0), defaultInterval)
	if p.timer == nil {
		p.timer = time.AfterFunc(wait, p.look)
	} else {
		p.timer.Reset(wait)
	}
}

// hasCome reports whether t has, by the monotonic clock or by the wall clock.
func hasCome(t time.Time) bool {
	now := time.Now()
	return !now.Before(t) || !now.Round(0).Before(t.Round(0))
}

// plan returns when the next look is to be, and whether it asks past a cache that holds a fresh value. The caller holds watches.mu.
func (p *poll) plan(now time.Time) (at time.Time, force bool) {
	earlier := func(t time.Time, forced bool) {
		if at.IsZero() || t.Before(at) {
			at, force = t, forced
		}
	}
	interval := p.intervals()
	one := p.any()
	renewAt, known, all := p.of.client.renewAt(one.ref, one.held.Load().secret.Meta().Backend)
	leaseEnd, leases := p.lease(now)
	if known && (p.usual || leases || p.failures > 0) {
		earlier(renewAt, false)
	}
	if !all && p.usual && !leases {
		earlier(p.looked.Add(p.jittered(defaultInterval)), false)
	}
	if interval > 0 && !leases {
		earlier(p.looked.Add(p.jittered(interval)), true)
	}
	if !leaseEnd.IsZero() {
		if !known || !renewAt.Before(leaseEnd) {
			const most = 0.8 // of the time that is left
			earlier(p.looked.Add(time.Duration(float64(leaseEnd.Sub(p.looked))*(most-p.share))), true)
		}
		earlier(leaseEnd, true)
	}
	if p.failures > 0 && (!known || renewAt.Before(now)) {
		most := defaultInterval
		if interval > 0 {
			most = min(most, interval)
		}
		earlier(p.looked.Add(min(most, firstRetry<<min(p.failures-1, 8))), true)
	}
	return at, force
}

// jittered returns d, or up to a tenth less: programs that were started together do not ask together.
func (p *poll) jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - p.share))
}

// any returns one of the handles.
func (p *poll) any() *follower {
	for f := range p.followers {
		return f
	}
	return nil
}

// intervals returns the shortest interval that a handle asks for, or 0, and notes whether there are handles that ask for none.
func (p *poll) intervals() (shortest time.Duration) {
	p.usual = false
	for f := range p.followers {
		switch {
		case f.interval == 0:
			p.usual = true
		case shortest == 0 || f.interval < shortest:
			shortest = f.interval
		}
	}
	return shortest
}

// lease returns the first end of a lease that is to come, and whether a fetch would make another lease.
func (p *poll) lease(now time.Time) (end time.Time, makes bool) {
	for f := range p.followers {
		meta := f.held.Load().secret.Meta()
		if meta.ExpiresAt.IsZero() || isOver(f.held.Load().secret, now) || !end.IsZero() && end.Before(meta.ExpiresAt) {
			continue
		}
		end = meta.ExpiresAt.Round(0)
		makes = p.of.client.makesLeases(meta.Backend)
	}
	return end, makes
}

// makesLeases reports whether a read of that backend may make a lease.
func (c *Client) makesLeases(backend string) bool {
	return slices.ContainsFunc(c.stacks, func(s *stack) bool { return s.info.Name == backend && s.info.Leases })
}

// renewAt returns the first time at which a cache of the chain, as far as the backend that answered, may bring another value. all says
// that each of these sources has such a time.
func (c *Client) renewAt(ref Ref, answered string) (at time.Time, known, all bool) {
	all = true
	for _, s := range c.stacks {
		next, ok := s.renewAt(ref)
		if ok && (!known || next.Before(at)) {
			at, known = next, true
		}
		all = all && ok
		if s.info.Name == answered {
			break
		}
	}
	return at, known, all
}

// renewAt asks the cache, which may be a program's own, and panic.
func (s *stack) renewAt(ref Ref) (at time.Time, known bool) {
	if s.cache == nil {
		return at, false
	}
	defer func() { _ = recover() }()
	return s.cache.RenewAt(s.constantLocation(ref).doc)
}

// look asks for the values of all handles, and shows what it gets.
func (p *poll) look() {
	w := p.of
	if !w.looks.Begin() {
		return
	}
	defer w.looks.End()
	w.mu.Lock()
	lost := p.dropLost()
	if p.looking || w.polls[p.doc] != p || !hasCome(p.at) {
		if !p.looking && w.polls[p.doc] == p {
			p.arm()
		}
		w.mu.Unlock()
		for _, f := range lost {
			f.end()
		}
		return
	}
	p.looking, p.woken = true, false
	force := p.force
	followers := make([]*follower, 0, len(p.followers))
	for f := range p.followers {
		followers = append(followers, f)
	}
	leaseEnd, _ := p.lease(time.Now())
	w.mu.Unlock()
	for _, f := range lost {
		f.end()
	}
	failed := true // if middleware ends the goroutine
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		p.looking, p.looked, p.share = false, time.Now(), 0.1*rand.Float64() //nolint:gosec // it need not be secret
		p.pause = p.looked.Add(minPause)
		if p.failures++; !failed {
			p.failures = 0
		}
		p.schedule()
	}()
	failed = p.ask(followers, force, leaseEnd)
}

// dropLost takes the handles from p that the program has dropped, and returns them. The caller holds watches.mu.
func (p *poll) dropLost() (lost []*follower) {
	for f := range p.followers {
		if f.dropped.Load() {
			delete(p.followers, f)
			lost = append(lost, f)
		}
	}
	p.endIfAlone()
	return lost
}

// ask gets the values of followers, and reports whether one of them is not fresh. A look ends with the lease, so that the value is
// marked then.
func (p *poll) ask(followers []*follower, force bool, leaseEnd time.Time) (failed bool) {
	ctx := p.ctx
	if !leaseEnd.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, leaseEnd)
		defer cancel()
	}
	var f fetchctx.Fetch
	one := followers[0]
	renewAt, known, _ := p.of.client.renewAt(one.ref, one.held.Load().secret.Meta().Backend)
	if force || known && !renewAt.After(time.Now()) {
		f.Renewal = new(fetchctx.Renewal)
	}
	reads, byKey := make([]read, 0, 1), make(map[string][]*follower)
	for _, f := range followers {
		if byKey[f.key] == nil {
			reads = append(reads, read{key: f.key, ref: f.ref})
		}
		byKey[f.key] = append(byKey[f.key], f)
	}
	p.of.client.getMany(ctx, f, reads)
	if p.ctx.Err() != nil {
		return false // the handles have ended
	}
	var first *Error
	for i := range reads {
		r := &reads[i]
		err := r.lookError(f.Renewal)
		for _, f := range byKey[r.key] {
			if r.secret.IsZero() {
				f.fail(err)
			} else {
				f.follow(r.secret, err)
			}
		}
		if first == nil {
			first = err
		}
	}
	p.tell(first)
	return first != nil
}

// lookError returns why the answer of r is no fresh value, or nil.
func (r *read) lookError(look *fetchctx.Renewal) *Error {
	switch {
	case r.err != nil && isBareContextError(r.err.Err):
		return &Error{Backend: r.err.Backend, Key: r.key, Err: ErrUnavailable, Detail: "the lease ended before there was another"}
	case r.err != nil:
		return r.err
	case !r.secret.Meta().Stale:
		return nil
	}
	err := error(NewError(ErrUnavailable, "no answer came in time"))
	if look != nil && look.Failure() != nil {
		err = look.Failure()
	}
	return failureOf(context.Background(), err, r.secret.Meta().Backend, r.key)
}

// tell logs a failure that is about the document, once, and its end. What is about the backend is logged as its state.
func (p *poll) tell(err *Error) {
	text := ""
	if err != nil {
		if text = err.Backend + ": " + classText(err.Err) + ": " + err.Detail; isOfBackend(err.Err) {
			return
		}
	}
	w := p.of
	w.mu.Lock()
	last := p.told
	p.told = text
	w.mu.Unlock()
	if text == last {
		return
	}
	stacks := w.client.stacks
	of := 0
	if err != nil {
		of = max(0, slices.IndexFunc(stacks, func(s *stack) bool { return s.info.Name == err.Backend }))
	}
	stacks[of].health.watched(p.ctx, err, p.doc)
}

// isOfBackend reports whether a failure of that class is one of the backend, and not of a document.
func isOfBackend(class error) bool {
	return class == ErrUnavailable || class == ErrUnauthenticated || class == ErrClosed //nolint:errorlint // it is a sentinel itself
}
