//go:build unix

package detect_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/detect"
)

// Entries that are not regular files neither block nor choose a provider.
func TestEntriesThatAreNotRegularFilesAreReported(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	is.NoErr(syscall.Mkfifo(fifo, 0o600))
	is.NoErr(os.Symlink("fifo", filepath.Join(dir, "link")))
	_, d, err := detect.Backend(t.Context(), lookup(nil), detect.WithDirectory(dir))
	is.NoErr(err)
	is.Equal(d.Provider, "env")
	is.True(strings.HasPrefix(d.Reason, "nothing points to a provider, and env is the default, although "+dir+" holds "))
	is.True(strings.HasSuffix(d.Reason, ", which is not a regular file"))

	_, d, err = detect.Backend(t.Context(), lookup(nil), detect.WithDirectory(fifo))
	is.Equal(err.Error(), "secrets: detect: "+fifo+" is not a directory; fix that, or set SECRET_MANAGER_TYPE")
	is.Equal(d.Provider, "")
}
