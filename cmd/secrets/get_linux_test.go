package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
)

// smallDisk mounts a tmpfs of 64 KiB at dir until the end of the test.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("this test mounts a file system and must run as root with CAP_SYS_ADMIN: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// A file that does not fit leaves what was there, and nothing beside it.
func TestGetToAFullDisk(t *testing.T) {
	is := is.New(t)
	value := canary + strings.Repeat("x", 100<<10)
	s := newStore(t, map[string]string{"a": value, "small": "small"})
	dir := t.TempDir()
	smallDisk(t, dir)
	is.Equal(s.command().run(t, "get", "small", "-o", filepath.Join(dir, "value")), result{}) // the control
	got := s.command().run(t, "get", "a", "-o", filepath.Join(dir, "value"))
	is.Equal(got.code, exitOther)
	is.Equal(got.stdout, "")
	is.True(strings.HasPrefix(got.stderr, "secrets: "))
	secretstest.AssertNoLeak(t, canary, got.stderr)
	entries, err := os.ReadDir(dir)
	is.NoErr(err)
	is.Equal(len(entries), 1)
	content, err := os.ReadFile(filepath.Join(dir, "value"))
	is.NoErr(err)
	is.Equal(string(content), "small")
}

// What exists and is no regular file, such as a device or a directory, is not replaced.
func TestGetReplacesOnlyFiles(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	fifo := filepath.Join(t.TempDir(), "fifo")
	is.NoErr(syscall.Mkfifo(fifo, 0o600))
	for _, path := range []string{fifo, t.TempDir()} {
		before, err := os.Lstat(path)
		is.NoErr(err)
		got := s.command().run(t, "get", "a", "-o", path)
		is.Equal(got.code, exitUsage)
		is.True(strings.Contains(got.stderr, "not a regular file"))
		after, err := os.Lstat(path)
		is.NoErr(err)
		is.True(os.SameFile(before, after))
		is.Equal(after.Mode(), before.Mode())
	}
}
