package inflight_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/inflight"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestIdleAfterCloseAndTheLastCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		calls := inflight.New()
		is.True(calls.Begin())
		is.True(calls.Begin())
		calls.End()
		began := time.Now()
		time.AfterFunc(time.Second, calls.End)
		calls.Close()
		calls.Close()
		is.True(!calls.Begin())
		<-calls.Idle()
		is.Equal(time.Since(began), time.Second)
		<-calls.Idle()
	})
}

func TestIdleAtOnceWithoutCalls(t *testing.T) {
	calls := inflight.New()
	select {
	case <-calls.Idle():
		t.Fatal("idle before Close")
	default:
	}
	calls.Close()
	<-calls.Idle()
}

// A call that begins during Close is refused or waited for.
func TestNoCallOutlivesIdle(t *testing.T) {
	is := is.New(t)
	var refused, ran atomic.Int64
	for range 200 {
		calls := inflight.New()
		var running atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if !calls.Begin() {
					refused.Add(1)
					return
				}
				running.Add(1)
				ran.Add(1)
				running.Add(-1)
				calls.End()
			})
		}
		calls.Close()
		<-calls.Idle()
		is.Equal(running.Load(), int64(0))
		wg.Wait()
	}
	is.Equal(refused.Load()+ran.Load(), int64(1600))
}
