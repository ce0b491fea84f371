// Package dedup is the layer that lets concurrent callers of one document share a fetch.
//
// Install it with secrets.WithDedup, or with middleware.Standard:
//
//	client, err := secrets.New(backend, secrets.WithDedup(dedup.New()))
//
// A shared fetch, a flight, is not bound to any one of its callers:
//
//   - A caller that gives up leaves on its own context, at once. The others keep the flight.
//   - When the last caller leaves, the flight is cancelled and forgotten in one step, so that a newcomer never joins a
//     cancelled flight.
//   - A secrets.Client.Refresh, and any call after an invalidation, does not join a flight that began before.
//   - If what is below panics or ends its goroutine, all callers get secrets.ErrUnknown, and the process lives on.
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
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// Dedup is the layer. It may be given to several Clients; each has flights of its own. It is safe for concurrent use. Make one with
// [New].
type Dedup struct{ made bool }

// New returns the layer. It has no options.
func New() *Dedup { return &Dedup{made: true} }

// Validate returns an error for a Dedup that [New] has not made. secrets.New calls it.
func (d *Dedup) Validate() error {
	if !d.made {
		return errors.New("dedup: a zero Dedup; make it with dedup.New")
	}
	return nil
}

// NewDedup returns the flights to next. secrets.New calls it.
func (d *Dedup) NewDedup(info secrets.Info, next secrets.Fetcher) secrets.Dedup {
	return &flights{
		backend: info.Name, next: next, closing: make(chan struct{}),
		joinable: make(map[secrets.Ref]*flight), running: make(map[*flight]struct{}),
	}
}

var _ secrets.DedupLayer = (*Dedup)(nil)

// flights are the flights to one backend.
type flights struct {
	backend string
	next    secrets.Fetcher
	ended   sync.WaitGroup // of the goroutines of flights
	closing chan struct{}

	mu       sync.Mutex
	closed   bool
	joinable map[secrets.Ref]*flight
	running  map[*flight]struct{}
}

// flight is the fetch of one document.
type flight struct {
	ref     secrets.Ref
	callers *fetchctx.Flight
	answer  fetchctx.Origin
	cancel  context.CancelCauseFunc
	waiting int // callers; guarded by flights.mu

	done   chan struct{} // closed after result is set
	result secrets.Result
}

// Fetch returns the result of the flight for ref, which it begins if there is none.
func (f *flights) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	fl, mine := f.join(ctx, ref)
	if fl == nil {
		return secrets.Secret{}, f.closedError(ref)
	}
	if !mine {
		fl.callers.Join(ctx) // not under the lock: it calls observers
		group := fetchctx.Of(ctx).Group
		group.Park()
		defer group.Unpark()
	}
	select {
	case <-fl.done:
		return fl.result.Secret, fl.result.Err
	default: // an answer that is there counts, also if ctx is done by now
	}
	select {
	case <-fl.done:
		return fl.result.Secret, fl.result.Err
	case <-ctx.Done():
		f.leave(fl)
		return secrets.Secret{}, ctx.Err()
	case <-f.closing:
		return secrets.Secret{}, f.closedError(ref)
	}
}

// join returns a flight for ref, and counts the caller among those who wait for it. If mine is true, the caller has begun it. There
// is none if f is closed.
func (f *flights) join(ctx context.Context, ref secrets.Ref) (fl *flight, mine bool) {
	fetch := fetchctx.Of(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false
	}
	if fl = f.joinable[ref]; fl == nil || fetch.Fresh {
		mine = true
		fl = &flight{
			ref: ref, callers: fetchctx.NewFlight(ctx), done: make(chan struct{}), result: secrets.Result{Err: errEnded},
		}
		fetch.Flight, fetch.Origin = fl.callers, &fl.answer
		var flightCtx context.Context
		flightCtx, fl.cancel = context.WithCancelCause(fetchctx.Detach(ctx, fetch))
		f.joinable[ref] = fl
		f.running[fl] = struct{}{}
		f.ended.Add(1)
		go f.run(flightCtx, fl)
	}
	fl.waiting++
	return fl, mine
}

// run fetches for fl.
func (f *flights) run(ctx context.Context, fl *flight) {
	defer f.ended.Done()
	defer f.settle(fl) // deferred, for a panic and a runtime.Goexit must end no more than this flight
	fl.result.Secret, fl.result.Err = f.next.Fetch(ctx, fl.ref)
}

// errEnded is the result of a flight whose goroutine was ended before there was another.
var errEnded = unknown("the fetch ended its goroutine")

func unknown(detail string) error { return secrets.NewError(secrets.ErrUnknown, detail) }

// settle lets the callers of fl have its result. It recovers what is below from a panic.
func (f *flights) settle(fl *flight) {
	p := recover()
	fl.callers.End()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case p != nil:
		fl.result = secrets.Result{Err: unknown(fmt.Sprintf("a panic with a %T", p))} // its text may quote a value
	case fl.result.Err == nil && fl.result.Secret.IsZero():
		fl.result.Err = unknown("the answer holds neither a secret nor an error")
	case f.closed && errors.Is(fl.result.Err, context.Canceled):
		fl.result.Err = f.closedError(fl.ref)
	}
	delete(f.running, fl)
	f.unpublish(fl)
	fl.cancel(nil)
	close(fl.done)
}

func (f *flights) closedError(ref secrets.Ref) error {
	return &secrets.Error{Backend: f.backend, Key: ref.String(), Err: secrets.ErrClosed}
}

// leave notes that a caller has gone. The last one cancels the flight and makes sure that nobody joins it, under one lock.
func (f *flights) leave(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiting--
	if fl.waiting == 0 {
		f.unpublish(fl)
		fl.cancel(context.Canceled)
	}
}

// unpublish keeps later callers from joining fl. The caller holds f.mu.
func (f *flights) unpublish(fl *flight) {
	if f.joinable[fl.ref] == fl {
		delete(f.joinable, fl.ref)
	}
}

// Invalidate keeps later callers from joining the flights for docs that are under way.
func (f *flights) Invalidate(docs ...secrets.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, doc := range docs {
		delete(f.joinable, doc)
	}
}

// Close ends all flights with secrets.ErrClosed, refuses later calls, and waits for the goroutines.
func (f *flights) Close() error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.closing)
	}
	for fl := range f.running {
		fl.cancel(secrets.ErrClosed)
	}
	f.mu.Unlock()
	f.ended.Wait()
	return nil
}

var _ secrets.Dedup = (*flights)(nil)
