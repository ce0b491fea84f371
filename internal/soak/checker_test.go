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

// fault is what must never happen.
type fault int

const (
	wrong       fault = iota // the value of another key, field or source, or one that nobody has sealed
	torn                     // a user and a password of one call that are of two versions
	older                    // a value of an older fetch than one that a read has shown before
	afterDenial              // a value of an older fetch than one that has shown that the secret is denied or gone
	forgotten                // a value from before an invalidation
	notFresh                 // a Refresh with a value from before it
	pastLease                // a value whose lease was over
	tooOld                   // a value older than TTL + MaxStale
	unmarked                 // a value past its TTL that is not marked as stale
	messy                    // a stale value from before an answer that could not be read
	weak                     // a value of the weak source, though the first one has denied the secret
	misread                  // a class that the server did not give
	badError                 // an error that is not an *Error of one class, with backend and key
	foreign                  // the error of a context that had not ended
	lost                     // a key of a GetMany with neither a value nor an error
	tooSlow                  // a call that takes longer than was promised
	notBack                  // a document that cannot be read though the server is well again
	leaked                   // goroutines that are left after Close
	faults
)

func (f fault) String() string {
	return [...]string{
		"wrong", "torn", "older", "after a denial", "after Invalidate", "Refresh not fresh", "past the lease", "past MaxStale",
		"stale unmarked", "stale after a mess", "weak for a denial", "class misread", "error not typed", "foreign context error",
		"lost in GetMany", "too slow", "not back", "leaked",
	}[f]
}

// The room that the checker gives to the processor, beside the times at which it was late by the stalls.
const (
	// delivery is the time between the last look of the library at the clock and that of the checker: a return through a few frames.
	// A goroutine that is preempted there waits for others, whose turns are 10 ms each.
	delivery = 50 * time.Millisecond
	// wallSlack is how far the wall clock, which leases go by, may be slewed against the monotonic one.
	wallSlack = time.Millisecond
)

// question is one read of one key.
type question struct {
	ctx     context.Context
	op      string
	key     string // as it was asked for
	path    string
	field   string // "user", "password", or "" for both
	refresh bool
	began   time.Time
	ended   time.Time
	limit   time.Duration // for how long it may take
	marks   marks
}

