package middleware_test

import (
	"context"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// The model predicts the result of each read, when it comes, and the number of calls of the backend. It follows docs/outages.md, and shares
// no code with the cache. Readers come one after another.

const (
	modelTTL      = 100 * time.Second
	modelMaxStale = 50 * time.Second
	modelTimeout  = 5 * time.Second
	maxWait       = time.Second
	never         = time.Duration(1 << 62)
)

// behavior is the behavior of the backend in a call: it answers after a time, with a version or with an error.
type behavior struct {
	after   time.Duration
	version int
	class   error
}

// modelFetch is a call of the backend that is under way.
type modelFetch struct {
	behavior

	began, ends time.Duration

	kept  bool // a fetch in the background, or a probe: later readers join it
	probe bool
}

// modelDocument is the state of a document.
type modelDocument struct {
	behave     func(call int) behavior // of the next call
	lease      time.Duration           // of each value, or 0
	calls      int
	running    []*modelFetch // in the order in which they began
	definitive time.Duration // after the start of the last fetch with a definitive answer
	value      bool
	version    int
	fetched    time.Duration
	slow       bool // a reader's wait has timed out
	failures   int
	retryAt    time.Duration // start of the back-off
}

// model is one backend, with the circuit breaker of its only endpoint.
type model struct {
	now       time.Duration
	documents map[string]*modelDocument
	seen      bool          // the backend has answered
	answered  time.Duration // time of its last answer
	counted   int           // failures in a row
	failed    map[string]bool
	open      bool
	step      int
	opensAt   time.Duration // half-open
	unclear   bool          // an answer depends on the spread of a back-off
}

// answer is the result of a read: a version, which may be stale, or the class of an error.
type answer struct {
	version int
	stale   bool
	class   error
}

// reader describes a read. Zero times mean never.
type reader struct {
	deadline, cancel time.Duration // after the read began
	fresh            bool          // Refresh
	invalidate       bool          // Invalidate, then Get
}

func (d *modelDocument) expires() time.Duration {
	if d.lease > 0 {
		return d.fetched + min(modelTTL, d.lease)
	}
	return d.fetched + modelTTL
}

func (d *modelDocument) dueAt() time.Duration { return d.fetched + (d.expires()-d.fetched)*8/10 }

func (d *modelDocument) staleUntil() time.Duration {
	until := d.fetched + modelTTL + modelMaxStale
	if d.lease > 0 {
		until = min(until, d.fetched+d.lease)
	}
	return until
}

func (d *modelDocument) good(now time.Duration) bool { return d.value && now < d.staleUntil() }

// backedOff reports whether a back-off of d, ±20 %, that began at from is not over at at.
func (m *model) backedOff(at, from, d time.Duration) bool {
	if at > from+d*8/10 && at <= from+d*12/10 {
		m.unclear = true
	}
	return at < from+d
}

func backoffOf(failures int) time.Duration {
	return min(100*time.Millisecond<<(failures-1), 10*time.Second)
}

// begin makes a call of the backend.
func (m *model) begin(d *modelDocument, at time.Duration) *modelFetch {
	d.calls++
	f := &modelFetch{began: at, behavior: d.behave(d.calls)}
	f.ends = at + min(f.after, modelTimeout)
	if f.after > modelTimeout {
		f.class = secrets.ErrUnavailable
	}
	d.running = append(d.running, f)
	return f
}

// pass advances the time to at.
func (m *model) pass(at time.Duration) {
	for {
		var name string
		var next *modelFetch
		for n, d := range m.documents {
			for _, f := range d.running {
				if f.ends <= at && (next == nil || f.ends < next.ends) {
					name, next = n, f
				}
			}
		}
		if next == nil {
			m.now = max(m.now, at)
			return
		}
		m.now = max(m.now, next.ends)
		m.settle(name, next)
	}
}

// settle applies the result of f.
func (m *model) settle(name string, f *modelFetch) {
	d := m.documents[name]
	d.running = slices.DeleteFunc(d.running, func(other *modelFetch) bool { return other == f })
	good := d.good(m.now)
	if f.class == secrets.ErrUnavailable {
		if f.began >= d.definitive {
			d.failures++
			d.retryAt = m.now
		}
		m.count(name, f, good)
		return
	}
	if m.open {
		for _, other := range m.documents {
			other.failures = 0 // back-offs end with the outage
		}
	}
	m.seen, m.answered, m.counted, m.failed, m.open = true, m.now, 0, nil, false
	if f.began < d.definitive {
		return // a later fetch has had a definitive answer
	}
	d.definitive, d.failures = f.began+1, 0
	d.value = f.class == nil
	d.version, d.fetched, d.slow = f.version, f.began, false
}

// count applies a failure to the circuit breaker.
func (m *model) count(name string, f *modelFetch, good bool) {
	counts := (good || !m.seen) && f.began >= m.answered
	if counts {
		m.counted++
		if m.failed == nil {
			m.failed = make(map[string]bool)
		}
		m.failed[name] = true
	}
	switch {
	case m.open && f.began >= m.opensAt:
		m.step++
	case !m.open && counts && m.counted >= 3 && (len(m.failed) > 1 || m.alone()):
		m.open, m.step = true, 3
	default:
		return
	}
	m.opensAt = m.now + backoffOf(m.step)
}

// alone reports whether there is at most one document whose failures count.
func (m *model) alone() bool {
	n := 0
	for _, d := range m.documents {
		if d.value || !m.seen && d.failures > 0 {
			n++
		}
	}
	return n <= 1
}

// join returns the fetch that a reader of d waits for: the newest, if it has callers or three run, or else a new one.
func (m *model) join(d *modelDocument) *modelFetch {
	if n := len(d.running); n > 0 && (d.running[n-1].kept || n >= 3) {
		return d.running[n-1]
	}
	return m.begin(d, m.now)
}

// later returns when a Refresh of d begins: after the newest fetch or after a second, as soon as fewer than three run.
func (m *model) later(d *modelDocument) time.Duration {
	at := m.now
	if n := len(d.running); n > 0 {
		at = min(d.running[n-1].ends, at+time.Second)
	}
	for {
		running, next := 0, never
		for _, f := range d.running {
			if f.ends > at {
				running, next = running+1, min(next, f.ends)
			}
		}
		if running < 3 {
			return at
		}
		at = next
	}
}

// pending is a read that waits for a fetch.
type pending struct {
	document *modelDocument
	fetch    *modelFetch // nil if the answer comes at once, or the caller ends first
	answer   answer      // without fetch
	until    time.Duration
	end      error // of the caller, if until is its end
	helps    bool  // the value in memory is returned if the fetch does not answer in time
}

// start begins a read, which has a result at once or waits for a fetch.
func (m *model) start(name string, r reader) pending {
	d, began := m.documents[name], m.now
	limit, end := never, error(nil)
	if r.deadline > 0 {
		limit, end = began+r.deadline, context.DeadlineExceeded
	}
	if r.cancel > 0 {
		limit, end = began+r.cancel, context.Canceled
	}
	later := r.fresh
	if r.invalidate {
		d.value, d.failures, d.slow = false, 0, false
		d.definitive = began + 1
		later = len(d.running) > 0
	}
	if later {
		at := m.later(d)
		if at >= limit {
			return pending{answer: answer{class: end}, until: limit}
		}
		m.pass(at)
		return m.waits(d, m.begin(d, at), limit, end, never)
	}
	waitUntil := maxWait
	if d.good(began) {
		waitUntil = min(waitUntil, (d.staleUntil()-began)/2)
	}
	if r.deadline > 0 {
		waitUntil = min(waitUntil, r.deadline/2)
	}
	waitUntil += began
	probing := slices.ContainsFunc(d.running, func(f *modelFetch) bool { return f.probe })
	halfOpen := m.open && !m.backedOff(began, m.opensAt-backoffOf(m.step), backoffOf(m.step)) && !probing
	backingOff := !m.open && d.failures > 0 && m.backedOff(began, d.retryAt, backoffOf(d.failures))
	switch fresh := d.value && began < d.expires(); {
	case fresh:
		if began >= d.dueAt() && len(d.running) == 0 && !backingOff && (!m.open || halfOpen) {
			m.begin(d, began).kept = true
		}
		return pending{answer: answer{version: d.version}, until: began}
	case m.open && !halfOpen, backingOff:
		return pending{answer: m.without(d), until: began}
	case m.open:
		f := m.begin(d, began)
		f.kept, f.probe = true, true
		if d.good(began) && d.slow {
			return pending{answer: m.without(d), until: began}
		}
		return m.waits(d, f, limit, end, waitUntil)
	case !d.good(began):
		return m.waits(d, m.join(d), limit, end, never)
	case d.slow:
		if len(d.running) == 0 {
			m.begin(d, began).kept = true
		}
		return pending{answer: m.without(d), until: began}
	default:
		return m.waits(d, m.join(d), limit, end, waitUntil)
	}
}

// waits returns a read that waits for f until limit, which is the end of the caller, or until waitUntil, which is never without a value in
// memory.
func (m *model) waits(d *modelDocument, f *modelFetch, limit time.Duration, end error, waitUntil time.Duration) pending {
	p := pending{document: d, fetch: f, until: min(f.ends, limit, waitUntil), helps: waitUntil != never}
	if limit < min(f.ends, waitUntil) {
		p.end = end
	}
	return p
}

// finish returns the result of p, and when it comes.
func (m *model) finish(p pending) (answer, time.Duration) {
	m.pass(p.until)
	f := p.fetch
	switch {
	case f == nil:
		return p.answer, p.until
	case f.ends <= p.until && f.class == nil:
		return answer{version: f.version}, p.until
	case f.ends <= p.until && (f.class != secrets.ErrUnavailable || !p.helps):
		return answer{class: f.class}, p.until
	case p.end != nil:
		return answer{class: p.end}, p.until
	case f.ends > p.until:
		p.document.slow = p.document.good(p.until)
	}
	return m.without(p.document), p.until
}

// without returns the result of a reader that does not wait.
func (m *model) without(d *modelDocument) answer {
	if d.good(m.now) {
		return answer{version: d.version, stale: m.now >= d.expires()}
	}
	return answer{class: secrets.ErrUnavailable}
}
