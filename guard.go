package secrets

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// refsPerTimeout is how many refs of a batch share one timeout: AWS Secrets Manager takes 20 in a call.
	refsPerTimeout = 20
	// batchGrace is how long a batch whose time is over is waited for, so that the answers which it has are not lost with
	// those that it has not.
	batchGrace = 100 * time.Millisecond
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
	calls   *calls
	hung    atomic.Int64 // calls that were given up, and have not returned
}

// mostHung bounds the calls of a backend that ignores its context: each keeps a goroutine, and perhaps a thread, for ever.
const mostHung = 256

func (g *guard) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	var r Result
	began, budget := time.Now(), g.timeout
	if g.inline {
		budget = math.MaxInt64 // it has no timeout
		g.ask(ctx, ref, &r)
	} else {
		var err error
		if r, err = await(ctx, g, began, budget, 0, ref, (*guard).ask); err != nil {
			return Secret{}, toError(ctx, err, g.name, ref.String())
		}
	}
	r = g.settle(ctx, ref, r, began, budget)
	return r.Secret, r.Err
}

// ask sets r to what the backend answers.
func (g *guard) ask(ctx context.Context, ref Ref, r *Result) {
	r.Err = errEnded
	defer protectOne(r)
	r.Secret, r.Err = g.next.Fetch(ctx, ref)
}

func (g *guard) FetchMany(ctx context.Context, refs []Ref) []Result {
	if len(refs) == 0 {
		return nil
	}
	var results []Result
	began, budget := time.Now(), g.budget(len(refs))
	if g.inline {
		budget = math.MaxInt64 // it has no timeout
		g.askMany(ctx, refs, &results)
	} else {
		// What is below may outlive this call, and change what it was lent: it gets a copy.
		var err error
		if results, err = await(ctx, g, began, budget, batchGrace, slices.Clone(refs), (*guard).askMany); err != nil {
			results = make([]Result, len(refs))
			for i, ref := range refs {
				results[i].Err = toError(ctx, err, g.name, ref.String())
			}
			return results
		}
	}
	for i, ref := range refs {
		results[i] = g.settle(ctx, ref, results[i], began, budget)
	}
	return results
}

// askMany sets results to what the backend answers.
func (g *guard) askMany(ctx context.Context, refs []Ref, results *[]Result) {
	protect(len(refs), func() []Result { return g.next.FetchMany(ctx, refs) }, func(r []Result) { *results = r })
}

// budget is the time for n refs. One that is too long to say is the longest there is.
func (g *guard) budget(n int) time.Duration {
	batches := int64((n + refsPerTimeout - 1) / refsPerTimeout)
	if int64(g.timeout) > math.MaxInt64/batches {
		return math.MaxInt64
	}
	return time.Duration(int64(g.timeout) * batches)
}

// settle makes r a secret with Meta, or an error of one class. The fetch had the time of budget since it began.
func (g *guard) settle(ctx context.Context, ref Ref, r Result, began time.Time, budget time.Duration) Result {
	if r.Err == nil {
		return Result{Secret: g.stamp(r.Secret, began)}
	}
	// The context that ended was not the caller's. What else the error claims (a denial) may weigh more.
	if ctx.Err() == nil && Class(r.Err) == ErrUnavailable && isContextError(r.Err) {
		r.Err = g.late(time.Since(began) >= budget)
	}
	err := toError(ctx, r.Err, g.name, ref.String())
	if e, ok := err.(*Error); ok { // toError makes it so
		// Of what a backend says, its Detail alone is kept, which redaction has been through.
		e.Backend, e.Key = g.name, ref.String()
	}
	return Result{Err: err}
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

// late is the error of a backend that has not answered, though its caller still waits.
func (g *guard) late(timedOut bool) error {
	if !timedOut {
		return &Error{Err: ErrUnavailable, Detail: "the backend gave up before the timeout"}
	}
	return &Error{Err: ErrUnavailable, Detail: fmt.Sprintf("no answer within %v", g.timeout)}
}

var _ Fetcher = (*guard)(nil)

// calls counts what a Client has under way, so that Close can refuse new calls and wait for the others. A WaitGroup does
// not do: it must not be added to while it is waited for.
type calls struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when closed and n is 0
}

func newCalls() *calls { return &calls{idle: make(chan struct{})} }

// begin reports whether a call may begin; if so, end must follow it.
func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.n++
	return true
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	c.check()
}

func (c *calls) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.check()
}

func (c *calls) check() {
	if c.closed && c.n == 0 {
		close(c.idle)
	}
}
