package file

import (
	"errors"
	"io"
	"io/fs"
	"os"
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
	// reserved begins the names that Kubernetes keeps for itself in a volume.
	reserved = ".."
	// maxLinks is how many symbolic links a path may meet, as on Linux.
	maxLinks = 40
)

var (
	errEscapes  = errors.New("leads out of the directory")
	errDataGone = errors.New("..data leads nowhere")
)

// snapshot is one look at a directory, in which every ..data link is followed once: all that is read below it is read from
// the directory that it led to then, which is held open. That directory does not change; Kubernetes makes a new one and
// deletes the old. So what can go wrong is only that something in it is already deleted, and settled tells that.
//
// It resolves links itself, since os.Root would follow each ..data anew. os.Root still opens every name, so that a
// link which appears after the look at it is confined like any other.
type snapshot struct {
	dir  string
	root *os.Root
	pins map[link]*pin

	// moved says that a ..data link has changed while it was followed.
	moved bool
	// missed says that something was not there, or a directory was listed: an answer that is wrong if a deletion had begun.
	missed bool
	// dangling says that a link to something below ..data leads nowhere.
	dangling bool
}

// link is where a ..data link is.
type link struct {
	root *os.Root
	dir  string
}

// pin is the directory that a ..data link led to, or the error of following it.
type pin struct {
	root *os.Root
	info fs.FileInfo
	err  error
}

// place is a file or directory whose name has no links in it. Names have slashes on every system, and "." is the root.
type place struct {
	root *os.Root
	name string
	mode fs.FileMode
}

func newSnapshot(dir string) (*snapshot, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	return &snapshot{dir: dir, root: root}, nil
}

func (s *snapshot) close() {
	for _, p := range s.pins {
		if p.root != nil {
			_ = p.root.Close()
		}
	}
	_ = s.root.Close()
}

func (s *snapshot) top() place { return place{s.root, ".", fs.ModeDir} }

// settled reports whether what was read is true of one moment. Files that were read below one ..data link always are, also
// if the link has changed since: they were current when the link was followed. That something was not there is true only if
// the links, and the directory itself, still are what they were.
func (s *snapshot) settled() bool {
	switch {
	case s.moved:
		return false
	case !s.missed:
		return true
	}
	was, errWas := s.root.Stat(".")
	is, errIs := os.Stat(s.dir)
	if errWas != nil || errIs != nil || !os.SameFile(was, is) {
		return false
	}
	for at, p := range s.pins {
		if !p.current(at) {
			return false
		}
	}
	return true
}

// current reports whether the link at still leads to what it led to when it was followed, or nowhere if it led nowhere.
// The directories themselves are compared, not the text of the link: a name can be used again, but a directory that is held
// open keeps its identity.
func (p *pin) current(at link) bool {
	is, err := at.root.Stat(native(at.dir, dataLink))
	switch {
	case p.err == nil:
		return err == nil && os.SameFile(p.info, is)
	case errors.Is(p.err, errDataGone):
		return err != nil || !is.IsDir()
	default:
		return true
	}
}

// find returns the place that name, a path from the directory at from, leads to.
func (s *snapshot) find(from place, name string) (place, error) {
	place, linked, err := s.walk(from, name)
	s.missed = s.missed || absent(err)
	s.dangling = s.dangling || linked && errors.Is(err, fs.ErrNotExist)
	return place, err
}

// findEntry is find for an entry of a directory that was listed. An entry that is gone, or leads nowhere, is left out of
// the document, and nothing to wait for.
func (s *snapshot) findEntry(dir place, name string) (place, error) {
	place, _, err := s.walk(dir, name)
	return place, err
}

