package secrets

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/internal/inflight"
)

// stack is one backend with the layers around it: the onion. As a Fetcher, it is its outermost layer, document.
type stack struct {
	*document

	dedup     Dedup                 // or nil, as are those below
	cache     Cache                 //
	redaction Redaction             //
	closers   []closer              // outermost first
	listen    func() (fault string) // makes the backend tell of changes, if it has not begun to
}

// closer is a part of a stack that is to be closed.
type closer struct {
	what  string
	close func() error
}

// newStack puts the layers around b, from the inside out. This is the only place where they are put together. Each layer is the
// code of others: a panic in making one, and a nil, is a fault, and the stack goes on without it.
func (c *config) newStack(life context.Context, b described, running *inflight.Calls) *stack {
	s := &stack{}
	info := b.info

	var f Fetcher = b.Backend
	if len(c.aroundBackend) > 0 {
		f = c.wrapAll("WithBackendMiddleware", c.aroundBackend, refuseInvalid().Wrap(f))
	}
	if c.redaction != nil {
		next := f
		r, ok := build(c, "WithRedaction: NewRedaction", func() Redaction { return c.redaction.NewRedaction(info, next) })
		if ok {
			s.redaction, f = r, r
		}
	}
	g := &guard{next: f, name: info.Name, timeout: c.timeout, life: life, calls: running}
	g.inline = info.Nonblocking && len(c.aroundBackend) == 0 // a layer may block where the backend does not
	f = g
	health := c.health(info.Name)
	if health != nil {
		f = health.watch(f)
	}
	if c.tracing != nil {
		next := f
		if t, ok := build(c, "WithTracing: NewTracing", func() Fetcher { return c.tracing.NewTracing(info, next) }); ok {
			f = t
		}
	}
	switch {
	case !info.Local:
		f = c.remember(s, info, f)
	case !info.Nonblocking:
		f = inTurn(info, f)
	}
	s.document = &document{info: info, next: f, cache: s.cache, guard: g, health: health}

	if s.cache != nil {
		s.closers = append(s.closers, closer{"the cache", s.cache.Close})
		if health != nil {
			health.cache = s.cache
		}
		c.observe(s, info)
	}
	if s.dedup != nil {
		s.closers = append(s.closers, closer{"the dedup layer", s.dedup.Close})
	}
	if s.redaction != nil {
		s.closers = append(s.closers, closer{"the redaction layer", s.redaction.Close})
	}
	c.listen(s)
	return s
}

// listen lets the backend of s tell of changes: now, or if only handles want to know, at the first of them.
func (c *config) listen(s *stack) {
	s.listen = sync.OnceValue(func() string { return s.onChange(c.watches) })
	if s.info.Local {
		return
	}
	if fault := s.listen(); fault != "" {
		c.faults.Addf("backend %s: %s", s.info.Name, fault)
	}
}

// onChange makes the backend tell s and w of changes.
func (s *stack) onChange(w *watches) (fault string) {
	if s.info.OnChange == nil {
		return ""
	}
	defer func() {
		if p := recover(); p != nil {
			fault = fmt.Sprintf("OnChange: a panic with a %T", p)
		}
	}()
	s.info.OnChange(func(docs ...Ref) {
		s.forget(docs...)
		w.changed(s, docs)
	})
	return ""
}

// remember puts cache and deduplication around below. The cache has two halves, and dedup stands between them: so nobody who comes
// between the end of a flight and the filling of the cache asks again.
func (c *config) remember(s *stack, info Info, below Fetcher) Fetcher {
	share := func(next Fetcher) Fetcher {
		if c.dedup == nil {
			return inTurn(info, next)
		}
		d, ok := build(c, "WithDedup: NewDedup", func() Dedup { return c.dedup.NewDedup(info, next) })
		if !ok {
			return next
		}
		s.dedup = d
		return inTurn(info, d)
	}
	if c.cache == nil {
		return share(below)
	}
	shares := 0
	cache, ok := build(c, "WithCache: NewCache", func() Cache {
		return c.cache.NewCache(info, below, func(fill Fetcher) Fetcher {
			shares++
			return share(fill)
		})
	})
	if !ok && shares > 0 { // dedup has told its own faults
		return below
	}
	if !ok {
		return share(below)
	}
	c.faults.Checkf(shares == 1, "WithCache: NewCache called share %d times, not once", shares)
	s.cache = cache
	return cache
}

