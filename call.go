package secrets

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// call is one call of the backend, on a goroutine of its own, and the context that it runs with: that of the caller with a
// timeout. To make that one takes six allocations, a quarter of those of a whole fetch, and a backend that has the answer at
// hand does not look at it. So it is made when it is first asked for more than a value.
type call[A, T any] struct {
	context.Context //nolint:containedctx // the caller's: c is a context

	guard    *guard
	ask      func(g *guard, ctx context.Context, arg A, answer *T)
	arg      A
	answer   T             // to be read after run has set over
	over     atomic.Bool   // set by run when ask has returned, or by the waiter when it gives up
	woken    chan struct{} // has one when run has returned, or the time is over
	deadline time.Time

	mu     sync.Mutex
	ended  bool
	inner  context.Context //nolint:containedctx // what c is, once it is asked
	cancel context.CancelFunc
}

// made returns the context.
func (c *call[A, T]) made() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.inner
}

func (c *call[A, T]) Deadline() (time.Time, bool) { return c.made().Deadline() }
func (c *call[A, T]) Done() <-chan struct{}       { return c.made().Done() }
func (c *call[A, T]) Err() error                  { return c.made().Err() }

// Value returns the value of the context for key. A context that is derived from c has asked for Done before, and finds by a
// value what cancels it.
func (c *call[A, T]) Value(key any) any {
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return c.Context.Value(key)
}

// end cancels the context, unless its deadline is here: then it ends by itself, and must say so.
func (c *call[A, T]) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil && time.Now().Before(c.deadline) {
		c.cancel()
	}
}

func (c *call[A, T]) run() {
	defer c.guard.calls.end()
	defer func() { // also if the backend ends the goroutine
		if c.over.Swap(true) {
			c.guard.hung.Add(-1)
		}
		c.wake()
	}()
	c.ask(c.guard, c, c.arg, &c.answer)
}

func (c *call[A, T]) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// await runs ask on a goroutine of its own, which has the time of budget since the call began, and returns the answer that it
// sets, which may be late by grace. If there is none, the error says why.
func await[A, T any](
	ctx context.Context, g *guard, began time.Time, budget, grace time.Duration,
	arg A, ask func(g *guard, ctx context.Context, arg A, answer *T),
) (answer T, err error) {
	if !g.calls.begin() {
		return answer, &Error{Err: ErrClosed}
	}
	if g.hung.Load() >= mostHung {
		g.calls.end()
		return answer, &Error{Err: ErrUnavailable, Detail: "earlier calls of the backend hang, and ignore that they were cancelled"}
	}
	c := &call[A, T]{Context: ctx, guard: g, ask: ask, arg: arg, woken: make(chan struct{}, 1), deadline: began.Add(budget)}
	defer c.end()
	go c.run()
	timer := time.AfterFunc(budget, c.wake)
	defer timer.Stop()
	select {
	case <-c.woken:
		if c.over.Load() {
			return c.answer, nil
		}
		err = g.late(true)
	case <-ctx.Done():
		err = ctx.Err()
	case <-g.life.Done():
		grace, err = 0, &Error{Err: ErrClosed}
	}
	c.end()
	if grace > 0 {
		timer.Reset(grace)
		<-c.woken
		if c.over.Load() {
			return c.answer, nil
		}
	}
	if !c.over.Swap(true) {
		g.hung.Add(1)
	}
	return answer, err
}
