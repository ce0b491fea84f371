package secrets

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// groupWindow is how long a batch waits for the other fetches of its [Client.GetMany].
const groupWindow = 20 * time.Millisecond

// Result is the answer to one ref: a Secret, or an error.
type Result struct {
	Secret Secret
	Err    error
}

// Batcher gathers the fetches of a backend into calls for several documents. A [Backend] whose server has batches makes one in its
// constructor with [NewBatcher]. Its Fetch calls [Batcher.Fetch], and its [Info.Batch] is the size of a batch.
//
// A Batcher needs no Close: it cancels a call when no fetch waits for it any more. It is safe for concurrent use.
type Batcher struct {
	maxRefs int
	window  time.Duration
	call    func(ctx context.Context, refs []Ref) []Result

	mu     sync.Mutex
	chunks map[*fetchctx.Group]*chunk // those that still take refs; the chunk of the window has the key nil
}

// NewBatcher returns a Batcher that calls call with up to maxRefs distinct refs. call returns one Result per ref, in their order. If it
// returns another number of results, all refs get [ErrUnknown], because results cannot be matched to refs. A panic is ErrUnknown too. Make
// errors with [NewError]: the Client keeps only the class of any other error. The context of call has the values of the first fetch, and
// ends when no fetch waits any more.
//
// A batch of one [Client.GetMany] is sent when it has maxRefs refs, or after 20 ms. It is sent earlier if all other fetches of that GetMany
// have arrived or have an answer. If the backend is Local, the limit is a second instead: values that are read together should match. Set
// [Info.Batch] to maxRefs too: otherwise a GetMany runs only 16 fetches at a time, and batches have at most 16 refs.
//
// Fetches of separate calls share a batch only if window is more than 0. Such a batch is sent when it has maxRefs refs, or after window.
// With a window of 0, a single Get does not wait.
func NewBatcher(maxRefs int, window time.Duration, call func(ctx context.Context, refs []Ref) []Result) *Batcher {
	return &Batcher{maxRefs: maxRefs, window: window, call: call, chunks: make(map[*fetchctx.Group]*chunk)}
}

// chunk is one call with its refs.
type chunk struct {
	ctx    context.Context //nolint:containedctx // of the call, which several callers share
	cancel context.CancelFunc
	group  *fetchctx.Group
	timer  *time.Timer // or nil

	refs    []Ref
	index   map[Ref]int // of refs
	callers []int       // of each of refs
	waiting int         // number of all callers
	sealed  bool        // it takes no more refs

	batch   fetchctx.Batch
	done    *fetchctx.Event // ends when results is set
	results []Result        // of each of refs
}

// Fetch returns the answer of call for ref, perhaps from a call that other fetches share. If ctx ends first, the error is that of ctx. But
// the last fetch that leaves a running call waits for the call to return: call must obey its context.
func (b *Batcher) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	if err := ctx.Err(); err != nil {
		return Secret{}, err
	}
	f := fetchctx.Of(ctx)
	if f.Group == nil && b.window <= 0 { // no other fetch can join
		c := &chunk{ctx: ctx, cancel: func() {}, refs: []Ref{ref}, callers: []int{1}, done: f.Group.NewEvent()}
		b.run(c)
		return c.results[0].Secret, c.results[0].Err
	}
	c, i := b.join(ctx, f, ref)
	f.Origin.Set(&c.batch)
	err := c.done.Wait(ctx) // if all others of the group wait too, this sends the chunk
	if last := b.leave(c, i); last {
		// The guard counts calls that hang. If this goroutine returned, it could not count this one.
		_ = c.done.Wait(context.WithoutCancel(ctx)) //nolint:errcheck // this context never ends
	}
	if err != nil {
		return Secret{}, err
	}
	return c.results[i].Secret, c.results[i].Err
}

func wrongCount(answers, refs int) *Error {
	return NewError(ErrUnknown, fmt.Sprintf("%d answers to %d refs", answers, refs))
}

// join adds ref to a chunk.
func (b *Batcher) join(ctx context.Context, f fetchctx.Fetch, ref Ref) (c *chunk, i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c = b.chunks[f.Group]
	if c == nil {
		c = b.open(ctx, f)
	}
	i, known := c.index[ref]
	if !known {
		i = len(c.refs)
		c.index[ref] = i
		c.refs, c.callers = append(c.refs, ref), append(c.callers, 0)
	}
	c.callers[i]++
	c.waiting++
	if len(c.refs) >= b.maxRefs {
		b.send(c)
	}
	return c, i
}

// open returns a new chunk. The caller holds b.mu.
func (b *Batcher) open(ctx context.Context, f fetchctx.Fetch) *chunk {
	c := &chunk{group: f.Group, index: make(map[Ref]int), done: f.Group.NewEvent()}
	c.ctx, c.cancel = context.WithCancel(fetchctx.Detach(ctx, fetchctx.Fetch{Origin: &c.batch.Origin}))
	send := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.send(c)
	}
	wait := b.window
	if f.Group != nil {
		f.Group.OnIdle(send)
		wait = groupWindow
		if f.Gathered {
			wait = gatherTime(ctx)
		}
	}
	c.timer = time.AfterFunc(wait, send)
	b.chunks[f.Group] = c
	return c
}

// send begins the call for c, once. The caller holds b.mu.
func (b *Batcher) send(c *chunk) {
	if !c.sealed {
		b.seal(c)
		go b.run(c)
	}
}

// seal makes c take no more refs. The caller holds b.mu.
func (b *Batcher) seal(c *chunk) {
	c.sealed = true
	c.timer.Stop()
	if b.chunks[c.group] == c {
		delete(b.chunks, c.group)
	}
}

// run calls the backend for c.
func (b *Batcher) run(c *chunk) {
	defer c.cancel()
	refs, places := b.wanted(c)
	c.batch.Begin(len(refs))
	fault := errEnded // if the call ends the goroutine
	var answers []Result
	defer func() {
		if p := recover(); p != nil {
			fault = panicked(p)
		}
		c.results = make([]Result, len(c.refs))
		for n, i := range places {
			if n < len(answers) {
				c.results[i] = answers[n]
			}
			if c.results[i].Err == nil && c.results[i].Secret.IsZero() {
				c.results[i].Err = fault.clone()
			}
		}
		c.batch.End(c.results)
		c.done.End()
	}()
	results := b.call(c.ctx, refs)
	if len(results) != len(refs) {
		fault = wrongCount(len(results), len(refs))
		return
	}
	answers, fault = results, errNoAnswer
}

// wanted returns the refs of c that still have callers, and their indexes in c.refs.
func (b *Batcher) wanted(c *chunk) (refs []Ref, places []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, ref := range c.refs {
		if c.callers[i] > 0 {
			refs, places = append(refs, ref), append(places, i)
		}
	}
	return refs, places
}

// leave removes a caller for c.refs[i]. When the last caller leaves, leave cancels the call, or prevents it. It reports whether the caller
// was the last one of a call that has begun.
func (b *Batcher) leave(c *chunk, i int) (last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.callers[i]--
	if c.waiting--; c.waiting > 0 {
		return false
	}
	c.cancel()
	if !c.sealed {
		b.seal(c)
		return false
	}
	return true
}
