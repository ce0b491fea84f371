package fetchctx

import "sync/atomic"

// Renewal is a look for a newer value, by somebody who holds one and can wait. Memory asks the backend then, also where its value is
// fresh, unless a back-off or the circuit breaker forbids it. The look joins a fetch that is under way, and begins none in the
// background but a probe. If the backend is unavailable, the answer is that of memory, and Failure says why it is no newer. The zero
// value is ready to use, and nil is no look. It is safe for concurrent use.
type Renewal struct {
	// Passive says that memory answers as it answers everybody. Only Failure is asked for beside that.
	Passive bool

	failure atomic.Pointer[error]
}

// Asks reports whether r asks the backend.
func (r *Renewal) Asks() bool { return r != nil && !r.Passive }

// Fail notes why memory has answered with what it had.
func (r *Renewal) Fail(err error) {
	if r != nil && err != nil {
		r.failure.Store(&err)
	}
}

// Failure returns the last error that Fail was called with, or nil.
func (r *Renewal) Failure() error {
	if r == nil {
		return nil
	}
	if err := r.failure.Load(); err != nil {
		return *err
	}
	return nil
}
