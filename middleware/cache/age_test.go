package cache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

func TestAges(t *testing.T) {
	const ttl = 100 * time.Second
	opts := func(more ...cache.Option) []cache.Option {
		return append([]cache.Option{cache.WithTTL(ttl), cache.WithMaxStale(50 * time.Second), cache.WithRefreshAhead(0)}, more...)
	}
	run(t, "fresh until the TTL to the nanosecond", opts(), func(f *fixture) {
		f.fresh(1, 1)
		f.rotate()
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fresh(2, 2)
		f.at(2*ttl - 1)
		f.fresh(2, 2)
	})
	run(t, "ages run from the start of the fetch", opts(), func(f *fixture) {
		f.set(func(s *source) { s.delay = 10 * time.Second })
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = 0 })
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fresh(1, 2)
	})
	run(t, "stale until TTL and MaxStale to the nanosecond", opts(), func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(ttl)
		f.staleAnswer(1, 2)
		f.at(ttl + 50*time.Second - 1)
		f.staleAnswer(1, 3)
		f.at(ttl + 50*time.Second)
		f.fails(secrets.ErrUnavailable, 3) // the back-off outlives the value
		f.at(ttl + 51*time.Second)
		f.fails(secrets.ErrUnavailable, 4)
		f.answers(nil)
		f.at(ttl + 200*time.Second)
		f.fresh(1, 5)
	})
	run(t, "a stale answer moves no age", opts(), func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		for d := ttl; d < ttl+50*time.Second; d += time.Second {
			f.at(d)
			got, err := f.get()
			f.NoErr(err)
			f.True(got.Meta().Stale)
		}
		f.at(ttl + 50*time.Second)
		_, err := f.get()
		f.True(errors.Is(err, secrets.ErrUnavailable))
	})
	run(t, "fresh again after the outage", opts(), func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(ttl)
		f.staleAnswer(1, 2)
		f.answers(nil)
		f.rotate()
		f.at(ttl + time.Second) // past the first step of the back-off
		f.fresh(2, 3)
		f.at(2*ttl + time.Second - 1)
		f.fresh(2, 3)
	})
	run(t, "MaxStale 0 means never", opts(cache.WithMaxStale(0)), func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fails(secrets.ErrUnavailable, 2)
	})
}

func TestStaleNeverHidesAnyOtherFailure(t *testing.T) {
	classes := map[error]bool{ // true if the old value is not served after it
		secrets.ErrNotFound:         true,
		secrets.ErrDeleted:          true,
		secrets.ErrFieldNotFound:    true,
		secrets.ErrPermissionDenied: true,
		secrets.ErrUnauthenticated:  true,
		secrets.ErrInvalidKey:       false,
		secrets.ErrMalformed:        true,
		secrets.ErrUnknown:          true,
	}
	opts := []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0), cache.WithNegativeTTL(0)}
	for class, over := range classes {
		run(t, class.Error(), opts, func(f *fixture) {
			f.fresh(1, 1)
			f.answers(class)
			f.at(time.Minute)
			f.fails(class, 2)
			f.fails(class, 3) // only outages have a back-off
			f.answers(secrets.ErrUnavailable)
			if over {
				f.fails(secrets.ErrUnavailable, 4) // the old value is gone for good
			} else {
				f.staleAnswer(1, 4)
			}
		})
	}
}

func TestDeadlineOfTheCallerServesStale(t *testing.T) {
	opts := []cache.Option{cache.WithTTL(time.Minute), cache.WithRefreshAhead(0)}
	slow := func(s *source) { s.delay = 2 * time.Second; s.version = 2 }
	run(t, "deadline", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(slow)
		f.at(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		got, err := f.layer.Fetch(ctx, db)
		f.NoErr(err)
		f.True(got.Meta().Stale)
		f.Equal(time.Since(f.began), time.Minute+25*time.Millisecond)
		f.staleAnswer(1, 2) // the renewal goes on in the background
		f.at(time.Minute + 2*time.Second - 1)
		f.staleAnswer(1, 2)
		f.at(time.Minute + 2*time.Second)
		f.fresh(2, 2)
	})
	run(t, "cancelled", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(slow)
		f.at(time.Minute)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(50*time.Millisecond, cancel)
		got, err := f.layer.Fetch(ctx, db)
		f.Equal(err, context.Canceled)
		f.True(got.IsZero())
		within(f.I, maxWait, func() { f.staleAnswer(1, 3) }) // with a wait of its own
		f.at(time.Minute + 2*time.Second)
		f.fresh(2, 3)
	})
	run(t, "of several", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(slow)
		f.at(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		rs := fetchAll(ctx, f.layer, "cold", "db")
		f.Equal(rs[0].Err, context.DeadlineExceeded) // there is no old value to serve
		f.NoErr(rs[1].Err)
		f.True(rs[1].Secret.Meta().Stale)
		f.staleAnswer(1, 3)
		f.at(time.Minute + 2*time.Second)
		f.fresh(2, 3)
	})
	run(t, "cold", opts, func(f *fixture) {
		f.set(slow)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := f.layer.Fetch(ctx, db)
		f.Equal(err, context.DeadlineExceeded)
		f.fresh(2, 2) // and the cancellation left nothing behind
	})
}

func TestLease(t *testing.T) {
	const ttl = 100 * time.Second
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithMaxStale(time.Hour), cache.WithRefreshAhead(0.8)}
	lease := func(d time.Duration) func(s *source) { return func(s *source) { s.lease = d } }
	run(t, "shortens every age", opts, func(f *fixture) {
		f.set(lease(10 * time.Second))
		f.fresh(1, 1)
		f.rotate()
		f.at(8*time.Second - 1)
		f.fresh(1, 1)
		f.at(8 * time.Second)
		f.fresh(1, 2)
		f.fresh(2, 2)
	})
	run(t, "nothing is served past it", opts, func(f *fixture) {
		f.set(lease(10 * time.Second))
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(10*time.Second - 1)
		got, err := f.get()
		f.NoErr(err)
		f.True(!got.Meta().Stale)
		f.at(10 * time.Second)
		f.fails(secrets.ErrUnavailable, 2) // in back-off since the renewal ahead
	})
	run(t, "ends within MaxStale", opts, func(f *fixture) {
		f.set(lease(ttl + 10*time.Second))
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(ttl)
		f.staleAnswer(1, 2)
		f.at(ttl + 10*time.Second - 1)
		got, err := f.get()
		f.NoErr(err)
		f.True(got.Meta().Stale)
		f.at(ttl + 10*time.Second)
		_, err = f.get()
		f.True(errors.Is(err, secrets.ErrUnavailable))
	})
	run(t, "longer than the TTL changes nothing", opts, func(f *fixture) {
		f.set(lease(24 * time.Hour))
		f.fresh(1, 1)
		f.at(79 * time.Second)
		f.fresh(1, 1)
	})
	run(t, "over at once is not kept", opts, func(f *fixture) {
		f.set(func(s *source) { s.lease = time.Second; s.delay = 2 * time.Second })
		f.fresh(1, 1)
		f.fresh(1, 2)
	})
}
