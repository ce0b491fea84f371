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

// What is no directory, or holds what is no file, blocks nobody and points nowhere.
func TestOddDirectories(t *testing.T) {
	is := is.New(t)
	why := func(dir string) string {
		t.Helper()
		_, d, err := detect.Backend(t.Context(), lookup(nil), detect.WithDirectory(dir))
		is.NoErr(err)
		is.Equal(d.Provider, "env")
		return strings.ReplaceAll(d.Others[0].Reason, dir, "DIR")
	}
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	is.NoErr(syscall.Mkfifo(fifo, 0o600))
	is.NoErr(os.Symlink("fifo", filepath.Join(dir, "link")))
	is.Equal(why(dir), "SECRET_MANAGER_PATH is not set, and DIR holds no file of secrets")
	is.Equal(why(fifo), "SECRET_MANAGER_PATH is not set, and DIR is no directory")
	if os.Getuid() != 0 {
		is.NoErr(os.Chmod(dir, 0))
		is.Equal(why(dir), "SECRET_MANAGER_PATH is not set, and DIR must not be read")
		is.NoErr(os.Chmod(dir, 0o700))
	}
}
