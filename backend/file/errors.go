package file

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/regular"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// absent reports whether err means that there is no such file: its last element does not exist, or one before it is not a directory.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// failure classifies err, which comes from reading the file at path. The error contains file names, and from err only a text of the
// operating system.
func (b *Backend) failure(s *snapshot, path string, err error) error {
	if at, ok := errors.AsType[unmountedError](err); ok {
		return unmounted(at)
	}
	switch {
	case errors.Is(err, errDataGone):
		s.missed, s.pending = true, true
		return unavailable(fmt.Sprintf("%s in %s: ..data leads nowhere, so the volume is broken or not written yet", path, b.dir))
	case errors.Is(err, syscall.ENOTDIR):
		s.missed = true
		return notFound(fmt.Sprintf("no file %s in %s: a part of the path is a file; a field of a JSON file is file#field",
			path, b.dir))
	case errors.Is(err, fs.ErrNotExist):
		s.missed = true
		return notFound(fmt.Sprintf("no file %s in %s%s", path, b.dir, s.similar(path)))
	case errors.Is(err, fs.ErrPermission):
		return denied(fmt.Sprintf("%s in %s cannot be read", path, b.dir))
	case errors.Is(err, regular.ErrNotRegular):
		return malformed(fmt.Sprintf("%s in %s is not a regular file", path, b.dir))
	case errors.Is(err, regular.ErrTooLarge):
		return malformed(fmt.Sprintf("%s in %s is larger than %d bytes; see WithMaxSize", path, b.dir, b.maxSize))
	case escapes(err):
		return invalid(fmt.Sprintf("%s leads out of %s by a symbolic link", path, b.dir))
	case errors.Is(err, syscall.ELOOP):
		return invalid(fmt.Sprintf("%s in %s is a loop of symbolic links", path, b.dir))
	case errors.Is(err, syscall.ENAMETOOLONG):
		return invalid("an element of the path is longer than a file name may be")
	default:
		return unavailable(fmt.Sprintf("%s in %s cannot be read%s", path, b.dir, reason(err)))
	}
}

// gone classifies err, which comes from opening the directory of the backend. The directory existed when New was called. If it is missing
// now, its volume may not be mounted: that is an outage, never "not found".
func (b *Backend) gone(err error) error {
	if at, ok := errors.AsType[unmountedError](err); ok {
		return unmounted(at)
	}
	if errors.Is(err, fs.ErrPermission) {
		return denied(fmt.Sprintf("the directory %s cannot be searched; it needs search permission (x)", b.dir))
	}
	return unavailable(fmt.Sprintf("the directory %s cannot be opened%s", b.dir, reason(err)))
}

// unmounted returns an outage: the volume that was mounted may hold the secret.
func unmounted(at unmountedError) error {
	return unavailable(string(at) + " was a mount point, and nothing is mounted there now")
}

// noFiles returns ErrNotFound for a directory without fields: it may never have been meant as a secret.
func (b *Backend) noFiles(path string, empty bool) error {
	if empty {
		// https://docs.docker.com/engine/storage/bind-mounts/ says when Docker creates one.
		return notFound(fmt.Sprintf("%s in %s is an empty directory, as Docker makes where the source of a bind mount is missing",
			path, b.dir))
	}
	return notFound(fmt.Sprintf("%s in %s is a directory without files of its own; directories in it and dot files do not count",
		path, b.dir))
}

// notText returns the error for a file of the document at path whose name or content is not UTF-8.
func (b *Backend) notText(path, name, content string) error {
	what := "not valid UTF-8"
	if text.IsUTF16(content) {
		what = "in UTF-16"
	}
	return malformed(fmt.Sprintf("%q in %s is %s, so its directory cannot become a JSON document; save it in UTF-8, or read the files "+
		"by name", path+"/"+name, b.dir, what))
}

// escapes reports whether err means that a link leads out of the directory. os.Root does not export its error for that; it is the only
// PathError without an errno.
func escapes(err error) bool {
	if errors.Is(err, errEscapes) {
		return true
	}
	_, ofPath := errors.AsType[*fs.PathError](err)
	_, ofSystem := errors.AsType[syscall.Errno](err)
	return ofPath && !ofSystem
}

// reason returns the text of the operating system for err, or "".
func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return ": " + errno.Error()
	}
	return ""
}

func notFound(detail string) error    { return secrets.NewError(secrets.ErrNotFound, detail) }
func denied(detail string) error      { return secrets.NewError(secrets.ErrPermissionDenied, detail) }
func unavailable(detail string) error { return secrets.NewError(secrets.ErrUnavailable, detail) }
func malformed(detail string) error   { return secrets.NewError(secrets.ErrMalformed, detail) }
func invalid(detail string) error     { return secrets.NewError(secrets.ErrInvalidKey, detail) }
