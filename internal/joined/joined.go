// Package joined tells observers who else waits for something that several callers share.
package joined

import (
	"context"
	"sync"
)

// Most bounds the contexts that are kept and told of. It is the default limit of OpenTelemetry for the links of a span.
const Most = 128

// List is the contexts of those who have joined a first caller. They wait, so that to keep their contexts until the end
// costs a word each; it is done in any case, since whoever asks may ask late. The zero value is ready for use, and a List
// is safe for concurrent use.
type List struct {
	mu      sync.Mutex
	joined  []context.Context
	observe []func(context.Context)
	ended   bool
}

// Join adds ctx, and tells the observers. Past [Most] contexts, and after the end, it does nothing.
func (l *List) Join(ctx context.Context) {
	for _, f := range l.add(ctx) {
		f(ctx)
	}
}

func (l *List) add(ctx context.Context) []func(context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || len(l.joined) >= Most {
		return nil
	}
	l.joined = append(l.joined, ctx)
	return l.observe
}

// OnJoin calls f for each context that is there, and from then on for each that comes. No lock is held meanwhile. After the
// end, it does nothing.
func (l *List) OnJoin(f func(context.Context)) {
	for _, ctx := range l.listen(f) {
		f(ctx)
	}
}

func (l *List) listen(f func(context.Context)) []context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	l.observe = append(l.observe, f)
	return l.joined
}

// End forgets the contexts and the observers.
func (l *List) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined, l.observe, l.ended = nil, nil, true
}
