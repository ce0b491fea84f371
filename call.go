package secrets

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// timeout is the context that a call of the backend runs with: that of the caller with a deadline. To make what
// context.WithDeadline makes takes six allocations, a quarter of those of a whole fetch, and a backend that has the answer at
// hand does not look at it. So that is made when this is first asked for more than a value.
//
// It is a part of a call, and apart from it, so that whoever prints a context, or looks into one by reflection, finds nothing
// of the call.
type timeout struct {
	context.Context

	deadline time.Time

	mu     sync.Mutex
	ended  bool
	made   context.Context //nolint:containedctx // what this stands for, or nil
	cancel context.CancelFunc
}

// inner returns the context, and makes it if it is not made yet. The caller's context is asked under the lock, as the standard
// contexts ask theirs.
func (t *timeout) inner() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.made == nil {
		t.made, t.cancel = context.WithDeadline(t.Context, t.deadline)
		if t.ended {
			t.cancel() // without effect if a deadline has passed by now: then it says that
		}
	}
	return t.made
}

func (t *timeout) Deadline() (time.Time, bool) { return t.inner().Deadline() }
func (t *timeout) Done() <-chan struct{}       { return t.inner().Done() }
func (t *timeout) Err() error                  { return t.inner().Err() }

// Value returns the value of the context for key. That is also how package context finds, of a context whose Done or Err it has
// asked for, what cancels those that are derived from it, and the cause.
func (t *timeout) Value(key any) any {
	t.mu.Lock()
	made := t.made
	t.mu.Unlock()
	if made != nil {
		return made.Value(key)
	}
	return t.Context.Value(key)
}

// String is what is printed of the context, and keeps fmt from reading what others write.
func (*timeout) String() string { return "secrets.timeout" }

// end cancels the context, unless that of the caller is done or a deadline is here: then it ends by itself, and must say so.
func (t *timeout) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if t.made == nil {
		return
	}
	select {
	case <-t.Context.Done():
		return
	default:
	}
	switch d, _ := t.made.Deadline(); {
	case time.Now().Before(d):
		t.cancel()
	case !d.Equal(t.deadline):
		// It is the caller's. Not every context that has a deadline ends by it.
		time.AfterFunc(batchGrace, t.cancel)
	}
}

// call is one call of the backend, on a goroutine of its own.
type call[A, T any] struct {
	ctx    timeout
	guard  *guard
	ask    func(g *guard, ctx context.Context, arg A, answer *T)
	arg    A
	answer T

	// settled is set by run when ask has returned, or by the waiter when it gives up, whichever is first: that one decides.
	settled atomic.Bool
	// woken has an element when run has returned, or the time is over.
	woken chan struct{}
}

func (c *call[A, T]) run() {
	defer c.guard.calls.end()
	defer func() { // also if the backend ends the goroutine
		if c.settled.Swap(true) {
			c.guard.hung.Add(-1)
			c.drop()
		}
		c.wake()
	}()
	growStack(0)
	c.ask(c.guard, &c.ctx, c.arg, &c.answer)
}

func (c *call[A, T]) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// take returns the answer, which run has set, and does not keep it: a backend may keep the context, and so the call.
func (c *call[A, T]) take() T {
	answer := c.answer
	c.drop()
	return answer
}

func (c *call[A, T]) drop() {
	var none T
	c.answer = none
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
	c := &call[A, T]{
		ctx: timeout{Context: ctx, deadline: began.Add(budget)}, guard: g, ask: ask, arg: arg, woken: make(chan struct{}, 1),
	}
	defer c.ctx.end()
	go c.run()
	timer := time.AfterFunc(budget, c.wake)
	defer timer.Stop()
	select {
	case <-c.woken:
		if c.settled.Load() {
			return c.take(), nil
		}
		err = g.late(true)
	case <-ctx.Done():
		err = ctx.Err()
	case <-g.life.Done():
		grace, err = 0, &Error{Err: ErrClosed}
	}
	c.ctx.end()
	if grace > 0 && c.returns(grace) {
		return c.take(), nil
	}
	if c.settled.Swap(true) {
		c.drop() // it has come too late
	} else {
		g.hung.Add(1)
	}
	return answer, err
}

// returns waits for ask to return, but no longer than grace, and reports whether it has.
func (c *call[A, T]) returns(grace time.Duration) bool {
	over := time.NewTimer(grace)
	defer over.Stop()
	for !c.settled.Load() {
		select {
		case <-c.woken: // perhaps because the time was over
		case <-over.C:
			return c.settled.Load()
		}
	}
	return true
}

// growStack makes the stack of a new goroutine 8 KiB. It begins with 2 KiB, and where that is too little, the runtime copies it
// into one twice as large and mends each frame: the more there are by then, the longer it takes. A fetch makes two goroutines
// grow: from deep within the layers, that was 30 % of its time; at once, and in one step, it is 15 %.
//
//go:noinline
func growStack(i int) byte {
	var room [3584]byte // more than a stack of 4 KiB has room for, with what the runtime reserves
	return room[i]
}
