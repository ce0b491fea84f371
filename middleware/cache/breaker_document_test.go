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
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &source{}
		layer := newLayer(cache.New(exact), fetchFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref.Path == "sick" || ref.Path == "sick too" {
				return secrets.Secret{}, secrets.ErrUnavailable
			}
			return backend.Fetch(ctx, ref)
		}))
		get := func(path string) (secrets.Secret, error) { return layer.Fetch(t.Context(), secrets.Ref{Path: path}) }
		refresh := func(path string) {
			is.True(isUnavailable(layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: path})))
		}
		for range 10 {
			refresh("sick")
		}
		is.True(layer.Outage()) // for that document, whose reads are answered at once
		is.True(isUnavailable(get("sick")))
		_, err := get("healthy")
		is.NoErr(err)
		is.True(!layer.Outage())

		// The control: after the failure of another one, it is the backend's.
		refresh("sick")
		refresh("sick")
		refresh("sick too")
		is.True(isUnavailable(get("cold")))
		is.NoErr(layer.Close())
	})
}

// TestSickDocumentsTakeNoProbeOfOthers has two documents read a hundred times as often as a healthy one.
func TestSickDocumentsTakeNoProbeOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 1)
		r.backend.FailPath("sick", secrets.ErrUnavailable)
		r.backend.FailPath("sick too", secrets.ErrUnavailable)
		for tick := 0; ; tick++ {
			for _, key := range []string{"sick", "sick too"} {
				r.True(isUnavailable(r.Get(t.Context(), key)))
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
		r.True(r.backend.Fetches("sick")+r.backend.Fetches("sick too") < 20)
	})
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
