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

// TestOneSickDocument has one document that cannot be had, and others that can: they must not suffer for it.
func TestOneSickDocument(t *testing.T) {
	run(t, "that has a value, beside others", nil, func(f *fixture) {
		f.warm("sick", "sick too")
		for range 10 {
			f.breakDown("sick")
		}
		f.True(!f.open())
		f.answers(nil)
		f.NoErr(f.ask("cold"))

		f.breakDown("sick", "sick", "sick") // the control: after the failure of another one, it is the backend
		f.True(!f.open())
		f.breakDown("sick too")
		f.True(f.open())
	})
	run(t, "that has the only value", nil, func(f *fixture) {
		f.warm("sick")
		f.breakDown("sick", "sick")
		f.True(!f.open())
		f.breakDown("sick")
		f.True(f.open())
	})
	run(t, "that has the only value, beside documents without one", nil, func(f *fixture) {
		f.warm("sick")
		f.answers(secrets.ErrNotFound)
		f.True(f.ask("none") != nil)
		f.breakDown("away", "sick", "sick")
		f.True(!f.open())
		f.breakDown("sick")
		f.True(f.open())
	})
	run(t, "that is the only one of a backend that has never answered", nil, func(f *fixture) {
		f.breakDown("sick", "sick")
		f.True(!f.open())
		f.breakDown("sick")
		f.True(f.open())
	})
	run(t, "beside another of a backend that has never answered", nil, func(f *fixture) {
		f.breakDown("sick", "sick too")
		f.answers(secrets.ErrUnknown) // no answer, and no failure that counts
		f.True(f.ask("sick three") != nil)
		f.breakDown("sick")
		f.True(f.open())
	})
}

// TestSickDocumentsTakeNoProbeOfOthers has two documents read a hundred times as often as a healthy one.
func TestSickDocumentsTakeNoProbeOfOthers(t *testing.T) {
	for name, warm := range map[string]bool{"never seen": false, "with values": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRemote(t, 1)
				sick := []string{"sick", "sick too"}
				if warm {
					r.backend.Set(sick[0], "v")
					r.backend.Set(sick[1], "v")
					_, err := r.GetMany(t.Context(), sick...)
					r.NoErr(err)
				}
				r.backend.FailPath(sick[0], secrets.ErrUnavailable)
				r.backend.FailPath(sick[1], secrets.ErrUnavailable)
				_, _ = r.Refresh(t.Context(), sick[0])
				_, _ = r.Refresh(t.Context(), sick[1])
				_, _ = r.Refresh(t.Context(), sick[0])
				for tick := 0; ; tick++ {
					for _, key := range sick {
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
				r.True(r.backend.Fetches(sick[0])+r.backend.Fetches(sick[1]) < 20)
			})
		})
	}
}

func TestSickDocumentKeepsItsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seconds = 60
		r := newRemote(t, seconds)
		r.backend.FailPath("sick", secrets.ErrUnavailable)
		for i := range seconds {
			r.has(false, numbered(i)) // which closes the breaker
			for range 100 {
				r.True(isUnavailable(r.Get(t.Context(), "sick")))
				time.Sleep(10 * time.Millisecond)
			}
		}
		r.True(r.backend.Fetches("sick") < 20) // as many as a back-off up to 10 s has
	})
}

// TestExpiredSickDocumentsTakeNoProbeOfOthers is the same for values past their TTL, of which one is not sick.
func TestExpiredSickDocumentsTakeNoProbeOfOthers(t *testing.T) {
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
		_, _, _ = get("sick"), get("sick too"), get("healthy")
		time.Sleep(time.Second)
		down = true
		for range 3 {
			_, _ = layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: "sick"})
			_, _ = layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: "sick too"})
		}
		is.True(layer.Outage())
		for tick := 0; ; tick++ {
			is.True(get("sick").Meta().Stale)
			is.True(get("sick too").Meta().Stale)
			if tick%100 == 99 && !get("healthy").Meta().Stale {
				break
			}
			is.True(tick < 60_000) // a minute
			time.Sleep(time.Millisecond)
		}
		is.NoErr(layer.Close())
	})
}
