package vault

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestCloseRevokesTheTokenOfALogin(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		is.NoErr(s.close())
		is.NoErr(s.close())
		revoked := w.calls("/revoke-self")
		is.Equal(len(revoked), 1)
		is.Equal(revoked[0].token, "token-canary-0001")
		is.Equal(revoked[0].verb, "PUT")
		_, err = s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrClosed))
		is.True(!s.another(t.Context(), token{}, true))
	})
}

func TestCloseWithoutATokenSendsNothing(t *testing.T) {
	bubble(t, plainLogin{}, func(_ *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		is.NoErr(s.close())
		is.Equal(len(w.calls("")), 0)
	})
}

func TestFailedRevocation(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		class  error
	}{
		{"expired meanwhile", 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, nil},
		{"batch token", 400, `{"errors":["batch tokens cannot be revoked"]}`, nil},
		{"not allowed", 403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, secrets.ErrPermissionDenied},
		{"sealed", 503, `{"errors":["Vault is sealed"]}`, secrets.ErrUnavailable},
		{"no connection", -1, "", secrets.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
				_, err := s.token(t.Context())
				is.NoErr(err)
				w.set(func() { w.answer = func(call) (int, string) { return c.status, c.body } })
				err = s.close()
				is.Equal(secrets.Class(err), c.class)
				if c.class != nil {
					is.True(strings.Contains(err.Error(), "stays valid"))
				}
				is.Equal(len(w.calls("/revoke-self")), 1) // not retried
				secretstest.AssertNoLeak(t, "token-canary-0001", err)
			})
		})
	}
}

func TestCloseIsBounded(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		w.set(func() { w.delay = time.Hour })
		start := time.Now()
		is.True(errors.Is(s.close(), secrets.ErrUnavailable))
		is.Equal(time.Since(start), revokeTimeout)
	})
}

func TestCloseDuringALogin(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.delay = 5 * time.Second
		done := make(chan error)
		go func() {
			_, err := s.token(t.Context())
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		is.NoErr(s.close())
		is.Equal(time.Since(start), loginGrace)
		is.True(errors.Is(<-done, secrets.ErrClosed))
		is.Equal(len(w.calls("/revoke-self")), 0)
	})
}

// The server issues a token when it accepts a login, whether anybody reads the answer or not.
func TestCloseRevokesTheTokenOfALoginUnderWay(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.delay = loginGrace / 2
		done := make(chan error, 1)
		go func() {
			_, err := s.token(t.Context())
			done <- err
		}()
		synctest.Wait()
		is.NoErr(s.close())
		is.True(errors.Is(<-done, secrets.ErrClosed))
		is.Equal(len(w.calls("/revoke-self")), 1)
	})
}

func TestCloseDuringALoginThatSucceedsRevokes(t *testing.T) {
	stubborn := loginFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		pause(time.Second)
		return plainLogin{}.Login(context.WithoutCancel(ctx), client)
	})
	bubble(t, stubborn, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		done := make(chan error)
		go func() {
			_, err := s.token(t.Context())
			done <- err
		}()
		synctest.Wait()
		go func() { is.True(errors.Is(<-done, secrets.ErrClosed)) }()
		is.NoErr(s.close())
		is.Equal(len(w.calls("/revoke-self")), 1)
		is.Equal(w.calls("/revoke-self")[0].token, "token-canary-0001")
	})
}

func TestCloseDuringARenewal(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		w.set(func() { w.delay = time.Second })
		for len(w.calls("/renew-self")) == 0 {
			pause(time.Second / 2)
			synctest.Wait()
		}
		start := time.Now()
		is.NoErr(s.close())
		is.Equal(time.Since(start), time.Second) // only the revocation waits
	})
}
