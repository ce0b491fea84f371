package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/joined"
)

// space is the keyspace of one Wrap: the memory for one backend of one Client. As a Fetcher it is the half of the cache that
// reads.
type space struct {
	cache   *Cache
	clock   *clock // of the cache
	next    secrets.Fetcher
	through secrets.Fetcher // what a miss asks: the filler, or the layers around it
	leases  bool            // a fetch may make a lease, which is then the age of what it brings

	// Written under Cache.mu, read without:
	index *xsync.Map[document, *entry]
	memos *xsync.Map[string, memo]
	// inserts is the number of entries made. It is counted up after an old entry has gone and before the new one comes.
	inserts atomic.Uint64
	entries atomic.Int64 // that are values

	countHits                                         atomic.Bool
	misses, stale, negativeHits, backedOff, evictions atomic.Uint64
	hits                                              paddedCounter

	outage outage // of the backend

	life    context.Context         // of the space, not of a call: renewals outlive their callers
	cancel  context.CancelCauseFunc // of life
	running sync.WaitGroup          // of renewals and probes

	// Guarded by Cache.mu:
	fetching map[document]fetches
	closed   bool
}

func newSpace(c *Cache, next secrets.Fetcher) *space {
	s := &space{
		cache:    c,
		clock:    c.clock,
		next:     next,
		index:    xsync.NewMap[document, *entry](),
		memos:    xsync.NewMap[string, memo](),
		fetching: make(map[document]fetches),
	}
	s.countHits.Store(c.config.countHits)
	if l, ok := next.(interface{ Leases() bool }); ok {
		s.leases = l.Leases()
	}
	s.life, s.cancel = context.WithCancelCause(context.Background())
	s.through = &filler{space: s, next: next}
	return s
}

// Fill returns the half of the cache that asks next and stores its answers, and makes s, the half that reads, ask the
// Fetcher that s was wrapped around. That one must lead to the filling half.
func (s *space) Fill(next secrets.Fetcher) secrets.Fetcher {
	s.through = s.next
	return &filler{space: s, next: next}
}

// finding is what memory knows about a document.
type finding int

const (
	unknown finding = iota // ask, on the caller's context
	answer                 // the result is there
	due                    // the result is there, and a renewal is due that nobody has begun
	putOff                 // the result is there, and the renewal that is due has time until an outage is over
	expired                // the value is past its TTL: renew it, and serve it stale if that fails
)

// known reports whether the result is there.
func (f finding) known() bool { return f != unknown && f != expired }

// look returns what memory knows about d. It takes no lock where it has an answer.
func (s *space) look(d document) (finding, *entry, secrets.Result) {
	e, found := s.index.Load(d)
	if !found {
		return unknown, nil, secrets.Result{}
	}
	if !e.isValue() {
		return s.lookAtFault(e)
	}
	now := s.clock.now()
	switch {
	case e.leaseOver(), now >= e.staleUntil():
		s.bury(e)
		return s.look(d)
	case now < e.expireAt:
		e.touch()
		if s.countHits.Load() {
			s.hits.n.Add(1)
		}
		if int64(now) >= e.refreshAt.Load() && e.renewal.Load() == nil {
			return due, e, secrets.Result{Secret: e.secret}
		}
		return answer, e, secrets.Result{Secret: e.secret}
	}
	e.touch()
	if now < e.troubles().retryAt && s.outage.open(e.document) == nil {
		return answer, e, s.staleResult(e)
	}
	return expired, e, secrets.Result{}
}

// lookAtFault is look for an entry that is an error.
func (s *space) lookAtFault(e *entry) (finding, *entry, secrets.Result) {
	if !e.holds() {
		return unknown, nil, secrets.Result{} // the entry stays: its failures count on
	}
	e.touch()
	if errors.Is(e.err, secrets.ErrNotFound) {
		s.negativeHits.Add(1)
	} else {
		s.backedOff.Add(1)
	}
	return answer, e, secrets.Result{Err: e.fault()}
}

func (s *space) staleResult(e *entry) secrets.Result {
	s.stale.Add(1)
	return secrets.Result{Secret: e.stale()}
}

