package middleware_test

import (
	"context"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// The model says what a read must answer, when at the latest, and how many calls of the backend there are. It follows docs/outages.md,
// and knows nothing of the code. Readers come one after the other.

const (
	modelTTL      = 100 * time.Second
	modelMaxStale = 50 * time.Second
	modelTimeout  = 5 * time.Second
	maxPatience   = time.Second
	never         = time.Duration(1 << 62)
)

// behavior is what the backend does with a call: it answers after a time, with a version or with an error.
type behavior struct {
	after   time.Duration
	version int
	class   error
}

// modelFetch is a call of the backend that is under way.
type modelFetch struct {
	behavior

	began, ends time.Duration

	kept  bool // a fetch in the background, or a probe: its caller does not leave
	probe bool
}

// modelDocument is what is known about a document.
type modelDocument struct {
	behave   func(call int) behavior // of the next call
	lease    time.Duration           // of each value, or 0
	calls    int
	running  []*modelFetch // in the order in which they began
	told     time.Duration // when the last fetch began that has told what the document is
	value    bool
	version  int
	fetched  time.Duration
	slow     bool // the patience of a reader has run out
	failures int
	retryAt  time.Duration // the back-off
}

// model is one backend, with the circuit breaker of its only endpoint.
type model struct {
	now       time.Duration
	documents map[string]*modelDocument
	seen      bool          // the backend has answered
	answered  time.Duration // at last
	counted   int           // failures in a row
	failed    map[string]bool
	open      bool
	step      int
	opensAt   time.Duration // half-open
	unclear   bool          // an answer depends on the spread of a back-off
}

// answer is what a reader gets: a version, which may be stale, or the class of an error.
type answer struct {
	version int
	stale   bool
	class   error
}

// reader is how a read is made. Zero times mean never.
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

// backedOff reports whether a wait of about d, ±20 %, from then on lasts still.
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

// pass lets time pass until at.
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

// settle notes what f has brought.
func (m *model) settle(name string, f *modelFetch) {
	d := m.documents[name]
	d.running = slices.DeleteFunc(d.running, func(other *modelFetch) bool { return other == f })
	good := d.good(m.now)
	if f.class == secrets.ErrUnavailable {
		if f.began >= d.told {
			d.failures++
			d.retryAt = m.now
		}
		m.count(name, f, good)
		return
	}
	if m.open {
		for _, other := range m.documents {
			other.failures = 0 // the breaker takes the back-offs with it
		}
	}
	m.seen, m.answered, m.counted, m.failed, m.open = true, m.now, 0, nil, false
	if f.began < d.told {
		return // a later fetch has told
	}
	d.told, d.failures = f.began+1, 0
	d.value = f.class == nil
	d.version, d.fetched, d.slow = f.version, f.began, false
}

// count notes a failure for the circuit breaker.
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

// alone reports whether no other document could fail so.
func (m *model) alone() bool {
	n := 0
	for _, d := range m.documents {
		if d.value || !m.seen && d.failures > 0 {
			n++
		}
	}
	return n <= 1
}

// join returns the fetch that a reader of d waits for: the newest, if somebody waits for it or three run, else another.
func (m *model) join(d *modelDocument) *modelFetch {
	if n := len(d.running); n > 0 && (d.running[n-1].kept || n >= 3) {
		return d.running[n-1]
	}
	return m.begin(d, m.now)
}

// later returns when a Refresh of d begins: after the newest fetch, but in a second at the latest, as soon as fewer than three run.
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
	fetch    *modelFetch // or nil: then there is an answer at once, or the end of the caller
	answer   answer      // without fetch
	until    time.Duration
	end      error // of the caller, if until is its end
	helps    bool  // memory helps
}

// start begins a read, which waits for a fetch or has its answer.
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
		d.told = began + 1
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
	patience := maxPatience
	if d.good(began) {
		patience = min(patience, (d.staleUntil()-began)/2)
	}
	if r.deadline > 0 {
		patience = min(patience, r.deadline/2)
	}
	patience += began
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
		return m.waits(d, f, limit, end, patience)
	case !d.good(began):
		return m.waits(d, m.join(d), limit, end, never)
	case d.slow:
		if len(d.running) == 0 {
			m.begin(d, began).kept = true
		}
		return pending{answer: m.without(d), until: began}
	default:
		return m.waits(d, m.join(d), limit, end, patience)
	}
}

// waits returns a read that waits for f until the limit, or while there is patience: then memory helps, if that is not never.
func (m *model) waits(d *modelDocument, f *modelFetch, limit time.Duration, end error, patience time.Duration) pending {
	p := pending{document: d, fetch: f, until: min(f.ends, limit, patience), helps: patience != never}
	if limit < min(f.ends, patience) {
		p.end = end
	}
	return p
}

// finish returns the answer to p, and when it comes.
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

// without is what memory has for a reader that does not wait.
func (m *model) without(d *modelDocument) answer {
	if d.good(m.now) {
		return answer{version: d.version, stale: m.now >= d.expires()}
	}
	return answer{class: secrets.ErrUnavailable}
}
