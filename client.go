package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"
)

// Client reads secrets from a backend, through the layers that its options give. Build one in main and pass it to what
// needs it. It is safe for concurrent use.
//
// Every error of its methods is an [*Error] of exactly one class, or the error of the caller's own context, as it is.
type Client struct {
	top     Fetcher
	memory  recaller // asked before top, or nil
	primary *health  // of the first of several backends, or nil
	sources []source
	leases  bool // a read of one of the sources may make a lease
	closed  atomic.Bool

	shutdown func() error
	done     chan struct{} // closed when shutdown has returned closeErr
	closeErr error
}

// source is one backend with the layers around it.
type source struct {
	*document
	name   string
	memory recaller  // of the cache, or nil
	slots  []Fetcher // what the layers of the slots returned, innermost first

	recipient recipient // of redaction, or nil
}

// Name returns the name of the backend.
func (s source) Name() string { return s.name }

// New builds a Client for backend. It puts the layers in their right order, whatever the order of the options; see the
// package comment. It returns every fault of the options, joined, and asks the backend nothing.
//
// The Client owns its backends and layers from then on: [Client.Close] closes them. If New fails, they are still the
// caller's.
func New(backend Backend, opts ...Option) (*Client, error) {
	cfg := newConfig(opts)
	backends := cfg.backends(backend)
	if err := cfg.err(); err != nil {
		return nil, err
	}
	return build(cfg, backends)
}

func build(cfg *config, backends []owned) (*Client, error) {
	life, end := context.WithCancel(context.Background())
	running := newCalls()
	c := &Client{done: make(chan struct{})}
	chain := make([]Fetcher, 0, len(backends))
	for _, b := range backends {
		s := cfg.source(life, b, running)
		if cfg.redaction.taken {
			s.recipient, _ = s.slots[0].(recipient)
		}
		c.sources = append(c.sources, s)
		c.leases = c.leases || s.leases
		chain = append(chain, s)
	}
	c.top, c.memory = chain[0], c.sources[0].memory
	var slots []Fetcher // outermost first
	if cfg.fallback != nil {
		c.top = cfg.wrap("WithFallback", c.top, func() Fetcher { return cfg.fallback.Chain(chain) })
		slots = append(slots, c.top)
		c.memory, _ = c.top.(recaller)
		c.primary = c.sources[0].health
	}
	if len(cfg.around) > 0 {
		c.memory = nil // user middleware sees every call
		c.top = &checker{next: c.top}
		for _, layer := range slices.Backward(cfg.around) {
			c.top = cfg.wrap("WithMiddleware", c.top, func() Fetcher { return layer.Wrap(c.top) })
		}
	}
	for _, s := range c.sources {
		for _, f := range slices.Backward(s.slots) {
			slots = append(slots, f)
		}
	}
	if err := cfg.err(); err != nil {
		end()
		for _, f := range slots { // the layers remain the caller's; what Wrap made of them is nobody's
			err = errors.Join(err, closeOne("layer", f))
		}
		return nil, err
	}
	c.shutdown = func() error {
		running.close()
		end()
		err := within(cfg.timeout, "a backend or layer", func() error {
			var err error
			for _, f := range slots {
				err = errors.Join(err, closeOne("layer", f))
			}
			<-running.idle
			return err
		})
		for _, b := range backends {
			what := "backend " + b.name
			err = errors.Join(err, within(cfg.timeout, what, func() error { return closeOne(what, b.Backend) }))
		}
		return err
	}
	return c, nil
}