// bury removes a value that must not be served any more. The back-off that it may be in outlives it.
func (s *space) bury(e *entry) {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, found := s.index.Load(e.document); !found || now != e {
		return
	}
	t := e.troubles()
	if c.clock.now() >= t.retryAt {
		c.drop(e)
		return
	}
	fault := s.newFault(e.document, t.outage, t.retryAt)
	fault.trouble.Store(&t)
	c.insert(fault, e)
}

// Fetch answers from memory, or asks for the secret and waits for it.
func (s *space) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if secrets.Fresh(ctx) {
		s.leave(ref)
		return s.through.Fetch(ctx, ref)
	}
	found, e, r := s.consult(ctx, documentOf(ref))
	if found == putOff {
		s.probeAhead(ctx, e)
	}
	if found == answer || found == putOff {
		return r.Secret, r.Err
	}
	if found == due || found == expired {
		var others *joined.List
		c, mine := s.join(e, &others)
		if mine {
			s.renewOne(ctx, c, found == due)
		}
		switch {
		case found == due:
			return r.Secret, r.Err
		case c != nil:
			if !mine {
				c.others.Join(ctx)
			}
			s.misses.Add(1)
			r = s.await(ctx, e, c)
			return r.Secret, r.Err
		}
	}
	s.misses.Add(1)
	return s.through.Fetch(ctx, ref)
}

// FetchMany answers from memory what it can, and asks once for the rest. If some of that are renewals of expired values,
// the whole batch is detached from the caller, as a renewal is. Renewals that are merely due are one batch more, in the
// background.
//
// In an outage, one document of the batch may be a probe. If that is answered in time, the rest is asked for as ever.
func (s *space) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	type waiting struct {
		place int
		entry *entry
		call  *call
	}
	var (
		results = make([]secrets.Result, len(refs))
		ask     []secrets.Ref
		places  []int // of ask, in results
		calls   []*call
		waits   []waiting
		ahead   renewals
		fresh   = secrets.Fresh(ctx)
		// Those who wait for renewals that this call begins, and those of others that know of this call.
		others *joined.List
		told   []*joined.List
	)
	for i, ref := range refs {
		if fresh {
			s.leave(ref)
			ask, places = append(ask, ref), append(places, i)
			continue
		}
		found, e, r := s.consult(ctx, documentOf(ref))
		if found.known() {
			results[i] = r
			ahead.add(s, found, e)
			continue
		}
		s.misses.Add(1)
		if found == expired {
			if c, mine := s.share(ctx, e, &others, &told); c != nil {
				waits = append(waits, waiting{i, e, c})
				if !mine {
					continue
				}
				c.place = len(ask)
				calls = append(calls, c)
			}
		}
		ask, places = append(ask, ref), append(places, i)
	}
	ahead.begin(ctx, s)
	if len(ask) > 0 {
		for n, r := range s.ask(ctx, ask, calls) {
			if n < len(places) {
				results[places[n]] = r
			}
		}
	}
	for _, w := range waits {
		results[w.place] = s.await(ctx, w.entry, w.call)
	}
	return results
}

// renewals are those ahead of the TTL that a batch causes.
type renewals struct {
	calls  []*call
	others *joined.List // those who wait for calls
	putOff *entry       // one whose renewal may be a probe, if no document that is needed more is
}

// add adds the renewal of e, if found says that there is to be one and nobody else runs it.
func (r *renewals) add(s *space, found finding, e *entry) {
	if found == putOff {
		r.putOff = e
	}
	if found != due {
		return
	}
	if c, mine := s.join(e, &r.others); mine {
		c.place = len(r.calls)
		r.calls = append(r.calls, c)
	}
}

// begin runs them in the background.
func (r *renewals) begin(ctx context.Context, s *space) {
	if len(r.calls) > 0 {
		s.renewMany(ctx, r.calls)
	}
	if r.putOff != nil {
		s.probeAhead(ctx, r.putOff)
	}
}

