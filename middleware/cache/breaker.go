package cache

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

const (
	// openAfter is how many fetches in a row must find the backend unavailable before the breaker opens.
	openAfter = 3
	// probePatience is for how long the reader that causes a probe waits for its answer.
	probePatience = time.Second
)

// breaker is the circuit breaker of a keyspace: what its fetches have shown of the backend as a whole. It is closed while the
// backend answers, and opens when openAfter of them in a row have found it unavailable, whatever they asked for. While it is open,
// readers are answered at once. When a step of the back-off is over, it is half-open: the fetch of the next reader is the probe. Any
// answer closes it.
//
// As long as all failures were of one document, that may be what is sick: the breaker is then open for it alone, and others are
// asked for as ever. Their answer closes it, and their failure shows that it is the backend. Several documents may be sick,
// too: so those that have not failed in this outage may cause a probe a little before those that have.
//
// It takes the place of the back-offs of documents: while it is open, it alone says when the backend is asked, and when it
// closes, those that were noted before are void.
type breaker struct {
	state atomic.Pointer[opening] // nil while closed; written under mu, read without
	ended atomic.Uint64           // how often it was open for the backend and has closed; written under mu, read without

	mu       sync.Mutex // may be taken under Cache.mu, and holds none itself
	failures int        // fetches in a row that found the backend unavailable
	of       cause      // those failures
	next     int        // the number of the next fetch to begin
	floor    int        // the lowest number whose failure counts: those below began before the backend last answered
}

// opening is the state of a breaker that is open. It is immutable.
type opening struct {
	failures int            // in a row
	of       cause          // them
	last     *secrets.Error // the last of them
	step     int            // of the back-off
	retryAt  age            // the backend is not asked before it
	othersAt age            // nor for a document that has not failed before this, which is no later
	probe    *renewal       // under way, or nil
}

// attempt is a fetch whose outcome counts.
type attempt struct {
	cause

	number int
	began  age
}

// cause is what fetches have asked for: one document, or several.
type cause struct {
	document docKey // one of them
	several  bool
}

// begin returns an attempt to fetch d that begins now.
func (b *breaker) begin(now age, d docKey) attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return attempt{number: b.next - 1, began: now, cause: cause{document: d}}
}

// answered notes that the backend has answered a. What began before may still fail, and says nothing about the time after.
func (b *breaker) answered(a attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures, b.floor = 0, b.next
	old := b.state.Load()
	if old == nil {
		return
	}
	if old.of.several || a.several || a.document == old.of.document {
		b.ended.Add(1) // first: whoever sees that it is closed must see no back-off of the time when it was open
	} // or else it was the document that is sick, and has a back-off of its own
	b.state.Store(nil)
}

// failed notes that a found the backend unavailable. Only the first that has begun since the last step was over begins the
// next one: the others say nothing new, however many they are.
func (b *breaker) failed(a attempt, err error, now age) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.number < b.floor {
		return
	}
	if b.failures++; b.failures == 1 {
		b.of = a.cause
	}
	b.of.several = b.of.several || a.several || a.document != b.of.document
	if b.failures < openAfter {
		return
	}
	// The first step is that of a document that has failed as often.
	s, next := opening{step: openAfter - 1}, true
	if old := b.state.Load(); old != nil {
		s, next = *old, a.began >= old.othersAt
	}
	if next {
		s.step++
		step := backoffStep(s.step)
		s.retryAt = now + age(spread(step, backoffSpread))
		s.othersAt = now + age(float64(step)*(1-backoffSpread))
	}
	s.failures, s.of, s.last = b.failures, b.of, asError(err)
	b.state.Store(&s)
}

// openFor returns the state in which b is open for d, or nil.
func (b *breaker) openFor(d docKey) *opening {
	s := b.state.Load()
	if s == nil || !s.of.several && s.of.document != d {
		return nil
	}
	return s
}

// claim makes r the probe, and reports whether there is to be one.
func (b *breaker) claim(r *renewal, now age) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.state.Load()
	if old == nil || old.holds(r.failed, now) {
		return false
	}
	s := *old
	s.probe = r
	b.state.Store(&s)
	return true
}

// release notes that r is no probe any more.
func (b *breaker) release(r *renewal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.state.Load(); old != nil && old.probe == r {
		s := *old
		s.probe = nil
		b.state.Store(&s)
	}
}

// holds reports whether o keeps readers from asking for a document, which has failed before or not.
func (o *opening) holds(failed bool, now age) bool {
	return o != nil && (now < o.retryFor(failed) || o.probe != nil)
}

// retryFor returns when a document that has failed before, or has not, may be asked for.
func (o *opening) retryFor(failed bool) age {
	if failed {
		return o.retryAt
	}
	return o.othersAt
}

// maxDetail is the size in bytes up to which the explanation of the last failure is passed on.
const maxDetail = 200

// failure is the answer to a fetch of ref that the open breaker keeps from the backend.
func (o *opening) failure(ref secrets.Ref, now age) error {
	again := "now"
	if wait := time.Duration(o.retryAt - now); wait > 0 {
		again = "in about " + max(wait.Round(backoffMin), backoffMin).String()
	}
	e := &secrets.Error{Backend: o.last.Backend, Key: ref.String(), Err: secrets.ErrUnavailable}
	e.Detail = fmt.Sprintf("the backend was unavailable %d times in a row, and is asked again %s", o.failures, again)
	if d := o.last.Detail; d != "" && len(d) <= maxDetail {
		e.Detail += "; the last time: " + d
	}
	return e
}

// judge notes what the answer r to a shows of the backend. call is what brought it: a failure of several documents in one call is
// one failure, and none if another document of the call was answered.
func (k *keyspace) judge(a attempt, r secrets.Result, call *fetchctx.Origin) {
	switch {
	case isAnswer(r):
		k.breaker.answered(a)
	case !errors.Is(secrets.Class(r.Err), secrets.ErrUnavailable) || isContextError(r.Err):
	case call.CountFailure() && !hasAnswer(call):
		a.several = call.Size() > 1
		k.breaker.failed(a, r.Err, k.clock.now())
	}
}

// isAnswer reports whether r shows that the backend answers. To refuse a key, it need not have asked anybody.
func isAnswer(r secrets.Result) bool {
	class := secrets.Class(r.Err)
	return !saysNothing(r, class) && !errors.Is(class, secrets.ErrInvalidKey) && !errors.Is(class, secrets.ErrUnavailable)
}

// hasAnswer reports whether call brought an answer for any of its documents.
func hasAnswer(call *fetchctx.Origin) bool {
	results, _ := call.Results().([]secrets.Result)
	return slices.ContainsFunc(results, isAnswer)
}