// source builds the layers around b, from the inside out.
func (c *config) source(life context.Context, b owned, running *calls) source {
	s := source{name: b.name}
	local, nonblocking, leases := c.nature(b)
	wrap := func(option string, layer Middleware, f Fetcher) Fetcher {
		next := named{f, b.name, local, leases}
		return c.wrap(option, next, func() Fetcher { return layer.Wrap(next) })
	}
	wrapSlot := func(option string, slot slot, f Fetcher) Fetcher {
		if !slot.taken {
			return f
		}
		f = wrap(option, slot.layer, f)
		s.slots = append(s.slots, f)
		return f
	}

	var f Fetcher = b.Backend
	if len(c.aroundBackend) > 0 {
		f = &checker{next: f}
	}
	for _, layer := range slices.Backward(c.aroundBackend) {
		f = wrap("WithBackendMiddleware", layer, f)
	}
	f = wrapSlot("WithRedaction", c.redaction, f)
	g := &guard{next: f, name: b.name, timeout: c.timeout, life: life, calls: running}
	g.inline = nonblocking && len(c.aroundBackend) == 0 // a layer may block where the backend does not
	f = g
	health := c.health(b.name)
	if health != nil {
		f = &witness{next: g, health: health}
	}
	f = wrapSlot("WithTracing", c.tracing, f)
	if !local {
		// What lies within the dedup layer is known last: the half of the cache that fills is a part of the cache.
		within := &late{f}
		f = wrapSlot("WithDedup", c.dedup, within)
		f = wrapSlot("WithCache", c.cache, f)
		if cache, ok := f.(interface{ Fill(next Fetcher) Fetcher }); ok && c.cache.taken {
			inner := named{within.Fetcher, b.name, local, leases}
			within.Fetcher = c.wrap("WithCache", inner, func() Fetcher { return cache.Fill(inner) })
		}
		if c.cache.taken {
			s.memory, _ = f.(recaller)
			c.observe(s.slots, f)
		}
	}
	s.document = &document{next: f, health: health, leases: leases}
	s.learn(b.Backend)
	c.hear(b, s)
	if s.resolve != nil && local && !g.inline {
		s.guard = g
	}
	return s
}

// hear lets b make the layers of s forget what is void.
func (c *config) hear(b owned, s source) {
	if r, ok := b.Backend.(revoker); ok {
		c.try("backend "+b.name+": OnRevoke", func() { r.OnRevoke(s.forget) })
	}
}

// observe hands what can be observed of cache to the layers of the slots that ask for it.
func (c *config) observe(slots []Fetcher, cache Fetcher) {
	monitor, ok := cache.(CacheMonitor)
	if !ok {
		return
	}
	for _, f := range slots {
		observer, ok := f.(cacheObserver)
		if !ok {
			continue
		}
		c.try("ObserveCache", func() {
			if err := observer.ObserveCache(monitor); err != nil {
				c.faults = append(c.faults, err)
			}
		})
	}
}

// late is a Fetcher that is set after a layer has been wrapped around it.
type late struct{ Fetcher }

// nature asks b what it says of itself.
func (c *config) nature(b owned) (local, nonblocking, leases bool) {
	if l, ok := b.Backend.(interface{ Local() bool }); ok {
		c.try("backend "+b.name+": Local", func() { local = l.Local() })
	}
	if n, ok := b.Backend.(interface{ Nonblocking() bool }); ok {
		c.try("backend "+b.name+": Nonblocking", func() { nonblocking = n.Nonblocking() })
	}
	if l, ok := b.Backend.(interface{ Leases() bool }); ok {
		c.try("backend "+b.name+": Leases", func() { leases = l.Leases() })
	}
	return local, nonblocking, leases
}

// wrap returns what the layer of option makes of next. If that is nothing, it is a fault, and next stays, so that the
// faults of the layers further out come to light too.
func (c *config) wrap(option string, next Fetcher, layer func() Fetcher) Fetcher {
	var f Fetcher
	switch ok := c.try(option+": Wrap", func() { f = layer() }); {
	case !ok:
		return next
	case isNil(f):
		c.fault("%s: a layer returned a nil Fetcher", option)
		return next
	default:
		return f
	}
}