// ask asks for refs, the places of calls among them, which it settles.
func (s *space) ask(ctx context.Context, refs []secrets.Ref, calls []*call) []secrets.Result {
	if len(calls) == 0 {
		return s.through.FetchMany(ctx, refs)
	}
	answers := s.renew(ctx, calls, false, func(ctx context.Context) []secrets.Result { return s.through.FetchMany(ctx, refs) })
	select {
	case results := <-answers:
		return results
	case <-ctx.Done():
		results := make([]secrets.Result, len(refs))
		for i := range results {
			results[i].Err = ctx.Err()
		}
		return results
	}
}

// call is a renewal, or a probe, that callers may wait for.
type call struct {
	document document
	entry    *entry         // the value that it renews, or nil
	failed   bool           // a probe: whether the document has failed before
	place    int            // of the answer, in the batch that brings it
	others   *joined.List   // those who wait for the batch, beside who has begun it
	done     chan struct{}  // closed after result is set
	result   secrets.Result // settled by renew
}

// flight is the fetch of a renewal, as the layers below see it.
type flight struct {
	*joined.List
	background bool
}

// Background reports whether the renewal began ahead of the TTL.
func (f flight) Background() bool { return f.background }

var _ secrets.Flight = flight{}

// join returns the renewal of e. If mine is true, the caller has to run it; others then takes those who wait for it, and is
// made if it is nil. There is none if s is closed, or if e needs none any more.
func (s *space) join(e *entry, others **joined.List) (c *call, mine bool) {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	if c := e.renewal.Load(); c != nil || s.closed {
		return c, false
	}
	// One that was due may have come and gone since the caller looked.
	now, current := s.clock.now(), false
	if latest, found := s.index.Load(e.document); found {
		current = latest == e
	}
	if now < e.expireAt && (!current || int64(now) < e.refreshAt.Load()) {
		return nil, false
	}
	if *others == nil {
		*others = new(joined.List)
	}
	c = &call{document: e.document, entry: e, others: *others, done: make(chan struct{})}
	e.renewal.Store(c)
	s.running.Add(1) // here, where Close can not have passed
	return c, true
}

// share is join for a caller that waits. Of those that it joins, and are not in told yet, it becomes one of the others.
func (s *space) share(ctx context.Context, e *entry, others **joined.List, told *[]*joined.List) (c *call, mine bool) {
	c, mine = s.join(e, others)
	if c != nil && !mine && c.others != *others && !slices.Contains(*told, c.others) {
		*told = append(*told, c.others)
		c.others.Join(ctx)
	}
	return c, mine
}

func (s *space) renewOne(ctx context.Context, c *call, background bool) {
	s.renew(ctx, []*call{c}, background, func(ctx context.Context) []secrets.Result {
		secret, err := s.through.Fetch(ctx, c.document.ref())
		return []secrets.Result{{Secret: secret, Err: err}}
	})
}

// renewMany renews the entries of calls in the background.
func (s *space) renewMany(ctx context.Context, calls []*call) {
	refs := make([]secrets.Ref, len(calls))
	for i, c := range calls {
		refs[i] = c.document.ref()
	}
	s.renew(ctx, calls, true, func(ctx context.Context) []secrets.Result { return s.through.FetchMany(ctx, refs) })
}

// renew runs fetch, detached from the cancellation of ctx, and settles calls, which share one list of others, with its
// answers. All its answers go to the channel too.
func (s *space) renew(
	ctx context.Context, calls []*call, background bool, fetch func(context.Context) []secrets.Result,
) <-chan []secrets.Result {
	answers := make(chan []secrets.Result, 1)
	others := calls[0].others
	ctx = secrets.WithFlight(ctx, flight{others, background})
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(context.Cause(s.life)) })
	go func() {
		var results []secrets.Result
		fault := "the fetch ended its goroutine"
		// Settling is deferred, for a panic in a layer must leave no caller waiting.
		defer func() {
			if p := recover(); p != nil {
				fault = fmt.Sprintf("a panic with a %T", p) // its text may quote a value
			}
			stop()
			cancel(nil)
			others.End()
			closed := errors.Is(context.Cause(s.life), secrets.ErrClosed)
			for _, c := range calls {
				s.outage.release(c)
				c.settle(results, fault, closed)
				s.running.Done()
			}
			answers <- results
		}()
		results = fetch(ctx)
		fault = "a layer left the key unanswered"
	}()
	return answers
}

