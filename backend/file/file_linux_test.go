package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/internal/otheruser"
)

// What must not be read is never "not found", wherever on the way the denial is.
func TestPermissionDenied(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{
		"file": canary, "closed/x": canary, "mixed/x": canary, "mixed/y": canary, "unlisted/x": canary,
		"base/x": canary, "volume/..v/x": canary,
	})
	link(t, dir, "..v", "volume/..data")
	link(t, dir, "..data/x", "volume/x")
	modes := map[string]os.FileMode{
		"file": 0, "closed": 0, "mixed/x": 0o644, "mixed/y": 0, "unlisted": 0o111, "base": 0o600, "volume/..v": 0o600,
	}
	is.NoErr(os.Chmod(filepath.Dir(dir), 0o755)) // so that what is denied is only what should be
	is.NoErr(os.Chmod(dir, 0o755))               // as above
	b := backend(t, dir)
	base := backend(t, filepath.Join(dir, "base"))
	for name, mode := range modes {
		is.NoErr(os.Chmod(filepath.Join(dir, name), mode))
	}
	t.Cleanup(func() { // for who removes it, if not root
		for _, name := range []string{"closed", "unlisted", "base", "volume/..v"} {
			_ = os.Chmod(filepath.Join(dir, name), 0o700)
		}
	})

	otheruser.Nobody(t, func() {
		for _, path := range []string{
			"file", "closed/x", "closed/missing", "closed", "mixed", "unlisted", "unlisted/x", "volume/x", "volume/missing",
		} {
			got, err := get(t, b, path)
			if secrets.Class(err) != secrets.ErrPermissionDenied || got != "" {
				t.Errorf("%s: %v", path, err)
			} else if strings.Contains(err.Error(), canary) {
				t.Errorf("%s: %v holds the value", path, err)
			}
		}
		if _, err := get(t, base, "x"); secrets.Class(err) != secrets.ErrPermissionDenied {
			t.Errorf("the directory itself: %v", err)
		}
		if _, err := file.New(filepath.Join(dir, "base")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("New: %v", err)
		}
		if _, err := get(t, b, "mixed/x"); err != nil { // the control: it may be read
			t.Error(err)
		}
		for _, field := range []string{"x", "missing"} { // whoever reads it is told why
			want := secrets.Ref{Path: "closed/" + field}
			if got := b.Info().Resolve(secrets.Ref{Path: "closed", Field: field}); got != want {
				t.Errorf("Resolve: %v", got)
			}
		}
	})
}

// A file is read by its name where its directories can be searched and not listed, as a file of one's own in /run/secrets of others.
// The control is os.OpenRoot, which asks for more.
func TestSearchPermissionIsEnough(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "keys")
	write(t, dir, map[string]string{"own": canary, "theirs": canary, "tls/password": canary, "tls/key": canary})
	newVolume(t, dir, map[string]string{"token": canary, "db/user": canary})
	for _, d := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		is.NoErr(os.Chmod(d, 0o755)) // so that what is denied is only what should be
	}
	for _, entry := range []struct {
		name string
		mode os.FileMode
	}{
		{"own", 0o444},
		{"theirs", 0},
		{"tls/password", 0o444},
		{"tls/key", 0},
		{"..v1/token", 0o444},
		{"..v1/db/user", 0o444},
		{"tls", 0o111},
		{"..v1/db", 0o111},
		{"..v1", 0o111},
		{".", 0o111},
	} {
		is.NoErr(os.Chmod(filepath.Join(dir, entry.name), entry.mode))
	}
	t.Cleanup(func() { // for who removes it, if not root
		for _, name := range []string{".", "tls", "..v1", "..v1/db"} {
			_ = os.Chmod(filepath.Join(dir, name), 0o700)
		}
	})

	otheruser.Nobody(t, func() {
		if root, err := os.OpenRoot(dir); err == nil {
			_ = root.Close()
			t.Error("the control could list the directory")
		}
		b, err := file.New(dir)
		if err != nil {
			t.Error(err)
			return
		}
		for _, path := range []string{"own", "tls/password", "token", "db/user"} {
			if got, err := get(t, b, path); err != nil || got != canary {
				t.Errorf("%s: %v", path, err)
			}
		}
		for path, want := range map[string]error{
			"theirs": secrets.ErrPermissionDenied, "tls/key": secrets.ErrPermissionDenied, "missing": secrets.ErrNotFound,
			"tls/missing": secrets.ErrNotFound, "tls": secrets.ErrPermissionDenied,
		} {
			if _, err := get(t, b, path); secrets.Class(err) != want {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, err := get(t, b, "tls"); !strings.Contains(err.Error(), "cannot be listed") {
			t.Error(err)
		}
		// Names decide, also where the others cannot be read.
		for field, want := range map[string]error{
			"password": nil, "key": secrets.ErrPermissionDenied, "missing": secrets.ErrFieldNotFound,
		} {
			ref := b.Info().Resolve(secrets.Ref{Path: "tls", Field: field})
			if _, err := b.Fetch(t.Context(), secrets.Ref{Path: ref.Path}); secrets.Class(err) != want {
				t.Errorf("tls#%s: %v", field, err)
			}
		}
	})
}
