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
// A Batcher needs no end: a call is cancelled when the last fetch that waits for it has gone. It is safe for concurrent use.
type Batcher struct {
	maxRefs int
	window  time.Duration
	call    func(ctx context.Context, refs []Ref) []Result

	mu     sync.Mutex
	chunks map[*fetchctx.Group]*chunk // those that still take refs; under nil, that of the window
}

// NewBatcher returns a Batcher that calls call for up to maxRefs refs, which are distinct. call answers them in order, one Result each;
// any other number of answers is [ErrUnknown] for all of them, since nobody knows which belongs to which. A panic is ErrUnknown,
// too. Make errors with [NewError]: of any other, only the class is kept. The context of call has the values of the first fetch, and
// ends when the last one does.
//
// Fetches of one [Client.GetMany] are gathered until there are maxRefs of them, or all others have arrived or been answered, but for
// no more than 20 ms; if the backend is Local, for no more than a second, since what is read at one moment belongs together. Say
// maxRefs in [Info.Batch], too: otherwise a GetMany has 16 fetches under way, and batches stay as small. Fetches of
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
	callers []int       // of each of refs
	waiting int         // callers in all
	sealed  bool        // it takes no more refs

	batch   fetchctx.Batch
	done    *fetchctx.Event // ends after results are set
	results []Result        // of each of refs
}

// Fetch returns the answer to ref, of a call that other fetches may share. If ctx ends first, it is its error. The last fetch to leave
// a call that is under way waits for it: call must obey its context.
func (b *Batcher) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	if err := ctx.Err(); err != nil {
		return Secret{}, err
	}
	f := fetchctx.Of(ctx)
	if f.Group == nil && b.window <= 0 { // there is nobody to wait for
		c := &chunk{ctx: ctx, cancel: func() {}, refs: []Ref{ref}, callers: []int{1}, done: f.Group.NewEvent()}
		b.run(c)
		return c.results[0].Secret, c.results[0].Err
	}
	c, i := b.join(ctx, f, ref)
	f.Origin.Set(&c.batch)
	err := c.done.Wait(ctx) // the last one to arrive sends the chunk
	if last := b.leave(c, i); last {
		// The guard counts this goroutine: a call that ignores its end must not go on as nobody's.
		_ = c.done.Wait(context.WithoutCancel(ctx)) //nolint:errcheck // it has no end
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

// wanted returns the refs of c that somebody waits for, and their places in c.refs.
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

// leave notes that a caller for c.refs[i] has gone. After the last one, nobody wants the answers: the call is cancelled, or never
// made. It reports whether the caller is the last, and the call is under way.
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
