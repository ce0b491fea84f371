package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
)

// A deployment may replace a directory, or a link to it, by one rename and delete the old directory. All that one call reads comes from
// one of the two directories, and nothing is ever "not found".
func TestACallReadsFromOneDirectoryDuringAReplacement(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		db      string // the first target of the link "db", or "" for a directory "db"
		replace func(dir, next string) error
	}{
		{name: "by a link", db: "v1", replace: func(dir, next string) error {
			old, err := os.Readlink(filepath.Join(dir, "db"))
			return errors.Join(err, os.Symlink(next, filepath.Join(dir, "tmp")),
				os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "db")), os.RemoveAll(filepath.Join(dir, old)))
		}},
		{name: "by another", replace: func(dir, next string) error {
			next = filepath.Join(dir, next)
			err := unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, filepath.Join(dir, "db"), unix.RENAME_EXCHANGE)
			return errors.Join(err, os.RemoveAll(next))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			dir := tree(t, nil)
			if tt.db == "" {
				write(t, dir, map[string]string{"db/user": "1", "db/password": "1"})
			} else {
				write(t, dir, map[string]string{tt.db + "/user": "1", tt.db + "/password": "1"})
				link(t, dir, tt.db, "db")
			}
			stop := make(chan struct{})
			var replacing sync.WaitGroup
			replacing.Go(func() {
				for n := 2; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					version := strconv.Itoa(n)
					next := filepath.Join(dir, "v"+version)
					err := errors.Join(os.Mkdir(next, 0o700), os.WriteFile(filepath.Join(next, "user"), []byte(version), 0o600),
						os.WriteFile(filepath.Join(next, "password"), []byte(version), 0o600), tt.replace(dir, "v"+version))
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
			defer replacing.Wait()
			defer close(stop)
			c := client(t, backend(t, dir))
			versions := make(map[string]bool)
			for range 300 {
				found, err := c.GetMany(t.Context(), "db/user", "db/password")
				is.NoErr(err)
				is.Equal(found["db/user"].Reveal(), found["db/password"].Reveal())
				versions[found["db/user"].Reveal()] = true
				found, err = c.GetMany(t.Context(), "db#user", "db#password")
				is.NoErr(err)
				is.Equal(found["db#user"].Reveal(), found["db#password"].Reveal())
				doc, err := c.Get(t.Context(), "db")
				is.NoErr(err)
				var pair struct{ User, Password string }
				is.NoErr(doc.JSON(&pair))
				is.Equal(pair.User, pair.Password)
				_, err = c.Get(t.Context(), "db#other") // the control: a missing file
				is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
			}
			is.True(len(versions) > 10)
		})
	}
}

// No answer and no error leaves a descriptor open. The test is not parallel: other tests open descriptors.
func TestNoDescriptorStaysOpen(t *testing.T) { //nolint:paralleltest // see above
	is := is.New(t)
	dir := tree(t, map[string]string{"db/password": canary, "db/sub/": "", "token": canary, "big": strings.Repeat("x", 2000), "empty/": ""})
	is.NoErr(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	link(t, dir, "/etc/hostname", "out")
	link(t, dir, "loop", "loop")
	link(t, dir, "nowhere", "dangling")
	newVolume(t, dir, pair("volume/", 1))
	is.NoErr(os.Mkdir(filepath.Join(dir, "broken"), 0o700))
	link(t, dir, "..v1", "broken/..data")
	c := client(t, backend(t, dir, file.WithMaxSize(1000)))
	keys := []string{
		"db", "db#password", "db#x", "db/password", "db/sub", "token", "token/x", "token#x", "big", "empty", "fifo", "out", "loop", "dangling",
		"volume", "volume/user", "volume#x", "broken", "broken/x", "nowhere", "a/b/c", strings.Repeat("x", 256), "..data",
	}
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		is.NoErr(err)
		return len(entries)
	}
	before := open()
	held, err := os.Open(dir) // the control
	is.NoErr(err)
	is.Equal(open(), before+1)
	is.NoErr(held.Close())
	for range 20 {
		for _, key := range keys {
			_, _ = c.Get(t.Context(), key)
		}
		_, _ = file.New(filepath.Join(dir, "token")) // not a directory
	}
	is.Equal(open(), before)
}
