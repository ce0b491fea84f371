package soak_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// fault is a kind of answer that must never happen.
type fault int

const (
	wrong       fault = iota // a value of another key, field or source, or without a valid seal
	torn                     // a user and a password of one call from two versions
	older                    // a value of an older fetch than an earlier read returned
	afterDenial              // a value of an older fetch than one that reported a denial or absence
	invalidated              // a value from before an invalidation
	notFresh                 // a Refresh that returns an earlier value
	pastLease                // a value past its lease
	tooOld                   // a value older than TTL + MaxStale
	unmarked                 // a value past its TTL, not marked as stale
	malformed                // a stale value from before a malformed answer
	weak                     // a value of the weak source although the first denied the secret
	misread                  // a class that the server did not answer
	badError                 // an error that is not an *Error of one class, with backend and key
	foreign                  // an error of a context that had not ended
	lost                     // a key of a GetMany with neither a value nor an error
	tooSlow                  // a call over its time limit
	notBack                  // a document that cannot be read although the server is healthy again
	leaked                   // goroutines left after Close
	faults
)

func (f fault) String() string {
	return [...]string{
		"wrong", "torn", "older", "after a denial", "after Invalidate", "Refresh not fresh", "past the lease", "past MaxStale",
		"stale unmarked", "stale after malformed", "weak for a denial", "class misread", "error not typed", "foreign context error",
		"lost in GetMany", "too slow", "not back", "leaked",
	}[f]
}

// Tolerances of the checker, in addition to the measured stalls.
const (
	// delivery is the time between the library's last clock read and the checker's: a return through a few frames. A goroutine that is
	// preempted there waits for others, 10 ms for each.
	delivery = 50 * time.Millisecond
	// wallSlack is how far the wall clock, which leases use, may be slewed against the monotonic one.
	wallSlack = time.Millisecond
)

// question is one read of one key.
type question struct {
	ctx     context.Context
	op      string
	key     string // as requested
	path    string
	field   string // "user", "password", or "" for both
	refresh bool
	began   time.Time
	ended   time.Time
	limit   time.Duration // maximum duration
	marks   marks
}

// checker checks the answers of one client.
type checker struct {
	c       config
	ledger  *ledger // of the first source
	second  *ledger // of the weak source, or nil
	stalls  *stalls
	found   [faults]atomic.Int64
	reads   atomic.Int64
	stale   atomic.Int64
	weak    atomic.Int64 // answers of the weak source
	buckets [512]atomic.Int64
	longest atomic.Int64

	mu       sync.Mutex
	classes  map[string]int64
	examples [faults][]string
	suspects []suspect
}

// suspect is a possible fault that is decided at the end, when all fetches are known.
type suspect struct {
	fault  fault
	guilty func() bool
	text   string
}

// report counts a fault.
func (k *checker) report(f fault, format string, args ...any) {
	if k.found[f].Add(1) > 3 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.examples[f] = append(k.examples[f], fmt.Sprintf(format, args...))
}

// suspect keeps a possible fault, which guilty decides later.
func (k *checker) suspect(f fault, guilty func() bool, format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.suspects = append(k.suspects, suspect{f, guilty, fmt.Sprintf(format, args...)})
}

// judge decides all suspects.
func (k *checker) judge() {
	k.mu.Lock()
	all := k.suspects
	k.suspects = nil
	k.mu.Unlock()
	for _, s := range all {
		if s.guilty() {
			k.report(s.fault, "%s", s.text)
		}
	}
}

// took records the duration of a call.
func (k *checker) took(q *question) {
	d := q.ended.Sub(q.began)
	k.buckets[bucket(d)].Add(1)
	for {
		longest := k.longest.Load()
		if int64(d) <= longest || k.longest.CompareAndSwap(longest, int64(d)) {
			break
		}
	}
	limit := q.limit
	if deadline, ok := q.ctx.Deadline(); ok {
		limit = min(limit, max(0, deadline.Sub(q.began)))
	}
	if over := d - limit - k.c.allowance; over > 0 {
		from, to := q.began, q.ended
		k.suspect(tooSlow, func() bool { return over > k.stalls.between(from, to) }, "%s(%s) took %v, not %v", q.op, q.key, d, limit)
	}
}

// bucket returns the bucket number of d: eight for each power of two.
func bucket(d time.Duration) int {
	n := uint64(max(d, 8))
	high := bits.Len64(n) - 1
	return high*8 + int(n>>(high-3)&7)
}

