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
	// maxRunning is how many flights of one document may run at a time.
	maxRunning = 3
	// maxQueued is how long a queued flight waits for the flight before it.
	maxQueued = time.Second
)

// flights is the Dedup of one backend of one Client. A document has up to maxRunning flights that run, and up to one queued flight. Callers
// join the newest of those that run. The rules:
//
//	the document has              a Get                          a Refresh, or a Get after an invalidation
//	nothing                       begins a flight                begins a flight
//	a flight that runs            joins it                       queues a flight
//	… without callers             begins another, or joins it    queues a flight
//	                              if maxRunning run; a probe
//	                              does so even with callers
//	… and a queued flight         as without the queued one      joins the queued one
//	only a queued flight          joins it                       joins it
//
// A queued flight begins when the flight that it was queued behind has ended, or after maxQueued, as soon as fewer than maxRunning run. If
// all of its callers have left by then, it is dropped.
//
// singleflight runs the flights. Each has a key of its own there, its generation: only the table above decides who joins which flight.
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

// document is the flights of one document. It is in flights.documents while there are any.
type document struct {
	newest   *flight // the flight that began last, if it still runs; or nil
	queued   *flight // or nil
	running  int
	outdated bool // newest began before an invalidation
}

// flight is one fetch of a document.
type flight struct {
	generation string
	ref        secrets.Ref
	ctx        context.Context //nolint:containedctx // of the fetch, detached from all callers
	group      *fetchctx.Group // of the caller that created it, or nil
	callers    fetchctx.Flight
	answer     fetchctx.Origin
	waiting    int         // callers; guarded by flights.mu
	behind     *flight     // the flight that it was queued behind, or nil
	due        bool        // behind has ended, or maxQueued is over; guarded by flights.mu
	timer      *time.Timer // of maxQueued, or nil
	dropped    bool        // it never begins; set before start is closed
	start      chan struct{}
	lost       chan struct{} // closed if its goroutine has ended without an answer
}

func newFlights(backend string, next secrets.Fetcher) *flights {
	return &flights{
		backend: backend, next: next, calls: inflight.New(), closing: make(chan struct{}),
		documents: make(map[secrets.Ref]*document),
	}
}

// Fetch joins or begins a flight for ref and returns its answer.
func (f *flights) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	fetch := fetchctx.Of(ctx)
	fl, answer, created := f.join(ctx, fetch, ref)
	if fl == nil {
		return secrets.Secret{}, f.closedError(ref)
	}
	if !created {
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
	case r := <-answer: // an answer that is ready takes precedence
		return unpack(r)
	default:
		return secrets.Secret{}, err
	}
}

// join returns a flight for ref and the channel of its answer, and counts the caller as waiting. created reports whether the caller has
// created the flight. fl is nil if f is closed.
func (f *flights) join(ctx context.Context, fetch fetchctx.Fetch, ref secrets.Ref) (
	fl *flight, answer <-chan singleflight.Result, created bool,
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
		fl, created = f.queue(ctx, fetch, ref, d), true
	case d.newest != nil && (d.newest.waiting > 0 && !fetch.Probe || d.running >= maxRunning): // a probe must show the state of now
		fl = d.newest
	default:
		fl, created = f.newFlight(ctx, fetch, ref), true
		f.begin(d, fl)
	}
	if created {
		f.calls.Begin()
	}
	fl.waiting++
	return fl, f.shared.DoChan(fl.generation, func() (any, error) { return f.run(d, fl), nil }), created
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

// queue creates a queued flight. The cache must not answer it, since it follows a Refresh or an invalidation.
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

// begin starts fl. The caller holds f.mu.
func (f *flights) begin(d *document, fl *flight) {
	d.newest, d.outdated = fl, false
	d.running++
	close(fl.start)
}

// advance begins the queued flight of d, if it is due. The caller holds f.mu.
func (f *flights) advance(d *document) {
	if fl := d.queued; fl != nil && fl.due && d.running < maxRunning {
		d.queued = nil
		fl.timer.Stop()
		f.begin(d, fl)
	}
}

// drop removes the queued flight of d, which then never begins. The caller holds f.mu.
func (f *flights) drop(d *document) {
	fl := d.queued
	d.queued = nil
	fl.timer.Stop()
	fl.dropped = true
	close(fl.start)
}

// run runs fl and returns its answer. It must not panic: singleflight would end the program.
func (f *flights) run(d *document, fl *flight) (r secrets.Result) {
	defer f.calls.End()
	if fl.behind != nil { // until it begins, its callers wait for another fetch
		fl.group.Park()
		<-fl.start
		fl.group.Unpark()
	}
	if fl.dropped {
		return secrets.Result{Err: f.closedError(fl.ref)} // no caller waits for it
	}
	answered := false
	defer func() { // runs even if the layer below ends the goroutine
		f.end(d, fl)
		if !answered {
			close(fl.lost)
		}
	}()
	r = f.fetch(fl)
	answered = true
	return r
}

// fetch makes the fetch of fl. It turns a panic or an empty answer into an error.
func (f *flights) fetch(fl *flight) (r secrets.Result) {
	defer func() {
		if p := recover(); p != nil {
			r = secrets.Result{Err: unknown(fmt.Sprintf("a panic with a %T", p))} // only the type of p, since its text may quote a value
		}
	}()
	r.Secret, r.Err = f.next.Fetch(fl.ctx, fl.ref)
	if r.Err == nil && r.Secret.IsZero() {
		r.Err = unknown("the answer holds neither a secret nor an error")
	}
	return r
}

// end takes fl out of the flights that run: no caller joins it any more.
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
	f.removeIdle(fl.ref, d)
}

// leave counts a caller of fl as gone. If it was the last caller of a queued flight, that is dropped and has no answer.
func (f *flights) leave(fl *flight) (dropped bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiting--
	if d := f.documents[fl.ref]; fl.waiting == 0 && d != nil && d.queued == fl {
		f.drop(d)
		f.removeIdle(fl.ref, d)
		return true
	}
	return false
}

// removeIdle removes d, the document of ref, if it has no flights. The caller holds f.mu.
func (f *flights) removeIdle(ref secrets.Ref, d *document) {
	if d.running == 0 && d.queued == nil && f.documents[ref] == d {
		delete(f.documents, ref)
	}
}

// Invalidate keeps later callers from joining flights for docs that have begun.
func (f *flights) Invalidate(docs ...secrets.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, doc := range docs {
		if d := f.documents[doc]; d != nil {
			d.outdated = d.newest != nil
		}
	}
}

// Close refuses later calls, returns secrets.ErrClosed to waiting callers, and waits for the flights that run, which the layers below have
// to end.
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