// Get returns the secret that key names; see the package comment for the form of keys.
func (c *Client) Get(ctx context.Context, key string) (Secret, error) {
	// Written out, since each call that is not inlined is a tenth of a cached read.
	if err := ctx.Err(); err != nil {
		return Secret{}, err
	}
	if c.closed.Load() {
		return Secret{}, closedError(key)
	}
	if c.memory != nil {
		if s, known := c.memory.Recall(key); known && !s.IsZero() {
			return s, nil
		}
	}
	return c.fetch(ctx, key)
}

// GetOr returns the secret that key names, or def if there is none: only if the error is [ErrNotFound]. An outage or a
// denial is an error, not def. The Meta.Backend of a default is "default".
func (c *Client) GetOr(ctx context.Context, key, def string) (Secret, error) {
	s, err := c.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return NewSecret(def, Meta{Backend: "default", FetchedAt: time.Now()}), nil
	}
	return s, err
}

// Has reports whether there is a secret that key names. It is false only if the error of a Get would be [ErrNotFound];
// every other error is returned. It reads the value and drops it, unless reading would make a lease: of a backend that
// makes them, Has knows what is in the cache, and is [ErrInvalidKey] otherwise.
func (c *Client) Has(ctx context.Context, key string) (bool, error) {
	if c.leases {
		ctx = withPeek(ctx)
	}
	_, err := c.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Refresh asks the backend for the secret that key names, past cache and back-off, and renews the cache. It never returns a
// stale value: if the backend is unavailable, that is the error. With a fallback, the chain goes on as it does for Get.
func (c *Client) Refresh(ctx context.Context, key string) (Secret, error) {
	if err := ctx.Err(); err != nil {
		return Secret{}, err
	}
	if c.closed.Load() {
		return Secret{}, closedError(key)
	}
	return c.fetch(WithFresh(ctx), key)
}

// GetMany returns the secrets that keys name, in one pass through the layers. Keys given twice are asked once. What was
// found is returned also if there is an error. The error is [Errors], with one [*Error] for each key that could not be
// had; if ctx ended the call, it is the error of ctx, joined with those Errors if there are any. If ctx is done before the
// call, its error is all.
func (c *Client) GetMany(ctx context.Context, keys ...string) (map[string]Secret, error) {
	found := make(map[string]Secret, len(keys))
	if err := ctx.Err(); err != nil {
		return found, err
	}
	if c.closed.Load() {
		if len(keys) == 0 {
			return found, Errors{{Err: ErrClosed}}
		}
		errs := make(map[string]error, len(keys))
		for _, key := range keys {
			errs[key] = closedError(key)
		}
		return found, collect(ctx, keys, errs)
	}
	if c.memory != nil && c.memory.RecallMany(keys, found) {
		return found, nil
	}
	clear(found)
	asked := make(map[string]bool, len(keys))
	errs := make(map[string]error)
	refs := make([]Ref, 0, len(keys))
	names := make([]string, 0, len(keys)) // of refs
	for _, key := range keys {
		if asked[key] {
			continue
		}
		asked[key] = true
		ref, err := ParseRef(key)
		if err != nil {
			errs[key] = err
			continue
		}
		refs, names = append(refs, ref), append(names, key)
	}
	if len(refs) > 0 {
		protect(len(refs), func() []Result { return c.top.FetchMany(ctx, refs) }, func(results []Result) {
			for i, r := range results {
				if err := atDoor(ctx, r.Err, names[i]); err != nil {
					errs[names[i]] = err
					continue
				}
				found[names[i]] = r.Secret
				c.handOut(refs[i], r.Secret)
				c.memorize(names[i], refs[i])
				c.primary.replaced(ctx, r.Secret, refs[i])
			}
		})
	}
	return found, collect(ctx, keys, errs)
}

// collect makes one error of the errors of keys, in their order.
func collect(ctx context.Context, keys []string, errs map[string]error) error {
	var all Errors
	var ended error
	for _, key := range keys {
		err, failed := errs[key]
		if !failed {
			continue
		}
		delete(errs, key)              // a key may stand twice
		if e, ok := err.(*Error); ok { // atDoor makes it so
			all = append(all, e)
		} else {
			ended = ctx.Err()
		}
	}
	switch {
	case len(all) == 0:
		return ended
	case ended == nil:
		return all
	default:
		return errors.Join(ended, all)
	}
}

// Invalidate makes the layers forget the documents that keys mean: the next Get asks the backend. Keys that are not valid
// are passed over.
func (c *Client) Invalidate(keys ...string) {
	if c.closed.Load() {
		return
	}
	refs := make([]Ref, 0, len(keys))
	for _, key := range keys {
		if ref, err := ParseRef(key); err == nil {
			refs = append(refs, ref)
		}
	}
	for _, s := range c.sources {
		s.invalidate(refs)
	}
}

// invalidate makes the layers forget the documents that hold refs.
func (s source) invalidate(refs []Ref) {
	if len(s.invalidators()) == 0 { // to locate a ref may cost a look at files
		return
	}
	var docs []Ref
	for _, ref := range refs {
		if p, err := s.locate(ref); err == nil {
			docs = append(docs, p.doc)
		}
	}
	s.forget(docs...)
}

// forget makes the layers forget docs. It goes from the outside in: a cache must have stopped taking answers of old fetches
// before the layer below it begins new ones.
func (s source) forget(docs ...Ref) {
	for _, layer := range s.invalidators() {
		layer.Invalidate(docs...)
	}
}

type invalidator interface{ Invalidate(refs ...Ref) }

// invalidators returns the layers that remember documents, outermost first.
func (s source) invalidators() []invalidator {
	var layers []invalidator
	for _, f := range slices.Backward(s.slots) {
		if layer, ok := f.(invalidator); ok {
			layers = append(layers, layer)
		}
	}
	return layers
}

// Close ends the Client: it refuses new calls, ends those under way with [ErrClosed], and closes layers and backends,
// which the Client owns. It waits for each of these for at most the time of [WithTimeout]. It may be called often and
// concurrently; every call waits for the first and returns its result.
func (c *Client) Close() error {
	if c.shutdown == nil { // a Client that New has not made
		return nil
	}
	if !c.closed.CompareAndSwap(false, true) {
		<-c.done // and not a mutex, on which testing/synctest could not see that we wait
		return c.closeErr
	}
	defer close(c.done)
	c.closeErr = c.shutdown()
	return c.closeErr
}

// within returns what f does, or an error if that takes longer than wait.
func within(wait time.Duration, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("secrets: close: %s still runs after %v", what, wait)
	}
}

