package env_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/internal/otheruser"
)

func TestAnUnreadableFileIsPermissionDenied(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	file := write(t, "secret", "hunter2")
	for _, d := range []string{filepath.Dir(file), filepath.Dir(filepath.Dir(file))} {
		is.NoErr(os.Chmod(d, 0o755)) // only the file is unreadable
	}
	is.NoErr(os.Chmod(file, 0))
	b := env.New(env.WithFiles(), lookup(map[string]string{"TOKEN_FILE": file}))
	var err error
	otheruser.Nobody(t, func() { _, err = b.Fetch(t.Context(), secrets.Ref{Path: "token"}) })
	is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
	is.True(strings.Contains(err.Error(), "TOKEN_FILE"))
	is.True(!strings.Contains(err.Error(), file))

	is.NoErr(os.Chmod(file, 0o644)) // the control: the user nobody may read it
	otheruser.Nobody(t, func() { _, err = b.Fetch(t.Context(), secrets.Ref{Path: "token"}) })
	is.NoErr(err)
}

func TestAFIFOOrADeviceDoesNotBlock(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	is.NoErr(syscall.Mkfifo(fifo, 0o600))
	for _, name := range []string{fifo, "/dev/zero"} {
		b := env.New(env.WithFiles(), lookup(map[string]string{"TOKEN_FILE": name}))
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "token"})
		is.Equal(secrets.Class(err), secrets.ErrMalformed) // package regular has the control: a plain open blocks
	}
}
