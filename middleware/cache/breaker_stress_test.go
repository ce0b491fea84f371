package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// TestStressInOutages lets a backend come and go under all that a program does at once, in the time of a bubble. Nobody gets
// the value of another key, a failure that is not of the backend, or waits for longer than a fetch and a probe take; and when
// the backend is back for good, everybody has everything within one step.
func TestStressInOutages(t *testing.T) {
	for _, batch := range []int{1, 5} {
		t.Run(fmt.Sprint("batches of ", batch), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stressInOutages(t, batch) })
		})
	}
}

func stressInOutages(t *testing.T, batch int) {
	t.Helper()
	const (
		keys      = 30
		slow      = 2 * time.Second
		gathering = 20 * time.Millisecond // of a batch, at the most
	)
	r := newBatchRemote(t, keys, batch, cache.WithSize(keys/2), cache.WithTTL(3*time.Second), cache.WithMaxStale(3*time.Second),
		cache.WithRefreshAhead(0.5))
	var down, over atomic.Bool
	r.backend.OnCall(func(ctx context.Context, _ []secrets.Ref) error {
		if over.Load() {
			return nil
		}
		lost := down.Load()
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(slow)))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if lost {
			return secrets.ErrUnavailable
		}
		return nil
	})
	var outages atomic.Int64
	check := func(key string, s secrets.Secret, err error) {
		if err != nil {
			r.True(isUnavailable(s, err))
			if strings.Contains(err.Error(), "in a row") {
				outages.Add(1)
			}
		} else {
			r.Equal(s.Reveal(), "value of "+key)
		}
	}
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			for range 300 {
				key, other := numbered(rand.IntN(keys)), numbered(rand.IntN(keys))
				began := time.Now()
				switch rand.IntN(20) {
				case 0:
					r.Invalidate(key)
				case 1:
					s, err := r.Refresh(context.Background(), key)
					check(key, s, err)
				case 2:
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.Int64N(int64(slow))))
					if s, err := r.Get(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
						check(key, s, err)
					}
					cancel()
				case 3, 4, 5:
					found, err := r.GetMany(context.Background(), key, other, numbered(rand.IntN(keys)), numbered(rand.IntN(keys)))
					if err == nil {
						check(key, found[key], nil)
						check(other, found[other], nil)
					}
				case 6:
					if rand.IntN(20) == 0 {
						r.memory.Purge()
					}
				default:
					s, err := r.Get(context.Background(), key)
					check(key, s, err)
				}
				r.True(time.Since(began) <= patience+2*(gathering+slow))
				time.Sleep(time.Duration(rand.Int64N(int64(500 * time.Millisecond))))
			}
		})
	}
	stop := make(chan struct{})
	var weather sync.WaitGroup
	weather.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.Int64N(int64(20 * time.Second)))):
				down.Store(!down.Load())
			}
		}
	})
	wg.Wait()
	close(stop)
	weather.Wait()
	r.True(outages.Load() > 100) // there were some
	over.Store(true)
	time.Sleep(past(10 * time.Second))
	for i := range keys {
		r.has(false, numbered(i))
	}
}
