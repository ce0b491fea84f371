package fetchctx

import "sync/atomic"

// Renewal is a request for a newer value by a caller that holds one and can wait, such as a handle. It makes memory call the backend even
// if its value is fresh, unless a back-off or the circuit breaker forbids it. The request joins a fetch under way, and starts no background
// fetch except a probe. If the backend is unavailable, memory answers, and Failure says why. The zero value is ready to use, and nil is no
// request. It is safe for concurrent use.
type Renewal struct {
	// Passive says that memory answers as for any caller; only Failure is recorded in addition.
	Passive bool

	failure atomic.Pointer[error]
}

// Asks reports whether r makes memory call the backend.
func (r *Renewal) Asks() bool { return r != nil && !r.Passive }

// Fail records why memory answered with its old value.
func (r *Renewal) Fail(err error) {
	if r != nil && err != nil {
		r.failure.Store(&err)
	}
}

// Failure returns the last error of Fail, or nil.
func (r *Renewal) Failure() error {
	if r == nil {
		return nil
	}
	if err := r.failure.Load(); err != nil {
		return *err
	}
	return nil
}
