package regular

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is a directory that is held open, by which what is in it can be read. Its methods take names as [fs.ValidPath] has them, and
// follow no symbolic link: they go from one element to the next, so that nothing outside is ever opened.
//
// It asks for search permission (x) only, also of the directories in it; List alone needs read permission. So it is open with
// O_PATH, which os.Root is not; see https://man7.org/linux/man-pages/man2/open.2.html.
type Dir struct{ fd int }

// identity tells two files apart. Many file systems give the number of a deleted one to the next, and tell when each was made.
type identity struct {
	major, minor uint32
	inode        uint64
	born         unix.StatxTimestamp
}

const (
	openPath  = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	noFollow  = unix.O_NOFOLLOW | unix.O_CLOEXEC
	openInDir = openPath | unix.O_NOFOLLOW // as O_DIRECTORY, it mounts what is mounted on demand
)

// OpenDir opens the directory name. It must be searchable: the dot at the end makes the system check that, and refuse what is not a
// directory before it opens it.
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
	if errors.Is(err, unix.EINVAL) { // it is no link any more
		err = ErrChanged
	}
	return target, err
}

// Lstat describes what is within d, and a symbolic link itself.
func (d *Dir) Lstat(name string) (info Info, err error) {
	err = d.in(name, func(dir int, last string) error {
		info, err = stat(dir, last, unix.AT_SYMLINK_NOFOLLOW)
		return err
	})
	return info, err
}

// Stat describes the file name, which may be anywhere.
func Stat(name string) (Info, error) { return stat(unix.AT_FDCWD, name, 0) }

// Same reports whether i and other are of one file.
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
		if errors.Is(err, unix.ENOTDIR) { // the caller has seen a directory
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

// stat asks for the mount as well: https://man7.org/linux/man-pages/man2/statx.2.html. Linux tells it from version 5.8 on. Before, and
// where a sandbox forbids statx, the device of a directory stands for it; that of a file may differ from it within one mount:
// https://docs.kernel.org/filesystems/overlayfs.html#inode-properties.
func stat(dir int, name string, flags int) (Info, error) {
	var st unix.Statx_t
	const asked = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID
	err := uninterrupted(func() error { return unix.Statx(dir, name, flags, asked, &st) })
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

// device is what stands for the mount of a directory.
func (i Info) device() uint64 {
	if !i.Mode.IsDir() {
		return 0
	}
	return unix.Mkdev(i.identity.major, i.identity.minor)
}

// mode tells apart what matters here.
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

// uninterrupted calls f again for as long as a signal interrupts it, as package os does.
func uninterrupted(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
