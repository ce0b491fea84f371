package cache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// After ErrMalformed or ErrUnknown, the old value is not served in an outage, on any path.
func TestSuspectValuesAreNotServedStale(t *testing.T) {
	const ttl = 100 * time.Second
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithRefreshAhead(0.8)}
	for class, suspect := range map[error]bool{
		secrets.ErrMalformed:  true,
		secrets.ErrUnknown:    true,
		secrets.ErrInvalidKey: false, // controls
		nil:                   false,
	} {
		name := "nothing"
		if class != nil {
			name = class.Error()
		}
		outage := func(f *fixture, calls int) {
			f.Helper()
			f.answers(secrets.ErrUnavailable)
			if suspect {
				f.fails(secrets.ErrUnavailable, calls)
			} else {
				f.staleAnswer(1, calls)
			}
		}
		// refresh makes a Refresh that fails with class.
		refresh := func(f *fixture) {
			f.Helper()
			f.answers(class)
			_, err := f.layer.Fetch(withFresh(context.Background()), db)
			f.True(errors.Is(err, class))
		}
		run(t, name+": of a renewal in the background", opts, func(f *fixture) {
			f.fresh(1, 1)
			f.answers(class)
			f.at(ttl - 50*time.Millisecond)
			f.fresh(1, 2) // the answer comes after this
			f.at(ttl - 1)
			f.fresh(1, 2) // a fresh value is still served
			f.at(2 * ttl)
			outage(f, 3)
		})
		run(t, name+": of a Refresh, while the value is fresh", opts, func(f *fixture) {
			f.fresh(1, 1)
			refresh(f)
			f.fresh(1, 2)
			f.at(2 * ttl)
			outage(f, 3)
		})
		run(t, name+": of a Refresh, past the TTL", opts, func(f *fixture) {
			f.fresh(1, 1)
			f.at(2 * ttl)
			refresh(f)
			if class == nil {
				f.at(4 * ttl)
			}
			outage(f, 3)
		})
		run(t, name+": before the breaker opens", opts, func(f *fixture) {
			f.fresh(1, 1)
			refresh(f)
			f.answers(nil)
			f.at(2*ttl - 10*time.Second)
			f.warm("a", "b")
			f.breakDown("a", "b", "a")
			f.True(f.open())
			f.at(2 * ttl)
			outage(f, 8) // a probe
			outage(f, 8)
			r, known := f.layer.Peek(db)
			f.True(known)
			f.Equal(r.Err != nil, suspect)
		})
		run(t, name+": by a reader that does not wait", opts, func(f *fixture) {
			f.fresh(1, 1)
			refresh(f)
			f.at(2 * ttl)
			f.set(func(s *source) { s.delay, s.err = 10*time.Second, nil })
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := f.layer.Fetch(ctx, db)
			f.Equal(err != nil, suspect)
		})
	}
	run(t, "a new value helps again", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrMalformed)
		f.at(2 * ttl)
		f.fails(secrets.ErrMalformed, 2)
		f.answers(nil)
		f.rotate()
		f.fresh(2, 3)
		f.at(4 * ttl)
		f.answers(secrets.ErrUnavailable)
		f.staleAnswer(2, 4)
	})
	run(t, "a failure of a document with a suspect value does not count", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.warm("other")
		f.answers(secrets.ErrMalformed)
		f.at(2 * ttl)
		_, err := f.layer.Fetch(withFresh(context.Background()), db)
		f.True(errors.Is(err, secrets.ErrMalformed))
		_, err = f.layer.Fetch(withFresh(context.Background()), secrets.Ref{Path: "other"})
		f.True(errors.Is(err, secrets.ErrMalformed))
		f.breakDown("db", "other", "db", "other")
		f.True(!f.open())
		f.answers(nil)
		time.Sleep(time.Minute)
		f.warm("db", "other")
		f.breakDown("db", "other", "db") // control
		f.True(f.open())
	})
}
