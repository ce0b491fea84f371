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

// A missing permission, of the file or of any directory above it, is never "not found".
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
	for _, d := range []string{filepath.Dir(dir), dir} {
		is.NoErr(os.Chmod(d, 0o755)) // nothing above the files is denied
	}
	b := backend(t, dir)
	base := backend(t, filepath.Join(dir, "base"))
	for name, mode := range modes {
		is.NoErr(os.Chmod(filepath.Join(dir, name), mode))
	}
	t.Cleanup(func() { // lets a user other than root remove it
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
				t.Errorf("%s: %v contains the value", path, err)
			}
		}
		if _, err := get(t, base, "x"); secrets.Class(err) != secrets.ErrPermissionDenied {
			t.Errorf("the directory itself: %v", err)
		}
		if _, err := file.New(filepath.Join(dir, "base")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("New: %v", err)
		}
		if _, err := get(t, b, "mixed/x"); err != nil { // the control: a readable file
			t.Error(err)
		}
		for _, field := range []string{"x", "missing"} { // Fetch returns the reason
			want := secrets.Ref{Path: "closed/" + field}
			if got := b.Info().Resolve(secrets.Ref{Path: "closed", Field: field}); got != want {
				t.Errorf("Resolve: %v", got)
			}
		}
	})
}

// A file can be read by name in directories that can be searched and not listed, as in a /run/secrets of another user. The control is
// os.OpenRoot, which needs read permission.
func TestSearchPermissionIsEnough(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "keys")
	write(t, dir, map[string]string{"own": canary, "theirs": canary, "tls/password": canary, "tls/key": canary})
	newVolume(t, dir, map[string]string{"token": canary, "db/user": canary})
	for _, d := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		is.NoErr(os.Chmod(d, 0o755)) // nothing above the files is denied
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
	t.Cleanup(func() { // lets a user other than root remove it
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
		// Names decide, even if the other files cannot be read.
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
