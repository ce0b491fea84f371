package regular_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/regular"
)

// No name reaches outside a Dir, and no link is followed. The control: the links lead to readable files.
func TestDirStaysWithin(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	base := t.TempDir()
	dir := filepath.Join(base, "d")
	is.NoErr(os.MkdirAll(filepath.Join(dir, "sub"), 0o700))
	is.NoErr(os.WriteFile(filepath.Join(base, "canary"), []byte("x"), 0o600))
	is.NoErr(os.WriteFile(filepath.Join(dir, "sub", "in"), []byte("y"), 0o600))
	is.NoErr(os.Symlink("../canary", filepath.Join(dir, "file")))
	is.NoErr(os.Symlink("..", filepath.Join(dir, "up")))
	is.NoErr(os.Symlink("sub", filepath.Join(dir, "link")))
	d, err := regular.OpenDir(dir)
	is.NoErr(err)
	defer d.Close()

	for name, want := range map[string]error{
		"../canary": syscall.EINVAL, "/etc/hostname": syscall.EINVAL, "sub/../../canary": syscall.EINVAL, "": syscall.EINVAL,
		"sub//in": syscall.EINVAL, "up/canary": regular.ErrChanged, "file": regular.ErrChanged, "link/in": regular.ErrChanged,
	} {
		_, err := d.ReadFile(name, 10)
		is.True(errors.Is(err, want)) // refused
		_, err = d.OpenDir(name)
		is.True(err != nil)
		_, err = d.List(name)
		is.True(err != nil)
	}
	for _, name := range []string{"file", "up/canary", "link/in"} {
		_, err := os.ReadFile(filepath.Join(dir, name))
		is.NoErr(err)
	}
	for name, want := range map[string]fs.FileMode{
		".": fs.ModeDir, "sub": fs.ModeDir, "sub/in": 0, "up": fs.ModeSymlink, "file": fs.ModeSymlink,
	} {
		info, err := d.Lstat(name)
		is.NoErr(err)
		is.Equal(info.Mode, want)
	}
	content, err := d.ReadFile("sub/in", 10)
	is.NoErr(err)
	is.Equal(content, "y")
	target, err := d.Readlink("up")
	is.NoErr(err)
	is.Equal(target, "..")
	_, err = d.Readlink("sub/in")
	is.True(errors.Is(err, regular.ErrChanged)) // not a link

	sub, err := d.OpenDir("sub")
	is.NoErr(err)
	defer sub.Close()
	list, err := sub.List(".")
	is.NoErr(err)
	defer list.Close()
	names, err := list.Readdirnames(-1)
	is.NoErr(err)
	is.Equal(names, []string{"in"})
}

// A mount point has another mount than its directory, even of the same file system. The control is a plain directory.
func TestMountsDiffer(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	base := t.TempDir()
	for _, name := range []string{"tmpfs", "bind", "plain"} {
		is.NoErr(os.Mkdir(filepath.Join(base, name), 0o700))
	}
	for name, err := range map[string]error{
		"tmpfs": syscall.Mount("tmpfs", filepath.Join(base, "tmpfs"), "tmpfs", 0, ""),
		"bind":  syscall.Mount(t.TempDir(), filepath.Join(base, "bind"), "", syscall.MS_BIND, ""),
	} {
		if err != nil {
			t.Fatalf("this test mounts file systems, so that it must run as root with CAP_SYS_ADMIN: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(filepath.Join(base, name), 0) })
	}
	d, err := regular.OpenDir(base)
	is.NoErr(err)
	defer d.Close()
	around, err := d.Lstat(".")
	is.NoErr(err)
	same, err := regular.Stat(base)
	is.NoErr(err)
	is.True(around.Same(same))
	for name, want := range map[string]bool{"tmpfs": true, "bind": true, "plain": false} {
		info, err := d.Lstat(name)
		is.NoErr(err)
		is.Equal(info.Mount != around.Mount, want)
		is.True(!info.Same(around))
	}
}

// A file system may reuse the inode number of a deleted directory.
func TestARecreatedDirectoryIsAnother(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	name := filepath.Join(t.TempDir(), "d")
	for range 100 {
		is.NoErr(os.Mkdir(name, 0o700))
		first, err := regular.Stat(name)
		is.NoErr(err)
		is.NoErr(os.Remove(name))
		is.NoErr(os.Mkdir(name, 0o700))
		second, err := regular.Stat(name)
		is.NoErr(err)
		again, err := regular.Stat(name)
		is.NoErr(err)
		is.True(!first.Same(second))
		is.True(second.Same(again))
		is.NoErr(os.Remove(name))
	}
}

// Without statx, the device identifies the mount of a directory; a file's mount is unknown.
func TestStatWithoutStatx(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	base := t.TempDir()
	is.NoErr(os.WriteFile(filepath.Join(base, "file"), []byte("x"), 0o600))
	for _, name := range []string{base, filepath.Join(base, "file"), "/proc", "/dev/null"} {
		want, err := regular.Stat(name)
		is.NoErr(err)
		got, err := regular.OldStat(name)
		is.NoErr(err)
		again, err := regular.OldStat(name)
		is.NoErr(err)
		is.True(got.Same(again))
		is.Equal(got.Mode, want.Mode)
		is.Equal(got.Modified, want.Modified)
		is.Equal(got.Mount != 0, want.Mode.IsDir())
	}
	proc, err := regular.OldStat("/proc")
	is.NoErr(err)
	root, err := regular.OldStat("/")
	is.NoErr(err)
	is.True(proc.Mount != root.Mount)
	is.True(!proc.Same(root))
}
