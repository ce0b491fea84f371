package file_test

import (
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestConformance(t *testing.T) {
	type setup = func(t *testing.T, secret string) (secrets.Backend, string)
	failure := func(files func(secret string) map[string]string, key string, opts ...file.Option) setup {
		return func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			return backend(t, tree(t, files(secret)), opts...), key
		}
	}
	secretstest.Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
		t.Helper()
		return backend(t, tree(t, documents), file.WithRawBytes())
	},
		secretstest.WithBinary(),
		secretstest.WithFailure(secrets.ErrMalformed, failure(func(secret string) map[string]string {
			return map[string]string{"database/password": secret, "database/broken": "\xff" + secret}
		}, "database")),
		secretstest.WithFailure(secrets.ErrMalformed, failure(func(secret string) map[string]string {
			return map[string]string{"large": secret}
		}, "large", file.WithMaxSize(1))),
		secretstest.WithFailure(secrets.ErrMalformed, failure(func(secret string) map[string]string {
			return map[string]string{"database": `{"password":` + secret}
		}, "database#password")),
		secretstest.WithFailure(secrets.ErrFieldNotFound, failure(func(secret string) map[string]string {
			return map[string]string{"database/password": secret}
		}, "database#user")),
	)
}
