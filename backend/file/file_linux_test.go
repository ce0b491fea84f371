package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
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
		"file": 0, "closed": 0, "mixed/x": 0o644, "mixed/y": 0, "unlisted": 0o711, "unlisted/x": 0o644, "base": 0o711,
		"volume/..v": 0o700,
	}
	is.NoErr(os.Chmod(filepath.Dir(dir), 0o755)) // so that what is denied is only what should be
	is.NoErr(os.Chmod(dir, 0o755))               // as above
	b := backend(t, dir)
	base := backend(t, filepath.Join(dir, "base"))
	for name, mode := range modes {
		is.NoErr(os.Chmod(filepath.Join(dir, name), mode))
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "closed"), 0o700) }) // for who removes it, if not root

	asNobody(func() {
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
		ref := secrets.Ref{Path: "closed", Field: "x"}
		if got := b.Info().Resolve(ref); got != ref {
			t.Errorf("Resolve: %v", got)
		}
	})
}

// asNobody calls f on a thread whose rights to files are those of a user without any, also where the tests run as root,
// to whom no mode of a file is a denial. The thread ends with f.
func asNobody(f func()) {
	const nobody = 65534
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is not used again
		if os.Geteuid() == 0 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
		}
		f()
	}()
	<-done
}
