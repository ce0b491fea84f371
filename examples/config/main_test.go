package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// directory returns a directory with files, which the program reads.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("SECRET_MANAGER_TYPE", "file")
	t.Setenv("SECRET_MANAGER_PATH", dir)
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

// write replaces a file in one step.
func write(t *testing.T, path, content string) {
	t.Helper()
	fresh := filepath.Join(t.TempDir(), "fresh")
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(fresh, []byte(content), 0o600), os.Rename(fresh, path))
	if err != nil {
		t.Fatal(err)
	}
}

func TestSettingsFollowTheFiles(t *testing.T) {
	is := is.New(t)
	password, token := rand.Text(), rand.Text()
	dir := directory(t, map[string]string{"database/user": "app", "database/password": password, "mail-token": token})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- errors.Join(run(ctx, writer), writer.Close()) }()

	lines := bufio.NewScanner(reader)
	is.True(lines.Scan())
	is.Equal(lines.Text(), "{Database:{User:app Password:[REDACTED]} MailToken:[REDACTED] Timeout:30s}")
	write(t, filepath.Join(dir, "timeout"), "5s")
	is.True(lines.Scan()) // waits for the change
	is.Equal(lines.Text(), "{Database:{User:app Password:[REDACTED]} MailToken:[REDACTED] Timeout:5s}")
	cancel()
	is.True(!lines.Scan())
	is.NoErr(<-done)
}

func TestOneErrorNamesAllThatIsMissing(t *testing.T) {
	is := is.New(t)
	password := rand.Text()
	directory(t, map[string]string{"database/password": password, "timeout": "soon"})
	err := run(t.Context(), io.Discard)
	is.True(errors.Is(err, secrets.ErrNotFound))
	for _, part := range []string{"database#user", "mail-token", "timeout"} {
		is.True(strings.Contains(err.Error(), part))
	}
	is.True(!strings.Contains(err.Error(), "database#password"))
	secretstest.AssertNoLeak(t, password, err)
}
