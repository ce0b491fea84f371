// Package dedup is the layer that lets concurrent calls for one secret share one fetch.
//
// It belongs into the slot of secrets.WithDedup; middleware.Standard puts it there:
//
//	client, err := secrets.New(backend, secrets.WithDedup(dedup.New()))
//
// A shared fetch, a flight, is not bound to any one of its callers:
//
//   - A caller that gives up leaves on its own context, at once. The others keep the flight.
//   - When the last caller leaves, the flight is cancelled and forgotten in one step, so that a newcomer never joins a
//     cancelled flight.
//   - A call with secrets.WithFresh, and any call after an invalidation, does not join a flight that began before.
//   - If what is below panics or ends its goroutine, all callers get secrets.ErrUnknown, and the process lives on.
//
// A batch is one flight for the secrets of it that no other flight is fetching already, and joins those flights for the
// rest, so that overlapping batches ask for each secret once.
//
// A flight keeps the context values of its first caller, without its cancellation and deadline; what is below finds the
// others with secrets.FlightOf, if it observes calls. A backend must not let
// context values decide its answer: give each tenant a Client of its own.
package dedup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/joined"
)

// Dedup is the layer. It may be given to several Clients; each has flights of its own. It is safe for concurrent use.
type Dedup struct{}

// New returns the layer. It has no options.
func New() *Dedup { return &Dedup{} }

// Wrap returns a Fetcher that shares fetches from next.
func (*Dedup) Wrap(next secrets.Fetcher) secrets.Fetcher {
	g := &group{next: next, flights: make(map[secrets.Ref]*flight), runs: make(map[*run]struct{})}
	if n, ok := next.(interface{ Name() string }); ok {
		g.name = n.Name()
	}
	return g
}

var _ secrets.Middleware = (*Dedup)(nil)

// group holds the flights to one Fetcher.
type group struct {
	next    secrets.Fetcher
	name    string         // of the backend, or ""
	running sync.WaitGroup // of the goroutines of runs

	mu      sync.Mutex
	closed  bool
	boards  uint64                  // the number of calls of board
	flights map[secrets.Ref]*flight // those that a caller may join
	runs    map[*run]struct{}       // all that are under way
}

// run is one call of next, which settles one flight or, as a batch, many.
type run struct {
	batch   bool
	flights []flight
	one     [1]flight       // room for flights, if it is but one
	ended   <-chan struct{} // closed by cancel
	settled atomic.Bool     // set, before the last call of cancel, when the results of flights are
	cancel  context.CancelCauseFunc
	outer   secrets.Flight // that of the first caller, or nil
	others  joined.List    // the callers beside the first
	wanted  int            // flights that have waiters; guarded by group.mu
	board   uint64         // the last call of board that boarded it; guarded by group.mu
}

// newRun returns a run for up to n flights.
func newRun(outer secrets.Flight, n int, batch bool) *run {
	r := &run{batch: batch, outer: outer}
	if r.flights = r.one[:0]; n > 1 {
		r.flights = make([]flight, 0, n)
	}
	return r
}

// OnJoin tells f of the callers beside the first. Where one of them calls for a flight itself, as a renewal in the cache
// does, those who share that are told of too.
func (r *run) OnJoin(f func(context.Context)) {
	if r.outer != nil {
		r.outer.OnJoin(f)
	}
	r.others.OnJoin(func(caller context.Context) {
		f(caller)
		if theirs := secrets.FlightOf(caller); theirs != nil {
			theirs.OnJoin(f)
		}
	})
}

// Background reports whether the first caller is nobody who waits.
func (r *run) Background() bool { return r.outer != nil && r.outer.Background() }

var _ secrets.Flight = (*run)(nil)

// flight is the fetch of one secret.
type flight struct {
	ref     secrets.Ref
	run     *run
	waiters int            // guarded by group.mu
	result  secrets.Result // set by the run
}

// Fetch returns the result of the flight for ref, which it begins if there is none.
func (g *group) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	var flights [1]*flight
	if !g.board(ctx, flights[:], []secrets.Ref{ref}, false) {
		return secrets.Secret{}, g.closedError(ref)
	}
	r := g.wait(ctx, flights[0])
	return r.Secret, r.Err
}

// FetchMany returns the results of the flights for refs. It begins one call for all refs that have none.
func (g *group) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := make([]secrets.Result, len(refs))
	flights := make([]*flight, len(refs))
	open := g.board(ctx, flights, refs, true)
	for i := range refs {
		if open {
			results[i] = g.wait(ctx, flights[i])
		} else {
			results[i].Err = g.closedError(refs[i])
		}
	}
	return results
}

// board sets flights to one for each ref, and counts the caller among the waiters of each. Those that it has to begin share
// one call of next. It reports whether g is open.
func (g *group) board(ctx context.Context, flights []*flight, refs []secrets.Ref, batch bool) bool {
	joined, open := g.boardLocked(ctx, flights, refs, batch)
	for _, r := range joined {
		r.others.Join(ctx) // not under the lock: it calls observers
	}
	return open
}

