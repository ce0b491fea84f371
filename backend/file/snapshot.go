package file

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/seed-5482dd03/secrets/internal/regular"
)

const (
	// dataLink is the link that Kubernetes swaps; see
	// https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter.
	dataLink = "..data"
	// reserved is the prefix of names that Kubernetes reserves in a volume.
	reserved = ".."
	// maxLinks is how many symbolic links a path may go through, as on Linux.
	maxLinks = 40
)

var (
	errEscapes  = errors.New("leads out of the directory")
	errDataGone = errors.New("..data leads nowhere")
)

// snapshot is one consistent view of a directory. It follows every ..data link once, keeps the target directory open, and reads everything
// below the link from there. That directory does not change: Kubernetes creates a new one and deletes the old. The only possible fault is
// a file that is already deleted; settled reports it.
//
// A snapshot resolves links itself and opens each name only as what it was seen to be, so no link can lead out of the directory.
type snapshot struct {
	dir    string
	root   *regular.Dir
	top    place // root itself
	mounts *mounts
	pins   map[link]*pin
	seen   map[string]regular.Info // by name: directories and links below root that were followed
	files  int                     // how many were read

	// moved: a name changed while it was followed.
	moved bool
	// missed: something was not there, or a directory was listed. Such an answer is wrong if a deletion had begun.
	missed bool
	// pending: a file is about to appear. A link to something below ..data dangles, or a file is empty that was written just now.
	pending bool
	// empty: an empty file was read.
	empty bool
}

// link is the location of a ..data link.
type link struct {
	root *regular.Dir
	dir  string
}

// pin is the directory that a ..data link led to, or the error of following it.
type pin struct {
	root *regular.Dir
	info regular.Info
	err  error
}

// place is a file or directory whose name has no links in it. Names have slashes on every system, and "." is the root.
type place struct {
	root *regular.Dir
	name string
	info regular.Info
}

// newSnapshot opens dir. It returns an [unmountedError] if a file system was mounted there and no longer is.
func newSnapshot(dir string, mounts *mounts) (*snapshot, error) {
	root, err := regular.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	s := &snapshot{dir: dir, root: root, mounts: mounts}
	if err := s.begin(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *snapshot) begin() error {
	is, err := s.mounts.above(s.dir)
	if err != nil {
		return err
	}
	was, err := s.root.Lstat(".")
	if err != nil {
		return err
	}
	s.top = place{s.root, ".", was}
	s.moved = !was.Same(is) // replaced between the two calls
	return nil
}

func (s *snapshot) close() {
	for _, p := range s.pins {
		if p.root != nil {
			p.root.Close()
		}
	}
	s.root.Close()
}

// settled reports whether everything that was read belongs to one moment. Files below one ..data link always do, even if the link has
// changed since: they were current when it was followed. Other files do if the directories and links above them are unchanged. A missing
// file counts only if the ..data links and the directory itself are unchanged too.
func (s *snapshot) settled() bool {
	switch {
	case s.moved, (s.missed || s.files > 1) && s.replaced():
		return false
	case !s.missed:
		return true
	}
	if is, err := regular.Stat(s.dir); err != nil || !is.Same(s.top.info) {
		return false
	}
	for at, p := range s.pins {
		if !s.current(at, p) {
			return false
		}
	}
	return true
}

// see records a directory or a link on the way to a file. Those of Kubernetes are recorded in pins instead.
func (s *snapshot) see(p place) {
	if p.root != s.root || p.info.Mode.IsRegular() {
		return
	}
	if s.seen == nil {
		s.seen = make(map[string]regular.Info)
	}
	if first, ok := s.seen[p.name]; !ok {
		s.seen[p.name] = p.info
	} else if !first.Same(p.info) {
		s.moved = true
	}
}

// replaced reports whether one of the recorded directories and links has been replaced.
func (s *snapshot) replaced() bool {
	for name, first := range s.seen {
		if is, err := s.root.Lstat(name); err != nil || !is.Same(first) {
			return true
		}
	}
	return false
}

// current reports whether the link at still leads to the same directory as when it was followed, or still nowhere. It compares the
// directories, not the text of the link: a name can be reused, but an open directory keeps its identity.
func (s *snapshot) current(at link, p *pin) bool {
	is, err := s.follow(at)
	switch {
	case p.err == nil:
		return err == nil && p.info.Same(is.info)
	case errors.Is(p.err, errDataGone):
		return err != nil || !is.info.Mode.IsDir()
	default:
		return true
	}
}

// follow returns the current target of a ..data link.
func (s *snapshot) follow(at link) (place, error) {
	place, _, err := s.walk(place{root: at.root, name: at.dir, info: regular.Info{Mode: fs.ModeDir}}, dataLink, false)
	return place, err
}

// find returns the place that name, a path relative to from, leads to.
func (s *snapshot) find(from place, name string) (place, error) {
	place, linked, err := s.walk(from, name, true)
	s.missed = s.missed || absent(err)
	s.pending = s.pending || linked && errors.Is(err, fs.ErrNotExist)
	return place, err
}

// findEntry is find for an entry of a listed directory. An entry that is gone or dangles is left out of the document, so it is neither
// missed nor pending.
func (s *snapshot) findEntry(dir place, name string) (place, error) {
	place, _, err := s.walk(dir, name, true)
	return place, err
}

// walk returns the place that name leads to from at. With pins, it goes through the pin of a ..data link, otherwise through the link
// itself. On an error, linked reports whether it followed a link to something below ..data.
func (s *snapshot) walk(at place, name string, pins bool) (_ place, linked bool, err error) {
	var (
		rest     = elements(name)
		links    = 0
		followed = false // a link other than ..data
	)
	defer func() { s.moved = s.moved || errors.Is(err, regular.ErrChanged) }()
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		next, err := s.enter(at, element)
		unlinked := false // Kubernetes has written the file and not yet linked to it
		if pins && element != dataLink && errors.Is(err, fs.ErrNotExist) {
			unlinked, err = hasData(at, err)
		}
		switch {
		case unlinked:
			rest = append([]string{dataLink, element}, rest...)
			continue
		case err != nil:
			return place{}, linked, err
		case next.info.Mode.Type() != fs.ModeSymlink:
			at = next
			continue
		}
		if links++; links > maxLinks {
			return place{}, linked, syscall.ELOOP
		}
		if element == dataLink && pins {
			linked = linked || followed
			p := s.pin(at)
			if p.err != nil {
				return place{}, linked, p.err
			}
			at = place{p.root, ".", p.info}
			continue
		}
		followed = true
		target, err := next.readlink()
		if err != nil {
			return place{}, linked, err
		}
		rest = append(target, rest...)
	}
	return at, linked, nil
}

