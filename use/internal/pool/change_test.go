package pool_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

func TestRetireOnChange(t *testing.T) {
	is := is.New(t)
	client, backend := open(t, middleware.Standard())
	retiring, control := credential(t, client, pool.RetireOnChange()), credential(t, client)
	old, oldControl := logIn(t, retiring), logIn(t, control)
	refresh := func(value string) {
		backend.Set(key, value)
		_, err := client.Refresh(t.Context(), key)
		is.NoErr(err)
	}
	is.True(!old.IsOver())
	is.True(!old.IsOverIn(1 << 60)) // there is no lease
	refresh("correct horse")        // another version of the same value
	is.True(!old.IsOver())
	refresh("battery staple")
	is.True(old.IsOver())
	is.True(!oldControl.IsOver())
	young := logIn(t, retiring)
	is.True(!young.IsOver())

	// A version can be accepted before it becomes current. When it does, its connections stay.
	early, err := retiring.Begin(t.Context())
	is.NoErr(err)
	early.LoggedIn(secrets.NewSecret("trombone", secrets.Meta{}))
	is.True(!early.IsOver())
	refresh("trombone")
	is.True(!early.IsOver())
	is.True(young.IsOver())
	refresh("the next one")
	is.True(early.IsOver())
}

// Close of the credential is not a change of the secret.
func TestCloseIsNotAChange(t *testing.T) {
	is := is.New(t)
	client, _ := open(t)
	c := credential(t, client, pool.RetireOnChange())
	l := logIn(t, c)
	c.Close()
	is.True(!l.IsOver())
	is.True(!logIn(t, c).IsOver()) // logins still work
	is.NoErr(client.Close())
	is.True(!l.IsOver())
}
