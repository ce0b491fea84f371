package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// newUnnamed returns a file with mode 0600 that has no name in dir until link gives it one, so that nothing is left of a command that is
// killed. Where the file system cannot do that, the file has a name from the beginning.
func newUnnamed(dir string) (f *os.File, link func() (name string, err error), err error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, privateFile)
	if err != nil {
		return newNamed(dir)
	}
	f = os.NewFile(uintptr(fd), dir)
	return f, func() (string, error) {
		name := filepath.Join(dir, ".secrets-"+rand.Text())
		return name, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	}, nil
}