// enter returns the place of an element of the directory dir. The element may be "..": the name of dir has no links in it, so its parent is
// the one in the name.
func (s *snapshot) enter(dir place, element string) (place, error) {
	switch {
	case !dir.info.Mode.IsDir():
		return place{}, syscall.ENOTDIR
	case element == ".." && dir.name == ".":
		return place{}, errEscapes
	}
	name := path.Join(dir.name, element)
	info, err := dir.root.Lstat(name)
	if dir.root == s.root && element != ".." && (err == nil || absent(err)) {
		if at := path.Join(s.dir, name); s.mounts.gone(at, dir.info, info, err == nil) {
			return place{}, unmountedError(at)
		}
	}
	entered := place{dir.root, name, info}
	if err == nil && !strings.HasPrefix(element, reserved) {
		s.see(entered)
	}
	return entered, err
}

// readlink returns the elements of the target of the link at p.
func (p place) readlink() ([]string, error) {
	target, err := p.root.Readlink(p.name)
	if err != nil {
		return nil, err
	}
	if filepath.VolumeName(target) != "" || strings.HasPrefix(filepath.ToSlash(target), "/") {
		return nil, errEscapes
	}
	return elements(filepath.ToSlash(target)), nil
}

// elements splits a path, without empty elements and ".".
func elements(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(e string) bool { return e == "" || e == "." })
}

// hasData reports whether the directory dir has a ..data link. If not, it returns otherwise as the error.
func hasData(dir place, otherwise error) (bool, error) {
	info, err := dir.root.Lstat(path.Join(dir.name, dataLink))
	switch {
	case err == nil && info.Mode.Type() == fs.ModeSymlink:
		return true, nil
	case err == nil || absent(err):
		return false, otherwise
	default:
		return false, err
	}
}

// pin follows the ..data link of the directory dir, once per snapshot.
func (s *snapshot) pin(dir place) *pin {
	at := link{dir.root, dir.name}
	if p, ok := s.pins[at]; ok {
		return p
	}
	p := &pin{}
	p.root, p.info, p.err = s.openData(at)
	// Between reading the link and opening its target, Kubernetes may have reused the name for a directory that is still being written. The
	// directory is complete only if the link still leads to it after the opening.
	if p.err == nil && !s.current(at, p) {
		s.moved = true
	}
	if absent(p.err) {
		p.err = errDataGone
	}
	if s.pins == nil {
		s.pins = make(map[link]*pin)
	}
	s.pins[at] = p
	return p
}

func (s *snapshot) openData(at link) (root *regular.Dir, info regular.Info, err error) {
	place, err := s.follow(at)
	if err != nil {
		return nil, info, err
	}
	if !place.info.Mode.IsDir() {
		return nil, info, syscall.ENOTDIR
	}
	if root, err = place.root.OpenDir(place.name); err != nil {
		s.moved = s.moved || errors.Is(err, regular.ErrChanged)
		return nil, info, err
	}
	info, err = root.Lstat(".")
	return root, info, err
}

// list returns the names in the directory dir that can be fields, sorted. In a Kubernetes volume, these are the files next to ..data and
// all files below it, linked or not. More than limit bytes of names is an error. empty reports a directory without any entry.
func (s *snapshot) list(dir place, limit int64) (names []string, empty bool, err error) {
	s.missed = true
	names, empty, err = readNames(dir, limit)
	if err != nil {
		return nil, false, err
	}
	volume, err := hasData(dir, nil)
	if err != nil {
		return nil, false, err
	}
	if volume {
		p := s.pin(dir)
		if p.err != nil {
			return nil, false, p.err
		}
		more, _, err := readNames(place{root: p.root, name: "."}, limit)
		if err != nil {
			return nil, false, err
		}
		names = append(names, more...)
	}
	slices.Sort(names)
	return slices.Compact(names), empty, nil
}

func readNames(dir place, limit int64) (names []string, empty bool, err error) {
	f, err := dir.root.List(dir.name)
	if err != nil {
		return nil, false, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	const batchSize = 256
	empty = true
	for {
		batch, err := f.Readdirnames(batchSize)
		for _, name := range batch {
			empty = false
			if hidden(name) {
				continue
			}
			names = append(names, name)
			if limit -= int64(len(name)); limit < 0 {
				return nil, false, regular.ErrTooLarge
			}
		}
		if errors.Is(err, io.EOF) {
			return names, empty, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// hidden reports whether a file of that name is not a field of its directory: dot files, which systems, editors and Kubernetes create, and
// the backups of Emacs, Vim and others. "x.bak" is a field: somebody chose the name.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") ||
		len(name) > 1 && strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#")
}
