package secrets

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// damping is the least time between two changes of a backend's state that are told: one whose answers change from call to
// call must not fill a log.
const damping = 10 * time.Second

// health is the state of one backend as far as a [WithLogger] tells of it. What it tells are changes, not calls, and never
// a value. A nil health tells nothing.
type health struct {
	log     *slog.Logger
	keys    bool
	backend string

	down    atomic.Bool // as it was last told
	stale   atomic.Bool // stale values are served
	refused atomic.Bool // the backend does not accept the credentials, as it was last told

	mu          sync.Mutex
	since       time.Time // of the last change of down
	staleTold   time.Time
	refusalTold time.Time
	standIn     string // the backend that was told to answer instead
}

// answered notes an answer of the backend for ref.
func (h *health) answered(ctx context.Context, err error, ref Ref) {
	switch Class(err) {
	case ErrUnknown, ErrClosed:
		// A panic, or the end of the Client, says nothing about the backend.
	case ErrUnavailable:
		if ctx.Err() == nil && h.change(true) {
			h.tell(ctx, slog.LevelWarn, "secrets: backend unavailable", ref)
		}
	case ErrUnauthenticated:
		h.available(ctx, ref)
		h.refuses(ctx, ref)
	default:
		h.available(ctx, ref)
		if h.refused.Load() && h.refused.CompareAndSwap(true, false) {
			h.tell(ctx, slog.LevelInfo, "secrets: backend accepts the credentials again", ref)
		}
	}
}

// available notes that the backend has answered.
func (h *health) available(ctx context.Context, ref Ref) {
	switch {
	case h.down.Load():
		h.mu.Lock()
		lasted := time.Since(h.since)
		h.mu.Unlock()
		if h.change(false) {
			h.tell(ctx, slog.LevelInfo, "secrets: backend available again", ref, slog.Duration("after", lasted))
		}
	case h.stale.Load():
		h.stale.Store(false)
	}
}

// refuses notes that the backend does not accept the credentials.
func (h *health) refuses(ctx context.Context, ref Ref) {
	h.mu.Lock()
	tell := !h.refused.Load() && time.Since(h.refusalTold) >= damping
	if tell {
		h.refused.Store(true)
		h.refusalTold = time.Now()
	}
	h.mu.Unlock()
	if tell {
		h.tell(ctx, slog.LevelError, "secrets: backend refuses the credentials", ref)
	}
}

// change notes that the backend is down, or not, and reports whether that is to be told.
func (h *health) change(down bool) bool {
	if h.down.Load() == down {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down.Load() == down || down && time.Since(h.since) < damping {
		return false
	}
	h.down.Store(down)
	h.since = time.Now()
	if !down {
		h.stale.Store(false)
		h.standIn = ""
	}
	return true
}

// served notes that s was served for ref.
func (h *health) served(ctx context.Context, s Secret, ref Ref) {
	if h == nil || s.IsZero() || !s.meta.Stale || h.stale.Load() {
		return
	}
	h.mu.Lock()
	tell := !h.stale.Load() && time.Since(h.staleTold) >= damping
	if tell {
		h.stale.Store(true) // only with the line: what is not told now is told later
		h.staleTold = time.Now()
	}
	h.mu.Unlock()
	if tell {
		h.tell(ctx, slog.LevelWarn, "secrets: serving stale values", ref, slog.Time("fetched_at", s.meta.FetchedAt))
	}
}

// replaced notes that s was the answer for ref. If the backend is down, and another one's, that is told. A secret that only
// the other one has is no event.
func (h *health) replaced(ctx context.Context, s Secret, ref Ref) {
	if h == nil || !h.down.Load() || s.meta.Backend == h.backend {
		return
	}
	by := s.meta.Backend
	h.mu.Lock()
	told := h.standIn == by
	h.standIn = by
	h.mu.Unlock()
	if !told {
		h.tell(ctx, slog.LevelWarn, "secrets: fallback answering", ref, slog.String("fallback", by))
	}
}

func (h *health) tell(ctx context.Context, level slog.Level, message string, ref Ref, more ...slog.Attr) {
	defer func() { _ = recover() }() // a log that fails must cost nobody the secret
	attrs := append([]slog.Attr{slog.String("backend", h.backend)}, more...)
	if h.keys {
		attrs = append(attrs, slog.String("key", printable(ref.String())))
	}
	h.log.LogAttrs(context.WithoutCancel(ctx), level, message, attrs...)
}

// WithLogger makes the Client tell an operator what changes, once for each change and not for each call:
//
//	WARN   secrets: backend unavailable                    backend
//	WARN   secrets: serving stale values                   backend, fetched_at
//	WARN   secrets: fallback answering                     backend, fallback
//	INFO   secrets: backend available again                backend, after
//	ERROR  secrets: backend refuses the credentials        backend
//	INFO   secrets: backend accepts the credentials again  backend
//
// A backend that comes and goes is told of every 10 seconds at the most. No line holds a value, and none a key unless
// [WithLoggedKeys] is given. The last logger given counts. By default, the Client is silent.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) {
		if logger == nil {
			c.faults.Addf("WithLogger: a nil Logger")
		}
		c.logger = logger
	}
}

// WithLoggedKeys adds the key whose fetch showed a change to the lines of [WithLogger]. By default, there are no keys in
// them.
func WithLoggedKeys() Option { return func(c *config) { c.loggedKeys = true } }

// health returns what tells of the backend with that name, or nil if nothing is to be told.
func (c *config) health(name string) *health {
	if c.logger == nil {
		return nil
	}
	return &health{log: c.logger, keys: c.loggedKeys, backend: name}
}

// watch returns next, whose answers h sees.
func (h *health) watch(next Fetcher) Fetcher {
	return Intercept(func(ctx context.Context, ref Ref, next Fetcher) (Secret, error) {
		s, err := next.Fetch(ctx, ref)
		h.answered(ctx, err, ref)
		return s, err
	}).Wrap(next)
}
