// Package file reads secrets from the files of a directory: those that Docker, Kubernetes or systemd mount for a service.
//
//	mounted, err := file.New("/run/secrets") // or a volume of Kubernetes, or os.Getenv("CREDENTIALS_DIRECTORY")
//	…
//	client, err := secrets.New(mounted)
//	…
//	password, err := client.Get(ctx, "database/password") // the content of /run/secrets/database/password
//
// # Which file a key means
//
// With the directory D:
//
//	database             the file D/database; if that is a directory, a JSON object of its regular files
//	database/password    the file D/database/password
//	database#password    the file D/database/password, if D/database is a directory with such a file, else that field of the
//	                     document "database"
//	database/password#   the file D/database/password
//
// A directory becomes an object with the names of its regular files as keys and their contents as strings, in the order of
// the names. It is not read recursively. All files must be valid UTF-8: to read one of them beside others that are
// binary, name it alone. Files keep no versions: a key with a version is [secrets.ErrInvalidKey].
//
// With [WithCaching], database#password is always that field of the document "database", also where that is a directory.
//
// A text loses one newline at its end; see [WithRawBytes]. An empty file is a secret that is empty.
//
// # What is never read
//
// Nothing outside the directory: ".." and symbolic links that lead out, absolute ones among them, are
// [secrets.ErrInvalidKey]. Links within the directory are followed. Nothing but regular files: a FIFO, a socket or a device
// is [secrets.ErrMalformed], and cannot block a call. No name that begins with "..": Kubernetes keeps such names for
// itself.
//
// # Kubernetes
//
// Kubernetes updates a mounted volume by changing one symbolic link, ..data, from a directory with the old files to one
// with the new. Whatever one Get or GetMany reads below such a link comes from one of these directories: a user name and
// a password asked together never come from two updates, unless middleware or the backend before this one holds one of them up for
// more than a second. A document that is about to appear, whose link is there and leads
// nowhere yet, is waited for a moment. A volume that is mounted with subPath gets no updates from Kubernetes.
//
// Whoever else changes files while they are read should rename complete ones into place: a file that is written where it
// lies can be read half.
//
// # Errors
//
// Each is a [secrets.Error], whose Detail may hold the names of files and never what is in them, or the error of the
// context.
//
//	secrets.ErrNotFound          there is no such file, and the directory is there
//	secrets.ErrPermissionDenied  the file, or a directory on the way to it, must not be read
//	secrets.ErrUnavailable       the directory itself is gone, as when a volume is not mounted; an input error; files that
//	                             change faster than they can be read
//	secrets.ErrMalformed         not a regular file; too large; a directory with a file that is not UTF-8
//	secrets.ErrInvalidKey        a name that leads out of the directory or is too long, a loop of links, a version
package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fingerprint"
	"github.com/seed-5482dd03/secrets/internal/regular"
	"github.com/seed-5482dd03/secrets/internal/text"
)

const (
	// maxTries bounds how often files are read again because the files changed under it. Kubernetes changes them once a
	// minute at most, so that two tries do; the bound keeps a call from running on where something else changes them.
	maxTries = 100
	// appearing is how long a link to a file that is not there yet is waited for. Kubernetes makes the links of new keys
	// an instant before it makes what they lead to.
	appearing = 50 * time.Millisecond
	// maxTogether bounds the files that are read at one moment. It is more than a program asks for.
	maxTogether = 1 << 16
)

// Backend reads the files of one directory, anew at each call. It holds no file open between calls and is safe for
// concurrent use.
type Backend struct {
	dir     string // absolute
	name    string
	maxSize int64
	raw     bool
	caching bool
	version func(path, content string) string
	batcher *secrets.Batcher
}

// New returns a Backend for the directory dir. A relative dir is taken from the working directory of this moment. The
// error holds every fault of the options, joined, and says so if dir is not a directory that can be opened:
// errors.Is(err, fs.ErrNotExist) if it does not exist.
func New(dir string, opts ...Option) (*Backend, error) {
	c := newConfig(opts)
	dir = c.directory(dir)
	if err := c.faults.Err(); err != nil {
		return nil, err
	}
	b := &Backend{
		dir: dir, name: c.name, maxSize: c.maxSize, raw: c.raw, caching: c.caching, version: fingerprint.New(),
	}
	b.batcher = secrets.NewBatcher(maxTogether, 0, b.fetchTogether)
	return b, nil
}

