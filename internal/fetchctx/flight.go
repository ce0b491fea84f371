package fetchctx

import (
	"context"
	"slices"
	"sync"
)

// MaxJoined bounds the callers of a flight that are kept. It is the default limit of OpenTelemetry for the links of a span.
const MaxJoined = 128

// Flight is a fetch that belongs to none of its callers. It knows who waits beside the caller that began it. The zero value is a
// flight that nobody has joined. It is safe for concurrent use.
type Flight struct {
	mu     sync.Mutex
	joined []context.Context
	ended  bool
}

// Join adds the caller with ctx. Past [MaxJoined] callers, and after the end, it does nothing.
func (l *Flight) Join(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended && len(l.joined) < MaxJoined {
		l.joined = append(l.joined, ctx)
	}
}

// Joined returns the contexts of the callers that have joined so far.
func (l *Flight) Joined() []context.Context {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.joined)
}

// End forgets the callers.
func (l *Flight) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined, l.ended = nil, true
}
