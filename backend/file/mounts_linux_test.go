package file_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// mount mounts a tmpfs with files at dir and returns a function that unmounts it.
func mount(t *testing.T, dir string, files map[string]string) (unmount func()) {
	t.Helper()
	return mounted(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"), dir, files)
}

// bind mounts source, a directory or file of the same file system, at dir.
func bind(t *testing.T, source, dir string) (unmount func()) {
	t.Helper()
	return mounted(t, syscall.Mount(source, dir, "", syscall.MS_BIND, ""), dir, nil)
}

func mounted(t *testing.T, err error, dir string, files map[string]string) (unmount func()) {
	t.Helper()
	if err != nil {
		t.Fatalf("this test mounts file systems and must run as root with CAP_SYS_ADMIN: %v", err)
	}
	is := true
	t.Cleanup(func() {
		if is {
			_ = syscall.Unmount(dir, 0)
		}
	})
	write(t, dir, files)
	return func() {
		t.Helper()
		is = false
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// An unmount under a running program leaves an empty directory. That is an outage, and the fallback must not be used. The control is a
// plain directory whose file is removed.
func TestUnmounted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		at   string // the mount point, below a new directory
		dir  string // of the backend
		key  string
		make func(t *testing.T, at string) (unmount func())
		none func(t *testing.T, at string)
	}{
		{name: "the directory", at: "d", dir: "d", key: "token"},
		{name: "above the directory", at: "d", dir: "d/sub", key: "token", none: func(t *testing.T, at string) {
			t.Helper()
			write(t, at, map[string]string{"sub/": ""}) // what the mount hid
		}},
		{name: "below the directory", at: "d/db", dir: "d", key: "db/token"},
		{name: "below the directory, removed", at: "d/db", dir: "d", key: "db/token", none: func(t *testing.T, at string) {
			t.Helper()
			if err := os.Remove(at); err != nil {
				t.Error(err)
			}
		}},
		{name: "below the directory, a field", at: "d/db", dir: "d", key: "db#token"},
		{name: "a file of the same name is left", at: "d", dir: "d", key: "token", none: func(t *testing.T, at string) {
			t.Helper()
			write(t, at, map[string]string{"token": "what the image came with"})
		}},
		{name: "a mount of the same file system", at: "d", dir: "d", key: "token", make: func(t *testing.T, at string) func() {
			t.Helper()
			return bind(t, tree(t, map[string]string{"token": canary}), at)
		}},
		{name: "a file, as Docker mounts it", at: "d/token", dir: "d", key: "token", make: func(t *testing.T, at string) func() {
			t.Helper()
			if err := os.RemoveAll(at); err != nil {
				t.Error(err)
			}
			write(t, filepath.Dir(at), map[string]string{"token": ""})
			return bind(t, filepath.Join(tree(t, map[string]string{"token": canary}), "token"), at)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			base := tree(t, map[string]string{tt.at + "/": ""})
			at, dir := filepath.Join(base, tt.at), filepath.Join(base, tt.dir)
			if tt.make == nil {
				tt.make = func(t *testing.T, at string) func() {
					t.Helper()
					below, err := filepath.Rel(at, filepath.Join(dir, strings.ReplaceAll(tt.key, "#", "/")))
					is.NoErr(err)
					return mount(t, at, map[string]string{below: canary})
				}
			}
			unmount := tt.make(t, at)
			c := weaker(t, backend(t, dir))
			got, err := c.Get(t.Context(), tt.key)
			is.NoErr(err)
			is.Equal(got.Reveal(), canary)

			unmount()
			if tt.none != nil {
				tt.none(t, at)
			}
			_, err = c.Get(t.Context(), tt.key)
			is.Equal(secrets.Class(err), secrets.ErrUnavailable)
			is.True(strings.Contains(err.Error(), at+" was a mount point, and nothing is mounted there now"))

			if tt.name == "a file, as Docker mounts it" {
				return
			}
			is.NoErr(os.MkdirAll(at, 0o755))
			unmount = tt.make(t, at) // another mount in its place is read
			got, err = c.Get(t.Context(), tt.key)
			is.NoErr(err)
			is.Equal(got.Reveal(), canary)
			unmount()
		})
	}
}

func TestUnmountedControl(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{"token": canary, "db/token": canary})
	c := weaker(t, backend(t, dir))
	for _, key := range []string{"token", "db/token"} {
		got, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(got.Reveal(), canary)
		is.NoErr(os.RemoveAll(filepath.Join(dir, filepath.Dir(key), "token")))
		got, err = c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(got.Reveal(), "weaker") // the file was removed: "not found"
	}
	is.NoErr(os.RemoveAll(dir)) // deleted and created again, it is a directory like any other
	write(t, dir, map[string]string{"other": "1"})
	got, err := c.Get(t.Context(), "token")
	is.NoErr(err)
	is.Equal(got.Reveal(), "weaker")
}

// A mount after New is remembered too, and so is one over it.
func TestAMountAfterNewIsRemembered(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := t.TempDir()
	c := weaker(t, backend(t, dir))
	get := func() string {
		t.Helper()
		got, err := c.Get(t.Context(), "token")
		if err != nil {
			return secrets.Class(err).Error()
		}
		return got.Reveal()
	}
	is.Equal(get(), "weaker")
	first := mount(t, dir, map[string]string{"token": "1"})
	is.Equal(get(), "1")
	second := mount(t, dir, map[string]string{"token": "2"})
	is.Equal(get(), "2")
	second()
	is.Equal(get(), "1")
	first()
	is.Equal(get(), secrets.ErrUnavailable.Error())
}

// A link may move from one mount to another, and Kubernetes updates a volume within its mount. Both are read.
func TestALinkMayMoveToAnotherMount(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	base := tree(t, map[string]string{"1/": "", "2/": "", "volume/": ""})
	unmount1 := mount(t, filepath.Join(base, "1"), map[string]string{"token": "1"})
	unmount2 := mount(t, filepath.Join(base, "2"), map[string]string{"token": "2"})
	link(t, base, "1", "current")
	b := backend(t, filepath.Join(base, "current"))
	got, err := get(t, b, "token")
	is.NoErr(err)
	is.Equal(got, "1")
	is.NoErr(os.Remove(filepath.Join(base, "current")))
	link(t, base, "2", "current")
	unmount1()
	got, err = get(t, b, "token")
	is.NoErr(err)
	is.Equal(got, "2")
	unmount2()
	_, err = get(t, b, "token")
	is.Equal(secrets.Class(err), secrets.ErrUnavailable) // the link leads to a former mount point

	is.NoErr(os.Remove(filepath.Join(base, "current")))
	write(t, base, map[string]string{"plain/token": "3"}) // the link may also move to a plain directory
	link(t, base, "plain", "current")
	got, err = get(t, b, "token")
	is.NoErr(err)
	is.Equal(got, "3")

	unmount := mount(t, filepath.Join(base, "volume"), nil)
	defer unmount()
	v := newVolume(t, filepath.Join(base, "volume"), pair("", 1))
	b = backend(t, v.dir)
	for n := 2; n < 5; n++ {
		v.update(pair("", n))
		_, err = get(t, b, "user")
		is.NoErr(err)
		_, err = get(t, b, "missing")
		is.Equal(secrets.Class(err), secrets.ErrNotFound)
	}
}
