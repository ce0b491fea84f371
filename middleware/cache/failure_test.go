package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

func TestNegative(t *testing.T) {
	for _, class := range []error{secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound} {
		run(t, class.Error(), nil, func(f *fixture) {
			f.answers(class)
			f.fails(class, 1)
			f.answers(nil)
			f.at(5*time.Second - 1)
			f.fails(class, 1)
			f.Equal(f.cache.Stats().NegativeHits, uint64(1))
			f.at(5 * time.Second)
			f.fresh(1, 2)
		})
	}
	run(t, "off", []cache.Option{cache.WithNegativeTTL(0)}, func(f *fixture) {
		f.answers(secrets.ErrNotFound)
		f.fails(secrets.ErrNotFound, 1)
		f.fails(secrets.ErrNotFound, 2)
	})
	run(t, "callers cannot change a cached error", nil, func(f *fixture) {
		f.answers(secrets.ErrNotFound)
		f.fails(secrets.ErrNotFound, 1)
		_, err := f.get()
		err.(*secrets.Error).Detail = "changed"
		_, err = f.get()
		f.True(strings.Contains(err.Error(), "so says the source"))
	})
	run(t, "never evicts a value", []cache.Option{cache.WithSize(2)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrNotFound)
		for i := range 100 {
			_, err := f.layer.Fetch(context.Background(), secrets.Ref{Path: fmt.Sprint(i)})
			f.True(errors.Is(err, secrets.ErrNotFound))
		}
		f.fresh(1, 101)
		f.Equal(f.cache.Stats().Evictions, uint64(0))
	})
}

func TestBackoff(t *testing.T) {
	run(t, "doubles from 100 ms to 10 s", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		f.fails(secrets.ErrUnavailable, 1)
		step := 100 * time.Millisecond
		for calls := 1; calls < 12; calls++ {
			asked := time.Now()
			for f.count() == calls {
				time.Sleep(5 * time.Millisecond)
				_, err := f.get()
				f.True(errors.Is(err, secrets.ErrUnavailable))
			}
			waited := time.Since(asked)
			f.True(waited >= step*8/10)
			f.True(waited <= step*12/10+5*time.Millisecond)
			step = min(2*step, 10*time.Second)
		}
		f.True(f.cache.Stats().BackedOff > 100)
	})
	run(t, "ends with any other answer", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		for range 8 {
			_, _ = f.get()
			time.Sleep(13 * time.Second)
		}
		f.answers(secrets.ErrMalformed)
		f.fails(secrets.ErrMalformed, 9)
		f.answers(secrets.ErrUnavailable)
		f.fails(secrets.ErrUnavailable, 10)
		time.Sleep(121 * time.Millisecond) // the first step again
		f.fails(secrets.ErrUnavailable, 11)
	})
	run(t, "holds for stale values", []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.set(func(s *source) { s.delay = time.Second })
		f.at(time.Minute)
		f.staleAnswer(1, 2)
		asked := time.Now()
		for range 100 {
			f.staleAnswer(1, 2) // at once
		}
		f.Equal(time.Since(asked), time.Duration(0))
	})
	run(t, "of a stale value ends with any other answer", []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)},
		func(f *fixture) {
			f.fresh(1, 1)
			f.answers(secrets.ErrUnavailable)
			f.at(time.Minute)
			f.staleAnswer(1, 2)
			f.answers(secrets.ErrMalformed)
			_, err := f.layer.Fetch(withFresh(context.Background()), db)
			f.True(errors.Is(err, secrets.ErrMalformed))
			f.fails(secrets.ErrMalformed, 4) // neither a back-off nor a stale value hides it
		})
	run(t, "does not hold for Refresh", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		f.fails(secrets.ErrUnavailable, 1)
		f.answers(nil)
		got, err := f.layer.Fetch(withFresh(context.Background()), db)
		f.NoErr(err)
		f.Equal(got.Reveal(), "db v1")
		f.fresh(1, 2)
	})
}

// TestFaultyLayerBelow puts the cache around a layer that breaks its contract.
func TestFaultyLayerBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var fault func() (secrets.Secret, error)
		layer := newLayer(cache.New(exact, cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)), fetchFunc(
			func(context.Context, secrets.Ref) (secrets.Secret, error) {
				if fault == nil {
					return secrets.NewSecret("value", secrets.Meta{}), nil
				}
				return fault()
			}))
		_, err := layer.Fetch(t.Context(), db)
		is.NoErr(err)
		for _, fault = range []func() (secrets.Secret, error){
			func() (secrets.Secret, error) { panic("hunter2") },
			func() (secrets.Secret, error) { return secrets.Secret{}, nil },
			func() (secrets.Secret, error) { runtime.Goexit(); return secrets.Secret{}, nil },
		} {
			time.Sleep(time.Minute)
			_, err := layer.Fetch(t.Context(), db)
			is.True(errors.Is(err, secrets.ErrUnknown))
			is.True(!strings.Contains(err.Error(), "hunter2"))
		}
	})
}
