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
// A flight keeps the context values of its first caller, without its cancellation and deadline. A backend must not let
// context values decide its answer: give each tenant a Client of its own.
package dedup

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed-5482dd03/secrets"
)

// Dedup is the layer. It may be given to several Clients; each has flights of its own. It is safe for concurrent use.
type Dedup struct{}

// New returns the layer. It has no options.
func New() *Dedup { return &Dedup{} }

// Wrap returns a Fetcher that shares fetches from next.
func (*Dedup) Wrap(next secrets.Fetcher) secrets.Fetcher {
	return &group{next: next, flights: make(map[secrets.Ref]*flight), runs: make(map[*run]struct{})}
}

var _ secrets.Middleware = (*Dedup)(nil)

// group holds the flights to one Fetcher.
type group struct {
	next    secrets.Fetcher
	running sync.WaitGroup // of the goroutines of runs

	mu      sync.Mutex
	closed  bool
	flights map[secrets.Ref]*flight // those that a caller may join
	runs    map[*run]struct{}       // all that are under way
}

// flight is the fetch of one secret.
type flight struct {
	ref     secrets.Ref
	run     *run
	waiters int            // guarded by group.mu
	done    chan struct{}  // closed after result is set
	result  secrets.Result // settled by the run
}

// run is one call of next, which settles one flight or, as a batch, many.
type run struct {
	flights []*flight
	cancel  context.CancelCauseFunc
	wanted  int // flights that have waiters; guarded by group.mu
}

// Fetch returns the result of the flight for ref, which it begins if there is none.
func (g *group) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	flights, err := g.board(ctx, []secrets.Ref{ref}, func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
		s, err := g.next.Fetch(ctx, refs[0])
		return []secrets.Result{{Secret: s, Err: err}}
	})
	if err != nil {
		return secrets.Secret{}, err
	}
	r := g.wait(ctx, flights[0])
	return r.Secret, r.Err
}

// FetchMany returns the results of the flights for refs. It begins one flight for all refs that have none.
func (g *group) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := make([]secrets.Result, len(refs))
	flights, err := g.board(ctx, refs, g.next.FetchMany)
	for i := range refs {
		if err != nil {
			results[i].Err = err
			continue
		}
		results[i] = g.wait(ctx, flights[i])
	}
	return results
}

// board returns a flight for each ref and counts the caller among the waiters of each. Those that it has to begin share
// one call of fetch.
func (g *group) board(
	ctx context.Context, refs []secrets.Ref, fetch func(context.Context, []secrets.Ref) []secrets.Result,
) ([]*flight, error) {
	fresh := secrets.Fresh(ctx)
	flights := make([]*flight, len(refs))

	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, &secrets.Error{Err: secrets.ErrClosed}
	}
	var begun *run
	for i, ref := range refs {
		f := g.flights[ref]
		if f == nil || fresh && f.run != begun {
			if begun == nil {
				begun = &run{}
			}
			f = &flight{ref: ref, run: begun, done: make(chan struct{})}
			begun.flights = append(begun.flights, f)
			g.flights[ref] = f
		}
		if f.waiters == 0 {
			f.run.wanted++
		}
		f.waiters++
		flights[i] = f
	}
	if begun != nil {
		g.begin(ctx, begun, fetch)
	}
	return flights, nil
}

// begin starts r on a goroutine of its own, detached from the caller. The caller holds g.mu.
func (g *group) begin(ctx context.Context, r *run, fetch func(context.Context, []secrets.Ref) []secrets.Result) {
	ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	g.runs[r] = struct{}{}
	refs := make([]secrets.Ref, len(r.flights))
	for i, f := range r.flights {
		refs[i] = f.ref
	}
	g.running.Go(func() {
		var results []secrets.Result
		fault := "the fetch ended its goroutine"
		// Settling is deferred, for a panic and a runtime.Goexit must end no more than this flight.
		defer func() {
			if p := recover(); p != nil {
				fault = fmt.Sprintf("a panic with a %T", p) // its text may quote a value
			}
			g.settle(r, results, fault)
		}()
		results = fetch(ctx, refs)
		fault = "the answer holds neither a secret nor an error"
	})
}

// settle hands results to the waiters of r. A flight without an answer gets fault.
func (g *group) settle(r *run, results []secrets.Result, fault string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.cancel(nil)
	delete(g.runs, r)
	for i, f := range r.flights {
		if i < len(results) {
			f.result = results[i]
		}
		switch {
		case f.result.Err == nil && f.result.Secret.IsZero():
			f.result.Err = &secrets.Error{Err: secrets.ErrUnknown, Detail: fault}
		case g.closed && errors.Is(f.result.Err, context.Canceled):
			f.result.Err = &secrets.Error{Err: secrets.ErrClosed}
		}
		g.unpublish(f)
		close(f.done)
	}
}

// wait returns the result of f, or the error of ctx if that ends first.
func (g *group) wait(ctx context.Context, f *flight) secrets.Result {
	select {
	case <-f.done:
		return f.result
	default: // an answer that is there counts, also if ctx is done by now
	}
	select {
	case <-f.done:
		return f.result
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
