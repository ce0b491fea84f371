package secretkeys_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// Keys that the program has lost stop to follow: the garbage collector runs outside of a bubble, so the test waits in real time.
func TestKeysThatAreDroppedStopFollowing(t *testing.T) {
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
	<-looks // control: they follow
	for quiet := 0; quiet < 3; {
		runtime.GC()
		select {
		case <-looks:
			quiet = 0
		case <-time.After(300 * time.Millisecond): // three times the least pause between two looks
			quiet++
		}
	}
	is.True(lost.Load())
}
