package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/internal/inflight"
)

// Client reads secrets from a backend, through the layers of its options. Build one with [New] in main, and pass it to the code that
// needs secrets. It is safe for concurrent use.
//
// Get, GetOr, Has, Refresh and Alternates return an [*Error] of exactly one class. If the caller's own context has ended, the class is the
// error of that context. GetMany returns [Errors].
type Client struct {
	top      Fetcher
	memory   memory  // checked before top, or nil
	primary  *health // of the first of several backends, or nil
	stacks   []*stack
	leases   bool // a read from one of the backends may create a lease
	around   bool // there is user middleware
	inline   bool // no layer and no backend blocks: GetMany needs no goroutines
	closed   atomic.Bool
	watches  *watches
	refusals refusals // credentials that consumers of Do have refused

	shutdown func() error
	done     chan struct{} // closed when shutdown has returned closeErr
	closeErr error
}

// memory finds hits: it maps a key, as the program writes it, to its secret. It is a [Cache], or a chain of several. Most calls are
// hits, so they skip the layers, unless there is user middleware, which sees every call.
type memory interface {
	Recall(key string) (s Secret, known bool)
	RecallMany(keys []string, found map[string]Secret) bool
}

// New returns a Client for backend. Without layers there is no cache: each [Client.Get] is a call of the backend. Standard of package
// middleware adds a cache, deduplication and redaction.
//
// New puts the layers in the right order, whatever the order of the options; see the package comment. It makes no network calls. The
// error joins all faults of the options.
//
// The Client owns its backends and layers: [Client.Close] closes them. If New fails, the caller still owns them. A Backend belongs to one
// Client: if two share it, the first Close closes it for both. Several Clients may share the layers of this module.
func New(backend Backend, opts ...Option) (*Client, error) {
	cfg := newConfig(opts)
	backends := cfg.backends(backend)
	if err := cfg.faults.Err(); err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	running := inflight.New()
	cfg.events = newEvents(cfg.logLost)
	c := &Client{done: make(chan struct{}), inline: len(cfg.around) == 0}
	c.watches = newWatches(c)
	cfg.watches = c.watches
	for _, b := range backends {
		s := cfg.newStack(life, b, running)
		c.stacks = append(c.stacks, s)
		c.leases = c.leases || b.info.Leases
		c.inline = c.inline && s.guard.inline
	}
	const fetches = 2 // of each backend: a lease may have ended when the answer arrives
	c.watches.limit = pollOverhead + fetches*min(cfg.timeout, time.Hour)*time.Duration(len(c.stacks))
	c.top = c.stacks[0]
	if cfg.fallback != nil {
		chain := cfg.newChain(c.stacks)
		c.top, c.memory = chain, chain
		c.primary = c.stacks[0].health
	} else if cache := c.stacks[0].cache; cache != nil {
		c.memory = cache
	}
	if len(cfg.around) > 0 {
		c.memory, c.around = nil, true // user middleware sees every call
		c.top = cfg.wrapAll("WithMiddleware", cfg.around, refuseInvalid().Wrap(c.top))
	}
	if err := cfg.faults.Err(); err != nil {
		end()
		return nil, errors.Join(append([]error{err}, c.closeLayers()...)...) // nobody else closes what the layers built
	}
	c.shutdown = func() error {
		running.Close()
		end()
		// The end of a handle runs code of the program: what Closing was given.
		handles := closer{"a handle", func() error { c.watches.end(); return nil }}
		errs := []error{within(cfg.timeout, handles.what, handles.run), within(cfg.timeout, "a backend or layer", func() error {
			errs := c.closeLayers()
			<-running.Idle()
			<-c.watches.running.Idle()
			return errors.Join(errs...)
		})}
		for _, b := range backends {
			backend := closer{"backend " + b.info.Name, b.Close}
			errs = append(errs, within(cfg.timeout, backend.what, backend.run))
		}
		return errors.Join(append(errs, cfg.events.close(cfg.timeout))...)
	}
	return c, nil
}

// closeLayers closes the layers, the outermost first.
func (c *Client) closeLayers() (errs []error) {
	for _, s := range c.stacks {
		errs = append(errs, s.close()...)
	}
	return errs
}

// Get returns the secret that key names. See the package comment for the form of keys.
func (c *Client) Get(ctx context.Context, key string) (Secret, error) {
	// Inlined by hand: each call that the compiler does not inline costs a tenth of a hit.
	if ctx.Err() != nil {
		return Secret{}, contextError(ctx, "", key)
	}
	if c.closed.Load() {
		return Secret{}, closedError(key)
	}
	if c.memory != nil {
		if s, known := c.memory.Recall(key); known && !s.IsZero() {
			return s, nil
		}
	}
	return c.fetch(ctx, key, fetchctx.Fetch{})
}

