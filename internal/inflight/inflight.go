// Package inflight counts calls that are under way, so that a Close can refuse new ones and wait for the others:
//
//	if !calls.Begin() {
//		return ErrClosed
//	}
//	defer calls.End()
//
// A sync.WaitGroup does not do: its Add must not run beside its Wait.
package inflight

import "sync"

// Calls counts calls that are under way. Make one with [New]. It is safe for concurrent use.
type Calls struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when closed is true and n is 0
}

// New returns a Calls without calls.
func New() *Calls { return &Calls{idle: make(chan struct{})} }

// Begin reports whether a call may begin: Close was not called. If so, End must follow.
func (c *Calls) Begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.n++
	return true
}

// End notes that a call has ended.
func (c *Calls) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.closed && c.n == 0 {
		close(c.idle)
	}
}

// Close refuses new calls. It does not wait. It may be called often.
func (c *Calls) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.n == 0 {
		close(c.idle)
	}
}

// Idle is closed when Close was called and all calls have ended.
func (c *Calls) Idle() <-chan struct{} { return c.idle }
