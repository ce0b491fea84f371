//go:build unix

package regular_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/regular"
)

// Reading anything but a regular file never blocks. The control is os.Open, which a FIFO without a writer blocks.
func TestReadDoesNotBlock(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := t.TempDir()
	fifo, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "s")
	is.NoErr(syscall.Mkfifo(fifo, 0o600))
	is.NoErr(os.Symlink("fifo", filepath.Join(dir, "link")))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	is.NoErr(err)
	defer listener.Close()

	control := make(chan error, 1)
	go func() {
		f, err := os.Open(fifo)
		if err == nil {
			err = f.Close()
		}
		control <- err
	}()

	for reader, read := range readers(t, dir) {
		for _, name := range []string{"fifo", "link", "s"} {
			t.Run(reader+"/"+name, func(t *testing.T) {
				is := is.New(t)
				_, err := read(name, 10)
				changed := name == "link" && errors.Is(err, regular.ErrChanged) // a Dir follows no link
				is.True(changed || errors.Is(err, regular.ErrNotRegular))       // refused at once
			})
		}
	}
	_, err = regular.ReadFile("/dev/zero", 10)
	is.True(errors.Is(err, regular.ErrNotRegular)) // a device

	const longEnough = 100 * time.Millisecond
	select {
	case err := <-control:
		t.Fatalf("the control did not block: %v", err)
	case <-time.After(longEnough):
	}
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // unblocks the control
	is.NoErr(err)
	is.NoErr(<-control)
	is.NoErr(writer.Close())
}
