package fetchctx

import (
	"context"
	"slices"
	"sync"
)

// MaxJoined is the maximum number of callers that a flight records: OpenTelemetry's default limit for the links of a span.
const MaxJoined = 128

// Flight is a fetch that belongs to none of its callers. It records the callers that joined after the one that began it. The zero value is
// a flight that nobody has joined. It is safe for concurrent use.
type Flight struct {
	mu     sync.Mutex
	joined []context.Context
	ended  bool
}

// Join adds the caller with ctx, up to [MaxJoined] callers. After End, it does nothing.
func (l *Flight) Join(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended && len(l.joined) < MaxJoined {
		l.joined = append(l.joined, ctx)
	}
}

// Joined returns the contexts of the callers that have joined.
func (l *Flight) Joined() []context.Context {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.joined)
}

// End drops the callers.
func (l *Flight) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined, l.ended = nil, true
}
