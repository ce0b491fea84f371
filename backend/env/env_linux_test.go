package env_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
)

func TestFilesNotReadable(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	file := write(t, "secret", "hunter2")
	for _, d := range []string{filepath.Dir(file), filepath.Dir(filepath.Dir(file))} {
		is.NoErr(os.Chmod(d, 0o755)) // so that the file alone is what is denied
	}
	is.NoErr(os.Chmod(file, 0))
	b := env.New(env.WithFiles(), lookup(map[string]string{"TOKEN_FILE": file}))
	var err error
	asNobody(t, func() { _, err = b.Fetch(t.Context(), secrets.Ref{Path: "token"}) })
	is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
	is.True(strings.Contains(err.Error(), "TOKEN_FILE"))
	is.True(!strings.Contains(err.Error(), file))

	is.NoErr(os.Chmod(file, 0o644)) // the control: nobody may read it
	asNobody(t, func() { _, err = b.Fetch(t.Context(), secrets.Ref{Path: "token"}) })
	is.NoErr(err)
}

func TestFilesDoesNotBlock(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	is.NoErr(syscall.Mkfifo(fifo, 0o600))
	for _, name := range []string{fifo, "/dev/zero"} {
		b := env.New(env.WithFiles(), lookup(map[string]string{"TOKEN_FILE": name}))
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "token"})
		is.Equal(secrets.Class(err), secrets.ErrMalformed) // package regular holds the control: a plain open blocks
	}
}

// asNobody calls f on a thread whose rights to files are those of a user without any, also where the tests run as root,
// to whom no mode of a file is a denial. The thread ends with f.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	const nobody = 65534
	if os.Geteuid() != 0 {
		t.Log("the tests do not run as root: they go without the rights of their own user, not with those of another")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is not used again
		if os.Geteuid() == 0 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
		}
		f()
	}()
	<-done
}
