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

// Client reads secrets from a backend, through the layers that its options give. Build one in main and pass it to what
// needs it. It is safe for concurrent use.
//
// Every error of its methods is an [*Error] of exactly one class, which is that of the caller's own context if it has ended. That of
// GetMany is [Errors].
type Client struct {
	top     Fetcher
	memory  memory  // asked before top, or nil
	primary *health // of the first of several backends, or nil
	stacks  []*stack
	leases  bool // a read of one of the backends may make a lease
	around  bool // there is user middleware
	inTurn  bool // nothing below ever waits: GetMany needs no goroutines
	closed  atomic.Bool
	watches *watches
	// What consumers have refused of what Do has given them.
	refusals refusals

	shutdown func() error
	done     chan struct{} // closed when shutdown has returned closeErr
	closeErr error
}

// memory knows hits: from the key, as the program writes it, to the secret. It is a [Cache], or a chain over several. A hit is what
// programs do most, so that it does without the layers, unless there is user middleware, which sees every call.
type memory interface {
	Recall(key string) (s Secret, known bool)
	RecallMany(keys []string, found map[string]Secret) bool
}

// New builds a Client for backend. It puts the layers in their right order, whatever the order of the options; see the
// package comment. Without layers, there is no cache: every Get asks the backend. New returns every fault of the options, joined,
// and makes no network calls.
//
// The Client owns its backends and layers from then on: [Client.Close] closes them. If New fails, they are still the
// caller's. A Backend belongs to one Client: in two of them, it is closed for both when the first one is. Layers of this
// module may be given to several Clients.
func New(backend Backend, opts ...Option) (*Client, error) {
	cfg := newConfig(opts)
	backends := cfg.backends(backend)
	if err := cfg.faults.Err(); err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	running := inflight.New()
	cfg.events = newEvents(cfg.logLost)
	c := &Client{done: make(chan struct{}), inTurn: len(cfg.around) == 0}
	c.watches = newWatches(c)
	cfg.watches = c.watches
	for _, b := range backends {
		s := cfg.newStack(life, b, running)
		c.stacks = append(c.stacks, s)
		c.leases = c.leases || b.info.Leases
		c.inTurn = c.inTurn && s.guard.inline
	}
	const fetches = 2 // of each source: a lease may be over when it arrives
	c.watches.limit = moreThanFetches + fetches*min(cfg.timeout, time.Hour)*time.Duration(len(c.stacks))
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
		return nil, errors.Join(append([]error{err}, c.closeLayers()...)...) // what the layers have made is nobody's
	}
	c.shutdown = func() error {
		running.Close()
		end()
		// Handles end with what the program has derived of them, and so with code of the program.
		handles := closer{"a handle", func() error { c.watches.end(); return nil }}
		errs := []error{within(cfg.timeout, handles.what, handles.run), within(cfg.timeout, "a backend or layer", func() error {
			errs := c.closeLayers()
			<-running.Idle()
			<-c.watches.looks.Idle()
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

// closeLayers closes the layers, from the outside in.
func (c *Client) closeLayers() (errs []error) {
	for _, s := range c.stacks {
		errs = append(errs, s.close()...)
	}
	return errs
}

// Get returns the secret that key names; see the package comment for the form of keys.
func (c *Client) Get(ctx context.Context, key string) (Secret, error) {
	// Written out, since each call that is not inlined is a tenth of a cached read.
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

// Refresh asks the backend for the secret that key names, past cache and back-off, and renews the cache. It never returns a
// stale value: if the backend is unavailable, that is the error. With a fallback, the chain goes on as it does for Get.
func (c *Client) Refresh(ctx context.Context, key string) (Secret, error) {
	return c.fetch(ctx, key, fetchctx.Fetch{Fresh: true})
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
	for _, s := range c.stacks {
		s.invalidate(refs)
	}
	c.watches.invalidated(refs)
}

// Close ends the Client: it refuses new calls, ends those under way with [ErrClosed], and closes layers and backends,
// which the Client owns. Then it waits until the logger of [WithLogger] has all its lines. It waits for each of these for at most the
// time of [WithTimeout]. It may be called often and concurrently; every call waits for the first and returns its result.
//
// Handles end, and so does what is derived of them. If another Client has one of the backends too, its fetches from it fail with
// ErrClosed from then on. The backends env and file go on to answer.
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

// run closes the part. A panic is an error like any other, and so is the end of the goroutine.
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

// fetch asks the layers for the secret that key names. The fetch is what f says, and no part of another one whose context ctx may
// be: a backend or layer may use a Client.
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
	c.ask(ctx, ref, &r)
	if r.Err != nil {
		err := failureOf(ctx, r.Err, "", key)
		if f.Fresh && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrPermissionDenied)) {
			c.watches.invalidated([]Ref{ref}) // handles are to say so
		}
		return Secret{}, err
	}
	c.delivered(ctx, key, ref, r.Secret)
	if f.Fresh {
		c.watches.refreshed(ref, r.Secret)
	}
	return r.Secret, nil
}

// ask sets r to what the layers answer for ref. User middleware among them may panic.
func (c *Client) ask(ctx context.Context, ref Ref, r *Result) {
	r.Err = errEnded
	defer protect(r)
	r.Secret, r.Err = c.top.Fetch(ctx, ref)
}

// delivered lets the layers learn that the caller of key gets s.
func (c *Client) delivered(ctx context.Context, key string, ref Ref, s Secret) {
	c.handOut(ref, s)
	if c.memory != nil && ctx.Err() == nil { // to find a field of a large document takes time
		for _, s := range c.stacks {
			s.memorize(key, ref)
		}
	}
	c.primary.replaced(ctx, s, ref)
}

// handOut tells the redaction of the backend that answered what the caller gets. User middleware may have made s: then the first
// one is as good as any, since what is masked is the value.
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
	defer func() { _ = recover() }() // what a layer does with it must not cost the caller the secret
	to.HandedOut(ref, s)
}
