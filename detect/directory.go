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
	// patience bounds the look into the directory, which is at hand or not at all: what takes longer is a file system across
	// a network that hangs.
	patience = time.Second
	// maxEntries bounds how many entries of the directory are looked at, a few of which tell.
	maxEntries = 1000
)

// sight is what a look into a directory shows.
type sight struct {
	file   bool   // there is a file of secrets
	failed bool   // whether there is one cannot be told
	odd    bool   // there is none, but something that may have been meant to be one
	what   string // "holds a file", or why it does not count: "does not exist"
}

// look looks into dir. It does not wait for longer than ctx lasts, whose error it returns, or its patience. A look that hangs
// in the system ends when that lets it.
func (c *config) look(ctx context.Context, dir string) (sight, error) {
	seen := make(chan sight, 1)
	go func() { seen <- c.inspect(dir) }()
	timer := time.NewTimer(c.patienceOf)
	defer timer.Stop()
	select {
	case s := <-seen:
		return s, nil
	case <-timer.C:
		return sight{failed: true, what: fmt.Sprintf("has not answered within %v", c.patienceOf)}, nil
	case <-ctx.Done():
		return sight{}, ctx.Err()
	}
}

// inspect says whether dir has a file of secrets at its top. It opens nothing but the directory, so that no FIFO or device
// can block it, and follows links as package file does, within the directory.
func inspect(dir string) sight {
	if !os.IsPathSeparator(dir[len(dir)-1]) {
		dir += string(os.PathSeparator) // so that the system refuses what is no directory before it opens it
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return unseen(err)
	}
	defer root.Close()
	top, err := root.Open(".")
	if err != nil {
		return unseen(err)
	}
	defer top.Close() //nolint:errcheck // nothing was written

	const chunk = 100
	nothing := sight{what: "holds no file of secrets"}
	for n := 0; n < maxEntries; n += chunk {
		entries, err := top.ReadDir(chunk)
		for _, entry := range entries {
			if ofPlatform(entry.Name()) {
				continue
			}
			file, why := look(root, entry)
			if file {
				return sight{file: true, what: "holds a file"}
			}
			if why != "" && !nothing.odd {
				nothing = sight{odd: true, what: "holds " + shown(entry.Name()) + ", " + why}
			}
		}
		if errors.Is(err, io.EOF) {
			return nothing
		}
		if err != nil {
			return unseen(err)
		}
	}
	if nothing.odd {
		return nothing
	}
	return sight{odd: true, what: fmt.Sprintf("holds no file of secrets among its first %d entries", maxEntries)}
}

// ofPlatform reports whether platforms put a file or directory of that name there by themselves: Kubernetes the service
// account of every pod, and the links of a volume; podman, by containers-mounts.conf(5), the subscription of a Red Hat host,
// such as rhsm, etc-pki-entitlement and redhat.repo.
func ofPlatform(name string) bool {
	return name == "kubernetes.io" || strings.HasSuffix(name, ".repo") || slices.ContainsFunc([]string{"..", "rhsm", "etc-pki"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// look reports whether entry is a file, or a link to one, or else why it may have been meant to be one.
func look(root *os.Root, entry fs.DirEntry) (file bool, why string) {
	kind := entry.Type()
	if kind&fs.ModeSymlink != 0 {
		info, err := root.Stat(entry.Name())
		if err != nil {
			return false, "a link that leads nowhere, or out of it"
		}
		kind = info.Mode().Type()
	}
	switch {
	case kind.IsRegular():
		return true, ""
	case !kind.IsDir():
		return false, "which is no regular file"
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

// unseen says why a directory could not be looked at, without its name. Only one that does not exist holds nothing for certain.
func unseen(err error) sight {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sight{what: "does not exist"}
	case errors.Is(err, syscall.ENOTDIR):
		return sight{failed: true, what: "is not a directory"}
	case errors.Is(err, fs.ErrPermission):
		return sight{failed: true, what: "cannot be read: permission denied"}
	default:
		return sight{failed: true, what: "cannot be read"}
	}
}
