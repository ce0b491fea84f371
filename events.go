package secrets

import (
	"sync"
	"time"
)

// maxEvents bounds the number of events that wait while a callback runs.
const maxEvents = 64

// events is a queue of callbacks of the program, such as the lines for its logger. The callbacks run one at a time, in order, outside every
// lock and every fetch: one that blocks does not block a caller, and one that calls the Client cannot deadlock. A goroutine runs only while
// events wait.
type events struct {
	reportLost func(n int) // called like an event

	mu      sync.Mutex
	waiting []event
	lost    int // dropped events since the last one that was added
	running bool
	closed  bool
	idle    chan struct{} // closed when closed is set and running is not
}

// event is one callback.
type event struct {
	run  func()
	lost int // events that were dropped just before it
}

func newEvents(reportLost func(n int)) *events {
	return &events{reportLost: reportLost, idle: make(chan struct{})}
}

// add appends run without blocking. If too many events wait, it drops run and counts it.
func (e *events) add(run func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return
	case len(e.waiting) == maxEvents:
		e.lost++
		return
	}
	e.waiting = append(e.waiting, event{run, e.lost})
	e.lost = 0
	if !e.running {
		e.running = true
		go e.run()
	}
}

// run calls the waiting callbacks. If one panics or ends the goroutine, a new goroutine runs the rest.
func (e *events) run() {
	over := false
	defer func() {
		if recover() != nil || !over {
			go e.run()
		}
	}()
	for run := e.next(); run != nil; run = e.next() {
		run()
	}
	over = true
}

// next removes and returns the next callback. It returns nil if none waits; then the goroutine must end.
func (e *events) next() func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	lost := &e.lost
	if len(e.waiting) > 0 {
		lost = &e.waiting[0].lost
	}
	if n := *lost; n > 0 {
		*lost = 0
		return func() { e.reportLost(n) }
	}
	if len(e.waiting) > 0 {
		run := e.waiting[0].run
		e.waiting[0] = event{}
		e.waiting = e.waiting[1:]
		return run
	}
	e.waiting = nil
	e.running = false
	if e.closed {
		close(e.idle)
	}
	return nil
}

// close refuses new events, and waits until the waiting ones have run, but not longer than wait. Then it drops the rest. It must be called
// once.
func (e *events) close(wait time.Duration) error {
	e.mu.Lock()
	e.closed = true
	if !e.running {
		close(e.idle)
	}
	e.mu.Unlock()
	err := within(wait, "the logger", func() error { <-e.idle; return nil })
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting, e.lost = nil, 0
	return err
}