func (c *call) settle(results []secrets.Result, fault string, closed bool) {
	if c.place < len(results) {
		c.result = results[c.place]
	}
	switch {
	case c.result.Err == nil && c.result.Secret.IsZero():
		c.result.Err = &secrets.Error{Err: secrets.ErrUnknown, Detail: fault}
	case closed && isContextError(c.result.Err):
		c.result.Err = &secrets.Error{Err: secrets.ErrClosed}
	}
	if c.entry != nil {
		c.entry.renewal.CompareAndSwap(c, nil) // after a refresh it is another's
	}
	close(c.done)
}

// wait returns the answer of c, and whether it is final. It is not if it is an outage, or if the deadline of ctx or the
// patience comes first: then there may be something better in memory.
func (c *call) wait(ctx context.Context, patience <-chan time.Time) (r secrets.Result, final bool) {
	select {
	case <-c.done:
		return c.result, !errors.Is(c.result.Err, secrets.ErrUnavailable)
	case <-ctx.Done():
		err := ctx.Err()
		return secrets.Result{Err: err}, !errors.Is(err, context.DeadlineExceeded)
	case <-patience:
		return secrets.Result{}, false
	}
}

// await returns the answer of the renewal c of e. If that is an outage, or the deadline of ctx comes first, it is the old
// value, as long as that may be served.
func (s *space) await(ctx context.Context, e *entry, c *call) secrets.Result {
	r, final := c.wait(ctx, nil)
	if !final {
		if old, ok := s.recollect(e.document); ok {
			return old
		}
	}
	return r
}

// recollect returns the value of d that memory has after a fetch that came to nothing, as long as that may be served. An
// invalidation in the meantime forbids the old value, a refresh has brought a better one.
func (s *space) recollect(d document) (r secrets.Result, ok bool) {
	e, found := s.index.Load(d)
	switch now := s.clock.now(); {
	case !found || !e.isValue() || e.leaseOver() || now >= e.staleUntil():
		return r, false
	case now < e.expireAt:
		return secrets.Result{Secret: e.secret}, true
	default:
		return s.staleResult(e), true
	}
}

// leave makes sure that no later caller waits for a renewal of ref that has begun: a refresh comes after it.
func (s *space) leave(ref secrets.Ref) {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	if e, found := s.index.Load(documentOf(ref)); found {
		e.renewal.Store(nil)
	}
}

// outdate makes sure that no fetch of d that has begun fills the cache. The caller holds the lock of the cache.
func (s *space) outdate(d document) {
	if f, underWay := s.fetching[d]; underWay {
		f.floor = f.next
		s.fetching[d] = f
	}
}

// Invalidate forgets the documents that refs name. A fetch of them that is under way does not fill the cache.
func (s *space) Invalidate(refs ...secrets.Ref) {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	for _, ref := range refs {
		d := documentOf(ref)
		s.outdate(d)
		if e, found := s.index.Load(d); found {
			e.renewal.Store(nil)
			s.cache.drop(e)
		}
	}
}

// purge forgets everything. The caller holds the lock of the cache.
func (s *space) purge() {
	for d := range s.fetching {
		s.outdate(d)
	}
	s.index.Range(func(_ document, e *entry) bool {
		e.renewal.Store(nil)
		s.cache.drop(e)
		return true
	})
}

// Close forgets everything, ends the renewals and waits for them. What belongs to other Clients of the cache stays.
func (s *space) Close() error {
	s.cache.mu.Lock()
	first := !s.closed
	s.closed = true
	s.purge()
	delete(s.cache.spaces, s)
	if first {
		s.cache.closed = sum(s.cache.closed, s.CacheStats())
	}
	if len(s.cache.spaces) == 0 {
		s.clock.stop()
	}
	s.cache.mu.Unlock()
	s.cancel(secrets.ErrClosed)
	s.running.Wait()
	return nil
}

var _ secrets.Fetcher = (*space)(nil)
