package secrets

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// damping is the least time between two changes of a backend's state that are logged: one whose answers change from call to
// call must not fill a log.
const damping = 10 * time.Second

// maxDetail bounds the detail of an error in a line, in bytes.
const maxDetail = 200

// health is the state of one backend as far as a [WithLogger] logs it: changes, not calls, and never a value. Its lines are
// events, added under mu, so that their order is that of the changes. A nil health logs nothing.
type health struct {
	log     *slog.Logger
	events  *events
	keys    bool
	backend string
	cache   CacheMonitor // or nil

	failing atomic.Bool // the last answer was ErrUnavailable, logged or not
	down    atomic.Bool // as last logged
	stale   atomic.Bool // as last logged: stale values are served
	refused atomic.Bool // as last logged: the backend does not accept the credentials

	mu           sync.Mutex
	since        time.Time // of the last change of down
	staleAt      time.Time // of the last line about it
	refusedAt    time.Time // the same
	fallbackName string    // the backend last logged as answering instead
}

// answered notes an answer of the guard for ref.
func (h *health) answered(ctx context.Context, err error, ref Ref) {
	if isContextError(err) {
		return // the caller's, not the backend's
	}
	switch Class(err) {
	case ErrUnknown, ErrClosed:
		// A panic, or the end of the Client, says nothing about the backend.
	case ErrUnavailable:
		if ctx.Err() == nil {
			h.failing.Store(true)
			h.fail(ctx, err, ref)
		}
	case ErrUnauthenticated:
		h.available(ctx, ref)
		h.refuse(ctx, err, ref)
	default:
		h.available(ctx, ref)
		h.accept(ctx, ref)
	}
}

// fail notes that the backend is unavailable.
func (h *health) fail(ctx context.Context, err error, ref Ref) {
	if h.down.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down.Load() || time.Since(h.since) < damping {
		return
	}
	h.down.Store(true)
	h.since = time.Now()
	h.tell(ctx, slog.LevelWarn, "secrets: backend unavailable", ref, reason(err)...)
}

// available notes that the backend has answered.
func (h *health) available(ctx context.Context, ref Ref) {
	if !h.failing.Load() && !h.down.Load() && !h.stale.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing.Store(false)
	h.stale.Store(false)
	if !h.down.Load() {
		return
	}
	h.down.Store(false)
	h.fallbackName = ""
	lasted := time.Since(h.since)
	h.since = time.Now()
	h.tell(ctx, slog.LevelInfo, "secrets: backend available again", ref, slog.Duration("after", lasted))
}

// refuse notes that the backend does not accept the credentials.
func (h *health) refuse(ctx context.Context, err error, ref Ref) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refused.Load() || time.Since(h.refusedAt) < damping {
		return
	}
	h.refused.Store(true)
	h.refusedAt = time.Now()
	h.tell(ctx, slog.LevelError, "secrets: backend refuses the credentials", ref, reason(err)...)
}

// accept notes that the backend accepts the credentials.
func (h *health) accept(ctx context.Context, ref Ref) {
	if !h.refused.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refused.CompareAndSwap(true, false) {
		h.tell(ctx, slog.LevelInfo, "secrets: backend accepts the credentials again", ref)
	}
}

// served notes that s was served for ref. A stale value is logged only in an outage: one that is served because no answer came
// in time says nothing about the backend.
func (h *health) served(ctx context.Context, s Secret, ref Ref) {
	if h == nil || s.IsZero() || !s.meta.Stale || h.stale.Load() || !h.inOutage() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stale.Load() || time.Since(h.staleAt) < damping {
		return // and log it later, if it lasts
	}
	h.stale.Store(true)
	h.staleAt = time.Now()
	h.tell(ctx, slog.LevelWarn, "secrets: serving stale values", ref, slog.Time("fetched_at", s.meta.FetchedAt))
}

// inOutage reports whether the backend fails, or its circuit breaker is open. The cache may be a program's own, and panic.
func (h *health) inOutage() (out bool) {
	defer func() { _ = recover() }()
	return h.failing.Load() || h.cache != nil && h.cache.Outage()
}

