package regular

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is an open directory for reading what is inside it. Its methods take names in the form of [fs.ValidPath], and open them element by
// element without following symbolic links, so nothing outside is ever opened.
//
// Only search permission (x) is needed for the directory and those in it; List alone needs read permission. Dir therefore uses O_PATH,
// which os.Root does not; see https://man7.org/linux/man-pages/man2/open.2.html.
type Dir struct{ fd int }

// identity distinguishes two files. Many file systems reuse the inode number of a deleted file, so it includes the birth time.
type identity struct {
	major, minor uint32
	inode        uint64
	born         unix.StatxTimestamp
}

const (
	openPath  = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	noFollow  = unix.O_NOFOLLOW | unix.O_CLOEXEC
	openInDir = openPath | unix.O_NOFOLLOW // O_DIRECTORY triggers automounts
)

// OpenDir opens the directory name. The dot at the end makes the system check search permission, and reject anything but a directory before
// it opens it.
func OpenDir(name string) (*Dir, error) {
	fd, err := openat(unix.AT_FDCWD, name+"/.", openPath)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &Dir{fd}, nil
}

// Close closes the directory.
func (d *Dir) Close() { _ = unix.Close(d.fd) } //nolint:errcheck // nothing was written

// OpenDir opens a directory within d.
func (d *Dir) OpenDir(name string) (*Dir, error) {
	fd, err := d.open(name, openInDir)
	if errors.Is(err, unix.ENOTDIR) {
		err = ErrChanged
	}
	if err != nil {
		return nil, err
	}
	return &Dir{fd}, nil
}

// List opens a directory within d to list it.
func (d *Dir) List(name string) (*os.File, error) {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY|noFollow)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		err = ErrChanged
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ReadFile returns the content of a regular file within d, as [ReadFile] does.
func (d *Dir) ReadFile(name string, limit int64) (string, error) {
	info, err := d.Lstat(name)
	switch {
	case err != nil:
		return "", err
	case info.Mode.Type() == fs.ModeSymlink:
		return "", ErrChanged
	case !info.Mode.IsRegular(): // see the function ReadFile
		return "", ErrNotRegular
	}
	fd, err := d.open(name, flags|noFollow)
	if errors.Is(err, unix.ELOOP) {
		err = ErrChanged
	}
	if err != nil {
		return "", err
	}
	return read(os.NewFile(uintptr(fd), name), nil, limit)
}

// Readlink returns the target of a symbolic link within d.
func (d *Dir) Readlink(name string) (target string, err error) {
	err = d.in(name, func(dir int, last string) error {
		target, err = readlinkat(dir, last)
		return err
	})
	if errors.Is(err, unix.EINVAL) { // no longer a link
		err = ErrChanged
	}
	return target, err
}

// Lstat describes a file within d. It does not follow a symbolic link.
func (d *Dir) Lstat(name string) (info Info, err error) {
	err = d.in(name, func(dir int, last string) error {
		info, err = stat(dir, last, unix.AT_SYMLINK_NOFOLLOW)
		return err
	})
	return info, err
}

// Stat describes the file name, which may be anywhere.
func Stat(name string) (Info, error) { return stat(unix.AT_FDCWD, name, 0) }

// Same reports whether i and other describe the same file.
func (i Info) Same(other Info) bool { return i.identity == other.identity }

// open opens name within d.
func (d *Dir) open(name string, flags int) (fd int, err error) {
	err = d.in(name, func(dir int, last string) error {
		fd, err = openat(dir, last, flags)
		return err
	})
	return fd, err
}

// in calls f with the directory within d that holds the last element of name.
func (d *Dir) in(name string, f func(dir int, last string) error) error {
	if !fs.ValidPath(name) {
		return unix.EINVAL
	}
	dir := d.fd
	for {
		first, rest, more := strings.Cut(name, "/")
		if !more {
			return f(dir, name)
		}
		next, err := openat(dir, first, openInDir)
		if errors.Is(err, unix.ENOTDIR) { // it was a directory before
			err = ErrChanged
		}
		if err != nil {
			return err
		}
		defer unix.Close(next) //nolint:errcheck // nothing was written
		dir, name = next, rest
	}
}

func openat(dir int, name string, flags int) (fd int, err error) {
	err = uninterrupted(func() error {
		fd, err = unix.Openat(dir, name, flags, 0)
		return err
	})
	return fd, err
}

func readlinkat(dir int, name string) (target string, err error) {
	buffer := make([]byte, unix.PathMax) // no target is longer
	var n int
	err = uninterrupted(func() error {
		n, err = unix.Readlinkat(dir, name, buffer)
		return err
	})
	return string(buffer[:max(n, 0)]), err
}

// stat uses statx, which also reports the mount from Linux 5.8: https://man7.org/linux/man-pages/man2/statx.2.html. On older kernels, and
// where a sandbox forbids statx, the device of a directory identifies its mount. A file's device cannot: it may differ from its directory's
// within one mount, see https://docs.kernel.org/filesystems/overlayfs.html#inode-properties.
func stat(dir int, name string, flags int) (Info, error) {
	var st unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID
	err := uninterrupted(func() error { return unix.Statx(dir, name, flags, mask, &st) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return oldStat(dir, name, flags)
	}
	if err != nil {
		return Info{}, err
	}
	info := Info{
		Mode:     mode(uint32(st.Mode)),
		Modified: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
		identity: identity{st.Dev_major, st.Dev_minor, st.Ino, st.Btime},
	}
	if info.Mount = st.Mnt_id; st.Mask&unix.STATX_MNT_ID == 0 {
		info.Mount = info.device()
	}
	return info, nil
}

func oldStat(dir int, name string, flags int) (Info, error) {
	var st unix.Stat_t
	if err := uninterrupted(func() error { return unix.Fstatat(dir, name, &st, flags) }); err != nil {
		return Info{}, err
	}
	seconds, nanoseconds := st.Mtim.Unix()
	info := Info{
		Mode:     mode(st.Mode),
		Modified: time.Unix(seconds, nanoseconds),
		identity: identity{major: unix.Major(uint64(st.Dev)), minor: unix.Minor(uint64(st.Dev)), inode: st.Ino}, //nolint:unconvert // on MIPS
	}
	info.Mount = info.device()
	return info, nil
}

// device returns the device of a directory, which replaces the mount, or 0.
func (i Info) device() uint64 {
	if !i.Mode.IsDir() {
		return 0
	}
	return unix.Mkdev(i.identity.major, i.identity.minor)
}

// mode returns the type of a file: regular, directory, symbolic link or irregular.
func mode(bits uint32) fs.FileMode {
	switch bits & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	default:
		return fs.ModeIrregular
	}
}

// uninterrupted repeats f while a signal interrupts it, as package os does.
func uninterrupted(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
