package cache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// In an outage of a minute, 1,000 callers read 1,000 documents.
func TestOneProbeAStep(t *testing.T) {
	const every = 200 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 3)
		r.breakDown(numbered(0), numbered(1), numbered(2))
		began := time.Now()
		var probes []time.Time
		r.backend.OnCall(func(context.Context, []secrets.Ref) error {
			probes = append(probes, time.Now()) // one at a time, or the race detector fails
			return secrets.ErrUnavailable
		})
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				for time.Since(began) < time.Minute {
					asked := time.Now()
					if s, err := r.Get(context.Background(), numbered(i)); !isUnavailable(s, err) || time.Since(asked) != 0 {
						t.Errorf("%v after %v", err, time.Since(asked))
					}
					time.Sleep(every)
				}
			})
		}
		wg.Wait()
		step, last := firstStep, began
		for _, p := range probes {
			r.True(p.Sub(last) >= step*8/10)
			r.True(p.Sub(last) <= step*12/10+every)
			step, last = min(2*step, 10*time.Second), p
		}
		r.True(time.Since(last) <= step*12/10+every)
	})
}

// A probe does not end with its caller: the breaker closes even if all callers have short deadlines.
func TestProbeOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4)
		r.breakDown(numbered(0), numbered(1), numbered(2))
		time.Sleep(past(firstStep))
		r.backend.Recover()
		r.backend.SetLatency(3 * time.Second)
		hasty := func(d time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			var err error
			within(r.I, d, func() { _, err = r.Get(ctx, numbered(3)) })
			return err
		}
		r.True(errors.Is(hasty(5*time.Millisecond), secrets.ErrUnavailable)) // as all others, with time for a fallback
		for range 29 {
			time.Sleep(100 * time.Millisecond)
			r.True(errors.Is(hasty(0), secrets.ErrUnavailable))
		}
		time.Sleep(100 * time.Millisecond)
		r.has(false, numbered(3))
		r.Equal(r.backend.Calls(), 4)
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4)
			r.breakDown(numbered(0), numbered(1), numbered(2))
			time.Sleep(past(firstStep))
			r.backend.Recover()
			r.backend.SetLatency(500 * time.Millisecond)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			_, err := r.Get(ctx, numbered(3))
			r.True(errors.Is(err, context.Canceled))
			time.Sleep(500 * time.Millisecond)
			r.has(false, numbered(3))
		})
	})
	t.Run("in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4)
			r.breakDown(numbered(0), numbered(1), numbered(2))
			time.Sleep(past(firstStep))
			r.backend.Recover()
			r.backend.SetLatency(maxWait - 1)
			_, err := r.Get(t.Context(), numbered(3))
			r.NoErr(err)
		})
	})
}

func TestCloseEndsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 4)
		r.breakDown(numbered(0), numbered(1), numbered(2))
		time.Sleep(past(firstStep))
		defer r.backend.Block()()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := r.Get(context.Background(), numbered(3))
			r.True(errors.Is(err, secrets.ErrClosed))
		})
		synctest.Wait()
		r.Equal(r.backend.Calls(), 4)
		within(r.I, 0, func() { r.NoErr(r.Close()) })
		wg.Wait()
	})
}
