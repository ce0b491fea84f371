package dedup

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/internal/inflight"
)

const (
	// maxRunning is how many flights of one document run at a time.
	maxRunning = 3
	// maxQueued is for how long a flight that waits to begin waits for the one before it.
	maxQueued = time.Second
)

// flights are the flights to one backend. One document has, at any time, up to maxRunning flights that run, of which newcomers
// join the newest, and up to one that waits to begin. This is who joins what:
//
//	the document has              a Get                          a Refresh, or a Get after an invalidation
//	nothing                       begins a flight                begins a flight
//	a flight that runs            joins it                       queues a flight
//	… which all callers have left begins another, or joins it    queues a flight
//	                              if maxRunning run; so does a
//	                              probe, whoever waits
//	… and one that waits          as without the latter          joins the one that waits
//	only one that waits           joins it                       joins it
//
// A flight that waits begins when the one that it was queued behind has ended, or after maxQueued, as soon as fewer than maxRunning
// run. If all of its callers have left by then, it never does.
//
// singleflight runs them. Each flight has a key of its own there, its generation, so that the table alone decides who joins what.
type flights struct {
	backend string
	next    secrets.Fetcher
	shared  singleflight.Group
	calls   *inflight.Calls // the goroutines of flights
	closing chan struct{}

	mu         sync.Mutex
	closed     bool
	generation uint64 // of the last flight
	documents  map[secrets.Ref]*document
}

// document is the flights of one document. It is in the table as long as there are any.
type document struct {
	newest   *flight // it runs, and began last of those that run; or nil
	queued   *flight // it waits to begin; or nil
	running  int
	outdated bool // newest began before an invalidation
}

// flight is one fetch of a document.
type flight struct {
	generation string
	ref        secrets.Ref
	ctx        context.Context //nolint:containedctx // of the fetch, which is no caller's
	group      *fetchctx.Group // of the caller that made it, or nil
	callers    fetchctx.Flight
	answer     fetchctx.Origin
	waiting    int         // callers; guarded by flights.mu
	behind     *flight     // that it was queued behind, or nil
	due        bool        // behind has ended, or maxQueued is over; guarded by flights.mu
	timer      *time.Timer // of maxQueued, or nil
	dropped    bool        // it never begins; set before start is closed
	start      chan struct{}
	lost       chan struct{} // closed if its goroutine was ended without an answer
}

func newFlights(backend string, next secrets.Fetcher) *flights {
	return &flights{
		backend: backend, next: next, calls: inflight.New(), closing: make(chan struct{}),
		documents: make(map[secrets.Ref]*document),
	}
}

// Fetch returns the answer of a flight for ref.
func (f *flights) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	fetch := fetchctx.Of(ctx)
	fl, answer, mine := f.join(ctx, fetch, ref)
	if fl == nil {
		return secrets.Secret{}, f.closedError(ref)
	}
	if !mine {
		if !fetch.Background {
			fl.callers.Join(ctx)
		}
		fetch.Group.Park()
		defer fetch.Group.Unpark()
	}
	var err error
	select {
	case r := <-answer:
		return unpack(r)
	case <-fl.lost:
		return secrets.Secret{}, unknown("the fetch ended its goroutine")
	case <-ctx.Done():
		err = ctx.Err()
		if dropped := f.leave(fl); dropped {
			return secrets.Secret{}, err
		}
	case <-f.closing:
		err = f.closedError(ref)
	}
	select {
	case r := <-answer: // one that is there counts
		return unpack(r)
	default:
		return secrets.Secret{}, err
	}
}

// join returns a flight for ref and the channel of its answer, and counts the caller among those who wait. If mine is true, the
// caller has made it. There is none if f is closed.
func (f *flights) join(ctx context.Context, fetch fetchctx.Fetch, ref secrets.Ref) (
	fl *flight, answer <-chan singleflight.Result, mine bool,
) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, false
	}
	d := f.documents[ref]
	if d == nil {
		d = new(document)
		f.documents[ref] = d
	}
	later := fetch.Fresh || d.outdated
	switch {
	case d.queued != nil && (later || d.newest == nil):
		fl = d.queued
	case d.newest != nil && later:
		fl, mine = f.queue(ctx, fetch, ref, d), true
	case d.newest != nil && (d.newest.waiting > 0 && !fetch.Probe || d.running >= maxRunning): // a probe is to show what is now
		fl = d.newest
	default:
		fl, mine = f.newFlight(ctx, fetch, ref), true
		f.begin(d, fl)
	}
	if mine {
		f.calls.Begin()
	}
	fl.waiting++
	return fl, f.shared.DoChan(fl.generation, func() (any, error) { return f.fly(d, fl), nil }), mine
}

