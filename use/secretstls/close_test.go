package secretstls_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// After the end, the last version stays in use, and Err reports the end.
func TestTheLastVersionStaysAfterTheEnd(t *testing.T) {
	ca := newAuthority("ca")
	for name, end := range map[string]func(followed *secretstls.TLS, cancel func(), client *secrets.Client){
		"Close":                func(followed *secretstls.TLS, _ func(), _ *secrets.Client) { _ = followed.Close() },
		"the context ends":     func(_ *secretstls.TLS, cancel func(), _ *secrets.Client) { cancel() },
		"the client is closed": func(_ *secretstls.TLS, _ func(), client *secrets.Client) { _ = client.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newSecret(t, kubernetes(ca.issue(1), ca))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				followed, err := secretstls.New(ctx, s.client, "tls")
				is.NoErr(err)
				other := s.follow() // the control
				end(followed, cancel, s.client)
				synctest.Wait()
				is.True(errors.Is(followed.Err(), secrets.ErrClosed))
				s.backend.Set("tls", kubernetes(ca.issue(2), ca))
				_, _ = s.client.Refresh(t.Context(), "tls")
				synctest.Wait()
				is.Equal(shake(followed.Server(), trusting(ca)).serial(), int64(1))
				if name != "the client is closed" {
					is.Equal(serves(other), int64(2))
				}
				is.NoErr(followed.Close())
				is.NoErr(followed.Close())
			})
		})
	}
}

// A failed New leaves nothing that polls.
func TestAFailedNewLeavesNoPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newSecret(t, "{}")
		_, err := secretstls.New(t.Context(), s.client, "tls")
		is.True(err != nil)
		before := s.backend.Calls()
		time.Sleep(time.Hour)
		is.Equal(s.backend.Calls(), before)
		s.backend.Set("tls", kubernetes(newAuthority("ca").issue(1)))
		s.follow() // the control
		before = s.backend.Calls()
		time.Sleep(time.Hour)
		is.True(s.backend.Calls() > before)
	})
}

// During an outage, Err returns the error, and the last version stays.
func TestAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ca := newAuthority("ca")
		s := newSecret(t, kubernetes(ca.issue(1), ca))
		followed := s.follow()
		s.backend.Fail(secrets.ErrUnavailable)
		time.Sleep(time.Hour)
		is.True(errors.Is(followed.Err(), secrets.ErrUnavailable))
		is.True(shake(followed.Server(), trusting(ca)).ok())
		s.backend.Recover()
		time.Sleep(time.Hour)
		is.NoErr(followed.Err())
	})
}