// quantile returns an upper bound for the duration of this fraction of calls.
func (k *checker) quantile(part float64) time.Duration {
	var total, n int64
	for i := range k.buckets {
		total += k.buckets[i].Load()
	}
	for i := range k.buckets {
		if n += k.buckets[i].Load(); float64(n) >= part*float64(total) && n > 0 {
			high := i / 8
			return time.Duration(uint64(8+i%8+1) << (high - 3))
		}
	}
	return 0
}

// answered checks the answer to q.
func (k *checker) answered(q *question, s secrets.Secret, err error) {
	k.reads.Add(1)
	if err != nil {
		k.failed(q, err)
		return
	}
	meta := s.Meta()
	stamps := stampsOf(q, s)
	for _, st := range stamps {
		if st.key != q.path || st.source != meta.Backend || q.field != "" && st.role != q.field || st.fetch == 0 {
			k.report(wrong, "%s(%s): %+v of %s", q.op, q.key, st, meta.Backend)
			return
		}
		if !meta.ExpiresAt.IsZero() && meta.ExpiresAt.UnixNano() != st.end {
			k.report(wrong, "%s(%s): %+v ends at %d", q.op, q.key, st, meta.ExpiresAt.UnixNano())
		}
	}
	if len(stamps) == 0 {
		k.report(wrong, "%s(%s): no stamp, of %s", q.op, q.key, meta.Backend)
		return
	}
	st := stamps[0]
	if last := stamps[len(stamps)-1]; last.version != st.version || last.fetch != st.fetch {
		k.report(torn, "%s(%s): %+v and %+v", q.op, q.key, st, last)
	}
	if meta.Stale {
		k.stale.Add(1)
	}
	k.lease(q, st)
	k.age(q, st, meta.Stale)
	if st.source != k.ledger.source {
		k.weak.Add(1)
		k.weaker(q, st)
		return
	}
	k.order(q, st, meta.Stale)
	raise(&k.record(q).seen, st.fetch)
}

func (k *checker) ledgerOf(st stamp) *ledger {
	if st.source == k.ledger.source {
		return k.ledger
	}
	return k.second
}

func (k *checker) record(q *question) *record { return k.ledger.records[q.path] }

// stampsOf returns the stamps in s: one for a field, two for a document, none if a seal is invalid.
func stampsOf(q *question, s secrets.Secret) []stamp {
	texts := []string{s.Reveal()}
	if q.field == "" {
		var doc pair
		if json.Unmarshal(s.Bytes(), &doc) != nil {
			return nil
		}
		texts = []string{doc.User, doc.Pass}
	}
	stamps := make([]stamp, 0, 2)
	for i, text := range texts {
		st, ok := parse(text)
		if !ok || q.field == "" && st.role != [...]string{"user", "password"}[i] {
			return nil
		}
		stamps = append(stamps, st)
	}
	return stamps
}

// lease checks that the lease of st had not ended.
func (k *checker) lease(q *question, st stamp) {
	if st.end == 0 {
		return
	}
	end := time.Unix(0, st.end)
	// The library reads the clock after the call began, so scheduling is no excuse here.
	if q.began.Round(0).After(end.Add(wallSlack)) {
		k.report(pastLease, "%s(%s) began %v after the end of the lease", q.op, q.key, q.began.Round(0).Sub(end))
		return
	}
	if over := q.ended.Round(0).Sub(end) - delivery; over > 0 {
		from, to := q.ended.Add(-over-delivery), q.ended
		k.suspect(pastLease, func() bool { return over > k.stalls.between(from, to) },
			"%s(%s) ended %v after the end of the lease", q.op, q.key, over+delivery)
	}
}

// age checks the age of st. The library saw at least this age: it reads the clock after the call began, and the fetch began before its
// stamp. A call that shares a fetch may get a value older than the TTL.
func (k *checker) age(q *question, st stamp, stale bool) {
	if k.c.leases && st.end != 0 { // the lease replaces TTL and MaxStale
		return
	}
	k.within(tooOld, q, st, k.c.ttl+k.c.maxStale)
	if !stale {
		k.within(unmarked, q, st, k.c.ttl+k.c.ttl/10) // plus the jitter, a tenth
	}
}

// within checks that st was at most maxAge old when the call began, or that its flight ended after that.
func (k *checker) within(kind fault, q *question, st stamp, maxAge time.Duration) {
	f := k.ledgerOf(st).records[q.path].of(st.fetch)
	until := max(st.start+int64(maxAge), f.ended, f.settled)
	if over := time.Duration(since(q.began)-until) - delivery; over > 0 {
		from, to := q.began.Add(-over-delivery), q.began
		k.suspect(kind, func() bool { return over > k.stalls.worst(from, to) },
			"%s(%s): %+v is %v too old", q.op, q.key, st, over+delivery)
	}
}

