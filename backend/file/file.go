// Package file reads secrets from the files of a directory, such as those that Docker, Kubernetes or systemd mount for a service.
//
//	mounted, err := file.New("/run/secrets") // or a volume of Kubernetes, or os.Getenv("CREDENTIALS_DIRECTORY")
//	…
//	client, err := secrets.New(mounted)
//	…
//	password, err := client.Get(ctx, "database/password") // the content of /run/secrets/database/password
//
// # Keys
//
// With the directory D:
//
//	database             the file D/database; if that is a directory, a JSON object of its regular files
//	database/password    the file D/database/password
//	database#password    the file D/database/password if D/database is a directory, else that field of the document "database"
//	database/password#   the file D/database/password
//
// A directory becomes an object with the names of its regular files as keys and their contents as strings, sorted by name. It is not read
// recursively. Dot files, and what editors save next to a file ("x~", "#x#"), are not fields; read such a file by its path. A directory
// without a field is [secrets.ErrNotFound]: Docker creates an empty one where the source of a bind mount is missing.
//
// To read one field, the backend needs only the file of that name. Other files of the directory may be binary or unreadable. To read the
// whole directory, it needs all of them, in UTF-8. Otherwise the error is [secrets.ErrMalformed] or [secrets.ErrPermissionDenied], and
// names the file.
//
// # Configuration
//
// [WithMaxSize] bounds what is read. [WithRawBytes] turns off the rule under Text. [WithCaching] is for a slow file system. [WithName]
// renames the backend in errors. No variable configures the backend.
//
// # Freshness
//
// Every call reads the files again. The client neither caches nor deduplicates these reads, unless [WithCaching] is set.
//
// A handle of [secrets.Client.Watch] sees a change within about half a second. From the first handle until Close, the backend reads the
// fetched documents every 500 ms and compares the answers, including errors. Such a poll detects everything that Get would see: a swap by
// Kubernetes, a directory that is deleted and created again, a rename, a write in place, an unmounted volume. It reports all changes that
// it finds together.
//
// # Text
//
// A text loses one byte order mark at its beginning and one newline, "\n" or "\r\n", at its end: editors, shells and echo put them there.
// White space stays. A file that is not valid UTF-8 stays as it is. Package env has the same rule.
//
// An empty file is an empty secret. If it was written less than a second ago, the writer may not be done: the backend reads it again after
// 50 ms. With [WithCaching], the cache keeps an empty file for one second only.
//
// # Kubernetes
//
// Kubernetes updates a mounted volume by changing one symbolic link, ..data, from a directory with the old files to one with the new. All
// that one Get or GetMany reads below such a link comes from one of these directories, so a user name and a password that are read
// together match. The exception: middleware, or the backend before this one in a chain, delays one of the reads by more than a second.
// If a link is there and its document is not there yet, the backend waits 50 ms for it.
//
// # Other updates
//
// If a directory in D, or a link to one, is replaced by one rename, all that one call reads comes from one of the two. Files that are
// replaced one by one are not read as a unit.
//
// # Mount points
//
// An unmounted volume leaves an empty directory behind. On Linux, the backend remembers mount points: the directory, those above it, and
// what it read below it. If nothing is mounted there any more, the error is [secrets.ErrUnavailable], even if there is a file of that
// name. So no fallback takes an outage for absence. If another volume is mounted there, the backend reads it.
//
// # Permissions
//
// On Linux, a file needs read permission, and the directories above it need search permission (x). A directory that is read as a document
// needs read permission too. On other systems, all directories do.
//
// # Errors
//
// Each is a [secrets.Error], or the error of the context. A detail may contain file names and never their contents.
//
//	secrets.ErrNotFound          the directory exists, and there is no such file in it; the error lists files of similar names
//	secrets.ErrFieldNotFound     there is such a directory, with other files
//	secrets.ErrPermissionDenied  the file, or a directory above it, cannot be read
//	secrets.ErrUnavailable       the directory itself is gone, or what was mounted there; an input error; files that
//	                             change faster than they can be read
//	secrets.ErrMalformed         not a regular file; too large; a directory with a file that is not UTF-8
//	secrets.ErrInvalidKey        a name that leads out of the directory or is too long; a loop of links; a version
//
// # Limits
//
//   - The backend follows links within the directory, and reads nothing outside it: ".." and symbolic links that lead out, among them all
//     absolute ones, are [secrets.ErrInvalidKey]. So is a name that begins with "..": Kubernetes reserves these names.
//   - It reads regular files only. A FIFO, a socket or a device is [secrets.ErrMalformed], and cannot block a call.
//   - Files have no versions: a key with a version is [secrets.ErrInvalidKey].
//   - A file that is written in place can be read half. Write a new file and rename it into place.
//   - Kubernetes does not update a volume that is mounted with subPath.
//   - The backend polls the 100 documents that were fetched last, and none with [WithCaching]. Handles on others see a change at their own
//     interval. No handle sees a value that changes and changes back between two polls.
//   - An NFS client may cache the names in a directory for up to a minute: see acdirmax in nfs(5). A poll that hangs on a dead file system
//     stops later polls and nothing else.
//   - Before Linux 5.8, and where a sandbox forbids statx, the backend does not notice an unmounted volume of the same file system, or of a
//     single file.
//   - With [WithCaching], database#password is always that field of the document "database", even if that is a directory.
package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fingerprint"
	"github.com/seed-5482dd03/secrets/internal/regular"
	"github.com/seed-5482dd03/secrets/internal/text"
)

