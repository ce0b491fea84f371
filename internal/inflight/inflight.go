// Package inflight counts calls under way, so Close can refuse new ones and wait for the rest:
//
//	if !calls.Begin() {
//		return ErrClosed
//	}
//	defer calls.End()
//
// A sync.WaitGroup does not fit: its Add must not run concurrently with Wait.
package inflight

import "sync"

// Calls counts calls under way. [New] makes one. It is safe for concurrent use.
type Calls struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when closed is true and n is 0
}

// New returns a Calls that is open and has no calls.
func New() *Calls { return &Calls{idle: make(chan struct{})} }

// Begin starts a call and returns true; End must follow. After Close, it returns false.
func (c *Calls) Begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.n++
	return true
}

// End ends a call.
func (c *Calls) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.closed && c.n == 0 {
		close(c.idle)
	}
}

// Close refuses new calls, and does not wait. It may be called more than once.
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

// Idle returns a channel that is closed after Close, once all calls have ended.
func (c *Calls) Idle() <-chan struct{} { return c.idle }