// inTurn returns next, which the documents of one GetMany ask in their turn. What is in memory needs none, and other calls have turns
// of their own: no document waits for a caller that asks for many.
func inTurn(info Info, next Fetcher) Fetcher {
	turns := new(byte) // names the backend in a group
	atOnce := fetchctx.Parallel * max(1, info.Batch)
	return Intercept(func(ctx context.Context, ref Ref, next Fetcher) (Secret, error) {
		group := fetchctx.Of(ctx).Group
		if group == nil {
			return next.Fetch(ctx, ref)
		}
		release, err := group.Acquire(ctx, turns, atOnce)
		if err != nil {
			return Secret{}, err
		}
		defer release()
		return next.Fetch(ctx, ref)
	}).Wrap(next)
}

// observe lets the tracing layer see the cache of s.
func (c *config) observe(s *stack, info Info) {
	if c.tracing == nil {
		return
	}
	var stop func()
	c.try("WithTracing: Observe", func() {
		var err error
		stop, err = c.tracing.Observe(info, s.cache)
		c.faults.Add(err)
	})
	if stop != nil {
		s.closers = append(s.closers, closer{"the tracing layer", func() error { stop(); return nil }})
	}
}

// wrapAll puts layers, the outermost first, around f.
func (c *config) wrapAll(option string, layers []Middleware, f Fetcher) Fetcher {
	for _, layer := range slices.Backward(layers) {
		next := f
		if wrapped, ok := build(c, option+": Wrap", func() Fetcher { return layer.Wrap(next) }); ok {
			f = wrapped
		}
	}
	return f
}

// build returns what f makes. A panic of f, and a nil, is a fault.
func build[T any](c *config, what string, f func() T) (made T, ok bool) {
	if !c.try(what, func() { made = f() }) {
		return made, false
	}
	if faults.IsNil(made) {
		c.faults.Addf("%s returned nil", what)
		return made, false
	}
	return made, true
}

// forget makes the layers forget docs. It goes from the outside in: a cache must have stopped taking answers of old fetches before
// dedup begins new ones.
func (s *stack) forget(docs ...Ref) {
	if s.cache != nil {
		s.cache.Invalidate(docs...)
	}
	if s.dedup != nil {
		s.dedup.Invalidate(docs...)
	}
}

// invalidate makes the layers forget the documents that hold refs.
func (s *stack) invalidate(refs []Ref) {
	if s.cache == nil && s.dedup == nil {
		return
	}
	docs := make([]Ref, 0, len(refs))
	for _, ref := range refs {
		docs = append(docs, s.constantLocation(ref).doc)
	}
	s.forget(docs...)
}

// constantLocation is locate for a backend that is not Local: its Resolve always returns the same, and waits for nothing. If it
// panics, the location is that of a backend without one.
func (s *stack) constantLocation(ref Ref) location {
	at := locationOf(ref)
	if s.info.Resolve != nil {
		if err := s.resolve(ref, &at); err != nil {
			return locationOf(ref)
		}
	}
	return at
}

// memorize tells the cache what key means, after a fetch has answered it.
func (s *stack) memorize(key string, ref Ref) {
	if s.cache != nil {
		at := s.constantLocation(ref)
		s.cache.Memorize(key, at.doc, at.field)
	}
}

// close closes the layers.
func (s *stack) close() (errs []error) {
	for _, layer := range s.closers {
		errs = append(errs, layer.run())
	}
	return errs
}