// walk returns the place that name leads to from at. On an error, linked says whether a link to something below ..data led
// to it.
func (s *snapshot) walk(at place, name string) (_ place, linked bool, err error) {
	var (
		rest     = elements(name)
		links    = 0
		followed = false // a link that is not ..data itself
	)
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		info, err := at.lstat(element)
		switch {
		case errors.Is(err, fs.ErrNotExist) && element != dataLink && s.hasData(at):
			// Kubernetes has put the file into place and not yet linked to it.
			rest = append([]string{dataLink, element}, rest...)
			continue
		case err != nil:
			return place{}, linked, err
		case info.Mode().Type() != fs.ModeSymlink:
			at.name, at.mode = path.Join(at.name, element), info.Mode()
			continue
		}
		if links++; links > maxLinks {
			return place{}, linked, syscall.ELOOP
		}
		if element == dataLink {
			linked = linked || followed
			p := s.pin(at)
			if p.err != nil {
				return place{}, linked, p.err
			}
			at = place{p.root, ".", fs.ModeDir}
			continue
		}
		followed = true
		target, err := at.readlink(element)
		if err != nil {
			return place{}, linked, err
		}
		rest = append(target, rest...)
	}
	return at, linked, nil
}

// lstat looks at an element of the directory at p, which may be "..": the name of p has no links in it, so that its parent
// is what the name says.
func (p place) lstat(element string) (fs.FileInfo, error) {
	switch {
	case !p.mode.IsDir():
		return nil, syscall.ENOTDIR
	case element == ".." && p.name == ".":
		return nil, errEscapes
	default:
		return p.root.Lstat(native(p.name, element))
	}
}

// readlink returns the elements of the target of a link in the directory at p.
func (p place) readlink(element string) ([]string, error) {
	target, err := p.root.Readlink(native(p.name, element))
	if err != nil {
		return nil, err
	}
	if filepath.VolumeName(target) != "" || strings.HasPrefix(filepath.ToSlash(target), "/") {
		return nil, errEscapes
	}
	return elements(filepath.ToSlash(target)), nil
}

// elements splits a path, and leaves out what stands for the directory itself.
func elements(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(e string) bool { return e == "" || e == "." })
}

// hasData reports whether the directory at dir has a ..data link.
func (s *snapshot) hasData(dir place) bool {
	info, err := dir.root.Lstat(native(dir.name, dataLink))
	return err == nil && info.Mode().Type() == fs.ModeSymlink
}

// pin follows the ..data link of the directory at dir, once in the life of the snapshot.
func (s *snapshot) pin(dir place) *pin {
	at := link{dir.root, dir.name}
	if p, ok := s.pins[at]; ok {
		return p
	}
	p := &pin{}
	// The separator at the end has the same reason as in openRoot.
	p.root, p.err = at.root.OpenRoot(native(at.dir, dataLink) + string(filepath.Separator))
	if p.err == nil {
		p.info, p.err = p.root.Stat(".")
	}
	// A link is read first and its target opened then. In between, the name may have come to stand for a directory that is
	// still being written: only if the link leads to it after the opening was it complete.
	if p.err == nil && !p.current(at) {
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

// list returns the names in the directory at dir, in order, without those that Kubernetes keeps for itself. If Kubernetes
// writes the directory, the files that are there are those below ..data, linked to or not, and what lies beside it.
// The names may have limit bytes together.
func (s *snapshot) list(dir place, limit int64) ([]string, error) {
	s.missed = true
	names, err := readNames(dir, limit)
	if err != nil {
		return nil, err
	}
	if s.hasData(dir) {
		p := s.pin(dir)
		if p.err != nil {
			return nil, p.err
		}
		more, err := readNames(place{root: p.root, name: "."}, limit)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func readNames(dir place, limit int64) ([]string, error) {
	f, err := dir.root.Open(native(dir.name))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	const some = 256
	var names []string
	for {
		batch, err := f.Readdirnames(some)
		for _, name := range batch {
			if strings.HasPrefix(name, reserved) {
				continue
			}
			names = append(names, name)
			if limit -= int64(len(name)); limit < 0 {
				return nil, regular.ErrTooLarge
			}
		}
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// native joins elements to a name for os.Root.
func native(elements ...string) string { return filepath.FromSlash(path.Join(elements...)) }
