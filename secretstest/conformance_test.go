package secretstest_test

import (
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func newFake(_ *testing.T, documents map[string]string) secrets.Backend {
	return secretstest.NewBackend(documents)
}

func failingFake(class error) func(*testing.T, string) (secrets.Backend, string) {
	return func(_ *testing.T, secret string) (secrets.Backend, string) {
		b := secretstest.NewBackend(map[string]string{"database": secret})
		b.FailPath("database", class)
		return b, "database"
	}
}

func fakeOptions() []secretstest.RunOption {
	return []secretstest.RunOption{
		secretstest.WithBinary(),
		secretstest.WithVersions(func(*testing.T) (secrets.Backend, string, map[string]string) {
			b := secretstest.NewBackend(map[string]string{"database": "first"})
			b.Set("database", "second")
			b.SetVersion("database", "pending", "third")
			return b, "database", map[string]string{"1": "first", "2": "second", "pending": "third"}
		}),
		secretstest.WithStall(func(t *testing.T) (secrets.Backend, string) {
			t.Helper()
			b := secretstest.NewBackend(map[string]string{"database": "value"})
			t.Cleanup(b.Block())
			return b, "database"
		}),
		secretstest.WithFailure(secrets.ErrDeleted, func(_ *testing.T, secret string) (secrets.Backend, string) {
			b := secretstest.NewBackend(map[string]string{"database": secret})
			b.Delete("database")
			return b, "database"
		}),
		secretstest.WithFailure(secrets.ErrPermissionDenied, failingFake(secrets.ErrPermissionDenied)),
		secretstest.WithFailure(secrets.ErrUnauthenticated, failingFake(secrets.ErrUnauthenticated)),
		secretstest.WithFailure(secrets.ErrUnavailable, failingFake(secrets.ErrUnavailable)),
		secretstest.WithFailure(secrets.ErrMalformed, failingFake(secrets.ErrMalformed)),
		secretstest.WithFailure(secrets.ErrMalformed, func(_ *testing.T, secret string) (secrets.Backend, string) {
			return secretstest.NewBackend(map[string]string{"database": `{"password":"` + secret}), "database#password"
		}),
		secretstest.WithFailure(secrets.ErrUnknown, failingFake(secrets.ErrUnknown)),
		secretstest.WithFailure(secrets.ErrInvalidKey, failingFake(secrets.ErrInvalidKey)),
		secretstest.WithFailure(secrets.ErrInvalidKey, func(*testing.T, string) (secrets.Backend, string) {
			return secretstest.NewBackend(nil), "../database"
		}),
		secretstest.WithFailure(secrets.ErrFieldNotFound, func(_ *testing.T, secret string) (secrets.Backend, string) {
			return secretstest.NewBackend(map[string]string{"database": `{"user":"` + secret + `"}`}), "database#password"
		}),
	}
}

func TestTheFakePassesItsOwnSuite(t *testing.T) {
	secretstest.Run(t, newFake, fakeOptions()...)
}

func TestALocalFakePassesTheSuite(t *testing.T) {
	secretstest.Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
		return secretstest.NewBackend(documents, secretstest.WithLocal())
	})
}