// boardLocked is board, and returns the runs of others that the caller shares, once each.
func (g *group) boardLocked(ctx context.Context, flights []*flight, refs []secrets.Ref, batch bool) (joined []*run, open bool) {
	fresh := secrets.Fresh(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, false
	}
	g.boards++
	var begun *run
	for i, ref := range refs {
		f := g.flights[ref]
		if f == nil || fresh && f.run != begun {
			if begun == nil {
				begun = newRun(secrets.FlightOf(ctx), len(refs), batch)
				begun.board = g.boards
			}
			begun.flights = append(begun.flights, flight{ref: ref, run: begun, result: secrets.Result{Err: errEnded}})
			f = &begun.flights[len(begun.flights)-1]
			g.flights[ref] = f
		}
		if f.waiters == 0 {
			f.run.wanted++
		}
		f.waiters++
		flights[i] = f
		if f.run.board != g.boards {
			f.run.board = g.boards
			joined = append(joined, f.run)
		}
	}
	if begun != nil {
		ctx, begun.cancel = context.WithCancelCause(secrets.WithFlight(ctx, begun))
		begun.ended = ctx.Done()
		g.runs[begun] = struct{}{}
		g.running.Add(1)
		go g.carry(ctx, begun)
	}
	return joined, true
}

// carry asks next for the flights of r.
func (g *group) carry(ctx context.Context, r *run) {
	defer g.running.Done()
	defer g.settle(r) // deferred, for a panic and a runtime.Goexit must end no more than these flights
	growStack(0)
	if !r.batch {
		f := &r.flights[0]
		f.result.Secret, f.result.Err = g.next.Fetch(ctx, f.ref)
		return
	}
	refs := make([]secrets.Ref, len(r.flights))
	for i := range r.flights {
		refs[i] = r.flights[i].ref
	}
	results := g.next.FetchMany(ctx, refs)
	for i := range r.flights {
		// Of a wrong number of answers nobody knows which key each belongs to.
		if len(results) == len(r.flights) {
			r.flights[i].result = results[i]
		} else {
			r.flights[i].result.Err = unknown(fmt.Sprintf("%d answers to %d questions", len(results), len(r.flights)))
		}
	}
}

// growStack makes the stack of a new goroutine 8 KiB, as that of a call of the backend: see call.go of package secrets, which
// imports nothing that both could share.
//
//go:noinline
func growStack(i int) byte {
	var room [3584]byte
	return room[i]
}

// errEnded is the result of a flight whose goroutine was ended before there was another.
var errEnded = unknown("the fetch ended its goroutine")

func unknown(detail string) error { return &secrets.Error{Err: secrets.ErrUnknown, Detail: detail} }

// settle lets the waiters of r have their results. It recovers what is below from a panic.
func (g *group) settle(r *run) {
	p := recover()
	r.others.End()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.runs, r)
	for i := range r.flights {
		f := &r.flights[i]
		switch {
		case p != nil:
			f.result = secrets.Result{Err: unknown(fmt.Sprintf("a panic with a %T", p))} // its text may quote a value
		case f.result.Err == nil && f.result.Secret.IsZero():
			f.result.Err = unknown("the answer holds neither a secret nor an error")
		case g.closed && errors.Is(f.result.Err, context.Canceled):
			f.result.Err = g.closedError(f.ref)
		}
		g.unpublish(f)
	}
	r.settled.Store(true)
	r.cancel(nil)
}

func (g *group) closedError(ref secrets.Ref) error {
	return &secrets.Error{Backend: g.name, Key: ref.String(), Err: secrets.ErrClosed}
}

// wait returns the result of f, or the error of ctx or ErrClosed if that ends, or the group is closed, first.
func (g *group) wait(ctx context.Context, f *flight) secrets.Result {
	if f.run.settled.Load() { // an answer that is there counts, also if ctx is done by now
		return f.result
	}
	select {
	case <-f.run.ended:
		if f.run.settled.Load() {
			return f.result
		}
		return secrets.Result{Err: g.closedError(f.ref)} // nothing but Close ends a flight that is waited for
	case <-ctx.Done():
		g.leave(f)
		return secrets.Result{Err: ctx.Err()}
	}
}

// leave counts a waiter out. The last one cancels the flight and makes sure that nobody joins it, under one lock.
func (g *group) leave(f *flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f.waiters--
	if f.waiters > 0 {
		return
	}
	g.unpublish(f)
	f.run.wanted--
	if f.run.wanted == 0 {
		f.run.cancel(context.Canceled)
	}
}

// unpublish keeps later callers from joining f. The caller holds g.mu.
func (g *group) unpublish(f *flight) {
	if g.flights[f.ref] == f {
		delete(g.flights, f.ref)
	}
}

// Invalidate keeps later callers from joining the flights for refs that are under way.
func (g *group) Invalidate(refs ...secrets.Ref) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ref := range refs {
		delete(g.flights, ref)
	}
}

// Close ends all flights with secrets.ErrClosed, refuses later calls, and waits for the goroutines.
func (g *group) Close() error {
	g.mu.Lock()
	g.closed = true
	for r := range g.runs {
		r.cancel(secrets.ErrClosed)
	}
	g.mu.Unlock()
	g.running.Wait()
	return nil
}

var _ secrets.Fetcher = (*group)(nil)
