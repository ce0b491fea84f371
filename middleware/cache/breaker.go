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
	// openAfter is how many counted failures in a row open the breaker.
	openAfter = 3
	// maxEndpoints is how many endpoints of a backend have a breaker of their own. The documents of others have their back-offs alone.
	maxEndpoints = 64
)

// breaker is the circuit breaker of an endpoint: what fetches have shown of it as a whole. It is closed while the endpoint answers.
//
// A fetch that finds the endpoint unavailable counts if its document is known to be good, since memory has a value of it, or if the
// endpoint has never answered anything. Any other failure is evidence about its own document alone: keys from outside must not open the
// breaker of a healthy backend. Failures of one batch count once. openAfter counted failures in a row open the breaker, if they are of
// two documents or more, or if memory has only one that could fail so. All of them have begun after the last answer.
//
// While it is open, readers are answered at once. When a step of the back-off is over, it is half-open: the fetch of the next reader
// is the probe. Any answer closes it. Several documents may be sick, and read more often than others: so those that have not failed may
// cause a probe a little before those that have. The breaker takes the place of the back-offs of documents: while it is open, it alone
// says when the endpoint is asked, and when it closes, those that were noted before are void.
type breaker struct {
	inert     bool                    // it never opens
	state     atomic.Pointer[opening] // nil while closed; written under mu, read without
	ended     atomic.Uint64           // how often it has closed; written under mu, read without
	seen      atomic.Bool             // the endpoint has answered at least once
	documents atomic.Int64            // in memory, values, not-founds and back-offs
	values    atomic.Int64            // in memory

	mu       sync.Mutex // may be taken under Cache.mu, and holds none itself
	failures int        // that count, in a row
	of       docKey     // one of the documents of those failures
	several  bool       // they are of two documents or more
	next     int        // the number of the next fetch to begin
	floor    int        // the lowest number whose failure counts: those below began before the last answer
}

// opening is the state of a breaker that is open. It is immutable.
type opening struct {
	failures int            // in a row
	last     *secrets.Error // the last of them
	step     int            // of the back-off
	known    gate           // for documents whose failures count
	others   gate           // for those that may be sick by themselves; they must not hold up the known ones
}

// gate says when one kind of documents may be asked for while a breaker is open.
type gate struct {
	at    age   // not before it, for documents that have failed
	early age   // for those that have not; it is no later
	probe *task // under way, or nil
}

// opensAt returns when a document that has failed, or has not, may be asked for.
func (g gate) opensAt(failed bool) age {
	if failed {
		return g.at
	}
	return g.early
}

// holds reports whether g keeps readers from asking for a document that has failed, or has not.
func (g gate) holds(failed bool, now age) bool { return now < g.opensAt(failed) || g.probe != nil }

func (o *opening) gate(known bool) *gate {
	if known {
		return &o.known
	}
	return &o.others
}

// breakerOf returns the breaker of the endpoint of d.
func (k *keyspace) breakerOf(d docKey) *breaker {
	if k.endpoint == nil {
		return &k.whole
	}
	name := k.endpointOf(d.ref())
	k.endpointsMu.Lock()
	defer k.endpointsMu.Unlock()
	b := k.endpoints[name]
	switch {
	case b != nil:
	case len(k.endpoints) >= maxEndpoints:
		b = &k.others
	default:
		b = new(breaker)
		k.endpoints[name] = b
	}
	return b
}

// endpointOf calls the backend's function. One that panics has one endpoint.
func (k *keyspace) endpointOf(ref secrets.Ref) (name string) {
	defer func() { _ = recover() }()
	return k.endpoint(ref)
}

// breakers calls f with each breaker.
func (k *keyspace) breakers(f func(b *breaker)) {
	f(&k.whole)
	k.endpointsMu.Lock()
	defer k.endpointsMu.Unlock()
	for _, b := range k.endpoints {
		f(b)
	}
}

// opening returns the state in which b is open, or nil.
func (b *breaker) opening() *opening { return b.state.Load() }

// attempt is a fetch whose outcome counts.
type attempt struct {
	document docKey
	number   int
	began    age
}

// begin returns an attempt to fetch d that begins now.
func (b *breaker) begin(now age, d docKey) attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return attempt{number: b.next - 1, began: now, document: d}
}

// answered notes that the endpoint has answered. What began before may still fail, and says nothing about the time after.
func (b *breaker) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen.Store(true)
	b.failures, b.floor = 0, b.next
	if b.state.Load() != nil {
		b.ended.Add(1) // first: whoever sees that it is closed must see no back-off of the time when it was open
		b.state.Store(nil)
	}
}

// verdict is what a failure shows.
type verdict struct {
	known   bool // its document is good, or the endpoint has never answered: see breaker
	counts  bool // it is evidence about the endpoint
	counted bool // another document of the same batch has counted for the failure
}

