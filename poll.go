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

// watches are the pollers of a Client.
type watches struct {
	client  *Client
	ctx     context.Context //nolint:containedctx // of all polls: no call carries it
	cancel  context.CancelFunc
	running *inflight.Calls // polls
	limit   time.Duration   // for the duration of a poll

	mu      sync.Mutex
	closed  bool
	pollers map[Ref]*poller
	news    int // counts events that may have made values old
}

func newWatches(c *Client) *watches {
	w := &watches{client: c, running: inflight.New(), pollers: make(map[Ref]*poller)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// poller polls one document for all of its handles. Between two polls there is a timer and no goroutine.
type poller struct {
	of     *watches
	doc    Ref
	ctx    context.Context //nolint:containedctx // of the polls of this document
	cancel context.CancelFunc

	// Guarded by watches.mu:
	followers map[*follower]struct{} // never empty while the poller is in watches.pollers
	timer     *time.Timer
	polling   bool
	woken     bool // the value may have changed: poll at once
	next      plan
	last      conditions // next is planned for these
	polledAt  time.Time  // when the last poll ended, or the poller began
	fetchedAt time.Time  // the same for polls that are not Passive
	absent    bool       // the last poll has found no secret
	news      int        // counts the values that handles got from a Refresh
	pause     time.Time  // the next poll is not before it
	jitter    float64    // between 0 and 0.1, drawn for each poll
	failures  int        // polls that failed, in a row
	logged    string     // the failure that was logged last, or ""
	loggedFor *stack     // the backend of that failure
}

// listen registers with all backends for changes. It returns the number of events so far, for add.
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

// add adds f to the poller of its document. news is the result of listen before the value of f was fetched.
func (w *watches) add(f *follower, news int) error {
	doc := w.client.stacks[0].place(f.ref)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return NewError(ErrClosed, "")
	}
	p := w.pollers[doc]
	if p == nil {
		now := time.Now()
		p = &poller{of: w, doc: doc, followers: make(map[*follower]struct{}), polledAt: now, fetchedAt: now, jitter: drawJitter()}
		p.ctx, p.cancel = context.WithCancel(w.ctx)
		w.pollers[doc] = p
	}
	f.poller = p
	p.followers[f] = struct{}{}
	p.woken = p.woken || news != w.news
	if p.timer == nil || p.woken || p.last.changesWith(f) {
		p.schedule() // not for each f: there may be thousands of handles
	}
	return nil
}

// place returns the document of ref; handles of one place share a poller. A Local backend may change the document of a ref, so there the
// place is the path and version.
func (s *stack) place(ref Ref) Ref {
	if s.info.Local {
		return locationOf(ref).doc
	}
	return s.constantLocation(ref).doc
}

// remove removes f from p. p ends with its last handle.
func (p *poller) remove(f *follower) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	delete(p.followers, f)
	p.endIfEmpty()
}

// endIfEmpty ends p if it has no handles. The caller holds watches.mu.
func (p *poller) endIfEmpty() {
	if len(p.followers) > 0 || p.of.pollers[p.doc] != p {
		return
	}
	delete(p.of.pollers, p.doc)
	p.timer.Stop()
	p.cancel()
}

// end ends all handles, and the running polls.
func (w *watches) end() {
	w.mu.Lock()
	w.closed = true
	var all []*follower
	for _, p := range w.pollers {
		for f := range p.followers {
			all = append(all, f)
			delete(p.followers, f)
		}
		p.endIfEmpty()
	}
	w.mu.Unlock()
	w.cancel()
	w.running.Close()
	var last []func()
	for _, f := range all {
		last = append(last, f.end()...)
	}
	runAll(last)
}

