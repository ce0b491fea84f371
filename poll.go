package secrets

import (
	"context"
	"errors"
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
	asked     time.Time // the same, of looks that are no mere read of a cache
	absent    bool      // the last look has found that there is no such secret
	news      int       // counts the values that handles got beside a look
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
		now := time.Now()
		p = &poll{of: w, doc: doc, followers: make(map[*follower]struct{}), looked: now, asked: now}
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

// refreshed shows s, which a Refresh of ref has brought, in the handles of ref, and makes those of other fields look.
func (w *watches) refreshed(ref Ref, s Secret) {
	doc := w.client.stacks[0].place(ref)
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.polls[doc]
	if p == nil {
		return
	}
	for f := range p.followers {
		if f.ref == ref && !s.Meta().FetchedAt.Before(f.held.Load().secret.Meta().FetchedAt) {
			f.follow(s, nil)
			p.news++ // a look that runs may have an older value
		} else {
			p.woken = true
		}
	}
	p.woken = p.woken || p.looking
	p.schedule()
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
		p.timer = time.AfterFunc(wait, p.tick)
	} else {
		p.timer.Reset(wait)
	}
}

// hasCome reports whether t has, by the monotonic clock or by the wall clock.
func hasCome(t time.Time) bool {
	now := time.Now()
	return !now.Before(t) || !now.Round(0).Before(t.Round(0))
}

// look is one look at a document.
type look struct {
	fetchctx.Renewal

	followers []*follower
	until     time.Time // the end of a lease, or zero
	news      int       // that of the poll, when the look began
	answers   []read    // one for each key
	err       *Error    // the first of those that the handles show, or nil
}

// tick looks for new values, if it is time.
func (p *poll) tick() {
	if !p.of.looks.Begin() {
		return
	}
	defer p.of.looks.End()
	l, lost := p.begin()
	for _, f := range lost {
		f.end()
	}
	if l == nil {
		return
	}
	defer p.end(l) // also if middleware ends the goroutine
	p.ask(l)
	p.show(l)
	p.tell(l.err)
}

// begin returns a look, if it is time for one, and the handles that the program has dropped.
func (p *poll) begin() (l *look, lost []*follower) {
	w := p.of
	w.mu.Lock()
	defer w.mu.Unlock()
	lost = p.dropLost()
	switch {
	case p.looking || w.polls[p.doc] != p:
		return nil, lost
	case !hasCome(p.next.at):
		p.arm()
		return nil, lost
	}
	p.looking, p.woken = true, false
	c := p.circumstances()
	l = &look{followers: slices.Collect(maps.Keys(p.followers)), until: c.leaseEnd, news: p.news, err: errEnded}
	l.Passive = !p.next.force && c.renewAt.After(c.now)
	return l, lost
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

// end ends l, and plans the next look.
func (p *poll) end(l *look) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	now := time.Now()
	p.looking, p.looked, p.pause, p.share = false, now, now.Add(minPause), 0.1*rand.Float64() //nolint:gosec // it need not be secret
	if !l.Passive {
		p.asked = now
	}
	if p.failures++; l.err == nil {
		p.failures = 0
	}
	p.absent = l.err != nil && errors.Is(l.err, ErrNotFound)
	p.schedule()
}

// ask gets the answers of l: the fields of the document are of one version. It ends with the lease, so that the value is marked then.
func (p *poll) ask(l *look) {
	ctx := p.ctx
	if !l.until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, l.until)
		defer cancel()
	}
	asked := make(map[string]bool, 1)
	for _, f := range l.followers {
		if !asked[f.key] {
			asked[f.key] = true
			l.answers = append(l.answers, read{key: f.key, ref: f.ref})
		}
	}
	p.of.client.getMany(ctx, fetchctx.Fetch{Renewal: &l.Renewal}, l.answers)
}

// show makes the handles of l show its answers, unless they have got news meanwhile.
func (p *poll) show(l *look) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	l.err = nil
	if p.ctx.Err() != nil || p.news != l.news {
		return // the handles have ended, or there is to be another look
	}
	answers := make(map[string]*read, len(l.answers))
	reasons := make(map[string]*Error)
	for i := range l.answers {
		r := &l.answers[i]
		answers[r.key] = r
		if err := r.lookError(&l.Renewal); err != nil {
			reasons[r.key] = err
			if l.err == nil {
				l.err = err
			}
		}
	}
	for _, f := range l.followers {
		if s := answers[f.key].secret; s.IsZero() {
			f.fail(reasons[f.key])
		} else {
			f.follow(s, reasons[f.key])
		}
	}
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
