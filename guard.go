package secrets

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets/internal/inflight"
)

// guard stands around one backend, inside every layer but redaction, and makes its answers trustworthy: in time, of one
// class, with Meta, and never a panic. The backend runs on a goroutine of its own, for two reasons: one that ignores its
// context must not stall the program, and one that ends its goroutine must not end the caller's.
type guard struct {
	next    Fetcher
	name    string
	timeout time.Duration
	inline  bool            // the backend does not block, and runs on the caller's goroutine
	life    context.Context // it is the Client's life, which no call carries
	calls   *inflight.Calls
	hung    atomic.Int64 // calls that were given up, and have not returned
}

// maxHung bounds the calls of a backend that ignores its context: each keeps a goroutine, and perhaps a thread, for ever.
const maxHung = 256

func (g *guard) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	began := time.Now()
	if g.inline {
		if g.life.Err() != nil {
			return Secret{}, &Error{Backend: g.name, Key: ref.String(), Err: ErrClosed}
		}
		var r Result
		g.ask(ctx, ref, &r)
		return g.settle(ctx, ref, r, began)
	}
	r, err := await(ctx, g, func(ctx context.Context, r *Result) { g.ask(ctx, ref, r) })
	if err != nil {
		return Secret{}, toError(ctx, err, g.name, ref.String())
	}
	return g.settle(ctx, ref, r, began)
}

// ask sets r to what the backend answers.
func (g *guard) ask(ctx context.Context, ref Ref, r *Result) {
	r.Err = errEnded
	defer protect(r)
	r.Secret, r.Err = g.next.Fetch(ctx, ref)
}

// protect makes a panic, which is recovered, and an empty answer an error of r. r holds errEnded until the fetch returns, so that
// one that ends its goroutine has an error too. protect must be deferred. The text of a panic may quote a value: only its type is
// told.
func protect(r *Result) {
	if p := recover(); p != nil {
		*r = Result{Err: panicked(p)}
	}
	if r.Err == nil && r.Secret.IsZero() {
		r.Err = errNoAnswer
	}
}

// Failures of a call that returned nothing. What hands an error to a caller copies it.
var (
	errEnded    = NewError(ErrUnknown, "the call ended its goroutine")
	errNoAnswer = NewError(ErrUnknown, "the answer holds neither a secret nor an error")
)

func panicked(p any) *Error { return NewError(ErrUnknown, fmt.Sprintf("a panic with a %T", p)) }

// await runs f on a goroutine of its own and returns the answer that it sets. If there is none within the timeout, the error says
// why.
func await[T any](ctx context.Context, g *guard, f func(ctx context.Context, answer *T)) (answer T, err error) {
	if !g.calls.Begin() {
		return answer, NewError(ErrClosed, "")
	}
	if g.hung.Load() >= maxHung {
		g.calls.End()
		return answer, NewError(ErrUnavailable, "earlier calls of the backend hang, and ignore that they were cancelled")
	}
	// The timer is not that of the context, which may have a deadline that has passed and yet never end.
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
		<-inner.Done() // so that the backend sees why the caller has gone
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
	settled atomic.Bool   // f has returned, or was given up, whichever is first
	done    chan struct{} // closed when f has returned
}

func (c *call[T]) run(ctx context.Context, g *guard, f func(ctx context.Context, answer *T)) {
	defer g.calls.End()
	defer func() { // also if f ends the goroutine
		if c.settled.Swap(true) {
			g.hung.Add(-1)
		}
		close(c.done)
	}()
	f(ctx, &c.answer)
}

// settle makes r a secret with Meta, or an error of one class.
func (g *guard) settle(ctx context.Context, ref Ref, r Result, began time.Time) (Secret, error) {
	if r.Err == nil {
		return g.stamp(r.Secret, began), nil
	}
	// The context that ended was not the caller's. What else the error claims (a denial) may weigh more.
	if class := Class(r.Err); ctx.Err() == nil && (class == ErrUnavailable || isBareContextError(class)) && isContextError(r.Err) {
		r.Err = g.unanswered(!g.inline && time.Since(began) >= g.timeout)
	}
	err := toError(ctx, r.Err, g.name, ref.String())
	if e, ok := err.(*Error); ok {
		// Of what a backend says, its Detail alone is kept, which redaction has been through.
		e.Backend, e.Key = g.name, ref.String()
	}
	return Secret{}, err
}

func (g *guard) stamp(s Secret, began time.Time) Secret {
	meta := s.Meta()
	if meta.Backend != "" && !meta.FetchedAt.IsZero() {
		return s
	}
	if meta.Backend == "" {
		meta.Backend = g.name
	}
	if meta.FetchedAt.IsZero() {
		meta.FetchedAt = began.Round(0) // for display: the age of a value goes on while a machine sleeps
	}
	return s.withMeta(meta)
}

// unanswered is the error of a backend that has not answered, though its caller still waits.
func (g *guard) unanswered(timedOut bool) error {
	if !timedOut {
		return &Error{Err: ErrUnavailable, Detail: "the backend gave up before the timeout"}
	}
	return &Error{Err: ErrUnavailable, Detail: fmt.Sprintf("no answer within %v", g.timeout)}
}

var _ Fetcher = (*guard)(nil)
