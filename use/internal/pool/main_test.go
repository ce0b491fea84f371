package pool_test

import (
	"context"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "database"

// open returns a client of a backend that holds the key.
func open(t *testing.T, opts ...secrets.Option) (*secrets.Client, *secretstest.Backend) {
	t.Helper()
	b := secretstest.NewBackend(map[string]string{key: "correct horse"})
	client, err := secrets.New(b, opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { is.New(t).NoErr(client.Close()) })
	return client, b
}

func noFault(*faults.List) {}

// credential returns a Credential that closes with the test.
func credential(t *testing.T, client *secrets.Client, opts ...pool.Option) *pool.Credential {
	t.Helper()
	c, err := pool.New("test: ", client, key, opts, noFault)
	is.New(t).NoErr(err)
	t.Cleanup(c.Close)
	return c
}

// logIn returns the lifetime of a connection that has logged in.
func logIn(t *testing.T, c *pool.Credential) (l *pool.Lifetime) {
	t.Helper()
	l, err := c.Begin(t.Context())
	is.New(t).NoErr(err)
	is.New(t).NoErr(c.Do(t.Context(), func(_ context.Context, s secrets.Secret) error {
		l.LoggedIn(s)
		return nil
	}))
	return l
}
