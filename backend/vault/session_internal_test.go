package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestLoginOnFirstUse(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		pass(time.Hour)
		is.Equal(len(w.calls("")), 0) // newSession sends nothing

		const callers = 1000
		var got [callers]token
		var wg sync.WaitGroup
		w.delay = time.Second
		for i := range callers {
			wg.Go(func() {
				var err error
				got[i], err = s.token(t.Context())
				is.NoErr(err)
			})
		}
		wg.Wait()
		is.Equal(len(w.calls("/login")), 1)
		for i := range got {
			is.Equal(value(got[i]), "token-canary-0001")
			is.Equal(got[i].serial, uint64(1))
		}
		c := w.calls("")[0]
		is.Equal(c.verb, "PUT")
		is.Equal(c.token, "") // the client of a login has no token
		is.Equal(e.all(), nil)
	})
}

func TestALoginOutlivesItsFirstCaller(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.delay = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := s.token(ctx)
			first <- err
		}()
		synctest.Wait()
		second := make(chan token)
		go func() {
			got, err := s.token(t.Context())
			is.NoErr(err)
			second <- got
		}()
		synctest.Wait()
		cancel()
		is.Equal(<-first, context.Canceled)
		is.Equal(value(<-second), "token-canary-0001")
		is.Equal(len(w.calls("/login")), 1)
	})
}

func TestRefusedLoginIsRemembered(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.answer = func(call) (int, string) { return http.StatusBadRequest, `{"errors":["invalid role or secret ID"]}` }
		start := time.Now()
		for time.Since(start) < 5*time.Minute {
			_, err := s.token(t.Context())
			is.True(errors.Is(err, secrets.ErrUnauthenticated))
			pause(100 * time.Millisecond)
		}
		logins := w.calls("/login")
		for i := 1; i < len(logins); i++ {
			pause := logins[i].at - logins[i-1].at
			want := min(time.Second<<(i-1), 30*time.Second)
			is.True(pause >= want && pause < want+200*time.Millisecond)
		}
		is.Equal(len(logins), 14) // at 0, 1, 3, 7, 15, 31 s, and every 30 s
		w.set(func() { w.answer = nil })
		pause(30 * time.Second)
		_, err := s.token(t.Context())
		is.NoErr(err)
	})
}

func TestAnother(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		first, err := s.token(t.Context())
		is.NoErr(err)
		is.True(!s.another(t.Context(), first, false)) // denied, by the current token
		is.True(!s.another(t.Context(), first, true))  // rejected right after the login: another login would not help
		is.Equal(e.all(), nil)

		pass(2 * time.Second)
		const callers = 1000
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				is.True(s.another(t.Context(), first, true))
				got, err := s.token(t.Context())
				is.NoErr(err)
				is.Equal(got.serial, uint64(2))
			})
		}
		wg.Wait()
		is.Equal(len(w.calls("/login")), 2) // one more login
		is.Equal(e.all(), []uint64{1})
		is.True(s.another(t.Context(), first, false)) // there is another by now
	})
}

func TestServerThatRejectsItsOwnTokens(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.ttl = 3600
		start := time.Now()
		for time.Since(start) < 5*time.Minute {
			got, err := s.token(t.Context())
			is.NoErr(err)
			if s.another(t.Context(), got, true) {
				_, err = s.token(t.Context())
				is.NoErr(err)
			}
			pause(10 * time.Millisecond)
		}
		is.True(len(w.calls("/login")) <= 15) // 1, 2, 4, 8, 16, 30, 30, … s apart
	})
}

// openLogin keeps its credential in a plain field, as the official methods do.
type openLogin struct {
	plainLogin

	secretID string
}

func TestSessionShowsNoCredentialOfAForeignMethod(t *testing.T) {
	method := &openLogin{secretID: "foreign-canary-8sKd2"}
	is.New(t).True(len(secretstest.Leaks(method.secretID, method)) > 0) // the control
	bubble(t, method, func(t *testing.T, is *is.I, _ *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		synctest.Wait()
		secretstest.AssertNoLeak(t, method.secretID, s)
	})
}

func TestSessionShowsNoToken(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, _ *wire, s *session, _ *endings) {
		got, err := s.token(t.Context())
		is.NoErr(err)
		synctest.Wait() // no concurrent writes
		secretstest.AssertNoLeak(t, "token-canary-0001", s.current, got, fmt.Sprintf("%+v %#v", s, s))
	})
}
