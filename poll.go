package secrets

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/internal/inflight"
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
	woken     bool // there may be news
	next      plan
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
		defer f.end() // each, also if one runs code that panics or ends the goroutine
	}
}

// changed notes that s says that docs have changed.
func (w *watches) changed(s *stack, docs []Ref) {
	w.wake(func(p *poll) bool {
		for f := range p.followers {
			place := s.place(f.ref)
			if slices.ContainsFunc(docs, func(doc Ref) bool {
				return doc == place || s.info.Local && (isWithin(doc.Path, place.Path) || isWithin(place.Path, doc.Path))
			}) {
				return true
			}
		}
		return false
	})
}

// isWithin reports whether path is below dir. A Local backend may keep the fields of a document as documents of their own.
func isWithin(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && strings.HasPrefix(rest, "/")
}

// invalidated notes that refs are not in memory any more.
func (w *watches) invalidated(refs []Ref) {
	w.wake(func(p *poll) bool {
		return slices.ContainsFunc(refs, func(ref Ref) bool { return w.client.stacks[0].place(ref) == p.doc })
	})
}

// refreshed notes that a Refresh of ref has brought s.
func (w *watches) refreshed(ref Ref, s Secret) {
	doc := w.client.stacks[0].place(ref)
	w.wake(func(p *poll) bool {
		if p.doc != doc {
			return false
		}
		for f := range p.followers {
			if f.ref == ref && isReplaced(f.held.Load().secret, s) {
				return true
			}
		}
		return false
	})
}

// wake makes those polls look at once that match.
func (w *watches) wake(matches func(p *poll) bool) {
	if w == nil { // of a Client that New has not made
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.polls {
		if matches(p) {
			p.woken = true
			p.schedule()
		}
	}
}

// schedule sets the timer for the next look. The caller holds watches.mu.
func (p *poll) schedule() {
	if p.looking || p.of.polls[p.doc] != p {
		return // it is scheduled at the end of the look
	}
	c := p.circumstances()
	p.usual = c.usual
	if p.next = c.plan(); p.woken {
		p.next = plan{at: c.now}
	}
	if p.next.at.Before(p.pause) {
		p.next.at = p.pause
	}
	p.arm()
}

// arm sets the timer. Where a machine sleeps, timers stand still: so it looks at the clock every defaultInterval.
func (p *poll) arm() {
	wait := min(max(time.Until(p.next.at), 0), defaultInterval)
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

// look asks for the values of all handles, and shows what it gets.
func (p *poll) look() {
	w := p.of
	if !w.looks.Begin() {
		return
	}
	defer w.looks.End()
	w.mu.Lock()
	lost := p.dropLost()
	if p.looking || w.polls[p.doc] != p || !hasCome(p.next.at) {
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
	c := p.circumstances()
	isDue := !c.renewAt.IsZero() && !c.renewAt.After(c.now)
	look := &fetchctx.Renewal{Passive: !p.next.force && !isDue}
	followers := slices.Collect(maps.Keys(p.followers))
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
	failed = p.ask(followers, look, c.leaseEnd)
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
func (p *poll) ask(followers []*follower, look *fetchctx.Renewal, leaseEnd time.Time) (failed bool) {
	ctx := p.ctx
	if !leaseEnd.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, leaseEnd)
		defer cancel()
	}
	reads, byKey := make([]read, 0, 1), make(map[string][]*follower)
	for _, f := range followers {
		if byKey[f.key] == nil {
			reads = append(reads, read{key: f.key, ref: f.ref})
		}
		byKey[f.key] = append(byKey[f.key], f)
	}
	p.of.client.getMany(ctx, fetchctx.Fetch{Renewal: look}, reads)
	if p.ctx.Err() != nil {
		return false // the handles have ended
	}
	var first *Error
	for i := range reads {
		r := &reads[i]
		err := r.lookError(look)
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
	if failure := look.Failure(); failure != nil {
		err = failure
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
	return class == ErrUnavailable || class == ErrUnauthenticated || class == ErrClosed
}
