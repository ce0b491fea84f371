package awssm

import (
	"context"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// coalescer gathers the queries that come within a window, and asks for them together.
type coalescer struct {
	window time.Duration
	ask    func(ctx context.Context, queries []query) []secrets.Result

	life    context.Context // of the backend: a group is no single caller's
	end     context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	groups map[string]*group // by region, those that still take queries
	closed bool
}

func newCoalescer(window time.Duration, ask func(context.Context, []query) []secrets.Result) *coalescer {
	c := &coalescer{window: window, ask: ask, groups: make(map[string]*group)}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// group is what is asked for together.
type group struct {
	region  string
	queries []query
	places  map[query]int // in queries
	full    chan struct{} // closed when no more fit
	done    chan struct{} // closed after results is set
	results []secrets.Result

	waiting int                // callers; guarded by coalescer.mu
	cancel  context.CancelFunc // of the call, when nobody waits for it any more
}

// fetch returns the answer to q, which it asks for together with others.
func (c *coalescer) fetch(ctx context.Context, q query) (secrets.Secret, error) {
	if err := ctx.Err(); err != nil {
		return secrets.Secret{}, err
	}
	g, place := c.join(ctx, q)
	if g == nil {
		return secrets.Secret{}, fail(secrets.ErrClosed, "")
	}
	defer c.leave(g)
	select {
	case <-g.done:
		if place >= len(g.results) { // code of the program, within the SDK, has ended the goroutine
			return secrets.Secret{}, fail(secrets.ErrUnknown, "the call ended its goroutine")
		}
		r := g.results[place]
		if r.Err != nil && c.life.Err() != nil {
			return secrets.Secret{}, fail(secrets.ErrClosed, "")
		}
		return r.Secret, r.Err
	case <-ctx.Done():
		return secrets.Secret{}, ctx.Err()
	}
}

// join adds q to a group. There is none if c is closed.
func (c *coalescer) join(ctx context.Context, q query) (g *group, place int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, 0
	}
	g = c.groups[q.region]
	if g == nil {
		g = &group{region: q.region, places: make(map[query]int), full: make(chan struct{}), done: make(chan struct{})}
		c.groups[q.region] = g
		// The call keeps what the first caller's context carries, such as its span, and ends with no single caller.
		call, cancel := context.WithCancel(context.WithoutCancel(ctx))
		g.cancel = cancel
		c.running.Go(func() { c.run(call, g) })
	}
	g.waiting++
	place, known := g.places[q]
	if !known {
		place = len(g.queries)
		g.places[q] = place
		if g.queries = append(g.queries, q); len(g.queries) == mostIDs {
			delete(c.groups, q.region)
			close(g.full)
		}
	}
	return g, place
}

// run asks for what has come into g when its window is over.
func (c *coalescer) run(ctx context.Context, g *group) {
	defer g.cancel()
	defer close(g.done)
	stop := context.AfterFunc(c.life, g.cancel)
	defer stop()
	timer := time.NewTimer(c.window)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.full:
	case <-ctx.Done():
	}
	g.results = c.ask(ctx, c.seal(g))
}

// seal returns the queries of g, which takes no more.
func (c *coalescer) seal(g *group) []query {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.groups[g.region] == g {
		delete(c.groups, g.region)
	}
	return g.queries
}

// leave notes that a caller has gone. After the last one nobody wants the answers, and nobody can join any more.
func (c *coalescer) leave(g *group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.waiting--; g.waiting == 0 {
		if c.groups[g.region] == g {
			delete(c.groups, g.region)
		}
		g.cancel()
	}
}

func (c *coalescer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.running.Wait()
}
