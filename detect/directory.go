package detect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// inspectTimeout bounds the inspection of the directory. Only a network file system that hangs takes longer.
	inspectTimeout = time.Second
	// maxEntries bounds how many entries of the directory are inspected. A few are enough.
	maxEntries = 1000
)

// dirState is the result of an inspection of a directory.
type dirState struct {
	file   bool   // there is a file of secrets
	failed bool   // it is unknown whether there is one
	odd    bool   // there is none, but an entry that may have been meant as one
	what   string // "holds a file", or why it does not count: "does not exist"
}

// inspectInTime inspects dir. It returns the error of ctx when that ends first, and a failed dirState after c.timeout. An inspection that
// hangs in a system call goes on in its goroutine until the call returns.
func (c *config) inspectInTime(ctx context.Context, dir string) (dirState, error) {
	seen := make(chan dirState, 1)
	go func() { seen <- c.inspect(dir) }()
	timer := time.NewTimer(c.timeout)
	defer timer.Stop()
	select {
	case s := <-seen:
		return s, nil
	case <-timer.C:
		return dirState{failed: true, what: fmt.Sprintf("has not answered within %v", c.timeout)}, nil
	case <-ctx.Done():
		return dirState{}, ctx.Err()
	}
}

// inspect reports whether dir has a file of secrets at its top level. It opens only directories, so a FIFO or a device cannot block it. It
// follows links within dir, as package file does.
func inspect(dir string) dirState {
	if !os.IsPathSeparator(dir[len(dir)-1]) {
		dir += string(os.PathSeparator) // the system then rejects anything but a directory without opening it
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return unreadable(err)
	}
	defer root.Close()
	top, err := root.Open(".")
	if err != nil {
		return unreadable(err)
	}
	defer top.Close() //nolint:errcheck // nothing was written

	const chunk = 100
	nothing := dirState{what: "holds no file of secrets"}
	for n := 0; n < maxEntries; n += chunk {
		entries, err := top.ReadDir(chunk)
		for _, entry := range entries {
			if ofPlatform(entry.Name()) {
				continue
			}
			file, why := classify(root, entry)
			if file {
				return dirState{file: true, what: "holds a file"}
			}
			if why != "" && !nothing.odd {
				nothing = dirState{odd: true, what: "holds " + shown(entry.Name()) + ", " + why}
			}
		}
		if errors.Is(err, io.EOF) {
			return nothing
		}
		if err != nil {
			return unreadable(err)
		}
	}
	if nothing.odd {
		return nothing
	}
	return dirState{odd: true, what: fmt.Sprintf("holds no file of secrets among its first %d entries", maxEntries)}
}

// ofPlatform reports whether platforms create entries of that name: Kubernetes the service account of every pod and the links of a volume;
// podman, by containers-mounts.conf(5), the subscription of a Red Hat host, such as rhsm, etc-pki-entitlement and redhat.repo.
func ofPlatform(name string) bool {
	return name == "kubernetes.io" || strings.HasSuffix(name, ".repo") || slices.ContainsFunc([]string{"..", "rhsm", "etc-pki"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// classify reports whether entry is a file or a link to one. If not, why says what is wrong with it, or is "".
func classify(root *os.Root, entry fs.DirEntry) (file bool, why string) {
	kind := entry.Type()
	if kind&fs.ModeSymlink != 0 {
		info, err := root.Stat(entry.Name())
		if err != nil {
			return false, "a link that dangles or leads out of it"
		}
		kind = info.Mode().Type()
	}
	switch {
	case kind.IsRegular():
		return true, ""
	case !kind.IsDir():
		return false, "which is not a regular file"
	case entry.IsDir() && isEmpty(root, entry.Name()):
		return false, "an empty directory, as Docker leaves where the file of a bind mount is missing"
	default:
		return false, ""
	}
}

func isEmpty(root *os.Root, name string) bool {
	dir, err := root.Open(name)
	if err != nil {
		return false
	}
	defer dir.Close() //nolint:errcheck // nothing was written
	_, err = dir.ReadDir(1)
	return errors.Is(err, io.EOF)
}

// unreadable returns the state of a directory that could not be opened or listed, without its name. Only a directory that does not exist
// certainly has no file.
func unreadable(err error) dirState {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dirState{what: "does not exist"}
	case errors.Is(err, syscall.ENOTDIR):
		return dirState{failed: true, what: "is not a directory"}
	case errors.Is(err, fs.ErrPermission):
		return dirState{failed: true, what: "cannot be read: permission denied"}
	default:
		return dirState{failed: true, what: "cannot be read"}
	}
}