const (
	// maxTries bounds how often a call reads files again because they changed meanwhile. Kubernetes changes them once a minute at most, so
	// two tries suffice there. The bound ends the call if something else changes them all the time.
	maxTries = 100
	// appearTimeout is how long a call waits for the target of a link. Kubernetes creates the link of a new key just before its target.
	appearTimeout = 50 * time.Millisecond
	// maxTogether is the maximum number of files that one call reads. No program needs more.
	maxTogether = 1 << 16
	// writeGrace is how long an empty file may be one that is still being written: a write in place empties the file first.
	writeGrace = time.Second
	// emptyTTL is how long a cache keeps an empty file.
	emptyTTL = time.Second
	// namesOf is the suffix of the path of a document that has only the names of the files in a directory. Only resolve creates such a
	// path. If a key ends in it, resolve returns a path that Fetch rejects.
	namesOf = "/" + reserved + "names"
)

// Backend reads the files of one directory at each call. It keeps no file open between calls. It is safe for concurrent use.
type Backend struct {
	dir     string // absolute
	name    string
	maxSize int64
	raw     bool
	caching bool
	version func(path, content string) string
	batcher *secrets.Batcher
	mounts  mounts
	watch   watch
}

// New returns a Backend for the directory dir. A relative dir is relative to the working directory at the time of the call. The error
// joins all faults: of the options, and of a dir that cannot be opened. If dir does not exist, errors.Is(err, fs.ErrNotExist) is true.
func New(dir string, opts ...Option) (*Backend, error) {
	c := newConfig(opts)
	b := &Backend{
		dir: c.directory(dir), name: c.name, maxSize: c.maxSize, raw: c.raw, caching: c.caching, version: fingerprint.New(),
	}
	if b.dir != "" {
		s, err := newSnapshot(b.dir, &b.mounts)
		if err == nil {
			s.close()
		} else {
			c.faults.Addf("the directory: %w", err)
		}
	}
	if err := c.faults.Err(); err != nil {
		return nil, err
	}
	b.batcher = secrets.NewBatcher(maxTogether, 0, b.fetchTogether)
	return b, nil
}

// directory returns dir as an absolute path. If that fails, it records the fault and returns "".
func (c *config) directory(dir string) string {
	if dir == "" { // most likely an unset variable; filepath.Abs would return the working directory
		c.faults.Addf("the name of the directory is empty")
		return ""
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		c.faults.Addf("the directory %s: %w", dir, err)
		return ""
	}
	return abs
}

// Info describes the backend. Without [WithCaching] it is Local and reports changes to handles: every call reads the files and is current,
// while a cache could hold half of an update.
func (b *Backend) Info() secrets.Info {
	info := secrets.Info{Name: b.name, Local: !b.caching, Batch: maxTogether, Resolve: b.resolve, Hint: hint, Locate: b.locate}
	if !b.caching {
		info.OnChange = b.onChange
	}
	return info
}

// hint returns the key of a file that is not a field of its directory.
func hint(ref secrets.Ref) string {
	if !hidden(ref.Field) || strings.HasPrefix(ref.Field, reserved) {
		return ""
	}
	return "dot files and editor backups are not fields; the key of such a file is " + ref.Path + "/" + ref.Field
}

// Close ends polling for changes. It does not wait for a running poll: a file system may hang. Fetch still works afterwards. If two Clients
// share the Backend, the first Close ends polling for both: the handles of the other Client then see a change at their own interval.
func (b *Backend) Close() error {
	b.watch.stop()
	return nil
}

