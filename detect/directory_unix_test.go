//go:build unix

package detect_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/detect"
)

// What holds what is no file blocks nobody and points nowhere.
func TestOddDirectories(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	is.NoErr(syscall.Mkfifo(fifo, 0o600))
	is.NoErr(os.Symlink("fifo", filepath.Join(dir, "link")))
	_, d, err := detect.Backend(t.Context(), lookup(nil), detect.WithDirectory(dir))
	is.NoErr(err)
	is.Equal(d.Provider, "env")
	is.Equal(d.Others[0].Reason, "SECRET_MANAGER_PATH is not set, and "+dir+" holds no file of secrets")

	_, d, err = detect.Backend(t.Context(), lookup(nil), detect.WithDirectory(fifo))
	is.Equal(err.Error(), "secrets: detect: "+fifo+" is not a directory; mend that, or set SECRET_MANAGER_TYPE")
	is.Equal(d.Provider, "")
}
