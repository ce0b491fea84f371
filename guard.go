package secrets

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets/internal/inflight"
)

// guard wraps one backend, inside every layer except redaction. Its answers arrive in time, have one class or a complete Meta, and are
// never a panic. The backend runs on a goroutine of its own: it may ignore its context, or end its goroutine, and must not stop the
// caller's.
type guard struct {
	next    Fetcher
	name    string
	timeout time.Duration
	inline  bool            // the backend does not block, and runs on the caller's goroutine
	life    context.Context // ends with the Client; no call carries it
	calls   *inflight.Calls
	hung    atomic.Int64 // calls that the guard has abandoned and that have not returned
}

// maxHung bounds the hung calls of a backend that ignores its context: each keeps a goroutine, and perhaps a thread, forever.
const maxHung = 256

func (g *guard) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	began := time.Now()
	if g.inline {
		if g.life.Err() != nil {
			return Secret{}, &Error{Backend: g.name, Key: ref.String(), Err: ErrClosed}
		}
		var r Result
		g.fetchInto(ctx, ref, &r)
		return g.settle(ctx, ref, r, began)
	}
	r, err := await(ctx, g, func(ctx context.Context, r *Result) { g.fetchInto(ctx, ref, r) })
	if err != nil {
		return Secret{}, toError(ctx, err, g.name, ref.String())
	}
	return g.settle(ctx, ref, r, began)
}

// fetchInto sets r to the answer of the backend.
func (g *guard) fetchInto(ctx context.Context, ref Ref, r *Result) {
	r.Err = errEnded
	defer protect(r)
	r.Secret, r.Err = g.next.Fetch(ctx, ref)
}

// protect recovers a panic, and sets the error of r for a panic or an empty answer. It must be deferred. Before the fetch, the caller sets
// r.Err to errEnded, for a fetch that ends its goroutine. The error names only the type of the panic: its text may quote a value.
func protect(r *Result) {
	if p := recover(); p != nil {
		*r = Result{Err: panicked(p)}
	}
	if r.Err == nil && r.Secret.IsZero() {
		r.Err = errNoAnswer
	}
}

// Errors of a call that returned nothing. They are shared: code that returns one to a caller must copy it.
var (
	errEnded    = NewError(ErrUnknown, "the call ended its goroutine")
	errNoAnswer = NewError(ErrUnknown, "the answer holds neither a secret nor an error")
)

func panicked(p any) *Error { return NewError(ErrUnknown, fmt.Sprintf("a panic with a %T", p)) }

// await runs f on a goroutine of its own and returns the answer that f sets. It returns an error if f does not return within the timeout,
// or if ctx or the Client ends first.
func await[T any](ctx context.Context, g *guard, f func(ctx context.Context, answer *T)) (answer T, err error) {
	if !g.calls.Begin() {
		return answer, NewError(ErrClosed, "")
	}
	if g.hung.Load() >= maxHung {
		g.calls.End()
		return answer, NewError(ErrUnavailable, "earlier calls of the backend hang and ignore their cancelled context")
	}
	// A separate timer: a foreign context may never end, even after its deadline.
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	inner, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	c := &call[T]{done: make(chan struct{})}
	go c.run(inner, g, f)
	select {
	case <-c.done:
		return c.answer, nil
	case <-timer.C:
		err = g.unanswered(true)
	case <-ctx.Done():
		<-inner.Done() // so the cause of ctx, not of cancel, reaches the backend
		err = ctx.Err()
	case <-g.life.Done():
		err = NewError(ErrClosed, "")
	}
	if c.settled.Swap(true) { // f has just returned
		<-c.done
		return c.answer, nil
	}
	g.hung.Add(1)
	return answer, err
}

// call is one run of a function of a backend.
type call[T any] struct {
	answer  T
	settled atomic.Bool   // f has returned or was abandoned, whichever came first
	done    chan struct{} // closed when f has returned
}

func (c *call[T]) run(ctx context.Context, g *guard, f func(ctx context.Context, answer *T)) {
	defer g.calls.End()
	defer func() { // even if f ends the goroutine
		if c.settled.Swap(true) {
			g.hung.Add(-1)
		}
		close(c.done)
	}()
	f(ctx, &c.answer)
}

// settle turns r into a secret with a complete Meta, or into an error of one class.
func (g *guard) settle(ctx context.Context, ref Ref, r Result, began time.Time) (Secret, error) {
	if r.Err == nil {
		return g.stamp(r.Secret, began), nil
	}
	// An error of a context while ctx has not ended: some inner context ended. A more specific class, such as a denial, stays.
	if class := Class(r.Err); ctx.Err() == nil && (class == ErrUnavailable || isBareContextError(class)) && isContextError(r.Err) {
		r.Err = g.unanswered(!g.inline && time.Since(began) >= g.timeout)
	}
	err := toError(ctx, r.Err, g.name, ref.String())
	if e, ok := err.(*Error); ok {
		// Keep only the Detail of the backend's error, which has passed redaction.
		e.Backend, e.Key = g.name, ref.String()
	}
	return Secret{}, err
}

// stamp fills the Backend and FetchedAt of s, if they are empty.
func (g *guard) stamp(s Secret, began time.Time) Secret {
	meta := s.Meta()
	if meta.Backend != "" && !meta.FetchedAt.IsZero() {
		return s
	}
	if meta.Backend == "" {
		meta.Backend = g.name
	}
	if meta.FetchedAt.IsZero() {
		meta.FetchedAt = began.Round(0) // without the monotonic clock, which stops while a machine sleeps
	}
	return s.withMeta(meta)
}

// unanswered returns the error of a backend that has not answered while its caller still waits.
func (g *guard) unanswered(timedOut bool) error {
	if !timedOut {
		return &Error{Err: ErrUnavailable, Detail: "the backend gave up before the timeout"}
	}
	return &Error{Err: ErrUnavailable, Detail: fmt.Sprintf("no answer within %v", g.timeout)}
}

var _ Fetcher = (*guard)(nil)
