package fetchctx

import (
	"context"
	"sync"
)

// MaxJoined bounds the callers of a flight that are kept and told of. It is the default limit of OpenTelemetry for the links of
// a span.
const MaxJoined = 128

// Flight is a fetch that several callers share. It tells observers who waits beside the caller that began it. It is safe for
// concurrent use.
type Flight struct {
	outer *Flight // that the caller which began it waits in itself, or nil

	mu      sync.Mutex
	joined  []context.Context
	observe []func(context.Context)
	ended   bool
}

// NewFlight returns a Flight that a caller with ctx begins.
func NewFlight(ctx context.Context) *Flight { return &Flight{outer: Of(ctx).Flight} }

// Join adds the caller with ctx, and tells the observers, on its goroutine. Past [MaxJoined] callers, and after the end, it does
// nothing.
func (l *Flight) Join(ctx context.Context) {
	for _, f := range l.add(ctx) {
		f(ctx)
	}
}

func (l *Flight) add(ctx context.Context) []func(context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || len(l.joined) >= MaxJoined {
		return nil
	}
	l.joined = append(l.joined, ctx)
	return l.observe
}

// OnJoin calls f with the context of each caller that has joined, and from then on of each that does, until the end. Callers that
// wait in a flight of their own bring those who share that. f must not block. It may be called by several goroutines at once, and
// for a caller that joins in several ways more than once.
func (l *Flight) OnJoin(f func(caller context.Context)) {
	if l.outer != nil {
		l.outer.OnJoin(f)
	}
	nested := func(caller context.Context) {
		f(caller)
		if theirs := Of(caller).Flight; theirs != nil {
			theirs.OnJoin(f)
		}
	}
	for _, ctx := range l.listen(nested) {
		nested(ctx)
	}
}

func (l *Flight) listen(f func(context.Context)) []context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	l.observe = append(l.observe, f)
	return l.joined
}

// End forgets the callers and the observers.
func (l *Flight) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined, l.observe, l.ended = nil, nil, true
}
