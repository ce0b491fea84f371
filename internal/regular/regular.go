// Package regular reads regular files up to a size limit, and nothing else. A FIFO, a socket or a device can neither block the reader nor
// be disturbed by it.
package regular

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"time"
)

var (
	// ErrNotRegular says that the name exists and is not a regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge says that the file exceeds the limit.
	ErrTooLarge = errors.New("too large")
	// ErrChanged says that a name of a [Dir] changed its kind during the read, such as from a directory to a link.
	ErrChanged = errors.New("changed while it was read")
)

// Info describes a file, a directory or a link that was not opened.
type Info struct {
	Mode     fs.FileMode
	Modified time.Time
	// Mount identifies the mount of the file: a mount point differs from its parent directory. It is 0 if the system does not report it.
	Mount uint64

	identity identity
}

// ReadFile returns the content of the regular file name, up to limit bytes. The error is [ErrNotRegular], [ErrTooLarge], or one of package
// os.
func ReadFile(name string, limit int64) (string, error) {
	// Stat first: opening a FIFO wakes its writer, and opening a device may have any effect. If the file is swapped after that, the open flags
	// and the check in read apply.
	if err := check(os.Stat(name)); err != nil {
		return "", err
	}
	f, err := os.OpenFile(name, flags, 0) //nolint:gosec // the caller decides which file
	return read(f, err, limit)
}

func read(f *os.File, err error, limit int64) (string, error) {
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if err := check(f.Stat()); err != nil {
		return "", err
	}
	maxRead := limit
	if maxRead < math.MaxInt64 { // one more byte detects a larger file
		maxRead++
	}
	content, err := io.ReadAll(io.LimitReader(f, maxRead))
	if err != nil {
		return "", err
	}
	if int64(len(content)) > limit {
		return "", ErrTooLarge
	}
	return string(content), nil
}

func check(info fs.FileInfo, err error) error {
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return ErrNotRegular
	}
	return nil
}
