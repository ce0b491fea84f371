package file

import (
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/seed-5482dd03/secrets/internal/regular"
)

// mounts remembers where a file system was mounted: at the directory of a backend, above it, or at what was looked at below it. Once
// it is unmounted, the empty directory that it was mounted on shows. That is an outage, and must not read as "not found".
//
// A name at which another file system is mounted instead is as good. It is safe for concurrent use.
type mounts struct {
	mu    sync.Mutex
	names map[string]bool
}

// gone reports whether something was mounted at name, and is no more. around describes the directory that holds name, and at what
// is there; it may be nothing.
func (m *mounts) gone(name string, around, at regular.Info, exists bool) bool {
	if around.Mount == 0 || exists && at.Mount == 0 {
		return false // the system does not tell
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !exists || at.Mount == around.Mount {
		return m.names[name]
	}
	if m.names == nil {
		m.names = make(map[string]bool)
	}
	m.names[name] = true
	return false
}

// above looks at the directory dir, and at those above it, where links lead to now: a link is no mount point itself, and may lead
// elsewhere later. It returns what dir is now.
func (m *mounts) above(dir string) (regular.Info, error) {
	name := filepath.VolumeName(dir) + string(filepath.Separator)
	around, err := regular.Stat(name)
	if err != nil || around.Mount == 0 {
		return regular.Stat(dir)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return regular.Info{}, err
	}
	for element := range strings.SplitSeq(dir[len(name):], string(filepath.Separator)) {
		name = path.Join(name, element)
		at, err := regular.Stat(name)
		if err != nil {
			return at, err
		}
		if m.gone(name, around, at, true) {
			return at, unmountedError(name)
		}
		around = at
	}
	return around, nil
}

// unmountedError is the error of the name of a mount point that is none any more.
type unmountedError string

func (e unmountedError) Error() string { return "nothing is mounted any more at " + string(e) }
