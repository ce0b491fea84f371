package cache

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
)

const (
	// outageAfter is how many fetches in a row must find the backend unavailable before that is taken for an outage of the
	// backend, and not of one document.
	outageAfter = 3
	// probePatience is for how long the reader that causes a probe waits for its answer.
	probePatience = time.Second
)

// outage is what the fetches of a keyspace have shown of its backend as a whole. It is closed while the backend answers,
// and opens when that many in a row have found it unavailable, whatever they asked for. While it is open, readers are
// answered at once. When a step of the back-off is over, one of them asks: its fetch is the probe. Any answer closes it.
//
// As long as all failures were of one document, that may be what is sick: the outage is then one for it alone, and others are
// asked for as ever. Their answer closes it, and their failure shows that it is the backend. Several documents may be sick,
// too: so those that have not failed in this outage have their turn for a probe a little before those that have.
//
// It takes the place of the back-offs of documents: while it is open, it alone says when the backend is asked, and when it
// closes, those that were noted before are void.
type outage struct {
	state atomic.Pointer[spell] // nil while closed; written under mu, read without
	ended atomic.Uint64         // how many there were; written under mu, read without

	mu       sync.Mutex // may be taken under Cache.mu, and holds none itself
	failures int        // fetches in a row that found the backend unavailable
	of       cause      // those failures
	next     int        // the number of the next fetch to begin
	floor    int        // the lowest number whose failure counts: those below began before the backend last answered
}

// spell is an outage that is open. It is immutable.
type spell struct {
	failures int            // in a row
	of       cause          // them
	last     *secrets.Error // the last of them
	step     int            // of the back-off
	retryAt  age            // the backend is not asked before it
	othersAt age            // nor for a document that has not failed before this, which is no later
	probe    *call          // under way, or nil
}

// attempt is a fetch whose outcome counts.
type attempt struct {
	cause

	number int
	began  age
}

// cause is what fetches have asked for: one document, or several.
type cause struct {
	document document // one of them
	several  bool
}

// begin returns an attempt to fetch refs that begins now.
func (o *outage) begin(now age, refs ...secrets.Ref) attempt {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next++
	return attempt{number: o.next - 1, began: now, cause: cause{documentOf(refs[0]), len(refs) > 1}}
}

// answered notes that the backend has answered to a. What began before may still fail, and says nothing about the time after.
func (o *outage) answered(a attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures, o.floor = 0, o.next
	old := o.state.Load()
	if old == nil {
		return
	}
	if old.of.several || a.several || a.document == old.of.document {
		o.ended.Add(1) // first: whoever sees that it is over must see no back-off of it
	} // or else it was the document that is sick, and has a back-off of its own
	o.state.Store(nil)
}

// failed notes that a found the backend unavailable. Only the first that has begun since the last step was over begins the
// next one: the others say nothing new, however many they are.
func (o *outage) failed(a attempt, err error, now age) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.number < o.floor {
		return
	}
	if o.failures++; o.failures == 1 {
		o.of = a.cause
	}
	o.of.several = o.of.several || a.several || a.document != o.of.document
	if o.failures < outageAfter {
		return
	}
	// The first step is that of a document that has failed as often.
	s, next := spell{step: outageAfter - 1}, true
	if old := o.state.Load(); old != nil {
		s, next = *old, a.began >= old.othersAt
	}
	if next {
		s.step++
		step := backoffStep(s.step)
		s.retryAt = now + age(spread(step, backoffSpread))
		s.othersAt = now + age(float64(step)*(1-backoffSpread))
	}
	s.failures, s.of, s.last = o.failures, o.of, asError(err)
	o.state.Store(&s)
}

// open returns the outage that d is in, or nil.
func (o *outage) open(d document) *spell {
	s := o.state.Load()
	if s == nil || !s.of.several && s.of.document != d {
		return nil
	}
	return s
}

// claim makes c the probe, and reports whether there is to be one.
func (o *outage) claim(c *call, now age) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.state.Load()
	if old == nil || old.holds(c.failed, now) {
		return false
	}
	s := *old
	s.probe = c
	o.state.Store(&s)
	return true
}

// release notes that c is no probe any more.
func (o *outage) release(c *call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if old := o.state.Load(); old != nil && old.probe == c {
		s := *old
		s.probe = nil
		o.state.Store(&s)
	}
}

// holds reports whether the outage keeps readers from asking for a document, which has failed in it or not.
func (s *spell) holds(failed bool, now age) bool {
	return s != nil && (now < s.turn(failed) || s.probe != nil)
}

// turn returns when a document that has failed in the outage, or has not, may be asked for.
func (s *spell) turn(failed bool) age {
	if failed {
		return s.retryAt
	}
	return s.othersAt
}

// longestDetail is the size in bytes up to which the explanation of the last failure is passed on.
const longestDetail = 200

// fault is the answer to a question for ref that the outage keeps from the backend.
func (s *spell) fault(ref secrets.Ref, now age) error {
	again := "now"
	if wait := time.Duration(s.retryAt - now); wait > 0 {
		again = "in about " + max(wait.Round(backoffMin), backoffMin).String()
	}
	e := &secrets.Error{Backend: s.last.Backend, Key: ref.String(), Err: secrets.ErrUnavailable}
	e.Detail = fmt.Sprintf("the backend was unavailable %d times in a row, and is asked again %s", s.failures, again)
	if d := s.last.Detail; d != "" && len(d) <= longestDetail {
		e.Detail += "; the last time: " + d
	}
	return e
}

// judge notes what the results of one fetch show of the backend: that it has answered, if one of them is an answer.
func (s *space) judge(a attempt, results ...secrets.Result) {
	var failure error
	for _, r := range results {
		class := secrets.Class(r.Err)
		switch {
		case saysNothing(r, class), errors.Is(class, secrets.ErrInvalidKey): // for that, a backend need not have asked
		case errors.Is(class, secrets.ErrUnavailable):
			failure = r.Err
		default:
			s.outage.answered(a)
			return
		}
	}
	if failure != nil {
		s.outage.failed(a, failure, s.clock.now())
	}
}
