package secrets

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// groupWindow is how long a batch waits for fetches of its [Client.GetMany] that are still on their way.
const groupWindow = 20 * time.Millisecond

// Result is the answer to one ref: a Secret, or an error.
type Result struct {
	Secret Secret
	Err    error
}

// Batcher gathers fetches of a backend into calls for several documents. A [Backend] whose server has batches makes one in its
// constructor, calls [Batcher.Fetch] within its own Fetch, and says in [Info.Batch] how many refs a call takes. See [NewBatcher].
//
// A Batcher runs nothing of its own: a call ends with those who wait for it. It is safe for concurrent use.
type Batcher struct {
	maxRefs int
	window  time.Duration
	call    func(ctx context.Context, refs []Ref) []Result

	mu     sync.Mutex
	chunks map[*fetchctx.Group]*chunk // those that still take refs; under nil, that of the window
}

// NewBatcher returns a Batcher that calls call for up to maxRefs refs, which are distinct. call answers them in order, one Result each;
// any other number of answers is [ErrUnknown] for all of them, since nobody knows which belongs to which. A panic is ErrUnknown,
// too. The context of call has the values of the first fetch, and ends when the last one does.
//
// Fetches of one [Client.GetMany] are gathered until there are maxRefs of them, or all others have arrived or been answered, but for
// no more than 20 ms. If the backend is Local, that bound does not hold: what is read at one moment belongs together. Fetches of
// separate calls are gathered only if window is more than 0, and wait for it, or until there are maxRefs of them. So with a window of
// 0, a single Get waits for nobody.
func NewBatcher(maxRefs int, window time.Duration, call func(ctx context.Context, refs []Ref) []Result) *Batcher {
	return &Batcher{maxRefs: maxRefs, window: window, call: call, chunks: make(map[*fetchctx.Group]*chunk)}
}

// chunk is the refs of one call.
type chunk struct {
	ctx    context.Context //nolint:containedctx // of the call, which is nobody's alone
	cancel context.CancelFunc
	group  *fetchctx.Group
	timer  *time.Timer // or nil

	refs    []Ref
	index   map[Ref]int // of refs
	waiting int         // callers
	sent    bool

	batch   fetchctx.Batch
	done    *fetchctx.Event // ends after results are set
	results []Result
}

// Fetch returns the answer to ref, of a call that other fetches may share. If ctx ends first, it is its error.
func (b *Batcher) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	if err := ctx.Err(); err != nil {
		return Secret{}, err
	}
	f := fetchctx.Of(ctx)
	if f.Group == nil && b.window <= 0 {
		return b.single(ctx, ref)
	}
	c, i := b.join(ctx, f, ref)
	defer b.leave(c)
	f.Answer.Set(&c.batch)
	if err := c.done.Wait(ctx); err != nil { // the last one to arrive sends the chunk
		return Secret{}, err
	}
	return c.results[i].Secret, c.results[i].Err
}

// single is a call for ref alone.
func (b *Batcher) single(ctx context.Context, ref Ref) (Secret, error) {
	results := b.call(ctx, []Ref{ref})
	if len(results) != 1 {
		return Secret{}, wrongCount(len(results), 1)
	}
	return results[0].Secret, results[0].Err
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
	c.waiting++
	i, known := c.index[ref]
	if !known {
		i = len(c.refs)
		c.index[ref] = i
		c.refs = append(c.refs, ref)
		if len(c.refs) >= b.maxRefs {
			b.sendLocked(c)
		}
	}
	return c, i
}

// open returns a new chunk. The caller holds b.mu.
func (b *Batcher) open(ctx context.Context, f fetchctx.Fetch) *chunk {
	c := &chunk{group: f.Group, index: make(map[Ref]int), done: f.Group.NewEvent()}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	send := func() { b.send(c) }
	if f.Group == nil {
		c.timer = time.AfterFunc(b.window, send)
	} else {
		f.Group.OnIdle(send)
		if !f.Gathered {
			c.timer = time.AfterFunc(groupWindow, send)
		}
	}
	b.chunks[f.Group] = c
	return c
}

// send begins the call for c, once.
func (b *Batcher) send(c *chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sendLocked(c)
}

func (b *Batcher) sendLocked(c *chunk) {
	if c.sent {
		return
	}
	b.seal(c)
	go b.run(c)
}

// seal makes c take no more refs. The caller holds b.mu.
func (b *Batcher) seal(c *chunk) {
	c.sent = true
	if b.chunks[c.group] == c {
		delete(b.chunks, c.group)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
}

// run calls the backend for c.
func (b *Batcher) run(c *chunk) {
	defer c.cancel()
	c.batch.Begin(len(c.refs))
	fault := errEnded // if the call ends the goroutine
	var answers []Result
	defer func() {
		if p := recover(); p != nil {
			fault = panicked(p)
		}
		c.results = make([]Result, len(c.refs))
		copy(c.results, answers)
		for i := range c.results {
			if c.results[i].Err == nil && c.results[i].Secret.IsZero() {
				c.results[i].Err = fault.clone()
			}
		}
		c.batch.End(c.results)
		c.done.End()
	}()
	results := b.call(c.ctx, c.refs)
	if len(results) != len(c.refs) {
		fault = wrongCount(len(results), len(c.refs))
		return
	}
	answers, fault = results, errNoAnswer
}

// leave notes that a caller has gone. After the last one, nobody wants the answers.
func (b *Batcher) leave(c *chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.waiting--; c.waiting == 0 {
		b.seal(c)
		c.cancel()
	}
}