// directory returns dir as an absolute path and notes what is wrong with it.
func (c *config) directory(dir string) string {
	if dir == "" { // an unset variable, most likely; filepath.Abs would make it the working directory
		c.faults.Addf("the name of the directory is empty")
		return ""
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		c.faults.Addf("the directory %s: %w", dir, err)
		return ""
	}
	root, err := openRoot(abs)
	if err != nil {
		c.faults.Addf("the directory: %w", err)
		return ""
	}
	_ = root.Close()
	return abs
}

// openRoot opens the directory dir. The separator at the end makes the system refuse what is not a directory before it
// opens it: the opening of a FIFO would block.
func openRoot(dir string) (*os.Root, error) {
	if !os.IsPathSeparator(dir[len(dir)-1]) {
		dir += string(filepath.Separator)
	}
	return os.OpenRoot(dir)
}

// Info describes the backend: a Local one, unless [WithCaching] is given. Every call reads the files, so that its answer is
// current, and a cache could only hold one half of an update.
func (b *Backend) Info() secrets.Info {
	return secrets.Info{Name: b.name, Local: !b.caching, Batch: maxTogether, Resolve: b.resolve}
}

// Close does nothing.
func (b *Backend) Close() error { return nil }

// Fetch returns the content of the file that ref.Path names, or the document of the directory of that name. Its
// Meta.Version changes when the content changes; it means nothing to another Backend. What one GetMany of a Client asks for
// is read together.
func (b *Backend) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return b.batcher.Fetch(ctx, ref)
}

// fetchTogether answers refs in order. What they name below one ..data link of Kubernetes is read from one state of it.
func (b *Backend) fetchTogether(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := make([]secrets.Result, len(refs))
	err := b.look(ctx, appearing, func(s *snapshot) {
		for i, ref := range refs {
			results[i].Secret, results[i].Err = b.fetch(ctx, s, ref)
		}
	})
	if err != nil {
		for i := range results {
			results[i] = secrets.Result{Err: err}
		}
	}
	return results
}

