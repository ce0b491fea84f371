package cache_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
)

func TestErrorWhileTheBreakerIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote(t, 1)
		r.backend.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: "it is sealed"})
		detail := func(key string) string {
			_, err := r.Get(t.Context(), key)
			e, ok := errors.AsType[*secrets.Error](err)
			r.True(ok)
			r.Equal(e.Err, secrets.ErrUnavailable)
			r.Equal(e.Backend, r.backend.Info().Name)
			r.Equal(e.Key, key)
			return e.Detail
		}
		_, _, _ = detail("a"), detail("b"), detail("c")
		got := detail("d#field")
		r.True(strings.HasPrefix(got, "the backend was unavailable 3 times in a row, and is asked again in about "))
		r.True(strings.HasSuffix(got, "00ms; the last time: it is sealed"))

		r.backend.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: strings.Repeat("sealed ", 100)})
		time.Sleep(past(firstStep))
		got = detail("e")
		r.True(strings.HasPrefix(got, "the backend was unavailable 4 times in a row, and is asked again in about "))
		r.True(!strings.Contains(got, "sealed"))

		defer r.backend.Block()()
		time.Sleep(past(2 * firstStep))
		r.Equal(detail("f"), "the backend was unavailable 4 times in a row, and is asked again now")
	})
}

func TestBackingOffWhileTheBreakerIsOpen(t *testing.T) {
	run(t, "", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		_, _, _, _ = f.ask("a"), f.ask("b"), f.ask("c"), f.ask("d")
		f.Equal(f.layer.BackingOff(), 3)
		time.Sleep(300 * time.Millisecond)
		f.Equal(f.layer.BackingOff(), 3) // their own back-offs are over
		f.answers(nil)
		time.Sleep(300 * time.Millisecond)
		f.Equal(f.layer.BackingOff(), 0) // the next reader makes a probe
		f.NoErr(f.ask("d"))
		f.Equal(f.layer.BackingOff(), 0)
	})
}
