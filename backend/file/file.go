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
//	database#password    the file D/database/password, if D/database is a directory, else that field of the document "database"
//	database/password#   the file D/database/password
//
// A directory becomes an object with the names of its regular files as keys and their contents as strings, in the order of
// the names. It is not read recursively. Dot files, and what editors leave beside a file ("x~", "#x#"), are no fields; each has a
// key of its own. A directory without a field is [secrets.ErrNotFound]: Docker makes an empty one where the source of a bind mount
// is missing. Files keep no versions: a key with a version is [secrets.ErrInvalidKey].
//
// The name of a field decides whether it exists. Other files of the directory are not read for it, and may be binary or
// unreadable. Only who asks for the whole directory needs all of them, in UTF-8: otherwise it is [secrets.ErrMalformed], or
// [secrets.ErrPermissionDenied], and names the file.
//
// With [WithCaching], database#password is always that field of the document "database", also where that is a directory.
//
// # Text
//
// A text loses one byte order mark at its beginning and one newline, "\n" or "\r\n", at its end: editors, shells and echo put them
// there. White space stays. What is not valid UTF-8 is not text, and stays as it is. [WithRawBytes] keeps everything. The same rule
// holds for environment variables.
//
// An empty file is a secret that is empty. If it was written less than a second ago, its content may be on the way: it is read
// once more after 50 ms. A cache keeps an empty file for a second only.
//
// # What is never read
//
// Nothing outside the directory: ".." and symbolic links that lead out, absolute ones among them, are
// [secrets.ErrInvalidKey]. Links within the directory are followed. Nothing but regular files: a FIFO, a socket or a device
// is [secrets.ErrMalformed], and cannot block a call. No name that begins with "..": Kubernetes keeps such names for
// itself.
//
// # Permissions
//
// On Linux, a file needs read permission, and the directories on the way search permission (x). Only a directory that is a document
// needs read permission, too. On other systems, all directories do.
//
// # Mount points
//
// An unmounted volume leaves an empty directory behind. On Linux, the backend remembers what was a mount point: the directory, those
// above it, and what was read below it. If nothing is mounted there any more, that is [secrets.ErrUnavailable], also if there is a
// file of that name, so that no fallback takes an outage for absence. Another mount in its place is read. Before Linux 5.8, and where a
// sandbox forbids statx, a mount of the same file system, and one of a single file, is not noticed.
//
// # Kubernetes
//
// Kubernetes updates a mounted volume by changing one symbolic link, ..data, from a directory with the old files to one
// with the new. Whatever one Get or GetMany reads below such a link comes from one of these directories: a user name and
// a password asked together never come from two updates, unless middleware or the backend before this one holds one of them up for
// more than a second. A document that is about to appear, whose link is there and leads
// nowhere yet, is waited for a moment. A volume that is mounted with subPath gets no updates from Kubernetes.
//
// # Other updates
//
// A directory in D, or a link to one, may also be replaced by one rename. What one call reads is then of one of them, too. Files that are
// replaced one by one belong to no one update. A file that is written where it lies can be read half: rename complete ones into place.
//
// # Changes
//
// A handle of [secrets.Client.Watch] sees a change within about half a second. From the first handle until Close, the backend reads the
// documents that were asked for every 500 ms and compares the answers, errors among them. So it sees whatever Get would see: a swap of
// Kubernetes, a directory that is deleted and made again, a rename, a file that is written where it lies, a volume that is unmounted.
// What one look finds is reported together.
//
// The backend looks at the 100 documents that were fetched last; handles on others see a change at their own interval. With
// [WithCaching], it never looks. No handle sees a value that changes and changes back between two looks. NFS is looked at like any file
// system, but its client may keep the names in a directory for up to a minute: see acdirmax in nfs(5). A look that hangs on a dead file
// system stops later looks and nothing else.
//
// # Errors
//
// Each is a [secrets.Error], whose Detail may hold the names of files and never what is in them, or the error of the
// context.
//
//	secrets.ErrNotFound          there is no such file, and the directory is there; files of similar names are named
//	secrets.ErrFieldNotFound     there is such a directory, with other files
//	secrets.ErrPermissionDenied  the file, or a directory on the way to it, must not be read
//	secrets.ErrUnavailable       the directory itself is gone, or what was mounted there; an input error; files that
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
	// maxTries bounds how often files are read again because the files changed under it. Kubernetes changes them once a
	// minute at most, so that two tries do; the bound keeps a call from running on where something else changes them.
	maxTries = 100
	// appearing is how long a link to a file that is not there yet is waited for. Kubernetes makes the links of new keys
	// an instant before it makes what they lead to.
	appearing = 50 * time.Millisecond
	// maxTogether bounds the files that are read at one moment. It is more than a program asks for.
	maxTogether = 1 << 16
	// beingWritten is how old an empty file is at most that may be one which is just being written: who writes a file where it
	// lies empties it first.
	beingWritten = time.Second
	// maxEmpty is how long a cache keeps an empty file.
	maxEmpty = time.Second
	// namesOf ends the path of the document that tells only which files a directory has. Only resolve makes such a path: of a key that
	// ends so, it makes one that Fetch refuses.
	namesOf = "/" + reserved + "names"
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
	mounts  mounts
	watch   watch
}

// New returns a Backend for the directory dir. A relative dir is taken from the working directory of this moment. The
// error holds every fault of the options, joined, and says so if dir is not a directory that can be opened:
// errors.Is(err, fs.ErrNotExist) if it does not exist.
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

