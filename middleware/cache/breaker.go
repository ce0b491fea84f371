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
	// maxEndpoints is how many endpoints of a backend have a breaker. Documents of further endpoints only have back-offs.
	maxEndpoints = 64
)

// breaker is the circuit breaker of an endpoint.
//
// A failed fetch counts if its document is known: the cache has a value of it that may be served, or the endpoint has never answered.
// Other failures concern only their own document, since keys from outside must not open the breaker of a healthy backend. Failures of
// one batch count once. openAfter counted failures in a row open the breaker. They must be of two documents or more, unless the cache
// holds only one whose failure would count. All of these fetches began after the last answer.
//
// While the breaker is open, reads return at once. After a step of the back-off it is half-open, and the fetch of the next reader is the
// probe. Any answer closes it. Documents that have not failed may be probed a little earlier than those that have. Otherwise a few
// documents that fail on their own, and are read often, would take all probes.
//
// The breaker replaces the back-offs of documents. While it is open, only the breaker decides when the endpoint is asked. When it closes,
// the back-offs from before are void.
type breaker struct {
	inert        bool                      // never opens
	state        atomic.Pointer[openState] // nil while closed; written under mu, read without
	closings     atomic.Uint64             // counts how often it has closed; written under mu, read without
	everAnswered atomic.Bool               // the endpoint has answered at least once
	documents    atomic.Int64              // entries of the endpoint: values, not-founds and back-offs
	values       atomic.Int64              // entries that are values

	mu       sync.Mutex // may be taken under Cache.mu; no lock is taken under it
	failures int        // counted failures in a row
	of       docKey     // one of the documents that failed
	several  bool       // two documents or more have failed
	next     int        // number of the next fetch
	floor    int        // failures of fetches below it do not count: they began before the last answer
}

// openState is the state of an open breaker. It is immutable.
type openState struct {
	failures int            // in a row
	last     *secrets.Error // the last of them
	step     int            // of the back-off
	known    schedule       // for documents whose failures count
	others   schedule       // for all others: their failures must not delay the probes of the known ones
}

// schedule is when documents of one kind may be probed while a breaker is open.
type schedule struct {
	at    age   // the earliest probe of a document that has failed
	early age   // the earliest probe of any other document; not later than at
	probe *task // under way, or nil
}

// dueAt returns the earliest time to probe a document. failed reports whether the document's last fetch failed.
func (s schedule) dueAt(failed bool) age {
	if failed {
		return s.at
	}
	return s.early
}

// blocks reports whether a document must not be probed now.
func (s schedule) blocks(failed bool, now age) bool { return now < s.dueAt(failed) || s.probe != nil }

func (o *openState) schedule(known bool) *schedule {
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

// endpointOf returns the endpoint of ref. If the backend's function panics, it returns "".
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

// open returns the state of b while it is open, and nil while it is closed.
func (b *breaker) open() *openState { return b.state.Load() }

// attempt is a fetch whose outcome the breaker records.
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

// answered records that the endpoint has answered. Failures of fetches that began before do not count any more.
func (b *breaker) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.everAnswered.Store(true)
	b.failures, b.floor = 0, b.next
	if b.state.Load() != nil {
		b.closings.Add(1) // before the state: a reader that finds the breaker closed must not apply a void back-off
		b.state.Store(nil)
	}
}

// evidence is how a failure counts.
type evidence struct {
	known   bool // its document is known: see breaker
	counts  bool // it counts for the endpoint
	counted bool // another document of the same batch has been counted for it already
}

// failed records that a found the endpoint unavailable, with err.
func (b *breaker) failed(a attempt, err error, now age, v evidence) {
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
		s.advance(a.began, now, v.known)
		b.state.Store(&s)
	case v.counts && b.failures >= openAfter && (b.several || b.hasOneDocument()):
		// The back-off begins where that of a document with as many failures would be.
		s := openState{step: openAfter - 1, failures: b.failures, last: asError(err)}
		s.advance(a.began, now, true)
		b.state.Store(&s)
	}
}

// isKnown reports whether a failure of the document of e would count. e is nil for a document without an entry.
func (b *breaker) isKnown(e *entry) bool { return e != nil && e.isServable() || !b.everAnswered.Load() }

// count counts a failure of d. counted reports whether its batch has been counted already. The caller holds b.mu.
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

// hasOneDocument reports whether the cache holds at most one document whose failure would count.
func (b *breaker) hasOneDocument() bool {
	if b.everAnswered.Load() {
		return b.values.Load() <= 1
	}
	return b.documents.Load() <= 1
}

// advance begins the next step of the back-off after a failed fetch. If the fetch began before the current step was over, it does
// nothing: concurrent failures are one step.
func (o *openState) advance(began, now age, known bool) {
	if began < o.schedule(known).early {
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

// claimProbe makes t the probe, if one is due, and reports whether it did.
func (b *breaker) claimProbe(t *task, known, failed bool, now age) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.state.Load()
	if old == nil || old.schedule(known).blocks(failed, now) {
		return false
	}
	s := *old
	s.schedule(known).probe = t
	b.state.Store(&s)
	return true
}

// releaseProbe ends t as the probe.
func (b *breaker) releaseProbe(t *task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.state.Load()
	if old == nil {
		return
	}
	s := *old
	for _, p := range []*schedule{&s.known, &s.others} {
		if p.probe == t {
			p.probe = nil
		}
	}
	b.state.Store(&s)
}

// maxDetail is the longest detail of the last failure that is quoted, in bytes.
const maxDetail = 200

// failure returns the error for a read of ref that the open breaker refuses.
func (o *openState) failure(ref secrets.Ref, now age) error {
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

// record records r, the outcome of a. call is the call of the backend that returned it. servable reports whether the cache had a value
// of the document that could be served.
func (b *breaker) record(a attempt, r secrets.Result, call *fetchctx.Origin, servable bool, now age) {
	switch {
	case isAnswer(r):
		b.answered()
	case !errors.Is(secrets.Class(r.Err), secrets.ErrUnavailable) || isContextError(r.Err) || hasAnswer(call):
	default:
		v := evidence{known: servable || !b.everAnswered.Load()}
		v.counts = v.known && !call.Throttled()
		v.counted = v.counts && !call.CountFailure()
		b.failed(a, r.Err, now, v)
	}
}

// isAnswer reports whether r shows that the endpoint answers. ErrInvalidKey does not: a backend may return it without a request.
func isAnswer(r secrets.Result) bool {
	class := secrets.Class(r.Err)
	return !isNoAnswer(r, class) && !errors.Is(class, secrets.ErrInvalidKey) &&
		!errors.Is(class, secrets.ErrUnavailable) && !errors.Is(class, secrets.ErrUnknown)
}

// hasAnswer reports whether call returned an answer for any of its documents.
func hasAnswer(call *fetchctx.Origin) bool {
	results, _ := call.Results().([]secrets.Result)
	return slices.ContainsFunc(results, isAnswer)
}
