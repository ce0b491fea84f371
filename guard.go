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
	life    context.Context //nolint:containedctx // it is the Client's life, which no call carries
	calls   *calls
	hung    atomic.Int64 // calls that were given up, and have not returned
}

// mostHung bounds the calls of a backend that ignores its context: each keeps a goroutine, and perhaps a thread, for ever.
const mostHung = 256

func (g *guard) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	began := time.Now()
	if g.inline {
		r := g.fetchInline(ctx, ref)
		r = g.settle(ctx, false, ref, r, began)
		return r.Secret, r.Err
	}
	r, timedOut, err := await(ctx, g, g.timeout, 0, func(ctx context.Context, answer chan<- Result) {
		r := Result{Err: errEnded}
		defer func() { answer <- r }()
		defer protectOne(&r)
		r.Secret, r.Err = g.next.Fetch(ctx, ref)
	})
	if err != nil {
		return Secret{}, toError(ctx, err, g.name, ref.String())
	}
	r = g.settle(ctx, timedOut, ref, r, began)
	return r.Secret, r.Err
}

func (g *guard) fetchInline(ctx context.Context, ref Ref) (r Result) {
	r.Err = errEnded
	defer protectOne(&r)
	r.Secret, r.Err = g.next.Fetch(ctx, ref)
	return r
}

func (g *guard) FetchMany(ctx context.Context, refs []Ref) []Result {
	if len(refs) == 0 {
		return nil
	}
	began := time.Now()
	if g.inline {
		var results []Result
		protect(len(refs), func() []Result { return g.next.FetchMany(ctx, refs) }, func(r []Result) { results = r })
		for i, ref := range refs {
			results[i] = g.settle(ctx, false, ref, results[i], began)
		}
		return results
	}
	// What is below may outlive this call, and change what it was lent: it gets a copy.
	lent := slices.Clone(refs)
	results, timedOut, err := await(ctx, g, g.budget(len(refs)), batchGrace, func(ctx context.Context, answer chan<- []Result) {
		protect(len(lent), func() []Result { return g.next.FetchMany(ctx, lent) }, func(r []Result) { answer <- r })
	})
	if err != nil {
		results = make([]Result, len(refs))
	}
	for i, ref := range refs {
		if err != nil {
			results[i].Err = toError(ctx, err, g.name, ref.String())
		} else {
			results[i] = g.settle(ctx, timedOut, ref, results[i], began)
		}
	}
	return results
}

// await runs fetch on a goroutine of its own and returns the one answer that it sends, which may be late by grace, and
// whether its time was over by then. If there is none, the error says why.
func await[T any](
	ctx context.Context, g *guard, budget, grace time.Duration, fetch func(context.Context, chan<- T),
) (answer T, timedOut bool, err error) {
	if !g.calls.begin() {
		return answer, false, &Error{Err: ErrClosed}
	}
	if g.hung.Load() >= mostHung {
		g.calls.end()
		return answer, false, &Error{Err: ErrUnavailable, Detail: "earlier calls of the backend hang, and ignore that they were cancelled"}
	}
	inner, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	answers := make(chan T, 1)
	var over atomic.Bool // set by the backend when it returns, or by the caller when it gives up
	go func() {
		defer g.calls.end()
		defer func() {
			if over.Swap(true) {
				g.hung.Add(-1)
			}
		}()
		fetch(inner, answers)
	}()
	giveUp := func(err error) (T, bool, error) {
		if !over.Swap(true) {
			g.hung.Add(1)
		}
		return answer, true, err
	}

	select {
	case answer = <-answers:
		return answer, inner.Err() != nil, nil
	case <-g.life.Done():
		return giveUp(&Error{Err: ErrClosed})
	case <-inner.Done():
	}
	if grace > 0 {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case answer = <-answers:
			return answer, true, nil
		case <-timer.C:
		}
	}
	if err := ctx.Err(); err != nil {
		return giveUp(err)
	}
	return giveUp(g.late(true))
}

// budget is the time for n refs. One that is too long to say is the longest there is.
func (g *guard) budget(n int) time.Duration {
	batches := int64((n + refsPerTimeout - 1) / refsPerTimeout)
	if int64(g.timeout) > math.MaxInt64/batches {
		return math.MaxInt64
	}
	return time.Duration(int64(g.timeout) * batches)
}

// settle makes r a secret with Meta, or an error of one class.
func (g *guard) settle(ctx context.Context, timedOut bool, ref Ref, r Result, began time.Time) Result {
	if r.Err == nil {
		return Result{Secret: g.stamp(r.Secret, began)}
	}
	// The context that ended was not the caller's. What else the error claims (a denial) may weigh more.
	if ctx.Err() == nil && Class(r.Err) == ErrUnavailable && isContextError(r.Err) { //nolint:errorlint // Class returns the sentinels themselves
		r.Err = g.late(timedOut)
	}
	err := toError(ctx, r.Err, g.name, ref.String())
	if e, ok := err.(*Error); ok { //nolint:errorlint // toError makes it so
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
