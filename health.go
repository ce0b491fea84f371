package secrets

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// damping is the minimum time between two logged outages of a backend: one whose answers change from call to call must not fill the log.
const damping = 10 * time.Second

// maxDetail bounds the detail of an error in a log line, in bytes.
const maxDetail = 200

// health is the state of one backend for the lines of [WithLogger]. It logs changes, not calls, and never a value. The lines are events.
// They are added under mu, and so in the order of the changes. A nil health logs nothing.
type health struct {
	log     *slog.Logger
	events  *events
	keys    bool
	backend string
	cache   CacheMonitor // or nil

	failing atomic.Bool // the last answer was ErrUnavailable, logged or not
	down    atomic.Bool // last logged as unavailable
	stale   atomic.Bool // last logged as serving stale values
	refused atomic.Bool // last logged as refusing the credentials

	mu           sync.Mutex
	since        time.Time // of the last change of down
	staleAt      time.Time // of the last line about stale values
	refusedAt    time.Time // of the last line about refused credentials
	fallbackName string    // the backend that was last logged as answering instead
}

// answered records an answer of the guard for ref.
func (h *health) answered(ctx context.Context, err error, ref Ref) {
	if isContextError(err) {
		return // the caller's context has ended; that says nothing about the backend
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

// fail records that the backend is unavailable.
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
	h.emit(ctx, slog.LevelWarn, "secrets: backend unavailable", ref, reason(err)...)
}

// available records that the backend has answered.
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
	h.emit(ctx, slog.LevelInfo, "secrets: backend available again", ref, slog.Duration("after", lasted))
}

// refuse records that the backend does not accept the credentials.
func (h *health) refuse(ctx context.Context, err error, ref Ref) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refused.Load() || time.Since(h.refusedAt) < damping {
		return
	}
	h.refused.Store(true)
	h.refusedAt = time.Now()
	h.emit(ctx, slog.LevelError, "secrets: backend refuses the credentials", ref, reason(err)...)
}

// accept records that the backend accepts the credentials.
func (h *health) accept(ctx context.Context, ref Ref) {
	if !h.refused.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refused.CompareAndSwap(true, false) {
		h.emit(ctx, slog.LevelInfo, "secrets: backend accepts the credentials again", ref)
	}
}

// served records that s was served for ref. It logs a stale value only in an outage: a cache also serves one if a fetch is merely slow.
func (h *health) served(ctx context.Context, s Secret, ref Ref) {
	if h == nil || s.IsZero() || !s.meta.Stale || h.stale.Load() || !h.inOutage() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stale.Load() || time.Since(h.staleAt) < damping {
		return // a later call logs it, if the outage lasts
	}
	h.stale.Store(true)
	h.staleAt = time.Now()
	h.emit(ctx, slog.LevelWarn, "secrets: serving stale values", ref, slog.Time("fetched_at", s.meta.FetchedAt))
}

// inOutage reports whether the backend fails, or its circuit breaker is open. A cache of the program may panic.
func (h *health) inOutage() (out bool) {
	defer func() { _ = recover() }()
	return h.failing.Load() || h.cache != nil && h.cache.Outage()
}

// replaced records that s was the answer for ref. It logs a fallback only while this backend is down: otherwise, only the other backend has
// the secret.
func (h *health) replaced(ctx context.Context, s Secret, ref Ref) {
	if h == nil || !h.down.Load() || s.meta.Backend == h.backend {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if name := s.meta.Backend; h.down.Load() && h.fallbackName != name {
		h.fallbackName = name
		h.emit(ctx, slog.LevelWarn, "secrets: fallback answering", ref, slog.String("fallback", name))
	}
}

// watched logs that the handles of doc could not renew their value, because of err. If err is nil, it logs that they have renewed it again.
func (h *health) watched(ctx context.Context, err *Error, doc Ref) {
	switch {
	case h == nil:
	case err == nil:
		h.emit(ctx, slog.LevelInfo, "secrets: watched secret renewed again", doc)
	default:
		h.emit(ctx, slog.LevelWarn, "secrets: watched secret not renewed", doc, reason(err)...)
	}
}

// reason returns the class and the detail of err. Redaction has removed values from err: it is an error of the guard, or of a read without
// user middleware.
func reason(err error) []slog.Attr {
	class := slog.String("class", classText(err))
	e, ok := err.(*Error)
	if !ok || e.Detail == "" {
		return []slog.Attr{class}
	}
	detail := e.Detail
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "…" // without half a rune
	}
	return []slog.Attr{class, slog.String("detail", detail)}
}

// emit adds a line to the events.
func (h *health) emit(ctx context.Context, level slog.Level, message string, ref Ref, more ...slog.Attr) {
	attrs := append([]slog.Attr{slog.String("backend", h.backend)}, more...)
	if h.keys {
		attrs = append(attrs, slog.String("key", printable(ref.String())))
	}
	h.events.add(line(context.WithoutCancel(ctx), h.log, level, message, attrs...))
}

// line returns an event that logs a line with the time of this call. The handler runs only in the event.
func line(ctx context.Context, log *slog.Logger, level slog.Level, message string, attrs ...slog.Attr) func() {
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.AddAttrs(attrs...)
	return func() {
		if handler := log.Handler(); handler.Enabled(ctx, level) {
			_ = handler.Handle(ctx, record) //nolint:errcheck // there is nowhere else to report it
		}
	}
}

// WithLogger makes the Client log state changes, not calls:
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
// class and detail are those of the error that the caller gets, such as "unavailable" and "no answer within 5s". The detail may name a path
// or an address. It is absent if the error has none, and cut to 200 bytes. [WithRedaction] removes values from it. The other attributes
// hold no value, and no key without [WithLoggedKeys].
//
// A flapping backend is logged at most every 10 seconds. "serving stale values" is logged only while the backend is unavailable or its
// circuit breaker is open. The lines about a watched secret are for failures of one document, such as a denial: one line when it begins
// and one when it ends, for all handles of the document. With [WithMiddleware], these lines have no detail, because no redaction covers
// the errors of that middleware.
//
// The handler runs on a goroutine of the Client, one line at a time, in the order of the changes. It blocks no call, and may use the
// Client, except Close. Its context has the values of the caller's context, and does not end. While the handler blocks, at most 64 lines
// wait; the Client drops further ones and logs their number. [Client.Close] waits for the lines.
//
// If several loggers are given, the last one wins. Default: no logger.
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

// watch returns next, and records its answers in h.
func (h *health) watch(next Fetcher) Fetcher {
	return Intercept(func(ctx context.Context, ref Ref, next Fetcher) (Secret, error) {
		s, err := next.Fetch(ctx, ref)
		h.answered(ctx, err, ref)
		return s, err
	}).Wrap(next)
}