// order checks that st is not older than what was known when the call began. This holds for fetches, not for versions: of two concurrent
// fetches, the server may read the later one first, and only the server knows.
func (k *checker) order(q *question, st stamp, stale bool) {
	m := q.marks
	if st.fetch < m.seen {
		k.report(older, "%s(%s): fetch %d after %d", q.op, q.key, st.fetch, m.seen)
	}
	if st.fetch < m.denied {
		k.report(afterDenial, "%s(%s): fetch %d after %d", q.op, q.key, st.fetch, m.denied)
	}
	if st.fetch < m.invalidated {
		k.report(invalidated, "%s(%s): fetch %d, and not from %d on", q.op, q.key, st.fetch, m.invalidated)
	}
	if q.refresh && (st.fetch < m.next || stale) {
		k.report(notFresh, "%s(%s): fetch %d, and not from %d on; stale %v", q.op, q.key, st.fetch, m.next, stale)
	}
	// A fetch that began before the malformed answer and ended after it is a newer answer.
	if r := k.record(q); stale && st.fetch < m.malformed && r.of(st.fetch).ended < r.of(m.malformed).ended-int64(time.Millisecond) {
		k.report(malformed, "%s(%s): fetch %d after %d", q.op, q.key, st.fetch, m.malformed)
	}
}

// weaker checks that the first source had no current denial when the weak one answered: after its last denial, the document was absent, or
// a fetch of any document was unavailable, so a circuit breaker may be open.
func (k *checker) weaker(q *question, st stamp) {
	r, key, op := k.record(q), q.key, q.op
	// A more recent denial may not have reached the cache yet.
	n, at := r.lastDenial(since(q.began.Add(-k.c.timeout)))
	if n == 0 || r.has(n+1, outcomeNotFound, outcomeUnavailable, outcomeLate) {
		return
	}
	until := since(q.ended.Add(time.Second))
	k.suspect(weak, func() bool {
		return !r.has(n+1, outcomeNotFound, outcomeUnavailable, outcomeLate) && !k.ledger.outage(at, until)
	}, "%s(%s): %+v, though fetch %d was denied", op, key, st, n)
}

var (
	fetchNumber = regexp.MustCompile(`\bfetch (\d+)`)
	sentinels   = []error{
		secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrUnauthenticated,
		secrets.ErrUnavailable, secrets.ErrInvalidKey, secrets.ErrMalformed, secrets.ErrUnknown, secrets.ErrClosed,
	}
)

// failed checks the error of q.
func (k *checker) failed(q *question, err error) {
	e, ok := err.(*secrets.Error)
	if !ok || e == nil {
		k.report(badError, "%s(%s): a %T", q.op, q.key, err)
		return
	}
	k.count(e.Err)
	ended := e.Err == context.Canceled || e.Err == context.DeadlineExceeded
	switch {
	case e.Key != q.key:
		k.report(badError, "%s(%s): the key is %q", q.op, q.key, e.Key)
	case ended:
		if q.ctx.Err() == nil {
			k.report(foreign, "%s(%s): %v", q.op, q.key, e)
		}
		return
	case !slices.Contains(sentinels, e.Err) || !errors.Is(err, e.Err):
		k.report(badError, "%s(%s): the class is %v", q.op, q.key, e.Err)
		return
	case e.Backend != k.ledger.source && !(k.c.weak && e.Backend == weakName):
		k.report(badError, "%s(%s): the backend is %q: %v", q.op, q.key, e.Backend, e)
	}
	k.explain(q, e)
}

