package regular_test

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/regular"
)

// readers are the two ways to read a file of a directory.
func readers(t *testing.T, dir string) map[string]func(name string, limit int64) (string, error) {
	t.Helper()
	held, err := regular.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(held.Close)
	return map[string]func(name string, limit int64) (string, error){
		"ReadFile": func(name string, limit int64) (string, error) {
			return regular.ReadFile(filepath.Join(dir, name), limit)
		},
		"Dir.ReadFile": held.ReadFile,
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := t.TempDir()
	is.NoErr(os.WriteFile(filepath.Join(dir, "four"), []byte("1234"), 0o600))
	is.NoErr(os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
	is.NoErr(os.Mkdir(filepath.Join(dir, "directory"), 0o700))

	for reader, read := range readers(t, dir) {
		for _, tt := range []struct {
			name  string
			limit int64
			want  string
			err   error
		}{
			{"four", 5, "1234", nil},
			{"four", 4, "1234", nil},
			{"four", 3, "", regular.ErrTooLarge},
			{"four", 0, "", regular.ErrTooLarge},
			{"four", math.MaxInt64, "1234", nil},
			{"empty", 0, "", nil},
			{"directory", 10, "", regular.ErrNotRegular},
			{"missing", 10, "", fs.ErrNotExist},
		} {
			t.Run(reader+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				got, err := read(tt.name, tt.limit)
				is.Equal(got, tt.want)
				is.True(errors.Is(err, tt.err)) // expected error
			})
		}
	}
}
