package vault_test

import (
	"net/http"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// A secret that is nowhere is asked for at the paths that Locate names, in that order, and at no others.
func TestLocateNamesThePaths(t *testing.T) {
	for _, c := range []struct {
		name, key string
		opts      []vault.Option
		want      []string
	}{
		{"not known", "database#password", nil, []string{"secret/data/database", "secret/database"}},
		{"not known, a field by its path", "team/app/password", nil, []string{"secret/data/team/app", "secret/team/app"}},
		{"not known, whole", "team/app#", nil, []string{"secret/data/team/app", "secret/team/app"}},
		{"not known, a version", "team?version=3#password", nil, []string{"secret/data/team"}},
		{"KV 2", "database#password", []vault.Option{vault.WithKVVersion(2)}, []string{"secret/data/database"}},
		{"KV 1", "database#password", []vault.Option{vault.WithKVVersion(1)}, []string{"secret/database"}},
		{"dynamic", "creds/app#", []vault.Option{vault.WithDynamicSecrets()}, []string{"secret/creds/app"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			f := newFake(t)
			const mount = "sys/internal/ui/mounts/secret"
			f.reply(mount, http.StatusForbidden, bodyPreflightDenied)
			for _, path := range c.want {
				f.reply(path, http.StatusNotFound, bodyMissing)
			}
			b := f.backend(t, c.opts...)
			ref, err := secrets.ParseRef(c.key)
			is.NoErr(err)
			is.Equal(b.Info().Locate(ref), c.want)
			is.Equal(len(f.seen()), 0) // Locate makes no calls
			_, err = client(t, b).Get(t.Context(), c.key)
			is.Equal(secrets.Class(err), secrets.ErrNotFound)
			var asked []string
			for _, request := range f.seen() {
				if request != "GET "+mount {
					asked = append(asked, request)
				}
			}
			var want []string
			for _, path := range c.want {
				if ref.Version != "" {
					path += "?version=" + ref.Version
				}
				want = append(want, "GET "+path)
			}
			is.Equal(asked, want)
		})
	}
}

// What the first answer tells of the mount, Locate knows.
func TestLocateKnowsTheVersionThatWasFound(t *testing.T) {
	for version, want := range map[int]string{1: "secret/database", 2: "secret/data/database"} {
		is := is.New(t)
		f := newFake(t)
		f.version(version)
		f.put("database", `{"password":"p"}`)
		b := f.backend(t)
		_, err := client(t, b).Get(t.Context(), "database#password")
		is.NoErr(err)
		is.Equal(b.Info().Locate(secrets.Ref{Path: "database", Field: "password"}), []string{want})
	}
}

func TestLocateOfWhatCannotBe(t *testing.T) {
	f := newFake(t)
	for _, c := range []struct {
		ref  secrets.Ref
		opts []vault.Option
	}{
		{secrets.Ref{Path: "a", Version: "first"}, nil},
		{secrets.Ref{Path: "a/../b", Whole: true}, nil},
		{secrets.Ref{Path: "a", Version: "1"}, []vault.Option{vault.WithKVVersion(1)}},
		{secrets.Ref{Path: "a", Version: "1"}, []vault.Option{vault.WithDynamicSecrets()}},
	} {
		is.New(t).Equal(len(f.backend(t, c.opts...).Info().Locate(c.ref)), 0)
	}
}
