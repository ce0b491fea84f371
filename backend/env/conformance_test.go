package env_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestConformance(t *testing.T) {
	name := strings.NewReplacer("/", "_", "-", "_")
	secretstest.Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
		t.Helper()
		variables := make(map[string]string, len(documents))
		for path, document := range documents {
			variables["P_"+strings.ToUpper(name.Replace(path))] = document
		}
		return env.New(env.WithPrefix("P_"), env.WithRawBytes(), lookup(variables))
	},
		secretstest.WithBinary(),
		secretstest.WithFailure(secrets.ErrMalformed, func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			return env.New(env.WithFiles(), lookup(map[string]string{"TOKEN": secret, "TOKEN_FILE": write(t, "x", secret)})), "token"
		}),
		secretstest.WithFailure(secrets.ErrMalformed, func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			missing := filepath.Join(t.TempDir(), secret)
			return env.New(env.WithFiles(), lookup(map[string]string{"TOKEN_FILE": missing})), "token"
		}),
		secretstest.WithFailure(secrets.ErrMalformed, func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			large := filepath.Join(t.TempDir(), "large")
			if err := os.WriteFile(large, []byte(strings.Repeat(secret, 1<<18)), 0o600); err != nil {
				t.Fatal(err)
			}
			return env.New(env.WithFiles(), lookup(map[string]string{"TOKEN_FILE": large})), "token"
		}),
		secretstest.WithFailure(secrets.ErrFieldNotFound, func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			return env.New(lookup(map[string]string{"DATABASE": `{"password":"` + secret + `"}`})), "database#user"
		}),
	)
}