// directory returns dir as an absolute path, or "" and notes what is wrong with it.
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
	return abs
}

// Info describes the backend: a Local one, unless [WithCaching] is given. Every call reads the files, so that its answer is
// current, and a cache could only hold one half of an update. A Local one tells handles of changes.
func (b *Backend) Info() secrets.Info {
	info := secrets.Info{Name: b.name, Local: !b.caching, Batch: maxTogether, Resolve: b.resolve, Hint: hint, Locate: b.locate}
	if !b.caching {
		info.OnChange = b.onChange
	}
	return info
}

// hint says where a file is that is no field of its directory.
func hint(ref secrets.Ref) string {
	if !hidden(ref.Field) || strings.HasPrefix(ref.Field, reserved) {
		return ""
	}
	return "dot files and backups of editors are no fields; the key of such a file is " + ref.Path + "/" + ref.Field
}

// Close ends the looks for changes. It does not wait for one that is under way, since a file system may hang. Fetch still works
// afterwards. If two Clients share the Backend, the first one to close ends the looks for both: the handles of the other one then see a
// change at their own interval.
func (b *Backend) Close() error {
	b.watch.stop()
	return nil
}

// Fetch returns the content of the file that ref.Path names, or the document of the directory of that name. Its
// Meta.Version changes when the content changes; it means nothing to another Backend. What one GetMany of a Client asks for
// is read together.
func (b *Backend) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s, err := b.batcher.Fetch(ctx, ref)
	b.note(ref, s, err)
	return s, err
}

// fetchTogether answers refs in order. What they name below one ..data link of Kubernetes is read from one state of it.
func (b *Backend) fetchTogether(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := make([]secrets.Result, len(refs))
	b.read(ctx, appearing, refs, func(i int, s secrets.Secret, err error) { results[i] = secrets.Result{Secret: s, Err: err} })
	return results
}

// read calls take with the answer to each of refs, by its place, from one look with patience. The last answer to a ref counts.
func (b *Backend) read(
	ctx context.Context, patience time.Duration, refs []secrets.Ref, take func(i int, s secrets.Secret, err error),
) {
	err := b.look(ctx, patience, func(s *snapshot) {
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

// resolve returns for path#field, if path is a directory, the ref path/field of that file, so that nothing is asked of the other
// files. If there is no such file, it is the ref of the names of the files, in which the field is missed: that is
// [secrets.ErrFieldNotFound]. All other refs stay as they are. It waits for nothing that is about to appear.
//
// With [WithCaching], it returns every ref as it is: a cache remembers what a key means, so that this must not depend on
// which files are there, and it keeps the fields of a document as one value and one version.
func (b *Backend) resolve(ref secrets.Ref) secrets.Ref {
	if strings.HasSuffix(ref.Path, namesOf) {
		ref.Path += namesOf
		return ref
	}
	if b.caching || ref.Field == "" {
		return ref
	}
	resolved := ref
	const patience = 0 // no context ends it
	err := b.look(context.Background(), patience, func(s *snapshot) {
		resolved = ref
		if dir, err := s.find(s.top, ref.Path); err == nil && dir.info.Mode.IsDir() {
			resolved = s.resolve(dir, ref)
		}
	})
	if err != nil || resolved.Validate() != nil { // the longest key of all leaves no room for namesOf
		return ref // Fetch meets the same error, and tells it
	}
	return resolved
}

// resolve is that of the Backend for a field of the directory at dir.
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
	return file // also if it cannot be read: whoever reads it is told why
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
		meta.ExpiresAt = time.Now().Add(maxEmpty)
	}
	return secrets.NewSecret(content, meta), nil
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
		// The look comes after the reading: before it, the file could have been the one that was not yet emptied.
		if now, err := place.root.Lstat(place.name); err != nil || time.Since(now.Modified).Abs() < beingWritten {
			s.pending = true
		}
	}
	if b.raw {
		return content, nil
	}
	return text.Trim(content), nil
}

// names makes a JSON object of the names of the files of the directory at dir, which path names. The files are not read.
func (b *Backend) names(s *snapshot, dir place, path string) (string, error) {
	names, empty, err := s.list(dir, maxNames)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, regular.ErrTooLarge) { // to look for one name was allowed
		return "", secrets.NewError(secrets.ErrFieldNotFound, fmt.Sprintf("%s in %s has no file of that name; "+
			"which files it has cannot be listed", path, b.dir))
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

// document makes a JSON object of the regular files of the directory at dir, which path names.
func (b *Backend) document(ctx context.Context, s *snapshot, dir place, path string) (string, error) {
	names, empty, err := s.list(dir, b.maxSize)
	if errors.Is(err, fs.ErrPermission) {
		return "", denied(fmt.Sprintf("%s in %s cannot be listed (it needs read permission); ask for its files by their names", path, b.dir))
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
		case absent(err): // a link that leads nowhere, or a file that was removed a moment ago, is no file of the directory
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

// encode returns files as a JSON object, in the order of the names, and with no more escapes than JSON asks for.
func encode[V any](files map[string]V) string {
	var doc bytes.Buffer
	e := json.NewEncoder(&doc)
	e.SetEscapeHTML(false)
	_ = e.Encode(files) //nolint:errcheck,errchkjson // neither strings, null nor a buffer fail
	return strings.TrimSuffix(doc.String(), "\n")
}