// resolve returns the ref path/field for path#field if path is a directory with a regular file of that name, and ref as it
// is otherwise. Then a field that is there needs nothing of the other files of the directory, and one that is not is
// missed in the document, which is [secrets.ErrFieldNotFound]. It waits for nothing that is about to appear.
//
// With [WithCaching], it returns every ref as it is: a cache remembers what a key means, so that this must not depend on
// which files are there, and it keeps the fields of a document as one value and one version.
func (b *Backend) resolve(ref secrets.Ref) secrets.Ref {
	// A document of a directory has no field with a separator in its name, since it is not recursive.
	if b.caching || ref.Field == "" || strings.ContainsAny(ref.Field, `/\`) {
		return ref
	}
	file := secrets.Ref{Path: ref.Path + "/" + ref.Field, Version: ref.Version}
	if check(secrets.Ref{Path: file.Path}) != nil {
		return ref
	}
	resolved := ref
	const patience = 0 // no context ends it
	err := b.look(context.Background(), patience, func(s *snapshot) {
		resolved = ref
		if place, err := s.find(s.top(), file.Path); err == nil && place.mode.IsRegular() {
			resolved = file
		}
	})
	if err != nil {
		return ref // Fetch meets the same error, and tells it
	}
	return resolved
}

var _ secrets.Backend = (*Backend)(nil)

// look calls read with a snapshot of the directory, and again with a new one for as long as the files have changed under
// it. If something is about to appear, it waits for patience and looks once more, unless patience is 0. On an error, what read
// has found or missed is of no use.
//
// The directory is opened anew each time. An open one would go on to show what was there when it was opened, also after
// the directory was deleted and made again, or another volume was mounted over it: nothing at all, which would read as
// "not found" for ever.
func (b *Backend) look(ctx context.Context, patience time.Duration, read func(s *snapshot)) error {
	waited := patience == 0
	for range maxTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := newSnapshot(b.dir)
		if err != nil {
			return b.gone(err)
		}
		read(s)
		settled := s.settled()
		s.close()
		if !settled {
			continue
		}
		if !s.dangling || waited {
			return nil
		}
		waited = true
		if err := pause(ctx, patience); err != nil {
			return err
		}
	}
	return unavailable("the files in " + b.dir + " change faster than they can be read")
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Backend) fetch(ctx context.Context, s *snapshot, ref secrets.Ref) (secrets.Secret, error) {
	if err := ctx.Err(); err != nil {
		return secrets.Secret{}, err
	}
	if err := check(ref); err != nil {
		return secrets.Secret{}, err
	}
	place, err := s.find(s.top(), ref.Path)
	if err != nil {
		return secrets.Secret{}, b.failure(s, ref.Path, err)
	}
	var content string
	if place.mode.IsDir() {
		content, err = b.document(ctx, s, place, ref.Path)
	} else if content, err = b.content(place, b.maxSize); err != nil {
		err = b.failure(s, ref.Path, err)
	}
	if err != nil {
		return secrets.Secret{}, err
	}
	return secrets.NewSecret(content, secrets.Meta{Version: b.version(ref.Path, content)}), nil
}

// check refuses what cannot name a file here. The Client has checked most of it already; this is the second line, for
// those who call the Backend themselves.
func check(ref secrets.Ref) error {
	if err := ref.Validate(); err != nil {
		return err
	}
	switch {
	case ref.Version != "":
		return invalid("files keep no versions; leave ?version= out")
	case ref.Field != "":
		return invalid("a backend is asked for documents, without a field")
	case !filepath.IsLocal(filepath.FromSlash(ref.Path)):
		return invalid("the path is no name within a directory on this system")
	}
	for segment := range strings.SplitSeq(ref.Path, "/") {
		if strings.HasPrefix(segment, reserved) {
			return invalid("names that begin with .. are those that Kubernetes keeps for itself")
		}
	}
	return nil
}

// content reads the file at place, of at most limit bytes.
func (b *Backend) content(place place, limit int64) (string, error) {
	if !place.mode.IsRegular() {
		return "", regular.ErrNotRegular
	}
	content, err := regular.ReadIn(place.root, native(place.name), limit)
	if err != nil || b.raw {
		return content, err
	}
	return text.Trim(content), nil
}

// document makes a JSON object of the regular files of the directory at dir, which path names.
func (b *Backend) document(ctx context.Context, s *snapshot, dir place, path string) (string, error) {
	names, err := s.list(dir, b.maxSize)
	if err != nil {
		return "", b.failure(s, path, err)
	}
	var (
		files = make(map[string]string, len(names))
		left  = b.maxSize
	)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		at, err := s.findEntry(dir, name)
		if err == nil && !at.mode.IsRegular() {
			continue
		}
		var text string
		if err == nil {
			text, err = b.content(at, left)
		}
		switch {
		case absent(err): // a link that leads nowhere, or a file that was removed a moment ago, is no file of the directory
			continue
		case errors.Is(err, regular.ErrTooLarge):
			return "", b.failure(s, path, err)
		case err != nil:
			return "", b.failure(s, path+"/"+name, err)
		case !utf8.ValidString(name), !utf8.ValidString(text):
			return "", malformed(fmt.Sprintf("%q in %s is not valid UTF-8, so that its directory is no JSON document; "+
				"ask for the files by their names", path+"/"+name, b.dir))
		}
		files[name] = text
		left -= int64(len(text))
	}
	doc := encode(files)
	if int64(len(doc)) > b.maxSize {
		return "", b.failure(s, path, regular.ErrTooLarge)
	}
	return doc, nil
}

// encode returns files as a JSON object, in the order of the names, and with no more escapes than JSON asks for.
func encode(files map[string]string) string {
	var doc bytes.Buffer
	e := json.NewEncoder(&doc)
	e.SetEscapeHTML(false)
	_ = e.Encode(files) //nolint:errcheck,errchkjson // neither strings nor a buffer fail
	return strings.TrimSuffix(doc.String(), "\n")
}
