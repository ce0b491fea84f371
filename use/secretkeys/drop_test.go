package secretkeys_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// Dropped Keys stop polling. The garbage collector runs outside bubbles, so the test uses real time.
func TestDroppedKeysStopPolling(t *testing.T) {
	is := is.New(t)
	backend := newShared()
	client := open(t, backend)
	var lost atomic.Bool
	func() {
		keys, err := secretkeys.Open(context.Background(), client, "signing", secretkeys.Interval(time.Millisecond))
		is.NoErr(err)
		runtime.AddCleanup(keys, func(lost *atomic.Bool) { lost.Store(true) }, &lost)
	}()
	looks := make(chan struct{}, 1)
	backend.OnCall(func(context.Context, []secrets.Ref) error {
		select {
		case looks <- struct{}{}:
		default:
		}
		return nil
	})
	<-looks // control: they poll
	for quiet := 0; quiet < 3; {
		runtime.GC()
		select {
		case <-looks:
			quiet = 0
		case <-time.After(300 * time.Millisecond): // three times the minimum pause between two polls
			quiet++
		}
	}
	is.True(lost.Load())
}

// parent is a context that counts who waits for its end.
type parent struct {
	context.Context

	done    chan struct{}
	waiting *atomic.Int64
}

func (p parent) Done() <-chan struct{} { return p.done }

// AfterFunc makes package context register child contexts with p.
func (p parent) AfterFunc(func()) (stop func() bool) {
	p.waiting.Add(1)
	return sync.OnceValue(func() bool {
		p.waiting.Add(-1)
		return true
	})
}

// A service may open keys again and again with one context, which must not grow.
func TestDroppedKeysLeaveNothingInTheirContext(t *testing.T) {
	is := is.New(t)
	client := open(t, newShared())
	ctx := parent{context.Background(), make(chan struct{}), new(atomic.Int64)}
	func() {
		keys, err := secretkeys.Open(ctx, client, "signing")
		is.NoErr(err)
		is.True(ctx.waiting.Load() > 0) // control
		runtime.KeepAlive(keys)
	}()
	for ctx.waiting.Load() > 0 { // otherwise the test times out
		runtime.GC()
		runtime.Gosched()
	}
}
