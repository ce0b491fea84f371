package file

import (
	"slices"
	"strconv"
	"strings"
)

const (
	// maxSimilar is the maximum number of names in an error.
	maxSimilar = 3
	// maxNames bounds the names that are listed for an error, in bytes: a hint must be cheap.
	maxNames = 1 << 16
)

// similar lists files that path, which does not exist, may mean. Docker and Swarm have no directories of secrets: there, database/password
// is the file database_password. It returns "" if there are no such files, or if they cannot be listed.
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

// words returns name in lower case with "_" for every separator.
func words(name string) string {
	return strings.ToLower(strings.NewReplacer("/", "_", "-", "_", ".", "_").Replace(name))
}
