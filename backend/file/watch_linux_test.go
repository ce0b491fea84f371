package file_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/otheruser"
)

// A file that must not be read any more has changed. The look runs as the other user.
func TestPermissionTakenAwayIsAChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"token": canary, "control": canary})
		for _, d := range []string{filepath.Dir(dir), dir} {
			is.NoErr(os.Chmod(d, 0o755))
		}
		chmod := func(name string, mode os.FileMode) {
			is.NoErr(os.Chmod(filepath.Join(dir, name), mode))
		}
		chmod("token", 0o444)
		chmod("control", 0o444)
		b := backend(t, dir)
		r := watch(b)
		look := func() []string {
			otheruser.Nobody(t, b.Look)
			return r.take()
		}
		otheruser.Nobody(t, func() { fetchAll(t.Context(), b, "token", "control") })
		is.Equal(len(look()), 0)
		chmod("token", 0)
		is.Equal(look(), []string{"token"})
		is.Equal(len(look()), 0)
		chmod("token", 0o444)
		is.Equal(look(), []string{"token"})
		is.NoErr(b.Close())
	})
}

// What is unmounted has changed, and so has what is mounted again.
func TestUnmountedIsAChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := tree(t, map[string]string{"db/": "", "other": canary})
		at := filepath.Join(dir, "db")
		unmount := mount(t, at, map[string]string{"token": "1"})
		changes(t, backend(t, dir), dir, []string{"db/token", "other"}, []change{
			{"unmounted", func(*testing.T, string) { unmount() }, []string{"db/token"}},
			{"mounted", func(t *testing.T, _ string) {
				t.Helper()
				unmount = mount(t, at, map[string]string{"token": "1"})
			}, []string{"db/token"}},
			{"mounted over it", func(t *testing.T, _ string) {
				t.Helper()
				over := mount(t, at, map[string]string{"token": "2"})
				t.Cleanup(over)
			}, []string{"db/token"}},
		})
	})
}
