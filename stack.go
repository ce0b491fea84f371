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

// stack is one backend with its layers. Its Fetch is that of its outermost layer, document.
type stack struct {
	*document

	dedup     Dedup                 // or nil, as are those below
	cache     Cache                 //
	redaction Redaction             //
	closers   []closer              // outermost first
	listen    func() (fault string) // registers with the backend for changes, once
}

// closer is a part of a Client that must be closed.
type closer struct {
	what  string
	close func() error
}

// newStack wraps b in the layers, the innermost first. No other code composes layers. A layer may be foreign code: if its constructor
// panics or returns nil, newStack records a fault and leaves it out.
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
	g.inline = info.Nonblocking && len(c.aroundBackend) == 0 // a layer may block even if the backend does not
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
		f = limitGroup(info, f)
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

// listen registers with the backend of s for changes. For a Local backend, which has no cache, the first handle does that.
func (c *config) listen(s *stack) {
	s.listen = sync.OnceValue(func() string { return s.onChange(c.watches) })
	if s.info.Local {
		return
	}
	if fault := s.listen(); fault != "" {
		c.faults.Addf("backend %s: %s", s.info.Name, fault)
	}
}

// onChange registers with the backend: a change drops the documents from the layers and wakes the pollers of w.
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
		s.invalidateDocs(docs...)
		w.changed(s, docs)
	})
	return ""
}

// remember wraps below in cache and dedup. Dedup is between the two halves of the cache: the cache is filled before a flight ends, so no
// caller can come between the two and fetch again.
func (c *config) remember(s *stack, info Info, below Fetcher) Fetcher {
	share := func(next Fetcher) Fetcher {
		if c.dedup == nil {
			return limitGroup(info, next)
		}
		d, ok := build(c, "WithDedup: NewDedup", func() Dedup { return c.dedup.NewDedup(info, next) })
		if !ok {
			return next
		}
		s.dedup = d
		return limitGroup(info, d)
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
	if !ok && shares > 0 { // share has recorded the faults of dedup
		return below
	}
	if !ok {
		return share(below)
	}
	c.faults.Checkf(shares == 1, "WithCache: NewCache called share %d times, not once", shares)
	s.cache = cache
	return cache
}

// limitGroup limits the concurrent fetches from next that belong to one GetMany. It is below the cache: hits are not limited. Other calls
// have their own limit, so they do not wait for a large GetMany.
func limitGroup(info Info, next Fetcher) Fetcher {
	backend := new(byte) // identifies the backend in a group
	limit := fetchctx.Parallel * max(1, info.Batch)
	return Intercept(func(ctx context.Context, ref Ref, next Fetcher) (Secret, error) {
		group := fetchctx.Of(ctx).Group
		if group == nil {
			return next.Fetch(ctx, ref)
		}
		release, err := group.Acquire(ctx, backend, limit)
		if err != nil {
			return Secret{}, err
		}
		defer release()
		return next.Fetch(ctx, ref)
	}).Wrap(next)
}

// observe gives the cache of s to the tracing layer.
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

// wrapAll wraps f in layers. The first one is outermost.
func (c *config) wrapAll(option string, layers []Middleware, f Fetcher) Fetcher {
	for _, layer := range slices.Backward(layers) {
		next := f
		if wrapped, ok := build(c, option+": Wrap", func() Fetcher { return layer.Wrap(next) }); ok {
			f = wrapped
		}
	}
	return f
}

// build returns the result of f. It records a fault if f panics or returns nil.
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

// invalidateDocs drops docs from the layers. The cache comes first: it must reject answers of old fetches before dedup begins new ones.
func (s *stack) invalidateDocs(docs ...Ref) {
	if s.cache != nil {
		s.cache.Invalidate(docs...)
	}
	if s.dedup != nil {
		s.dedup.Invalidate(docs...)
	}
}

// invalidate drops the documents of refs from the layers.
func (s *stack) invalidate(refs []Ref) {
	if s.cache == nil && s.dedup == nil {
		return
	}
	docs := make([]Ref, 0, len(refs))
	for _, ref := range refs {
		docs = append(docs, s.constantLocation(ref).doc)
	}
	s.invalidateDocs(docs...)
}

// constantLocation is locate for a backend that is not Local: its Resolve always returns the same, and does not block. If Resolve panics,
// the result is the default location.
func (s *stack) constantLocation(ref Ref) location {
	at := locationOf(ref)
	if s.info.Resolve != nil {
		if err := s.resolve(ref, &at); err != nil {
			return locationOf(ref)
		}
	}
	return at
}

// memorize records in the cache what key means. The caller has fetched it.
func (s *stack) memorize(key string, ref Ref) {
	if s.cache != nil {
		at := s.constantLocation(ref)
		s.cache.Memorize(key, at.doc, at.field)
	}
}

// close closes the layers, the outermost first.
func (s *stack) close() (errs []error) {
	for _, layer := range s.closers {
		errs = append(errs, layer.run())
	}
	return errs
}
