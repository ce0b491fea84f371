//go:build !linux

package regular

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is an open directory for reading what is inside it, and nothing outside. Its methods take names in the form of [fs.ValidPath]. It is
// an [os.Root], which needs read permission for the directories on the way.
type Dir struct{ root *os.Root }

// identity distinguishes two files.
type identity struct{ fs.FileInfo }

// OpenDir opens the directory name. The separator at the end makes the system reject anything but a directory before it opens it: opening a
// FIFO would block.
func OpenDir(name string) (*Dir, error) { return dir(os.OpenRoot(name + string(filepath.Separator))) }

func dir(root *os.Root, err error) (*Dir, error) {
	if err != nil {
		return nil, err
	}
	return &Dir{root}, nil
}

// Close closes the directory.
func (d *Dir) Close() { _ = d.root.Close() } //nolint:errcheck // nothing was written

// OpenDir opens a directory within d.
func (d *Dir) OpenDir(name string) (*Dir, error) {
	return dir(d.root.OpenRoot(filepath.FromSlash(name) + string(filepath.Separator)))
}

// List opens a directory within d to list it.
func (d *Dir) List(name string) (*os.File, error) { return d.root.Open(filepath.FromSlash(name)) }

// ReadFile returns the content of a regular file within d, as [ReadFile] does.
func (d *Dir) ReadFile(name string, limit int64) (string, error) {
	name = filepath.FromSlash(name)
	if err := check(d.root.Stat(name)); err != nil {
		return "", err
	}
	f, err := d.root.OpenFile(name, flags, 0)
	return read(f, err, limit)
}

// Readlink returns the target of a symbolic link within d.
func (d *Dir) Readlink(name string) (string, error) { return d.root.Readlink(filepath.FromSlash(name)) }

// Lstat describes a file within d. It does not follow a symbolic link.
func (d *Dir) Lstat(name string) (Info, error) {
	return describe(d.root.Lstat(filepath.FromSlash(name)))
}

// Stat describes the file name, which may be anywhere.
func Stat(name string) (Info, error) { return describe(os.Stat(name)) }

// Same reports whether i and other describe the same file.
func (i Info) Same(other Info) bool { return os.SameFile(i.identity.FileInfo, other.identity.FileInfo) }

func describe(info fs.FileInfo, err error) (Info, error) {
	if err != nil {
		return Info{}, err
	}
	return Info{Mode: info.Mode(), Modified: info.ModTime(), identity: identity{info}}, nil
}