// GetOr returns the secret that key names, or def if the error of Get is [ErrNotFound]. [ErrDeleted] and [ErrFieldNotFound] are
// ErrNotFound too. After an outage or a denial, GetOr returns the error, not def. The Meta.Backend of def is "default".
func (c *Client) GetOr(ctx context.Context, key, def string) (Secret, error) {
	s, err := c.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return NewSecret(def, Meta{Backend: "default", FetchedAt: time.Now()}), nil
	}
	return s, err
}

// Has reports whether the secret that key names exists. The answer is no only if the error of Get would be [ErrNotFound]; any other
// error is returned.
//
// Has reads the value and drops it. It never creates a lease: for a backend with [Info.Leases], it answers from the cache, and if the
// secret is not there, the error is [ErrInvalidKey].
func (c *Client) Has(ctx context.Context, key string) (bool, error) {
	var err error
	if c.leases {
		_, err = c.fetch(ctx, key, fetchctx.Fetch{Peek: true})
	} else {
		_, err = c.Get(ctx, key)
	}
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Refresh fetches the secret that key names from the backend, past cache and back-off, and updates the cache. It never returns a stale
// value: in an outage, it returns [ErrUnavailable]. With a fallback, the chain goes on as it does for Get.
func (c *Client) Refresh(ctx context.Context, key string) (Secret, error) {
	return c.fetch(ctx, key, fetchctx.Fetch{Fresh: true})
}

// Invalidate drops the documents of keys from the cache: the next Get calls the backend. Handles of these documents poll at once. Keys
// that are not valid are ignored.
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
	for _, s := range c.stacks {
		s.invalidate(refs)
	}
	c.watches.invalidated(refs)
}

// Close closes the Client. It refuses new calls, ends running calls with [ErrClosed], and closes the handles, the layers and the
// backends. Then it waits until the logger of [WithLogger] has written all its lines. Each of these gets at most the time of
// [WithTimeout]. Close may be called several times and concurrently: every call waits for the first and returns its result.
//
// With the handles, each [Live] of them ends. If another Client shares a backend, its fetches from that backend fail with ErrClosed from
// then on. The backends env and file keep working.
func (c *Client) Close() error {
	if c.shutdown == nil { // a Client that New has not made
		return nil
	}
	if !c.closed.CompareAndSwap(false, true) {
		<-c.done // not a mutex: testing/synctest does not count a wait for one as blocked
		return c.closeErr
	}
	defer close(c.done)
	c.closeErr = c.shutdown()
	return c.closeErr
}

// within returns the error of f, or an error of its own if f runs longer than wait.
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

// run closes the part. It returns an error if close panics or ends its goroutine.
func (c closer) run() error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("it ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("a panic with a %T", p)
			}
			done <- err
		}()
		err = c.close()
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("secrets: close %s: %w", c.what, err)
	}
	return nil
}

func closedError(key string) error { return &Error{Key: key, Err: ErrClosed} }

// fetch returns the secret that key names, through the layers. f replaces the Fetch that ctx may carry: a backend or layer may call a
// Client with the context of another fetch.
func (c *Client) fetch(ctx context.Context, key string, f fetchctx.Fetch) (Secret, error) {
	if class := c.refuses(ctx); class != nil {
		return Secret{}, &Error{Key: key, Err: class}
	}
	ref, err := ParseRef(key)
	if err != nil {
		return Secret{}, err
	}
	if f != fetchctx.Of(ctx) {
		ctx = fetchctx.With(ctx, f)
	}
	var r Result
	c.fetchInto(ctx, ref, &r)
	if r.Err != nil {
		err := failureOf(ctx, r.Err, "", key)
		if f.Fresh && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrPermissionDenied)) {
			c.watches.invalidated([]Ref{ref}) // handles must report it
		}
		return Secret{}, err
	}
	c.delivered(ctx, key, ref, r.Secret)
	if f.Fresh {
		c.watches.refreshed(ref, r.Secret)
	}
	return r.Secret, nil
}

// fetchInto sets r to the answer of the layers for ref. User middleware may panic.
func (c *Client) fetchInto(ctx context.Context, ref Ref, r *Result) {
	r.Err = errEnded
	defer protect(r)
	r.Secret, r.Err = c.top.Fetch(ctx, ref)
}

// delivered reports to the layers that the caller of key gets s.
func (c *Client) delivered(ctx context.Context, key string, ref Ref, s Secret) {
	c.handOut(ref, s)
	if c.memory != nil && ctx.Err() == nil { // Memorize may search a large document for the field
		for _, s := range c.stacks {
			s.memorize(key, ref)
		}
	}
	c.primary.replaced(ctx, s, ref)
}

// handOut reports s to the redaction of the backend that answered. If user middleware made s, it takes the first redaction: any of them
// masks the value.
func (c *Client) handOut(ref Ref, s Secret) {
	var to Redaction
	name := s.Meta().Backend
	for _, stack := range c.stacks {
		if stack.redaction != nil && (to == nil || stack.info.Name == name) {
			to = stack.redaction
		}
	}
	if to == nil {
		return
	}
	defer func() { _ = recover() }() // a panic of the layer must not cost the caller the secret
	to.HandedOut(ref, s)
}
