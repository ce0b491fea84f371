package vault_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

const fuse = "/dev/fuse"

// hang mounts a FUSE file system whose server never answers, like a dead network file system. It returns the path of a file on it, and a
// function that ends it.
func hang(t *testing.T) (file string, end func()) {
	t.Helper()
	is := is.New(t)
	device, err := os.OpenFile(fuse, os.O_RDWR, 0)
	is.NoErr(err)
	dir := t.TempDir()
	is.NoErr(syscall.Mount("hang", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())))
	end = sync.OnceFunc(func() {
		_ = device.Close() // hanging calls fail
		is.NoErr(syscall.Unmount(dir, syscall.MNT_DETACH))
	})
	t.Cleanup(end)
	return filepath.Join(dir, "file"), end
}

// point replaces the symbolic link path with one to target, in one step.
func point(t *testing.T, path, target string) {
	t.Helper()
	aside := path + ".new"
	is.New(t).NoErr(os.Symlink(target, aside))
	is.New(t).NoErr(os.Rename(aside, path))
}

// A file on a file system that hangs blocks no call beyond its context, does not block Close forever, and does not start a goroutine for
// each request. The last content of the TLS files stays in use.
func TestFilesThatHang(t *testing.T) {
	if _, err := os.Stat(fuse); err != nil || os.Getuid() != 0 {
		t.Logf("without %s or the permission to mount, this test checks nothing", fuse)
		return
	}
	const long = 3 * time.Second
	for name, c := range map[string]struct {
		opts func(file string) []vault.Option
		warm bool  // the backend reads once before the file hangs
		want error // of a read while the file hangs
	}{
		"token": {func(file string) []vault.Option {
			return []vault.Option{vault.WithTLSSkipVerify(), vault.WithTokenFile(file)}
		}, true, context.DeadlineExceeded},
		"credential": {func(file string) []vault.Option {
			return []vault.Option{vault.WithTLSSkipVerify(), vault.WithAuth(vault.JWT("role", vault.File(file)))}
		}, false, context.DeadlineExceeded},
		"authorities": {func(file string) []vault.Option {
			return []vault.Option{vault.WithTLSCACert(file), vault.WithAuth(vault.JWT("role", vault.Value(credentialOf(0))))}
		}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			s, dir := newRotating(t), t.TempDir()
			good, file := filepath.Join(dir, "good"), filepath.Join(dir, "file")
			write(t, good, map[bool]string{true: s.authorities[0].pem, false: credentialOf(0)}[name == "authorities"])
			point(t, file, good)
			b := s.open(t, append(c.opts(file), environment(nil))...)
			if c.warm {
				is.NoErr(s.fetch(t, b))
			}

			hung, end := hang(t)
			point(t, file, hung)
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
					defer cancel()
					began := time.Now()
					_, err := b.Fetch(ctx, secrets.Ref{Path: "app"})
					is.Equal(err, c.want)
					is.True(time.Since(began) < long)
				})
			}
			wg.Wait()
			stacks := make([]byte, 4<<20)
			readers := strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "regular.ReadFile(")
			is.True(readers >= 1 && readers < 50) // one for each of these tests and of concurrent ones
			if c.warm {
				point(t, file, good)
				end()
				is.NoErr(s.fetch(t, b)) // the control
				hung, _ = hang(t)
				point(t, file, hung)
			}
			began := time.Now()
			_ = b.Close()
			is.True(time.Since(began) < 2*long)
		})
	}
}