// explain checks that the class of e is that of the fetch which its detail names.
func (k *checker) explain(q *question, e *secrets.Error) {
	var want outcome
	switch e.Err {
	case secrets.ErrNotFound, secrets.ErrDeleted:
		want = outcomeNotFound
	case secrets.ErrPermissionDenied, secrets.ErrUnauthenticated:
		want = outcomeDenied
	case secrets.ErrMalformed, secrets.ErrUnknown:
		want = outcomeMalformed
	case secrets.ErrFieldNotFound: // two keys of one path had two sources or versions
		if !strings.HasPrefix(q.op, "GetMany") || !strings.Contains(e.Detail, "other keys of this path") {
			k.report(misread, "%s(%s): %v", q.op, q.key, e)
		}
		return
	case secrets.ErrInvalidKey: // a Has that must not create a lease
		if !k.c.leases || q.op != "Has" {
			k.report(misread, "%s(%s): %v", q.op, q.key, e)
		}
		return
	case secrets.ErrClosed:
		k.report(misread, "%s(%s): %v", q.op, q.key, e)
		return
	default:
		return
	}
	if strings.Contains(e.Detail, "the detail is withheld") { // redaction was too slow
		return
	}
	number := fetchNumber.FindStringSubmatch(e.Detail)
	if number == nil {
		k.report(misread, "%s(%s): %v", q.op, q.key, e)
		return
	}
	n, _ := strconv.ParseUint(number[1], 10, 64)
	r := k.record(q)
	if got := r.of(n).outcome; got != want && got != outcomeLate {
		k.report(misread, "%s(%s): %v, but the outcome was %d", q.op, q.key, e, got)
	}
	if want == outcomeMalformed {
		raise(&r.malformed, n)
		return
	}
	if n < q.marks.seen || n < q.marks.invalidated || q.refresh && n < q.marks.next {
		k.report(older, "%s(%s): fetch %d, after %+v: %v", q.op, q.key, n, q.marks, e)
	}
	raise(&r.seen, n)
	raise(&r.denied, n)
}

// has checks an answer of Has.
func (k *checker) has(q *question, has bool, err error) {
	if err != nil {
		k.failed(q, err)
		return
	}
	k.reads.Add(1)
	from := max(q.marks.seen, q.marks.invalidated)
	switch {
	case k.c.weak: // it has all keys
	case !has && !k.record(q).has(from, outcomeNotFound, outcomeLate):
		k.report(misread, "%s(%s): false, since fetch %d", q.op, q.key, from)
	case has && !k.record(q).has(from, outcomeValue, outcomeLate):
		k.report(misread, "%s(%s): true, since fetch %d", q.op, q.key, from)
	}
}

// together checks the answers of one GetMany to the questions qs.
func (k *checker) together(qs []*question, found map[string]secrets.Secret, err error) {
	failed := make(map[string]*secrets.Error)
	if err != nil {
		errs, ok := err.(secrets.Errors)
		if !ok {
			k.report(badError, "GetMany: a %T", err)
			return
		}
		for _, e := range errs {
			failed[e.Key] = e
		}
	}
	first := make(map[string]stamp)
	for _, q := range qs {
		s, has := found[q.key]
		e, fails := failed[q.key]
		switch {
		case has == fails:
			k.report(lost, "GetMany(%s): an answer %v, an error %v", q.key, has, fails)
		case fails:
			k.answered(q, s, e)
		default:
			k.answered(q, s, nil)
			for _, st := range stampsOf(q, s) {
				other, ok := first[q.path]
				if ok && (other.version != st.version || other.source != st.source) {
					k.report(torn, "GetMany(%s): %+v and %+v", q.key, st, other)
				}
				first[q.path] = st
			}
		}
	}
}

func (k *checker) count(class error) {
	name := strings.TrimPrefix(class.Error(), "secrets: ")
	k.mu.Lock()
	defer k.mu.Unlock()
	k.classes[name]++
}

// stalls are the times when processors were late, measured by a goroutine that sleeps briefly.
type stalls struct {
	stop chan struct{}
	done chan struct{}

	mu  sync.Mutex
	all [][2]time.Time
}

func newStalls() *stalls {
	s := &stalls{stop: make(chan struct{}), done: make(chan struct{})}
	go s.watch()
	return s
}

func (s *stalls) watch() {
	defer close(s.done)
	const nap = 2 * time.Millisecond
	for {
		due := time.Now().Add(nap)
		select {
		case <-s.stop:
			return
		case <-time.After(nap):
		}
		if now := time.Now(); now.Sub(due) > nap {
			s.mu.Lock()
			s.all = append(s.all, [2]time.Time{due, now})
			s.mu.Unlock()
		}
	}
}

func (s *stalls) close() {
	close(s.stop)
	<-s.done
}

// in calls f with each stall, clipped to this time.
func (s *stalls) in(from, to time.Time, f func(late time.Duration)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stall := range s.all {
		begin, end := stall[0], stall[1]
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		f(max(0, end.Sub(begin)))
	}
}

// between returns the total lateness in this time.
func (s *stalls) between(from, to time.Time) (late time.Duration) {
	s.in(from, to, func(d time.Duration) { late += d })
	return late
}

// worst returns the longest stall in this time.
func (s *stalls) worst(from, to time.Time) (longest time.Duration) {
	s.in(from, to, func(d time.Duration) { longest = max(longest, d) })
	return longest
}
