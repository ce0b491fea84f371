package secrets

import (
	"context"
	"fmt"
	"sync"
)

// Fetcher is what backends and layers are.
//
// An error says why there is no secret; see [Error] and the classes. An implementation must be safe for concurrent use,
// obey ctx, and never return the zero Secret with a nil error.
type Fetcher interface {
	// Fetch returns the secret that ref names.
	Fetch(ctx context.Context, ref Ref) (Secret, error)
	// FetchMany answers refs in order, one Result each; an answer of any other length is ErrUnknown for all refs. A
	// failure of one ref is that Result's alone. The refs are the caller's and must not be changed.
	FetchMany(ctx context.Context, refs []Ref) []Result
}

// Result is the answer to one ref of a FetchMany: a Secret, or an error.
type Result struct {
	Secret Secret
	Err    error
}

// Backend is a source of secrets.
//
// A backend is asked for documents: the refs that it gets have a Path and perhaps a Version, and no Field; the Client
// selects fields itself. It sees each ref checked by the rules of [ParseRef].
//
// These methods are optional, and looked for on the Backend that is given to [New]:
//
//   - Close() error: ends what the backend runs. [Client.Close] calls it, last.
//   - Local() bool: if true, the answers are at hand and always current, as an environment variable is, and neither a
//     cache nor a dedup layer stands before the backend.
//   - Nonblocking() bool: if true, the backend never waits for anything, and runs on the goroutine of the caller, without
//     the timeout of [WithTimeout].
//   - Resolve, of [Resolver].
//   - Hint(ref Ref) string: where the field of ref could also have been, for a person who gets a not-found for it or an
//     [ErrMalformed]. It holds no value, and must not block.
//   - Leases() bool: if true, a read may make a lease, as one of dynamic credentials does. [Client.Has] then reads nothing.
//   - OnRevoke(forget func(docs ...Ref)): New calls it, and the backend calls forget when documents that it has returned are
//     void before their time, as leases are that have been revoked. No cache serves them from then on.
//   - Validate() error: the faults of the backend's options, which New returns.
type Backend interface {
	Fetcher
	// Name is "env", "file", "vault", "aws", or what the program calls it. It is unique in a Client.
	Name() string
}

// Resolver is an optional interface of a [Backend] that decides which document, and which field of it, a ref means. Without
// it, the document is Path and the field is Field. Resolve is called often and must not use the network. That of a Local
// backend may look at what is there at present; that of any other backend must always return the same for the same ref,
// since a cache remembers it.
type Resolver interface {
	Resolve(ref Ref) Ref
}

// FetcherFunc makes a Fetcher of a function, for small backends and tests. Its FetchMany is [FetchEach].
type FetcherFunc func(ctx context.Context, ref Ref) (Secret, error)

// Fetch calls f.
func (f FetcherFunc) Fetch(ctx context.Context, ref Ref) (Secret, error) { return f(ctx, ref) }

// FetchMany calls f for each ref, in bounded parallel.
func (f FetcherFunc) FetchMany(ctx context.Context, refs []Ref) []Result {
	return FetchEach(ctx, f, refs)
}

var _ Fetcher = FetcherFunc(nil)

// fetchEachParallel bounds the calls that FetchEach has under way: enough to hide the latency of a backend, too few to
// trip its rate limits.
const fetchEachParallel = 8

// FetchEach answers refs by calling f for each, at most 8 at a time. It is the FetchMany of a backend that has no batch
// call. Refs that were not begun when ctx ended have its error. A panic in f is [ErrUnknown] for that ref.
func FetchEach(ctx context.Context, f func(context.Context, Ref) (Secret, error), refs []Ref) []Result {
	results := make([]Result, len(refs))
	var wg sync.WaitGroup
	slots := make(chan struct{}, fetchEachParallel)
	for i, ref := range refs {
		slots <- struct{}{}
		if err := ctx.Err(); err != nil {
			results[i].Err = err
			<-slots
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			protect(1, func() []Result { return single(f(ctx, ref)) }, func(r []Result) { results[i] = r[0] })
		})
	}
	wg.Wait()
	return results
}

func single(s Secret, err error) []Result { return []Result{{Secret: s, Err: err}} }

// protect calls f and hands what it returns to deliver, as n results, none of which is a zero Secret without an error. It
// does so also if f panics, which is recovered, or ends its goroutine, which can not be stopped. The text of a panic may
// quote a value, so that only its type is told. Of an answer that has not n results nothing is kept: which ref a result
// belongs to is then a guess, and a wrong answer is worse than none.
func protect(n int, f func() []Result, deliver func([]Result)) {
	results := make([]Result, n)
	fault := errEnded
	defer func() {
		if p := recover(); p != nil {
			fault = panicked(p)
		}
		for i := range results {
			if results[i].Err == nil && results[i].Secret.IsZero() {
				results[i].Err = fault.clone()
			}
		}
		deliver(results)
	}()
	answers := f()
	if len(answers) != n {
		fault = &Error{Err: ErrUnknown, Detail: wrongCount(len(answers), n)}
		return
	}
	fault = errNoAnswer
	copy(results, answers)
}

// protectOne is protect for a single fetch, whose result r holds errEnded until it returns. It is to be deferred.
func protectOne(r *Result) {
	if p := recover(); p != nil {
		*r = Result{Err: panicked(p)}
	}
	if r.Err == nil && r.Secret.IsZero() {
		r.Err = errNoAnswer
	}
}

// Failures of a call that returned nothing. What hands an error to a caller copies it.
var (
	errEnded    = &Error{Err: ErrUnknown, Detail: "the call ended its goroutine"}
	errNoAnswer = &Error{Err: ErrUnknown, Detail: "the answer holds neither a secret nor an error"}
)

func panicked(p any) *Error {
	return &Error{Err: ErrUnknown, Detail: fmt.Sprintf("a panic with a %T", p)}
}

func wrongCount(answers, questions int) string {
	return fmt.Sprintf("%d answers to %d questions", answers, questions)
}
