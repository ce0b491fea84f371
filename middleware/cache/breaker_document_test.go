package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// One document fails, others do not: they must not be affected.
func TestOneFailingDocument(t *testing.T) {
	run(t, "that has a value, among others", nil, func(f *fixture) {
		f.warm("failing", "failing too")
		for range 10 {
			f.breakDown("failing")
		}
		f.True(!f.open())
		f.answers(nil)
		f.NoErr(f.ask("cold"))

		f.breakDown("failing", "failing", "failing") // control: after another document's failure, the breaker opens
		f.True(!f.open())
		f.breakDown("failing too")
		f.True(f.open())
	})
	run(t, "that has the only value", nil, func(f *fixture) {
		f.warm("failing")
		f.breakDown("failing", "failing")
		f.True(!f.open())
		f.breakDown("failing")
		f.True(f.open())
	})
	run(t, "that has the only value, next to documents without one", nil, func(f *fixture) {
		f.warm("failing")
		f.answers(secrets.ErrNotFound)
		f.True(f.ask("none") != nil)
		f.breakDown("away", "failing", "failing")
		f.True(!f.open())
		f.breakDown("failing")
		f.True(f.open())
	})
	run(t, "that is the only one of a backend that has never answered", nil, func(f *fixture) {
		f.breakDown("failing", "failing")
		f.True(!f.open())
		f.breakDown("failing")
		f.True(f.open())
	})
	run(t, "next to another of a backend that has never answered", nil, func(f *fixture) {
		f.breakDown("failing", "failing too")
		f.answers(secrets.ErrUnknown) // no answer, and no failure that counts
		f.True(f.ask("failing three") != nil)
		f.breakDown("failing")
		f.True(f.open())
	})
}

// Two failing documents are read a hundred times as often as a healthy one.
func TestFailingDocumentsTakeNoProbeOfOthers(t *testing.T) {
	for name, warm := range map[string]bool{"never seen": false, "with values": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRemote(t, 1)
				failing := []string{"failing", "failing too"}
				if warm {
					r.backend.Set(failing[0], "v")
					r.backend.Set(failing[1], "v")
					_, err := r.GetMany(t.Context(), failing...)
					r.NoErr(err)
				}
				r.backend.FailPath(failing[0], secrets.ErrUnavailable)
				r.backend.FailPath(failing[1], secrets.ErrUnavailable)
				_, _ = r.Refresh(t.Context(), failing[0])
				_, _ = r.Refresh(t.Context(), failing[1])
				_, _ = r.Refresh(t.Context(), failing[0])
				for tick := 0; ; tick++ {
					for _, key := range failing {
						_, err := r.Get(t.Context(), key)
						r.Equal(err == nil, warm)
					}
					if tick >= 1000 && tick%100 == 0 { // the breaker is open
						if s, err := r.Get(t.Context(), numbered(0)); err == nil {
							r.Equal(s.Reveal(), "value of "+numbered(0))
							break
						}
					}
					r.True(tick < 60_000) // a minute
					time.Sleep(time.Millisecond)
				}
				r.True(r.backend.Fetches(failing[0])+r.backend.Fetches(failing[1]) < 20)
			})
		})
	}
}

func TestFailingDocumentKeepsItsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seconds = 60
		r := newRemote(t, seconds)
		r.backend.FailPath("failing", secrets.ErrUnavailable)
		for i := range seconds {
			r.has(false, numbered(i)) // which closes the breaker
			for range 100 {
				r.True(isUnavailable(r.Get(t.Context(), "failing")))
				time.Sleep(10 * time.Millisecond)
			}
		}
		r.True(r.backend.Fetches("failing") < 20) // as many as with a back-off up to 10 s
	})
}

// The same for values past their TTL, of which only one can be renewed.
func TestExpiredFailingDocumentsTakeNoProbeOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &source{}
		down := false
		layer := newLayer(cache.New(exact, cache.WithTTL(time.Second), cache.WithRefreshAhead(0)),
			fetchFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
				if down && ref.Path != "healthy" {
					return secrets.Secret{}, secrets.ErrUnavailable
				}
				return backend.Fetch(ctx, ref)
			}))
		get := func(path string) secrets.Secret {
			s, err := layer.Fetch(t.Context(), secrets.Ref{Path: path})
			is.NoErr(err)
			return s
		}
		_, _, _ = get("failing"), get("failing too"), get("healthy")
		time.Sleep(time.Second)
		down = true
		for range 3 {
			_, _ = layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: "failing"})
			_, _ = layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: "failing too"})
		}
		is.True(layer.Outage())
		for tick := 0; ; tick++ {
			is.True(get("failing").Meta().Stale)
			is.True(get("failing too").Meta().Stale)
			if tick%100 == 99 && !get("healthy").Meta().Stale {
				break
			}
			is.True(tick < 60_000) // a minute
			time.Sleep(time.Millisecond)
		}
		is.NoErr(layer.Close())
	})
}