// Fetch returns the content of the file at ref.Path, or the document of the directory there. Meta.Version changes when the content changes;
// versions of different Backends cannot be compared. All documents of one GetMany of a Client are read together.
func (b *Backend) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s, err := b.batcher.Fetch(ctx, ref)
	b.note(ref, s, err)
	return s, err
}

// fetchTogether returns the results of refs, in order. Refs below one ..data link of Kubernetes are read from one state of it.
func (b *Backend) fetchTogether(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := make([]secrets.Result, len(refs))
	b.read(ctx, appearTimeout, refs, func(i int, s secrets.Secret, err error) { results[i] = secrets.Result{Secret: s, Err: err} })
	return results
}

// read fetches refs from one snapshot and calls take with the index and the answer of each. If it must retry, take is called again, and the
// last answer to a ref counts. See withSnapshot for patience.
func (b *Backend) read(
	ctx context.Context, patience time.Duration, refs []secrets.Ref, take func(i int, s secrets.Secret, err error),
) {
	err := b.withSnapshot(ctx, patience, func(s *snapshot) {
		for i, ref := range refs {
			value, err := b.fetch(ctx, s, ref)
			take(i, value, err)
		}
	})
	if err != nil {
		for i := range refs {
			take(i, secrets.Secret{}, err)
		}
	}
}

// resolve maps path#field to path/field if path is a directory, so that Fetch does not read the other files. If there is no such file, it
// returns the ref of the file names, which does not have the field: the Client then reports [secrets.ErrFieldNotFound]. All other refs are
// returned unchanged. resolve does not wait for files that are about to appear.
//
// With [WithCaching], every ref is returned unchanged. A cache keeps the result of resolve, which must then not depend on the files. It
// also keeps the fields of a document as one value with one version.
func (b *Backend) resolve(ref secrets.Ref) secrets.Ref {
	if strings.HasSuffix(ref.Path, namesOf) {
		ref.Path += namesOf
		return ref
	}
	if b.caching || ref.Field == "" {
		return ref
	}
	resolved := ref
	const patience = 0 // resolve has no context that could end a wait
	err := b.withSnapshot(context.Background(), patience, func(s *snapshot) {
		resolved = ref
		if dir, err := s.find(s.top, ref.Path); err == nil && dir.info.Mode.IsDir() {
			resolved = s.resolve(dir, ref)
		}
	})
	if err != nil || resolved.Validate() != nil { // a key of the maximum length leaves no room for namesOf
		return ref // Fetch returns the same error
	}
	return resolved
}