// changed wakes the pollers of docs, which have changed in the backend of s.
func (w *watches) changed(s *stack, docs []Ref) {
	w.wake(func(p *poller) bool {
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

// isWithin reports whether path is below dir. A Local backend may store the fields of a document as separate documents.
func isWithin(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && strings.HasPrefix(rest, "/")
}

// invalidated wakes the pollers of refs, which the caller has removed from memory.
func (w *watches) invalidated(refs []Ref) {
	if w == nil { // of a Client that New has not made
		return
	}
	for _, s := range w.client.stacks {
		places := make(map[Ref]bool, len(refs))
		for _, ref := range refs {
			places[s.place(ref)] = true
		}
		w.wake(func(p *poller) bool {
			for f := range p.followers {
				if places[s.place(f.ref)] {
					return true
				}
				if s == w.client.stacks[0] {
					return false // all followers of p have the same place in the first stack
				}
			}
			return false
		})
	}
}

// refreshed sets the handles of ref to s, the result of a Refresh, and wakes the poller for those of other fields.
func (w *watches) refreshed(ref Ref, s Secret) {
	doc := w.client.stacks[0].place(ref)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news++
	p := w.pollers[doc]
	if p == nil {
		return
	}
	for f := range p.followers {
		switch h := f.held.Load(); {
		case f.ref == ref && !s.Meta().FetchedAt.Before(h.secret.Meta().FetchedAt):
			f.follow(s, nil)
			p.news++ // a running poll may have an older value
		case h.err != nil || !isSameVersion(h.secret, s):
			p.woken = true
		}
	}
	p.woken = p.woken || p.polling
	p.schedule()
}

// isSameVersion reports whether two fields are known to be of one version of their document.
func isSameVersion(a, b Secret) bool {
	one, other := a.Meta(), b.Meta()
	return one.Version != "" && one.Version == other.Version && one.Backend == other.Backend
}

// wake makes the matching pollers poll at once.
func (w *watches) wake(matches func(p *poller) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news++
	for _, p := range w.pollers {
		if matches(p) {
			p.woken = true
			p.schedule()
		}
	}
}

// schedule sets the timer for the next poll. The caller holds watches.mu.
func (p *poller) schedule() {
	if p.polling || p.of.pollers[p.doc] != p {
		return // the end of the running poll schedules the next one
	}
	p.last = p.conditions()
	if p.next = p.last.plan(); p.woken {
		p.next = plan{at: p.last.now}
	}
	if p.next.at.Before(p.pause) {
		p.next.at = p.pause
	}
	p.arm()
}

// arm sets the timer, to defaultInterval at most: timers stop while a machine sleeps, so tick must compare with the wall clock.
func (p *poller) arm() {
	wait := min(max(time.Until(p.next.at), 0), defaultInterval)
	if p.timer == nil {
		p.timer = time.AfterFunc(wait, p.tick)
	} else {
		p.timer.Reset(wait)
	}
}

// hasCome reports whether it is t or later, by the monotonic clock or by the wall clock.
func hasCome(t time.Time) bool {
	now := time.Now()
	return !now.Before(t) || !now.Round(0).Before(t.Round(0))
}

// poll is one poll of a document.
type poll struct {
	fetchctx.Renewal

	followers []*follower
	until     time.Time // its deadline
	news      int       // that of the poller when the poll began
	answers   []read    // one for each key
	absent    bool      // none of the secrets exists
	err       *Error    // the first error of the handles, or nil
}

// tick polls if it is time.
func (p *poller) tick() {
	if !p.of.running.Begin() {
		return
	}
	defer p.of.running.End()
	cur, dropped := p.begin()
	for _, f := range dropped {
		runAll(f.end())
	}
	if cur == nil {
		return
	}
	defer p.end(cur) // also if middleware ends the goroutine
	p.fetch(cur)
	p.apply(cur)
	p.logFailure(cur.err)
}

// begin returns a poll, if it is time for one, and the handles that the program has dropped.
func (p *poller) begin() (cur *poll, dropped []*follower) {
	w := p.of
	w.mu.Lock()
	defer w.mu.Unlock()
	dropped = p.removeDropped()
	switch {
	case p.polling || w.pollers[p.doc] != p:
		return nil, dropped
	case !hasCome(p.next.at):
		p.arm()
		return nil, dropped
	}
	p.polling, p.woken = true, false
	c := p.conditions()
	cur = &poll{followers: slices.Collect(maps.Keys(p.followers)), until: c.now.Add(w.limit), news: p.news, err: errEnded}
	if !c.leaseEnd.IsZero() && c.leaseEnd.Before(cur.until) {
		cur.until = c.leaseEnd
	}
	cur.Passive = !p.next.force && c.renewAt.After(c.now)
	return cur, dropped
}

// drawJitter returns the part of an interval by which a poll is earlier.
func drawJitter() float64 { return 0.1 * rand.Float64() } //nolint:gosec // it need not be secret

// removeDropped removes the handles that the program has dropped, and returns them. The caller holds watches.mu.
func (p *poller) removeDropped() (dropped []*follower) {
	for f := range p.followers {
		f.removeDropped()
		if f.dropped.Load() {
			delete(p.followers, f)
			dropped = append(dropped, f)
		}
	}
	p.endIfEmpty()
	return dropped
}

// end ends cur, and schedules the next poll.
func (p *poller) end(cur *poll) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	now := time.Now()
	p.polling, p.polledAt, p.pause, p.jitter = false, now, now.Add(minPause), drawJitter()
	if !cur.Passive {
		p.fetchedAt = now
	}
	if p.failures++; cur.err == nil {
		p.failures = 0
	}
	p.absent = cur.absent
	p.schedule()
}

// fetch sets the answers of cur. The fields of the document are of one version. The deadline is the end of the lease, because the value
// becomes stale then. It also ends a poll that middleware holds up, so that there is a next one.
func (p *poller) fetch(cur *poll) {
	ctx, cancel := context.WithDeadline(p.ctx, cur.until)
	defer cancel()
	seen := make(map[string]bool, 1)
	for _, f := range cur.followers {
		if !seen[f.key] {
			seen[f.key] = true
			cur.answers = append(cur.answers, read{key: f.key, ref: f.ref})
		}
	}
	slices.SortFunc(cur.answers, func(a, b read) int { return strings.Compare(a.key, b.key) }) // so the first error is always of the same key
	p.of.client.getMany(ctx, fetchctx.Fetch{Renewal: &cur.Renewal}, cur.answers)
}

// apply sets the handles of cur to its answers, unless a Refresh has set them meanwhile.
func (p *poller) apply(cur *poll) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	cur.err = nil
	if p.ctx.Err() != nil || p.news != cur.news {
		return // the handles have ended, or the next poll is due
	}
	answers := make(map[string]*read, len(cur.answers))
	reasons := make(map[string]*Error)
	for i := range cur.answers {
		r := &cur.answers[i]
		answers[r.key] = r
		reasons[r.key] = r.staleReason(&cur.Renewal)
	}
	failed := make(map[string]bool)
	for _, f := range cur.followers {
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
	cur.absent = true
	for _, r := range cur.answers {
		reason := reasons[r.key]
		cur.absent = cur.absent && reason != nil && errors.Is(reason, ErrNotFound)
		if cur.err == nil && failed[r.key] {
			cur.err = reason
		}
	}
}

// staleReason returns why the answer of r is not a fresh value, or nil.
func (r *read) staleReason(renewal *fetchctx.Renewal) *Error {
	switch {
	case r.err != nil && isBareContextError(r.err.Err):
		return &Error{Backend: r.err.Backend, Key: r.key, Err: ErrUnavailable, Detail: "no answer came in time"}
	case r.err != nil:
		return r.err
	case !r.secret.Meta().Stale:
		return nil
	}
	err := renewal.Failure()
	if err == nil {
		err = NewError(ErrUnavailable, "no answer came in time")
	}
	return failureOf(context.Background(), err, r.secret.Meta().Backend, r.key)
}

// logFailure logs a failure of the document once, and its end. Failures of the backend are logged as its state.
func (p *poller) logFailure(err *Error) {
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
		if w.client.around { // err may be from user middleware, which no redaction covers
			err = &Error{Backend: err.Backend, Err: err.Err}
		}
	}
	p.loggedFor.health.watched(p.ctx, err, p.doc)
}

// isOfBackend reports whether class is for failures of a backend, and not of a document.
func isOfBackend(class error) bool {
	return class == ErrUnavailable || class == ErrUnauthenticated || class == ErrClosed
}
