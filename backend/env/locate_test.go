package env_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
)

// A key that is nowhere is looked for in all places that Locate names, in that order, and in no others.
func TestLocateNamesWhatIsLookedUp(t *testing.T) {
	for _, c := range []struct {
		key  string
		opts []env.Option
		want []string
	}{
		{"DATABASE", nil, []string{"DATABASE"}},
		{"database", nil, []string{"database", "DATABASE"}},
		{"db/main-1", nil, []string{"db/main-1", "DB_MAIN_1"}},
		{"database#password", nil, []string{"database/password", "DATABASE_PASSWORD", "database", "DATABASE"}},
		{"database/password#", nil, []string{"database/password", "DATABASE_PASSWORD"}},
		{"A#B", []env.Option{env.WithPrefix("APP_")}, []string{"APP_A/B", "APP_A_B", "APP_A"}},
		{"a", []env.Option{env.WithFiles()}, []string{"a", "a_FILE", "A", "A_FILE"}},
		{"A#B", []env.Option{env.WithFiles()}, []string{"A/B", "A/B_FILE", "A_B", "A_B_FILE", "A", "A_FILE"}},
	} {
		t.Run(c.key, func(t *testing.T) {
			is := is.New(t)
			var looked []string
			b := env.New(append(c.opts, env.WithLookup(func(name string) (string, bool) {
				if !slices.Contains(looked, name) {
					looked = append(looked, name)
				}
				return "", false
			}))...)
			ref, err := secrets.ParseRef(c.key)
			is.NoErr(err)
			is.Equal(b.Info().Locate(ref), c.want)
			is.Equal(len(looked), 0) // Locate reads nothing
			_, err = client(t, b).Get(t.Context(), c.key)
			is.True(errors.Is(err, secrets.ErrNotFound))
			is.Equal(looked, c.want)
		})
	}
	t.Run("a version", func(t *testing.T) {
		is.New(t).Equal(len(env.New().Info().Locate(secrets.Ref{Path: "a", Version: "1"})), 0)
	})
}