// resolve does the work of Backend.resolve for a field of the directory at dir.
func (s *snapshot) resolve(dir place, ref secrets.Ref) secrets.Ref {
	file := secrets.Ref{Path: ref.Path + "/" + ref.Field, Version: ref.Version}
	names := secrets.Ref{Path: ref.Path + namesOf, Version: ref.Version, Field: ref.Field}
	// A directory is not read recursively.
	if hidden(ref.Field) || strings.ContainsAny(ref.Field, `/\`) || check(secrets.Ref{Path: file.Path}) != nil {
		return names
	}
	at, err := s.find(dir, ref.Field)
	if absent(err) || errors.Is(err, syscall.ENAMETOOLONG) || err == nil && at.info.Mode.IsDir() {
		return names
	}
	return file // even if it cannot be read: Fetch returns the reason
}

var _ secrets.Backend = (*Backend)(nil)

// withSnapshot calls read with a snapshot of the directory, and again with a new one while the files change during the read. If a file is
// about to appear, it waits for patience and calls read once more, unless patience is 0. On an error, the results of read are invalid.
//
// It opens the directory each time. A directory that is deleted and created again, or mounted over, would look empty through an old
// descriptor: "not found" forever.
func (b *Backend) withSnapshot(ctx context.Context, patience time.Duration, read func(s *snapshot)) error {
	waited := patience == 0
	for range maxTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := newSnapshot(b.dir, &b.mounts)
		if err != nil {
			return b.gone(err)
		}
		read(s)
		settled := s.settled()
		s.close()
		if !settled {
			continue
		}
		if !s.pending || waited {
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
	path, names := strings.CutSuffix(ref.Path, namesOf)
	ref.Path = path
	if err := check(ref); err != nil {
		return secrets.Secret{}, err
	}
	place, err := s.find(s.top, path)
	if err != nil {
		return secrets.Secret{}, b.failure(s, path, err)
	}
	s.empty = false
	var content string
	switch {
	case !place.info.Mode.IsDir():
		if content, err = b.content(s, place, b.maxSize); err != nil {
			err = b.failure(s, path, err)
		}
	case names:
		content, err = b.names(s, place, path)
	default:
		content, err = b.document(ctx, s, place, path)
	}
	if err != nil {
		return secrets.Secret{}, err
	}
	meta := secrets.Meta{Version: b.version(path, content)}
	if b.caching && s.empty {
		meta.ExpiresAt = time.Now().Add(emptyTTL)
	}
	return secrets.NewSecret(content, meta), nil
}

// check rejects refs that cannot name a file. The Client checks most of this too; check is for programs that call the Backend directly.
func check(ref secrets.Ref) error {
	if err := ref.Validate(); err != nil {
		return err
	}
	switch {
	case ref.Version != "":
		return invalid("files keep no versions; leave ?version= out")
	case ref.Field != "":
		return invalid("a backend reads whole documents; leave the field out")
	case !filepath.IsLocal(filepath.FromSlash(ref.Path)):
		return invalid("the path does not name a file inside the directory on this system")
	}
	for segment := range strings.SplitSeq(ref.Path, "/") {
		if strings.HasPrefix(segment, reserved) {
			return invalid("names that begin with .. are reserved for Kubernetes")
		}
	}
	return nil
}

// content returns the content of the file at place. A file of more than limit bytes is an error.
func (b *Backend) content(s *snapshot, place place, limit int64) (string, error) {
	if !place.info.Mode.IsRegular() {
		return "", regular.ErrNotRegular
	}
	s.files++
	content, err := place.root.ReadFile(place.name, limit)
	s.moved = s.moved || errors.Is(err, regular.ErrChanged)
	if err != nil {
		return "", err
	}
	if content == "" {
		s.empty = true
		// Lstat must come after the read: before it, the file may not have been emptied yet.
		if now, err := place.root.Lstat(place.name); err != nil || time.Since(now.Modified).Abs() < writeGrace {
			s.pending = true
		}
	}
	if b.raw {
		return content, nil
	}
	return text.Trim(content), nil
}

// names returns a JSON object with the names of the files in the directory dir at path. The files are not read.
func (b *Backend) names(s *snapshot, dir place, path string) (string, error) {
	names, empty, err := s.list(dir, maxNames)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, regular.ErrTooLarge) { // resolve was allowed to look for the one name
		return "", secrets.NewError(secrets.ErrFieldNotFound, fmt.Sprintf("%s in %s has no file of that name; "+
			"its files cannot be listed", path, b.dir))
	}
	if err != nil {
		return "", b.failure(s, path, err)
	}
	files := make(map[string]*struct{}, len(names))
	for _, name := range names {
		at, err := s.findEntry(dir, name)
		if absent(err) || err == nil && at.info.Mode.IsDir() || !utf8.ValidString(name) {
			continue
		}
		files[name] = nil
	}
	if len(files) == 0 {
		return "", b.noFiles(path, empty)
	}
	return encode(files), nil
}

// document returns a JSON object of the regular files in the directory dir at path.
func (b *Backend) document(ctx context.Context, s *snapshot, dir place, path string) (string, error) {
	names, empty, err := s.list(dir, b.maxSize)
	if errors.Is(err, fs.ErrPermission) {
		return "", denied(fmt.Sprintf("%s in %s cannot be listed; give it read permission, or read its files by name", path, b.dir))
	}
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
		if err == nil && !at.info.Mode.IsRegular() {
			continue
		}
		var content string
		if err == nil {
			content, err = b.content(s, at, left)
		}
		switch {
		case absent(err): // a dangling link, or a file that was removed after the directory was listed
			continue
		case errors.Is(err, regular.ErrTooLarge):
			return "", b.failure(s, path, err)
		case err != nil:
			return "", b.failure(s, path+"/"+text.Printable(name), err)
		case !utf8.ValidString(name), !utf8.ValidString(content):
			return "", b.notText(path, name, content)
		}
		files[name] = content
		left -= int64(len(content))
	}
	if len(files) == 0 {
		return "", b.noFiles(path, empty)
	}
	return encode(files), nil
}

// encode returns files as a JSON object, sorted by name, with only the escapes that JSON requires.
func encode[V any](files map[string]V) string {
	var doc bytes.Buffer
	e := json.NewEncoder(&doc)
	e.SetEscapeHTML(false)
	_ = e.Encode(files) //nolint:errcheck,errchkjson // neither strings, null nor a buffer fail
	return strings.TrimSuffix(doc.String(), "\n")
}
