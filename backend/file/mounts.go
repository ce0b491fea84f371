package file

import (
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/seed-5482dd03/secrets/internal/regular"
)

// mounts remembers mount points: the directory of a backend, those above it, and what was read below it. After an unmount, the empty
// directory under the mount shows. That is an outage, not "not found". If another file system is mounted there, it counts as mounted.
//
// It is safe for concurrent use.
type mounts struct {
	mu    sync.Mutex
	names map[string]bool
}

// gone reports whether something was mounted at name and no longer is. around describes the parent directory of name, and at what is there
// now, if it exists.
func (m *mounts) gone(name string, around, at regular.Info, exists bool) bool {
	if around.Mount == 0 || exists && at.Mount == 0 {
		return false // the system does not report mounts
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

// above checks dir and the directories above it, after following links: a link is not a mount point, and may lead elsewhere later. It
// returns the Info of dir.
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

// unmountedError is the path of a former mount point.
type unmountedError string

func (e unmountedError) Error() string { return "nothing is mounted any more at " + string(e) }
