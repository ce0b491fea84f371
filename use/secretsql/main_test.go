package secretsql_test

import (
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "database"

// open returns a client of a backend that holds the key; it closes with the test.
func open(t *testing.T, opts ...secrets.Option) (*secrets.Client, *secretstest.Backend) {
	t.Helper()
	b := secretstest.NewBackend(map[string]string{key: "correct horse"})
	client, err := secrets.New(b, opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { is.New(t).NoErr(client.Close()) })
	return client, b
}
