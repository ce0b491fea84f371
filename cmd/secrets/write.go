package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// replaceFile writes content to a new file with mode 0600, and renames it to path. If anything fails, path is as before.
func replaceFile(path string, content []byte) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return usage("-o %s: it exists and is not a regular file; use another path, or a pipe", printable(path))
	}
	f, link, err := newUnnamed(filepath.Dir(path))
	if err != nil {
		return notWritten(path, err)
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	name, failed := link()
	err = errors.Join(err, failed, f.Close())
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		if removed := os.Remove(name); !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
		return notWritten(path, err)
	}
	return nil
}

// newNamed returns a file with mode 0600 in dir.
func newNamed(dir string) (*os.File, func() (string, error), error) {
	f, err := os.CreateTemp(dir, ".secrets-*")
	if err != nil {
		return nil, nil, err
	}
	return f, func() (string, error) { return f.Name(), nil }, nil
}

// notWritten says that a file could not be written, in one line.
func notWritten(path string, err error) error {
	if own, ok := errors.AsType[*fs.PathError](err); ok {
		err = own.Err // the rest names a file that is not the user's
	} else if own, ok := errors.AsType[*os.LinkError](err); ok {
		err = own.Err
	}
	return fmt.Errorf("secrets: -o %s: nothing was written: %w; check the directory and its free space", printable(path), err)
}
