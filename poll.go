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
	limit  time.Duration   // of a look

	mu     sync.Mutex
	closed bool
	polls  map[Ref]*poll
	news   int // counts what may have made values old
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
	last      circumstances // when it was planned
	looked    time.Time     // when the last look ended, or the poll began
	asked     time.Time     // the same, of looks that are no mere read of a cache
	absent    bool          // the last look has found that there is no such secret
	news      int           // counts the values that handles got beside a look
	pause     time.Time     // the next look is not before it
	jitter    float64       // between 0 and 0.1, drawn for each look
	failures  int           // of looks, in a row
	logged    string        // the last failure that was, or ""
	loggedFor *stack        // its backend
}

// listen makes all backends tell of changes, and returns how many there were.
func (w *watches) listen() (news int, err error) {
	if w == nil || w.client.closed.Load() { // nil: of a Client that New has not made
		return 0, NewError(ErrClosed, "")
	}
	for _, s := range w.client.stacks {
		if fault := s.listen(); fault != "" {
			return 0, &Error{Backend: s.info.Name, Err: ErrUnknown, Detail: fault}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.news, nil
}

// add lets a poll follow for f, whose value was fetched when there had been that many news.
func (w *watches) add(f *follower, news int) error {
	doc := w.client.stacks[0].place(f.ref)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return NewError(ErrClosed, "")
	}
	p := w.polls[doc]
	if p == nil {
		now := time.Now()
		p = &poll{of: w, doc: doc, followers: make(map[*follower]struct{}), looked: now, asked: now, jitter: drawJitter()}
		p.ctx, p.cancel = context.WithCancel(w.ctx)
		w.polls[doc] = p
	}
	f.poll = p
	p.followers[f] = struct{}{}
	p.woken = p.woken || news != w.news
	if p.timer == nil || p.woken || p.last.changesWith(f) {
		p.schedule() // most change nothing: there may be thousands
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
	var last []func()
	for _, f := range all {
		last = append(last, f.end()...)
	}
	runAll(last)
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
	if w == nil { // of a Client that New has not made
		return
	}
	for _, s := range w.client.stacks {
		places := make(map[Ref]bool, len(refs))
		for _, ref := range refs {
			places[s.place(ref)] = true
		}
		w.wake(func(p *poll) bool {
			for f := range p.followers {
				if places[s.place(f.ref)] {
					return true
				}
				if s == w.client.stacks[0] {
					return false // all of them are there
				}
			}
			return false
		})
	}
}

// refreshed shows s, which a Refresh of ref has brought, in the handles of ref, and makes those of other fields look.
func (w *watches) refreshed(ref Ref, s Secret) {
	doc := w.client.stacks[0].place(ref)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news++
	p := w.polls[doc]
	if p == nil {
		return
	}
	for f := range p.followers {
		switch h := f.held.Load(); {
		case f.ref == ref && !s.Meta().FetchedAt.Before(h.secret.Meta().FetchedAt):
			f.follow(s, nil)
			p.news++ // a look that runs may have an older value
		case h.err != nil || !isSameVersion(h.secret, s):
			p.woken = true
		}
	}
	p.woken = p.woken || p.looking
	p.schedule()
}

// isSameVersion reports whether two fields are of one version of their document, as far as the backend has versions.
func isSameVersion(a, b Secret) bool {
	one, other := a.Meta(), b.Meta()
	return one.Version != "" && one.Version == other.Version && one.Backend == other.Backend
}

// wake makes those polls look at once that match.
func (w *watches) wake(matches func(p *poll) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news++
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
	p.last = p.circumstances()
	if p.next = p.last.plan(); p.woken {
		p.next = plan{at: p.last.now}
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
	until     time.Time // it ends then
	news      int       // that of the poll, when the look began
	answers   []read    // one for each key
	absent    bool      // there is none of the secrets
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
		runAll(f.end())
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
	l = &look{followers: slices.Collect(maps.Keys(p.followers)), until: c.now.Add(w.limit), news: p.news, err: errEnded}
	if !c.leaseEnd.IsZero() && c.leaseEnd.Before(l.until) {
		l.until = c.leaseEnd
	}
	l.Passive = !p.next.force && c.renewAt.After(c.now)
	return l, lost
}

// drawJitter returns the part of an interval by which a look is sooner.
func drawJitter() float64 { return 0.1 * rand.Float64() } //nolint:gosec // it need not be secret

// dropLost takes the handles from p that the program has dropped, and returns them. The caller holds watches.mu.
func (p *poll) dropLost() (lost []*follower) {
	for f := range p.followers {
		f.dropLost()
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
	p.looking, p.looked, p.pause, p.jitter = false, now, now.Add(minPause), drawJitter()
	if !l.Passive {
		p.asked = now
	}
	if p.failures++; l.err == nil {
		p.failures = 0
	}
	p.absent = l.absent
	p.schedule()
}

// ask gets the answers of l: the fields of the document are of one version. It ends with the lease, so that the value is marked then.
// Middleware that waits for ever ends it, too, or there would be no other look.
func (p *poll) ask(l *look) {
	ctx, cancel := context.WithDeadline(p.ctx, l.until)
	defer cancel()
	asked := make(map[string]bool, 1)
	for _, f := range l.followers {
		if !asked[f.key] {
			asked[f.key] = true
			l.answers = append(l.answers, read{key: f.key, ref: f.ref})
		}
	}
	slices.SortFunc(l.answers, func(a, b read) int { return strings.Compare(a.key, b.key) }) // the first error is to be the same each time
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
		reasons[r.key] = r.lookError(&l.Renewal)
	}
	failed := make(map[string]bool)
	for _, f := range l.followers {
		s, reason := answers[f.key].secret, reasons[f.key]
		switch {
		case reason != nil && f.accepts(reason):
			f.follow(Secret{}, nil)
		case s.IsZero():
			f.fail(reason)
			failed[f.key] = true
		default:
			f.follow(s, reason)
			failed[f.key] = reason != nil
		}
	}
	l.absent = true
	for _, r := range l.answers {
		reason := reasons[r.key]
		l.absent = l.absent && reason != nil && errors.Is(reason, ErrNotFound)
		if l.err == nil && failed[r.key] {
			l.err = reason
		}
	}
}

// lookError returns why the answer of r is no fresh value, or nil.
func (r *read) lookError(look *fetchctx.Renewal) *Error {
	switch {
	case r.err != nil && isBareContextError(r.err.Err):
		return &Error{Backend: r.err.Backend, Key: r.key, Err: ErrUnavailable, Detail: "no answer came in time"}
	case r.err != nil:
		return r.err
	case !r.secret.Meta().Stale:
		return nil
	}
	err := look.Failure()
	if err == nil {
		err = NewError(ErrUnavailable, "no answer came in time")
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
	defer w.mu.Unlock()
	if text == p.logged {
		return
	}
	p.logged = text
	if err != nil {
		stacks := w.client.stacks
		p.loggedFor = stacks[max(0, slices.IndexFunc(stacks, func(s *stack) bool { return s.info.Name == err.Backend }))]
		if w.client.around { // user middleware may have made it, and nothing has taken values out of it
			err = &Error{Backend: err.Backend, Err: err.Err}
		}
	}
	p.loggedFor.health.watched(p.ctx, err, p.doc)
}

// isOfBackend reports whether a failure of that class is one of the backend, and not of a document.
func isOfBackend(class error) bool {
	return class == ErrUnavailable || class == ErrUnauthenticated || class == ErrClosed
}
