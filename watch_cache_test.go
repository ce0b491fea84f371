package secrets_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// odd is a cache of the program, with a RenewAt of the test.
type odd struct {
	*layer

	renewAt func() (time.Time, bool)
}

type oddPart struct {
	*part

	of *odd
}

func (o *odd) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	return &oddPart{o.part(info, share(below)), o}
}

func (p *oddPart) RenewAt(secrets.Ref) (time.Time, bool) { return p.of.renewAt() }

// If RenewAt returns no time, or panics, handles poll every 30 s.
func TestACacheWithoutARenewalTime(t *testing.T) {
	for name, renewAt := range map[string]func() (time.Time, bool){
		"no time": func() (time.Time, bool) { return time.Time{}, true },
		"a panic": func() (time.Time, bool) { panic("canary") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := secretstest.NewBackend(map[string]string{"db": "one"})
				c := open(t, b, secrets.WithCache(&odd{idle(), renewAt}))
				_, err := c.Watch(t.Context(), "db")
				is.NoErr(err)
				b.ResetCounts()
				elapse(10 * time.Minute)
				is.True(b.Calls() >= 20)
				is.True(b.Calls() <= 23)
			})
		})
	}
}

// A cache that was made outside of a bubble, as in a table of options, knows the time of its own clock, and what passes by that of the
// bubble. Readers and handles agree.
func TestACacheThatWasMadeOutsideOfTheBubble(t *testing.T) {
	layer := exact()
	watch(t, func(w *watching) {
		w.backend.Set("db", "two")
		for range 90 {
			_, err := w.client.Get(w.Context(), "db")
			w.NoErr(err)
			elapse(time.Second)
		}
		s, err := w.client.Get(w.Context(), "db")
		w.NoErr(err)
		w.Equal(s.Reveal(), "two")
		w.shows("two", nil)
		w.backend.Set("db", "three")
		elapse(90 * time.Second) // only the handle
		w.shows("three", nil)
	}, func() secrets.Option { return layer })
}
