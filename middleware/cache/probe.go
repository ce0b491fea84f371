package cache

import (
	"context"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/joined"
)

// consult is look, and more while the backend is in an outage: what memory does not know is answered with the old value, if
// that may be served, or with ErrUnavailable. A reader that comes when it is time for a probe causes it, and waits for it
// first.
func (s *space) consult(ctx context.Context, d document) (finding, *entry, secrets.Result) {
	found, e, r := s.look(d)
	if found == answer {
		return answer, e, r
	}
	o := s.outage.open(d)
	switch {
	case o == nil:
		return found, e, r
	case found == due:
		return putOff, e, r
	}
	c := s.claim(d, e)
	if c != nil {
		result, final := s.probe(ctx, c)
		if o = s.outage.open(d); o == nil && !final {
			return found, e, r // another fetch has ended it
		}
		s.misses.Add(1)
		if final {
			return answer, e, result
		}
	}
	r = s.withoutAsking(d, o)
	if c == nil && r.Err != nil {
		s.backedOff.Add(1)
	}
	return answer, e, r
}

// withoutAsking returns the answer for d in the outage o.
func (s *space) withoutAsking(d document, o *spell) secrets.Result {
	if old, ok := s.recollect(d); ok {
		return old
	}
	return secrets.Result{Err: o.fault(d.ref(), s.clock.now())}
}

// claim returns a probe for d, whose value is that of e if it has any, which the caller has to run. It returns nil if it is
// not the time for one, if d is asked for already, or if s is closed.
func (s *space) claim(d document, e *entry) *call {
	now, failed := s.clock.now(), s.hasFailed(d)
	if s.outage.open(d).holds(failed, now) {
		return nil // most readers need no lock
	}
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	if s.closed || e != nil && e.renewal.Load() != nil {
		return nil
	}
	c := &call{document: d, entry: e, failed: failed, others: new(joined.List), done: make(chan struct{})}
	if !s.outage.claim(c, now) {
		return nil
	}
	if e != nil {
		e.renewal.Store(c)
	}
	s.running.Add(1) // here, where Close can not have passed
	return c
}

// hasFailed reports whether d could not be had at the last attempt, in the present outage or before any.
func (s *space) hasFailed(d document) bool {
	e, found := s.index.Load(d)
	return found && e.troubles().failures > 0
}

// probe runs c as a renewal is, detached from ctx, so that callers with short deadlines can not keep an outage alive. It
// waits for the answer, but not so long that the caller would lose by that what it gets else: the old value, or the time for
// a fallback.
func (s *space) probe(ctx context.Context, c *call) (r secrets.Result, final bool) {
	s.renewOne(context.WithValue(ctx, probeKey{}, s), c, false)
	patience := probePatience
	if c.entry != nil {
		patience = min(patience, time.Duration(c.entry.staleUntil()-s.clock.now())/2)
	}
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	return c.wait(ctx, timer.C)
}

// probeAhead makes the renewal of e, which was put off, a probe if it is time for one. Nobody waits for it. Otherwise the renewal
// is due again after the step, so that memos of e are made until then and reads of it stay quick.
func (s *space) probeAhead(ctx context.Context, e *entry) {
	if c := s.claim(e.document, e); c != nil {
		s.renewOne(context.WithValue(ctx, probeKey{}, s), c, true)
	} else if o := s.outage.open(e.document); o != nil {
		e.postpone(o.turn(s.hasFailed(e.document)))
	}
}

// probeKey is the key of the keyspace that has sent a probe. A backend may have a cache of its own, where it is none.
type probeKey struct{}

// isProbe reports whether a fetch with ctx is a probe of the backend of s.
func (s *space) isProbe(ctx context.Context) bool { return ctx.Value(probeKey{}) == any(s) }
