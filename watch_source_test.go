package secrets_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Two handles of one path may follow two sources, as two calls of Get may.
func TestHandlesOfTwoSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		env := named("env", "db_user", "me").with(func(f *fake) { f.info.Local, f.info.Nonblocking = true, true }).
			resolvedBy(func(ref secrets.Ref) secrets.Ref {
				if ref.Field != "" {
					return secrets.Ref{Path: ref.Path + "_" + ref.Field}
				}
				return ref
			})
		weak := secretstest.NewBackend(map[string]string{"db": `{"user":"x","password":"one"}`}, secretstest.WithName("weak"))
		c := open(t, env, secrets.WithFallback(fallback.To(weak)))
		user, err := c.Watch(t.Context(), "db#user")
		is.NoErr(err)
		password, err := c.Watch(t.Context(), "db#password")
		is.NoErr(err)
		is.Equal(user.Secret().Reveal(), "me")
		is.Equal(password.Secret().Reveal(), "one")
		weak.Set("db", `{"user":"x","password":"two"}`)
		elapse(2 * time.Minute)
		s, err := c.Get(t.Context(), "db#password")
		is.NoErr(err)
		is.Equal(s.Reveal(), "two") // the control
		is.NoErr(password.Err())
		is.Equal(password.Secret().Reveal(), "two")
	})
}

// The same with a variable for the user alone.
func TestAVariableForOneOfTwoKeys(t *testing.T) {
	t.Setenv("DB_USER", "me")
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		e := env.New()
		vault := secretstest.NewBackend(map[string]string{"db": `{"user":"x","password":"one"}`}, secretstest.WithName("vault"))
		c := open(t, e, middleware.Standard(), secrets.WithFallback(fallback.To(vault)))
		user, err := c.Watch(t.Context(), "db#user")
		is.NoErr(err)
		password, err := c.Watch(t.Context(), "db#password")
		is.NoErr(err)
		is.Equal(user.Secret().Meta().Backend+" "+password.Secret().Meta().Backend, "env vault")
		vault.Set("db", `{"user":"x","password":"two"}`)
		elapse(time.Hour)
		s, err := c.Get(t.Context(), "db#password")
		is.NoErr(err)
		is.Equal(s.Reveal(), "two") // the control
		is.Equal(password.Secret().Reveal(), "two")
	})
}
