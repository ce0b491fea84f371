//go:build unix

package file_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
)

// Fetch rejects files that are not regular, without blocking. Package regular has the control: a plain open of a FIFO blocks.
func TestAFileThatIsNotRegularIsMalformed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{"d/x": "1"})
	for _, name := range []string{"fifo", "d/fifo"} {
		is.NoErr(syscall.Mkfifo(filepath.Join(dir, name), 0o600))
	}
	link(t, dir, "fifo", "link")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "socket"))
	is.NoErr(err)
	defer listener.Close()

	b := backend(t, dir)
	for _, path := range []string{"fifo", "d/fifo", "link", "socket"} {
		_, err := get(t, b, path)
		is.Equal(secrets.Class(err), secrets.ErrMalformed)
		is.True(strings.Contains(err.Error(), "not a regular file"))
	}
	got, err := get(t, b, "d")
	is.NoErr(err)
	is.Equal(got, `{"x":"1"}`) // the document of a directory leaves them out
	for _, path := range []string{"fifo/x", "socket/x"} {
		_, err := get(t, b, path)
		is.Equal(secrets.Class(err), secrets.ErrNotFound)
	}
	ref := secrets.Ref{Path: "d", Field: "fifo"}
	is.Equal(b.Info().Resolve(ref), secrets.Ref{Path: "d/fifo"}) // Fetch rejects it: it is not "not found"

	_, err = file.New(filepath.Join(dir, "fifo"))
	is.True(err != nil) // a FIFO as the directory does not block

	is.NoErr(os.RemoveAll(dir))
	is.NoErr(syscall.Mkfifo(dir, 0o600))
	_, err = get(t, b, "d/x")
	is.Equal(secrets.Class(err), secrets.ErrUnavailable) // nor does one that replaces it

	volume := t.TempDir()
	is.NoErr(syscall.Mkfifo(filepath.Join(volume, "..fifo"), 0o600))
	link(t, volume, "..fifo", "..data")
	link(t, volume, "..data/token", "token")
	_, err = get(t, backend(t, volume), "token")
	is.Equal(secrets.Class(err), secrets.ErrUnavailable) // nor does one behind ..data
}
