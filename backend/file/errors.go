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

// absent reports whether err says that there is no such file: the last part of its name is not there, or a part before it
// is not a directory.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// failure makes an error of one class of err, which was met on the way to the file path. It tells names, and of err only
// what the system has a text for.
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
		return invalid("a part of the path is longer than a name of a file may be")
	default:
		return unavailable(fmt.Sprintf("%s in %s cannot be read%s", path, b.dir, reason(err)))
	}
}

// gone makes an error of err, which was met when the directory itself was opened. A directory that was there when the
// program began and is not there now is an outage, as when its volume is not mounted: nobody knows what it holds, so that
// it must not read as "not found".
func (b *Backend) gone(err error) error {
	if at, ok := errors.AsType[unmountedError](err); ok {
		return unmounted(at)
	}
	if errors.Is(err, fs.ErrPermission) {
		return denied(fmt.Sprintf("the directory %s cannot be searched; it needs search permission (x)", b.dir))
	}
	return unavailable(fmt.Sprintf("the directory %s cannot be opened%s", b.dir, reason(err)))
}

// unmounted is an outage: what was mounted may hold the secret.
func unmounted(at unmountedError) error {
	return unavailable(string(at) + " was a mount point, and nothing is mounted there now")
}

// noFiles is the error of a directory that is no document. Nothing tells it from one that was never meant to be a secret.
func (b *Backend) noFiles(path string, empty bool) error {
	if empty {
		// https://docs.docker.com/engine/storage/bind-mounts/ says when Docker makes one.
		return notFound(fmt.Sprintf("%s in %s is an empty directory, as Docker makes where the source of a bind mount is missing",
			path, b.dir))
	}
	return notFound(fmt.Sprintf("%s in %s is a directory without files of its own; directories in it and dot files do not count",
		path, b.dir))
}

// notText is the error of the file name, or of its name, in the directory path that is to be one document.
func (b *Backend) notText(path, name, content string) error {
	what := "not valid UTF-8"
	if text.IsUTF16(content) {
		what = "in UTF-16"
	}
	return malformed(fmt.Sprintf("%q in %s is %s, so that its directory is no JSON document; save it in UTF-8, or ask for the files "+
		"by their names", path+"/"+name, b.dir, what))
}

// escapes reports whether err says that a link leads out of the directory. The error of os.Root for it is not exported; it
// is the one that comes from no call of the system.
func escapes(err error) bool {
	if errors.Is(err, errEscapes) {
		return true
	}
	_, ofPath := errors.AsType[*fs.PathError](err)
	_, ofSystem := errors.AsType[syscall.Errno](err)
	return ofPath && !ofSystem
}

// reason returns the system's own text for err.
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
