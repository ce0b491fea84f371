package file_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/otheruser"
)

// A file that becomes unreadable has changed. The poll runs as another user.
func TestALostReadPermissionIsAChange(t *testing.T) {
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
		poll := func() []string {
			otheruser.Nobody(t, b.Poll)
			return r.take()
		}
		otheruser.Nobody(t, func() { fetchAll(t.Context(), b, "token", "control") })
		is.Equal(len(poll()), 0)
		chmod("token", 0)
		is.Equal(poll(), []string{"token"})
		is.Equal(len(poll()), 0)
		chmod("token", 0o444)
		is.Equal(poll(), []string{"token"})
		is.NoErr(b.Close())
	})
}

// An unmount is a change, and so is a new mount.
func TestAnUnmountIsAChange(t *testing.T) {
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
