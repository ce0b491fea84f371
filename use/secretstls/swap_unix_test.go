//go:build unix

package secretstls_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// swapper replaces the files of a directory, like a program that rotates certificates.
type swapper interface {
	swap(ctx context.Context, files map[string]string)
}

// renaming replaces one file after the other, the CA first. For torn, certificate and key do not match.
type renaming struct {
	t    *testing.T
	dir  string
	torn time.Duration
}

func (r *renaming) swap(ctx context.Context, files map[string]string) {
	pause(ctx, rand.N(r.torn)) // otherwise a poll at the same pace would always, or never, see halves
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		if name == "tls.key" {
			pause(ctx, r.torn)
		}
		tmp := filepath.Join(r.dir, ".new")
		check(r.t, os.WriteFile(tmp, []byte(files[name]), 0o600))
		check(r.t, os.Rename(tmp, filepath.Join(r.dir, name)))
	}
}

// volume swaps one symlink, as Kubernetes does.
type volume struct {
	t   *testing.T
	dir string
	n   int
}

func (v *volume) swap(_ context.Context, files map[string]string) {
	old := "..v" + strconv.Itoa(v.n)
	v.n++
	name := "..v" + strconv.Itoa(v.n)
	check(v.t, os.Mkdir(filepath.Join(v.dir, name), 0o755))
	for file, content := range files {
		check(v.t, os.WriteFile(filepath.Join(v.dir, name, file), []byte(content), 0o600))
	}
	check(v.t, os.Symlink(name, filepath.Join(v.dir, "..data_tmp")))
	check(v.t, os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data")))
	for file := range files {
		if err := os.Symlink("..data/"+file, filepath.Join(v.dir, file)); !errors.Is(err, os.ErrExist) {
			check(v.t, err)
		}
	}
	check(v.t, os.RemoveAll(filepath.Join(v.dir, old)))
}

// check fails the test on an error. It may run on any goroutine.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// every calls f each d until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}