func (f *flights) newFlight(ctx context.Context, fetch fetchctx.Fetch, ref secrets.Ref) *flight {
	f.generation++
	fl := &flight{
		generation: strconv.FormatUint(f.generation, 10), ref: ref, group: fetch.Group,
		start: make(chan struct{}), lost: make(chan struct{}),
	}
	fetch.Flight, fetch.Origin = &fl.callers, &fl.answer
	fl.ctx = fetchctx.Detach(ctx, fetch)
	return fl
}

// queue makes a flight that waits to begin. Memory must not answer it, whoever made it: it comes after a Refresh or an
// invalidation.
func (f *flights) queue(ctx context.Context, fetch fetchctx.Fetch, ref secrets.Ref, d *document) *flight {
	fetch.Fresh = true
	fl := f.newFlight(ctx, fetch, ref)
	fl.behind = d.newest
	fl.timer = time.AfterFunc(maxQueued, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		fl.due = true
		f.advance(d)
	})
	d.queued = fl
	return fl
}

// begin lets fl run. The caller holds f.mu.
func (f *flights) begin(d *document, fl *flight) {
	d.newest, d.outdated = fl, false
	d.running++
	close(fl.start)
}

// advance begins the flight of d that waits to begin, if it is time. The caller holds f.mu.
func (f *flights) advance(d *document) {
	if fl := d.queued; fl != nil && fl.due && d.running < maxRunning {
		d.queued = nil
		fl.timer.Stop()
		f.begin(d, fl)
	}
}

// drop makes sure that the flight of d that waits to begin never does. The caller holds f.mu.
func (f *flights) drop(d *document) {
	fl := d.queued
	d.queued = nil
	fl.timer.Stop()
	fl.dropped = true
	close(fl.start)
}

// fly runs fl and returns its answer. It must not panic, which would end the program.
func (f *flights) fly(d *document, fl *flight) (r secrets.Result) {
	defer f.calls.End()
	if fl.behind != nil { // its callers wait for another fetch at present
		fl.group.Park()
		<-fl.start
		fl.group.Unpark()
	}
	if fl.dropped {
		return secrets.Result{Err: f.closedError(fl.ref)} // which nobody waits for
	}
	answered := false
	defer func() { // also if what is below ends the goroutine
		f.end(d, fl)
		if !answered {
			close(fl.lost)
		}
	}()
	r = f.ask(fl)
	answered = true
	return r
}

// ask fetches for fl. A panic, and an empty answer, is an error.
func (f *flights) ask(fl *flight) (r secrets.Result) {
	defer func() {
		if p := recover(); p != nil {
			r = secrets.Result{Err: unknown(fmt.Sprintf("a panic with a %T", p))} // its text may quote a value
		}
	}()
	r.Secret, r.Err = f.next.Fetch(fl.ctx, fl.ref)
	if r.Err == nil && r.Secret.IsZero() {
		r.Err = unknown("the answer holds neither a secret nor an error")
	}
	return r
}

// end notes that fl does not run any more. Nobody joins it from then on.
func (f *flights) end(d *document, fl *flight) {
	fl.callers.End()
	f.mu.Lock()
	defer f.mu.Unlock()
	d.running--
	if d.newest == fl {
		d.newest = nil
	}
	if d.queued != nil && d.queued.behind == fl {
		d.queued.due = true
	}
	f.advance(d)
	f.forget(fl.ref, d)
}

// leave notes that a caller of fl has gone. A flight that runs goes on; one that waits to begin is dropped with its last caller, and has
// no answer then.
func (f *flights) leave(fl *flight) (dropped bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiting--
	if d := f.documents[fl.ref]; fl.waiting == 0 && d != nil && d.queued == fl {
		f.drop(d)
		f.forget(fl.ref, d)
		return true
	}
	return false
}

// forget takes d, the document ref, out of the table if it has no flights. The caller holds f.mu.
func (f *flights) forget(ref secrets.Ref, d *document) {
	if d.running == 0 && d.queued == nil && f.documents[ref] == d {
		delete(f.documents, ref)
	}
}

// Invalidate keeps later callers from joining the flights for docs that have begun.
func (f *flights) Invalidate(docs ...secrets.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, doc := range docs {
		if d := f.documents[doc]; d != nil {
			d.outdated = d.newest != nil
		}
	}
}

// Close refuses later calls, answers those that wait with secrets.ErrClosed, and waits for the flights that run, which what is below
// ends.
func (f *flights) Close() error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.closing)
		f.calls.Close()
		for _, d := range f.documents {
			if d.queued != nil {
				f.drop(d)
			}
		}
	}
	f.mu.Unlock()
	<-f.calls.Idle()
	return nil
}

func unpack(r singleflight.Result) (secrets.Secret, error) {
	answer, _ := r.Val.(secrets.Result)
	return answer.Secret, answer.Err
}

func unknown(detail string) error { return secrets.NewError(secrets.ErrUnknown, detail) }

func (f *flights) closedError(ref secrets.Ref) error {
	return &secrets.Error{Backend: f.backend, Key: ref.String(), Err: secrets.ErrClosed}
}

var _ secrets.Dedup = (*flights)(nil)