// failed notes that a found the endpoint unavailable, with err. Only the first that has begun since the last step was over begins
// the next one: the others say nothing new, however many they are.
func (b *breaker) failed(a attempt, err error, now age, v verdict) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inert || a.number < b.floor {
		return
	}
	old := b.state.Load()
	if v.counts {
		b.count(a.document, v.counted)
	}
	switch {
	case old != nil:
		s := *old
		if v.counts {
			s.failures, s.last = b.failures, asError(err)
		}
		s.next(a.began, now, v.known)
		b.state.Store(&s)
	case v.counts && b.failures >= openAfter && (b.several || b.isAlone()):
		// The first step is that of a document that has failed as often.
		s := opening{step: openAfter - 1, failures: b.failures, last: asError(err)}
		s.next(a.began, now, true)
		b.state.Store(&s)
	}
}

// knows reports whether a failure of the document of e would count, if memory has e for it, a value or nil.
func (b *breaker) knows(e *entry) bool { return e != nil && e.isGood() || !b.seen.Load() }

// count notes a failure of d that counts. The caller holds b.mu.
func (b *breaker) count(d docKey, counted bool) {
	if !counted {
		b.failures++
	}
	switch {
	case b.failures == 0:
	case b.failures == 1 && !counted:
		b.of, b.several = d, false
	default:
		b.several = b.several || d != b.of
	}
}

// isAlone reports whether memory has no more than one document whose failure would count.
func (b *breaker) isAlone() bool {
	if b.seen.Load() {
		return b.values.Load() <= 1
	}
	return b.documents.Load() <= 1
}

// next begins the next step after the failure of a fetch that began then, unless the step has begun since.
func (o *opening) next(began, now age, known bool) {
	if began < o.gate(known).early {
		return
	}
	if known {
		o.step++
	}
	step := backoffStep(o.step)
	at, early := now+age(spread(step, backoffSpread)), now+age(float64(step)*(1-backoffSpread))
	o.others.at, o.others.early = at, early
	if known {
		o.known.at, o.known.early = at, early
	}
}

// claim makes t the probe, and reports whether there is to be one.
func (b *breaker) claim(t *task, known, failed bool, now age) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.state.Load()
	if old == nil || old.gate(known).holds(failed, now) {
		return false
	}
	s := *old
	s.gate(known).probe = t
	b.state.Store(&s)
	return true
}

// release notes that t is no probe any more.
func (b *breaker) release(t *task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.state.Load()
	if old == nil {
		return
	}
	s := *old
	for _, g := range []*gate{&s.known, &s.others} {
		if g.probe == t {
			g.probe = nil
		}
	}
	b.state.Store(&s)
}

// maxDetail is the size in bytes up to which the explanation of the last failure is passed on.
const maxDetail = 200

// failure is the answer to a fetch of ref that the open breaker keeps from the backend.
func (o *opening) failure(ref secrets.Ref, now age) error {
	again := "now"
	if wait := time.Duration(o.known.at - now); wait > 0 {
		again = "in about " + max(wait.Round(backoffMin), backoffMin).String()
	}
	e := &secrets.Error{Backend: o.last.Backend, Key: ref.String(), Err: secrets.ErrUnavailable}
	e.Detail = fmt.Sprintf("the backend was unavailable %d times in a row, and is asked again %s", o.failures, again)
	if d := o.last.Detail; d != "" && len(d) <= maxDetail {
		e.Detail += "; the last time: " + d
	}
	return e
}

// judge notes what the answer r to a shows of the endpoint of b. call is what brought it. good says that memory had a value of the
// document that could be served.
func (b *breaker) judge(a attempt, r secrets.Result, call *fetchctx.Origin, good bool, now age) {
	switch {
	case isAnswer(r):
		b.answered()
	case !errors.Is(secrets.Class(r.Err), secrets.ErrUnavailable) || isContextError(r.Err) || hasAnswer(call):
	default:
		v := verdict{known: good || !b.seen.Load()}
		v.counts = v.known && !call.Throttled()
		v.counted = v.counts && !call.CountFailure()
		b.failed(a, r.Err, now, v)
	}
}

// isAnswer reports whether r shows that the backend answers. To refuse a key, it need not have asked anybody.
func isAnswer(r secrets.Result) bool {
	class := secrets.Class(r.Err)
	return !saysNothing(r, class) && !errors.Is(class, secrets.ErrInvalidKey) &&
		!errors.Is(class, secrets.ErrUnavailable) && !errors.Is(class, secrets.ErrUnknown)
}

// hasAnswer reports whether call brought an answer for any of its documents.
func hasAnswer(call *fetchctx.Origin) bool {
	results, _ := call.Results().([]secrets.Result)
	return slices.ContainsFunc(results, isAnswer)
}
