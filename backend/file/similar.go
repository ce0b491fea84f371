package file

import (
	"slices"
	"strconv"
	"strings"
)

const (
	// maxSimilar is how many names an error gives.
	maxSimilar = 3
	// maxNames is how many bytes the names that are looked through for an error may have: a help for a person must not cost much.
	maxNames = 1 << 16
)

// similar names the files of the directory that may be meant by path, which is not there. Docker and Swarm have no directories of
// secrets: database/password is the file database_password there. It returns "" if there are none, or they cannot be listed.
func (s *snapshot) similar(path string) string {
	names, _, err := s.list(s.top, maxNames)
	if err != nil {
		return ""
	}
	wanted := words(path)
	names = slices.DeleteFunc(names, func(name string) bool {
		rest, ok := strings.CutPrefix(words(name), wanted)
		return !ok || name == path || rest != "" && rest[0] != '_'
	})
	if len(names) == 0 {
		return ""
	}
	more := ""
	if len(names) > maxSimilar {
		names, more = names[:maxSimilar], ", …"
	}
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return "; there is " + strings.Join(names, ", ") + more
}

// words returns name with one way of writing for what programs write between words.
func words(name string) string {
	return strings.ToLower(strings.NewReplacer("/", "_", "-", "_", ".", "_").Replace(name))
}
