package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
)

// Each file that Locate names answers the key if it is the only one that is there.
func TestLocateNamesTheFiles(t *testing.T) {
	for _, c := range []struct {
		key  string
		opts []file.Option
		want []string
	}{
		{"database", nil, []string{"database"}},
		{"team/database", nil, []string{"team/database"}},
		{"database/password#", nil, []string{"database/password"}},
		{"database#password", nil, []string{"database/password", "database"}},
		{"database#password", []file.Option{file.WithCaching()}, []string{"database"}},
		{"database#.password", nil, []string{"database"}}, // no field of a directory
		{"database#a/b", nil, []string{"database"}},
		{"database#..", nil, []string{"database"}},
	} {
		t.Run(c.key, func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			b := backend(t, dir, c.opts...)
			ref, err := secrets.ParseRef(c.key)
			is.NoErr(err)
			var want []string
			for _, name := range c.want {
				want = append(want, filepath.Join(dir, filepath.FromSlash(name)))
			}
			got := b.Info().Locate(ref)
			is.Equal(got, want)
			reader := client(t, b)
			for i, place := range got {
				content := `{"password":"value", ".password":"value", "a/b":"value", "..":"value"}`
				if i < len(got)-1 || ref.Field == "" {
					content = "value"
				}
				is.NoErr(os.MkdirAll(filepath.Dir(place), 0o700))
				is.NoErr(os.WriteFile(place, []byte(content), 0o600))
				secret, err := reader.Get(t.Context(), c.key)
				is.NoErr(err)
				is.Equal(secret.Reveal(), "value")
				is.NoErr(os.RemoveAll(filepath.Join(dir, "database")))
			}
		})
	}
	for _, ref := range []secrets.Ref{{Path: "a", Version: "1"}, {Path: "../a"}, {Path: "..data/a"}, {}} {
		is.New(t).Equal(len(backend(t, t.TempDir()).Info().Locate(ref)), 0)
	}
}