// replaced notes that s was the answer for ref. It is logged if the backend is down and s is another one's. A secret that only
// the other one has is no event.
func (h *health) replaced(ctx context.Context, s Secret, ref Ref) {
	if h == nil || !h.down.Load() || s.meta.Backend == h.backend {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if name := s.meta.Backend; h.down.Load() && h.fallbackName != name {
		h.fallbackName = name
		h.tell(ctx, slog.LevelWarn, "secrets: fallback answering", ref, slog.String("fallback", name))
	}
}

// watched notes that the handles of a document keep a value that they could not renew, or that they have renewed it: then err is nil.
func (h *health) watched(ctx context.Context, err *Error, doc Ref) {
	switch {
	case h == nil:
	case err == nil:
		h.tell(ctx, slog.LevelInfo, "secrets: watched secret renewed again", doc)
	default:
		h.tell(ctx, slog.LevelWarn, "secrets: watched secret not renewed", doc, reason(err)...)
	}
}

// reason returns the class and the detail of err, which redaction has scrubbed: it is an error of the guard, or of a read that no user
// middleware has seen.
func reason(err error) []slog.Attr {
	class := slog.String("class", classText(err))
	e, ok := err.(*Error)
	if !ok || e.Detail == "" {
		return []slog.Attr{class}
	}
	detail := e.Detail
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "…" // without the rune that is cut in two
	}
	return []slog.Attr{class, slog.String("detail", detail)}
}

// tell adds a line to the events.
func (h *health) tell(ctx context.Context, level slog.Level, message string, ref Ref, more ...slog.Attr) {
	attrs := append([]slog.Attr{slog.String("backend", h.backend)}, more...)
	if h.keys {
		attrs = append(attrs, slog.String("key", printable(ref.String())))
	}
	h.events.add(line(context.WithoutCancel(ctx), h.log, level, message, attrs...))
}

// line returns an event that logs a line with the time of this call. All code of the handler runs in the event.
func line(ctx context.Context, log *slog.Logger, level slog.Level, message string, attrs ...slog.Attr) func() {
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.AddAttrs(attrs...)
	return func() {
		if handler := log.Handler(); handler.Enabled(ctx, level) {
			_ = handler.Handle(ctx, record) //nolint:errcheck // there is nowhere else to report it
		}
	}
}

// WithLogger makes the Client log what changes, once for each change and not for each call:
//
//	WARN   secrets: backend unavailable                    backend, class, detail
//	WARN   secrets: serving stale values                   backend, fetched_at
//	WARN   secrets: fallback answering                     backend, fallback
//	INFO   secrets: backend available again                backend, after
//	ERROR  secrets: backend refuses the credentials        backend, class, detail
//	INFO   secrets: backend accepts the credentials again  backend
//	WARN   secrets: watched secret not renewed             backend, class, detail
//	INFO   secrets: watched secret renewed again           backend
//	WARN   secrets: events lost                            count
//
// class and detail are those of the error that the caller gets, such as "unavailable" and "no answer within 5s". The detail may name
// a path or an address. It is absent if the error has none, and cut to 200 bytes. [WithRedaction] takes values out of it. The other
// attributes hold no value, and no key unless [WithLoggedKeys] is given. A flapping backend is logged at most every 10 seconds.
// "serving stale values" is logged only while the backend is unavailable or its circuit breaker is open. The lines about a watched
// secret are for failures of one document, such as a denial: once for each, however many handles it has. With [WithMiddleware], these
// lines have no detail, since nothing takes values out of what that says.
//
// The handler runs on a goroutine of the Client, one line at a time, in the order of the changes. It holds no call, and may use the
// Client itself, except Close. Its context has the values of the caller's context, and does not end. While the handler blocks, at
// most 64 lines wait; the Client drops further ones and logs their number. [Client.Close] waits for the lines.
//
// If several loggers are given, the last one is used. Default: no logger.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) {
		if logger == nil {
			c.faults.Addf("WithLogger: a nil Logger")
		}
		c.logger = logger
	}
}

// WithLoggedKeys adds the attribute key to the lines of [WithLogger]: the key whose fetch showed the change. Default: no keys.
func WithLoggedKeys() Option { return func(c *config) { c.loggedKeys = true } }

// health returns the health of the backend with that name, or nil without a logger.
func (c *config) health(name string) *health {
	if c.logger == nil {
		return nil
	}
	return &health{log: c.logger, events: c.events, keys: c.loggedKeys, backend: name}
}

// logLost logs that n events were lost. It is an event itself.
func (c *config) logLost(n int) {
	if c.logger != nil {
		line(context.Background(), c.logger, slog.LevelWarn, "secrets: events lost", slog.Int("count", n))()
	}
}

// watch returns next, whose answers h sees.
func (h *health) watch(next Fetcher) Fetcher {
	return Intercept(func(ctx context.Context, ref Ref, next Fetcher) (Secret, error) {
		s, err := next.Fetch(ctx, ref)
		h.answered(ctx, err, ref)
		return s, err
	}).Wrap(next)
}