// checker judges the answers of one client.
type checker struct {
	c       config
	ledger  *ledger // of the first source
	second  *ledger // of the weak one, or nil
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

// suspect is what looks like a fault and is judged at the end, when all is known.
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

// suspect keeps a fault, to be judged by guilty later.
func (k *checker) suspect(f fault, guilty func() bool, format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.suspects = append(k.suspects, suspect{f, guilty, fmt.Sprintf(format, args...)})
}

// judge decides about all suspects.
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

// took notes how long a call took.
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

// bucket returns the number of the bucket of d: eight for each power of two.
func bucket(d time.Duration) int {
	n := uint64(max(d, 8))
	high := bits.Len64(n) - 1
	return high*8 + int(n>>(high-3)&7)
}

// quantile returns an upper bound of the time in which that part of all calls has ended.
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

// answered judges the answer to q.
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

// stampsOf returns what s says of itself: one stamp for a field, two for a document. A seal that does not fit makes it none.
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
	// The library has looked at the clock after the call began. So here, nothing is left to scheduling.
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

// age checks how old st is. It was at least as old when the library looked, since that was after the call began, and since the fetch
// began before it had its stamp. A call that shares a fetch gets what that brings, though it may have begun longer ago than the TTL.
func (k *checker) age(q *question, st stamp, stale bool) {
	if k.c.leases && st.end != 0 { // the lease takes the place of TTL and MaxStale
		return
	}
	k.within(tooOld, q, st, k.c.ttl+k.c.maxStale)
	if !stale {
		k.within(unmarked, q, st, k.c.ttl+k.c.ttl/10) // a tenth is the jitter
	}
}

// within checks that st was no older than that when the call began, or that its flight had not ended by then.
func (k *checker) within(kind fault, q *question, st stamp, most time.Duration) {
	f := k.ledgerOf(st).records[q.path].of(st.fetch)
	until := max(st.start+int64(most), f.ended, f.settled)
	if over := time.Duration(since(q.began)-until) - delivery; over > 0 {
		from, to := q.began.Add(-over-delivery), q.began
		k.suspect(kind, func() bool { return over > k.stalls.worst(from, to) },
			"%s(%s): %+v was brought %v before", q.op, q.key, st, over+delivery)
	}
}

// order checks that st is not older than what was known when the call began. That holds for fetches, and not for versions: of two
// fetches at a time, the one that began later may be read first by the server, and only the server could know.
func (k *checker) order(q *question, st stamp, stale bool) {
	m := q.marks
	if st.fetch < m.seen {
		k.report(older, "%s(%s): fetch %d after %d", q.op, q.key, st.fetch, m.seen)
	}
	if st.fetch < m.denied {
		k.report(afterDenial, "%s(%s): fetch %d after %d", q.op, q.key, st.fetch, m.denied)
	}
	if st.fetch < m.forgotten {
		k.report(forgotten, "%s(%s): fetch %d, and not from %d on", q.op, q.key, st.fetch, m.forgotten)
	}
	if q.refresh && (st.fetch < m.next || stale) {
		k.report(notFresh, "%s(%s): fetch %d, and not from %d on; stale %v", q.op, q.key, st.fetch, m.next, stale)
	}
	// One that came in after the mess, from a fetch that had begun before, is another answer.
	if r := k.record(q); stale && st.fetch < m.messy && r.of(st.fetch).ended < r.of(m.messy).ended-int64(time.Millisecond) {
		k.report(messy, "%s(%s): fetch %d after %d", q.op, q.key, st.fetch, m.messy)
	}
}

// weaker checks that the first source had no denial when the weak one answered: after the last fetch that was denied, either the
// document was not there, or a fetch of any document has found the server unavailable, which a circuit breaker may be open for.
func (k *checker) weaker(q *question, st stamp) {
	r, key, op := k.record(q), q.key, q.op
	// A denial that is younger than that may still be on its way to the cache.
	n, at := r.lastDenial(since(q.began.Add(-k.c.timeout)))
	if n == 0 || r.has(n+1, anAbsence, anOutage, inLate) {
		return
	}
	until := since(q.ended.Add(time.Second))
	k.suspect(weak, func() bool {
		return !r.has(n+1, anAbsence, anOutage, inLate) && !k.ledger.outage(at, until)
	}, "%s(%s): %+v, though fetch %d was denied", op, key, st, n)
}

var (
	fetchNumber = regexp.MustCompile(`\bfetch (\d+)`)
	sentinels   = []error{
		secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrUnauthenticated,
		secrets.ErrUnavailable, secrets.ErrInvalidKey, secrets.ErrMalformed, secrets.ErrUnknown, secrets.ErrClosed,
	}
)

// failed judges the error of q.
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

// explain checks that the class of e is that of the fetch which it names.
func (k *checker) explain(q *question, e *secrets.Error) {
	var want outcome
	switch e.Err {
	case secrets.ErrNotFound, secrets.ErrDeleted:
		want = anAbsence
	case secrets.ErrPermissionDenied, secrets.ErrUnauthenticated:
		want = aDenial
	case secrets.ErrMalformed, secrets.ErrUnknown:
		want = aMess
	case secrets.ErrFieldNotFound: // two keys of one path were answered by two sources or versions
		if !strings.HasPrefix(q.op, "GetMany") || !strings.Contains(e.Detail, "other keys of this path") {
			k.report(misread, "%s(%s): %v", q.op, q.key, e)
		}
		return
	case secrets.ErrInvalidKey: // of a Has that must make no lease
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
	if strings.Contains(e.Detail, "the detail is withheld") { // redaction had no time
		return
	}
	number := fetchNumber.FindStringSubmatch(e.Detail)
	if number == nil {
		k.report(misread, "%s(%s): %v", q.op, q.key, e)
		return
	}
	n, _ := strconv.ParseUint(number[1], 10, 64)
	r := k.record(q)
	if got := r.of(n).outcome; got != want && got != inLate {
		k.report(misread, "%s(%s): %v, but the outcome was %d", q.op, q.key, e, got)
	}
	if want == aMess {
		raise(&r.messy, n)
		return
	}
	if n < q.marks.seen || n < q.marks.forgotten || q.refresh && n < q.marks.next {
		k.report(older, "%s(%s): fetch %d, after %+v: %v", q.op, q.key, n, q.marks, e)
	}
	raise(&r.seen, n)
	raise(&r.denied, n)
}

// has judges an answer of Has.
func (k *checker) has(q *question, has bool, err error) {
	if err != nil {
		k.failed(q, err)
		return
	}
	k.reads.Add(1)
	from := max(q.marks.seen, q.marks.forgotten)
	switch {
	case k.c.weak: // which has all keys
	case !has && !k.record(q).has(from, anAbsence, inLate):
		k.report(misread, "%s(%s): false, since fetch %d", q.op, q.key, from)
	case has && !k.record(q).has(from, aValue, inLate):
		k.report(misread, "%s(%s): true, since fetch %d", q.op, q.key, from)
	}
}

// together judges the answers of one GetMany, which qs are the questions of.
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

// stalls are the times at which the processors were late: a goroutine that sleeps a little tells by how much.
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

// in calls f with each stall, cut to that time.
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

// between returns for how long the processors were late in that time.
func (s *stalls) between(from, to time.Time) (late time.Duration) {
	s.in(from, to, func(d time.Duration) { late += d })
	return late
}

// worst returns the longest stall in that time.
func (s *stalls) worst(from, to time.Time) (longest time.Duration) {
	s.in(from, to, func(d time.Duration) { longest = max(longest, d) })
	return longest
}