func closeOne(what string, v any) (err error) {
	closer, ok := v.(io.Closer)
	if !ok {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("secrets: close %s: a panic with a %T", what, p)
		}
	}()
	if e := closer.Close(); e != nil {
		return fmt.Errorf("secrets: close %s: %w", what, e)
	}
	return nil
}

func closedError(key string) error { return &Error{Key: key, Err: ErrClosed} }

func (c *Client) fetch(ctx context.Context, key string) (Secret, error) {
	ref, err := ParseRef(key)
	if err != nil {
		return Secret{}, err
	}
	result := c.ask(ctx, ref)
	if err := atDoor(ctx, result.Err, key); err != nil {
		return Secret{}, err
	}
	c.handOut(ref, result.Secret)
	c.memorize(key, ref)
	c.primary.replaced(ctx, result.Secret, ref)
	return result.Secret, nil
}

// ask asks the layers for ref. User middleware among them may panic.
func (c *Client) ask(ctx context.Context, ref Ref) (r Result) {
	r.Err = errEnded
	defer protectOne(&r)
	r.Secret, r.Err = c.top.Fetch(ctx, ref)
	return r
}

// atDoor makes err what the caller gets: user middleware may return any error.
func atDoor(ctx context.Context, err error, key string) error {
	if err == nil {
		return nil
	}
	err = toError(ctx, err, "", key)
	if e, ok := err.(*Error); ok { // toError makes it so
		e.Key = key
	}
	return err
}
