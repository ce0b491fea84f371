package bind_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open builds a Client for a fake backend that holds documents, and closes it at the end of the test.
func open(t testing.TB, documents map[string]string, opts ...secrets.Option) (*secrets.Client, *secretstest.Backend) {
	t.Helper()
	backend := secretstest.NewBackend(documents)
	client, err := secrets.New(backend, opts...)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return client, backend
}
