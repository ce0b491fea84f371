package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

const (
	privateFile = 0o600
	privateDir  = 0o700
)

// files are the files of a program, in memory.
type files struct {
	list []target               // with absolute paths, once they are created
	base string                 // where dir will be, or "" if there is no relative path
	dir  string                 // the directory of relative paths, or ""
	made []string               // what is removed at the end
	last map[string]os.FileInfo // of each file, as it was written last
}

// newFiles checks the paths. It creates nothing.
func newFiles(list []target) (*files, error) {
	f := &files{list: list, last: make(map[string]os.FileInfo)}
	if len(list) > 0 && runtime.GOOS != "linux" {
		return nil, usage("exec: --file needs Linux; use --env")
	}
	for i, t := range list {
		path := filepath.Clean(t.name)
		switch {
		case filepath.IsAbs(path):
			if err := checkPath(path); err != nil {
				return nil, err
			}
		case t.name == "" || path == "." || !filepath.IsLocal(path):
			return nil, usage("exec: --file %s: not a path of a file below a new directory; write PATH=KEY", printable(t.name+"="+t.key))
		case f.base == "":
			var err error
			if f.base, err = memoryDirectory(); err != nil {
				return nil, err
			}
		}
		f.list[i].name = path
	}
	return f, nil
}

// checkPath returns an error unless a file can be made there, in memory.
func checkPath(path string) error {
	dir := filepath.Dir(path)
	switch inMemory, err := isInMemory(dir); {
	case err != nil:
		return usage("exec: --file %s: %w; use a directory that exists, such as /dev/shm or /run", printable(path), err)
	case !inMemory:
		return usage("exec: --file %s: %s may be on a disk; use a directory of a tmpfs, such as /dev/shm or /run, or a relative path",
			printable(path), printable(dir))
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return usage("exec: --file %s: it exists and is not a regular file; use another path", printable(path))
	}
	return nil
}

// memoryDirectory returns where a new directory in memory can be.
func memoryDirectory() (string, error) {
	for _, dir := range []string{"/dev/shm", os.Getenv("XDG_RUNTIME_DIR")} {
		if inMemory, err := isInMemory(dir); inMemory && err == nil {
			return dir, nil
		}
	}
	return "", usage("exec: --file: neither /dev/shm nor XDG_RUNTIME_DIR is a tmpfs; use an absolute path on one, such as below /run")
}

// create makes the files, which are empty then.
func (f *files) create() (err error) {
	if f.base != "" {
		if f.dir, err = os.MkdirTemp(f.base, "secrets-*"); err != nil {
			return fmt.Errorf("secrets: exec: --file: %w", err)
		}
		f.made = append(f.made, f.dir)
	}
	for i := range f.list {
		path := &f.list[i].name
		if filepath.IsAbs(*path) {
			if err = os.Remove(*path); errors.Is(err, os.ErrNotExist) { // a run that was killed leaves its files
				err = nil
			}
		} else {
			*path = filepath.Join(f.dir, *path)
			err = os.MkdirAll(filepath.Dir(*path), privateDir)
		}
		var made *os.File
		if err == nil {
			made, err = os.OpenFile(*path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, privateFile)
		}
		if err != nil {
			return fmt.Errorf("secrets: exec: --file: %w", err)
		}
		f.made = append(f.made, *path)
		if err := made.Close(); err != nil {
			return err
		}
	}
	return nil
}

// write gives the files new content: each in one step, and none if there is no room for one of them.
func (f *files) write(values map[string]secrets.Secret) (err error) {
	staged := make([]string, 0, len(f.list))
	defer func() {
		for _, path := range staged {
			if failed := os.Remove(path); !errors.Is(failed, os.ErrNotExist) { // most have been renamed
				err = errors.Join(err, failed)
			}
		}
	}()
	for _, t := range f.list {
		temporary, err := os.CreateTemp(filepath.Dir(t.name), ".secrets-*") // with mode 0600
		if err != nil {
			return fmt.Errorf("secrets: exec: --file: %w", err)
		}
		staged = append(staged, temporary.Name())
		_, err = temporary.Write(values[t.key].Bytes())
		if err = errors.Join(err, temporary.Close()); err != nil {
			return fmt.Errorf("secrets: exec: --file: %w", err)
		}
	}
	for i, t := range f.list {
		info, err := os.Lstat(staged[i])
		if err == nil {
			err = os.Rename(staged[i], t.name)
		}
		if err != nil {
			return fmt.Errorf("secrets: exec: --file: %w", err)
		}
		f.last[t.name] = info
	}
	return nil
}

// remove removes the files, and all that the program has put beside those with a relative path.
func (f *files) remove() error {
	var failures []error
	for _, path := range slices.Backward(f.made) {
		remove := os.Remove
		if path == f.dir {
			remove = os.RemoveAll
		} else if now, err := os.Lstat(path); err == nil && f.last[path] != nil && !os.SameFile(now, f.last[path]) {
			continue // another run has replaced it
		}
		if err := remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			failures = append(failures, fmt.Errorf("secrets: exec: --file: %w", err))
		}
	}
	return errors.Join(failures...)
}
