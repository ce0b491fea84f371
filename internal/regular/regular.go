// Package regular reads regular files whole, up to a limit, and nothing else: what only looks like a file in a listing, a
// FIFO, a socket or a device, can neither block the reader nor be disturbed by it.
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
	// ErrNotRegular says that there is something under the name, and it is not a regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge says that the file holds more bytes than the limit.
	ErrTooLarge = errors.New("too large")
	// ErrChanged says that a name of a [Dir] stands for another kind of thing than a moment ago, such as a link for a directory.
	ErrChanged = errors.New("changed while it was read")
)

// Info is what is known about a file, a directory or a link without opening it.
type Info struct {
	Mode     fs.FileMode
	Modified time.Time
	// Mount names the mount that it is on: that of a mount point differs from that of the directory around it. It is 0 where the
	// system does not tell.
	Mount uint64

	identity identity
}

// ReadFile returns the content of the regular file name, which may be anywhere. The error is [ErrNotRegular],
// [ErrTooLarge], or one of package os.
func ReadFile(name string, limit int64) (string, error) {
	// Opening a FIFO wakes its writer, and opening a device may do anything: so the look comes before the opening. Who
	// swaps the file in between meets the flags and the second look in read.
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
	most := limit
	if most < math.MaxInt64 { // one byte more shows that there is more; past the largest number there is none
		most++
	}
	content, err := io.ReadAll(io.LimitReader(f, most))
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
