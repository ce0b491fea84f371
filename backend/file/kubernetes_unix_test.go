//go:build unix

package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
)

// volume is a directory that is updated as Kubernetes updates the mount of a Secret.
type volume struct {
	t     *testing.T
	dir   string
	n     int
	names int // how many names of directories are reused in turn; 0: none is reused, as in Kubernetes
	old   string
}

func newVolume(t *testing.T, dir string, files map[string]string) *volume {
	t.Helper()
	v := &volume{t: t, dir: dir}
	v.update(files)
	return v
}

// update does the steps of Kubernetes in its order: it writes the new files, links the new ones, swaps ..data, and deletes the old files.
func (v *volume) update(files map[string]string) {
	v.n++
	name := "..v" + strconv.Itoa(v.n)
	if v.names > 0 {
		name = "..v" + strconv.Itoa(v.n%v.names)
	}
	v.write(name, files)
	v.swap(name)
}

func (v *volume) write(name string, files map[string]string) {
	for path, content := range files {
		full := filepath.Join(v.dir, name, path)
		v.check(os.MkdirAll(filepath.Dir(full), 0o755))
		v.check(os.WriteFile(full, []byte(content), 0o600))
		top, _, _ := strings.Cut(path, "/")
		if err := os.Symlink("..data/"+top, filepath.Join(v.dir, top)); !errors.Is(err, os.ErrExist) {
			v.check(err)
		}
	}
}

func (v *volume) swap(name string) {
	tmp := filepath.Join(v.dir, "..data_tmp")
	v.check(os.Symlink(name, tmp))
	v.check(os.Rename(tmp, filepath.Join(v.dir, "..data")))
	if v.old != "" {
		v.check(os.RemoveAll(filepath.Join(v.dir, v.old)))
	}
	v.old = name
}

func (v *volume) check(err error) {
	if err != nil {
		v.t.Error(err) // not Fatal: volumes are also updated on other goroutines
	}
}

// swapping updates the volume in a loop and calls read until it returns true, at most maxRounds times.
func swapping(v *volume, prefix string, maxRounds int, read func() (enough bool)) {
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for n := 2; ; n++ {
			select {
			case <-stop:
				return
			default:
				v.update(pair(prefix, n))
			}
		}
	})
	for range maxRounds {
		if read() {
			break
		}
	}
	close(stop)
	swapper.Wait()
}

const (
	rounds    = 500
	maxRounds = 200 * rounds // to wait for an event that happens by chance within a few rounds
)

// All files below one ..data link come from one update, however fast the updates are.
func TestOneUpdate(t *testing.T) {
	t.Parallel()
	many := func(user, password string) func(ctx context.Context, c *secrets.Client) (string, string, error) {
		return func(ctx context.Context, c *secrets.Client) (string, string, error) {
			found, err := c.GetMany(ctx, user, password)
			return found[user].Reveal(), found[password].Reveal(), err
		}
	}
	document := func(path string) func(ctx context.Context, c *secrets.Client) (string, string, error) {
		return func(ctx context.Context, c *secrets.Client) (string, string, error) {
			s, err := c.Get(ctx, path)
			if err != nil {
				return "", "", err
			}
			var v struct{ User, Password string }
			err = s.JSON(&v)
			return v.User, v.Password, err
		}
	}
	for _, tt := range []struct {
		name   string
		mount  string // below the directory
		prefix string // of the files in the mount
		names  int
		links  map[string]string
		read   func(ctx context.Context, c *secrets.Client) (user, password string, err error)
	}{
		{name: "the directory itself", read: many("user", "password")},
		{name: "a mount in the directory", mount: "db", read: many("db/user", "db/password")},
		{name: "a mount as a document", mount: "db", read: document("db")},
		{name: "items with slashes", prefix: "db/", read: many("db/user", "db/password")},
		{name: "items with slashes as a document", prefix: "db/", read: document("db")},
		{name: "reused names", names: 2, read: many("user", "password")},
		{name: "reused names, a document", mount: "db", names: 2, read: document("db")},
		{
			name: "links to a mount", mount: "a/b", links: map[string]string{"u": "a/b/user", "p": "a/../a/b/password"}, read: many("u", "p"),
		},
		{
			name: "one mount by two names", mount: "db", links: map[string]string{"other": "db"},
			read: many("db/user", "other/password"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mount := filepath.Join(dir, tt.mount)
			if err := os.MkdirAll(mount, 0o755); err != nil {
				t.Fatal(err)
			}
			v := newVolume(t, mount, pair(tt.prefix, 1))
			v.names = tt.names
			for name, target := range tt.links {
				link(t, dir, target, name)
			}
			c := client(t, backend(t, dir))
			seen := map[string]bool{}
			n := 0
			swapping(v, tt.prefix, maxRounds, func() bool {
				user, password, err := tt.read(t.Context(), c)
				switch {
				case err != nil:
					t.Error(err)
				case user == "" || torn(user, password):
					t.Errorf("%q and %q", user, password)
				}
				seen[user] = true
				n++
				return t.Failed() || n >= rounds && len(seen) > 1
			})
			if len(seen) < 2 {
				t.Error("the swapper did nothing")
			}
		})
	}
}

// The control of TestOneUpdate: plain reads of the two files do mix two updates.
func TestOneUpdateControl(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := newVolume(t, dir, pair("", 1))
	found := false
	swapping(v, "", maxRounds, func() bool {
		user, errUser := os.ReadFile(filepath.Join(dir, "user"))
		password, errPassword := os.ReadFile(filepath.Join(dir, "password"))
		found = errUser == nil && errPassword == nil && torn(string(user), string(password))
		return found
	})
	if !found {
		t.Error("no torn pair")
	}
}

func TestOneUpdateThroughClient(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]file.Option{nil, {file.WithCaching()}} {
		dir := t.TempDir()
		v := newVolume(t, dir, pair("db/", 1))
		c, err := secrets.New(backend(t, dir, opts...))
		if err != nil {
			t.Fatal(err)
		}
		swapping(v, "db/", rounds/10, func() bool {
			got, err := c.GetMany(t.Context(), "db#user", "db#password")
			if err != nil {
				t.Error(err)
			} else if user, password := got["db#user"].Reveal(), got["db#password"].Reveal(); torn(user, password) {
				t.Errorf("%q and %q", user, password)
			}
			return t.Failed()
		})
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The backend waits for a delayed key of a GetMany, longer than other backends wait for a batch: keys that are read together must match.
func TestOneUpdateThoughOneKeyIsLate(t *testing.T) {
	t.Parallel()
	const late = time.Second
	for name, timeout := range map[string]time.Duration{"without a deadline": 0, "with a deadline": 4 * late} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				dir := t.TempDir()
				v := newVolume(t, dir, pair("", 1))
				c := client(t, backend(t, dir), secrets.WithMiddleware(secrets.Intercept(
					func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
						if ref.Path == "password" {
							<-time.After(late)
						}
						return next.Fetch(ctx, ref)
					})))
				time.AfterFunc(late/2, func() { v.update(pair("", 2)) })
				ctx := t.Context()
				if timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, timeout)
					defer cancel()
				}
				found, err := c.GetMany(ctx, "user", "password")
				is.NoErr(err)
				is.Equal(found["user"].Reveal()+found["password"].Reveal(), "user2pass2")
			})
		})
	}
}

// between is a context that calls do in Err: before each try and each file.
type between struct {
	context.Context
	do func()
}

func (c *between) Err() error {
	c.do()
	return c.Context.Err()
}

// TestOneUpdate, step by step: the update comes exactly between the reads of two files.
func TestAnUpdateBetweenTwoFilesIsReadAgain(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := t.TempDir()
	v := newVolume(t, dir, pair("", 1))
	b := backend(t, dir)
	calls := 0
	ctx := &between{t.Context(), func() {
		if calls++; calls == 3 { // after the first try and the first file have begun, before the second file
			v.update(pair("", 2))
		}
	}}
	r := b.FetchTogether(ctx, secrets.Ref{Path: "user"}, secrets.Ref{Path: "password"})
	is.NoErr(errors.Join(r[0].Err, r[1].Err))
	is.Equal(r[0].Secret.Reveal(), "user2")
	is.Equal(r[1].Secret.Reveal(), "pass2")
}

// Updates that never end are an outage, not "not found".
func TestEndlessUpdatesAreUnavailable(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := t.TempDir()
	v := newVolume(t, dir, pair("db/", 1))
	b := backend(t, dir)
	n := 1
	ctx := &between{t.Context(), func() { n++; v.update(pair("db/", n)) }}
	for _, r := range b.FetchTogether(ctx, secrets.Ref{Path: "db/user"}, secrets.Ref{Path: "db/password"}) {
		is.Equal(secrets.Class(r.Err), secrets.ErrUnavailable)
	}
	_, err := b.Fetch(ctx, secrets.Ref{Path: "db"})
	is.Equal(secrets.Class(err), secrets.ErrUnavailable) // a document with half of its files is worse than none

	cancelled, cancel := context.WithCancel(t.Context())
	tries := 0
	ctx = &between{cancelled, func() {
		if tries++; tries == 20 {
			cancel()
		}
		n++
		v.update(pair("db/", n))
	}}
	_, err = b.Fetch(ctx, secrets.Ref{Path: "db"})
	is.Equal(err, context.Canceled)
}

// If the whole directory is replaced during a read, as by a link to the current release, it is read again.
func TestADirectoryReplacedDuringAReadIsReadAgain(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	parent := tree(t, map[string]string{"1/user": "user1", "1/password": "pass1", "2/user": "user2", "2/password": "pass2"})
	current := filepath.Join(parent, "current")
	link(t, parent, "1", "current")
	b := backend(t, current)
	calls := 0
	ctx := &between{t.Context(), func() {
		if calls++; calls == 3 {
			is.NoErr(os.Remove(current))
			is.NoErr(os.Symlink("2", current))
			is.NoErr(os.RemoveAll(filepath.Join(parent, "1")))
		}
	}}
	r := b.FetchTogether(ctx, secrets.Ref{Path: "user"}, secrets.Ref{Path: "password"})
	is.NoErr(errors.Join(r[0].Err, r[1].Err))
	is.Equal(r[0].Secret.Reveal(), "user2")
	is.Equal(r[1].Secret.Reveal(), "pass2")
}

func TestVolume(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := newVolume(t, dir, map[string]string{"token": canary, "db/user": "app", "db/key": "\xff"})
	write(t, dir, map[string]string{"plain": "plain", "plaindir/x": "1", "..other/x": "1", "..data/unlinked": "no link yet"})
	write(t, v.dir, map[string]string{"mount/": ""})
	newVolume(t, filepath.Join(dir, "mount"), map[string]string{"a": "1", "b": "2"})
	write(t, filepath.Join(dir, "mount"), map[string]string{"beside": "3", "..data/unlinked": "4", "..data/dir/x": "5"})
	link(t, filepath.Join(dir, "mount"), "..data/removed", "removed")

	// A directory named ..data is not a volume. It is read like any other.
	write(t, dir, map[string]string{"fake/..data/x": "1"})
	link(t, filepath.Join(dir, "fake"), "..data/x", "x")

	b := backend(t, dir)
	for _, tt := range []struct {
		path, want string
		err        error
	}{
		{"token", canary, nil},
		{"db/user", "app", nil},
		{"plain", "plain", nil},
		{"plaindir/x", "1", nil},
		{"unlinked", "no link yet", nil},
		{"mount/a", "1", nil},
		{"mount/beside", "3", nil},
		{"mount", `{"a":"1","b":"2","beside":"3","unlinked":"4"}`, nil},
		{"fake/x", "1", nil},
		{"fake", `{"x":"1"}`, nil},
		{"missing", "", secrets.ErrNotFound},
		{"mount/missing", "", secrets.ErrNotFound},
		{"token/x", "", secrets.ErrNotFound},
		{"..data/token", "", secrets.ErrInvalidKey},
		{"..other/x", "", secrets.ErrInvalidKey},
		{"db", "", secrets.ErrMalformed},
	} {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			got, err := get(t, b, tt.path)
			is.Equal(secrets.Class(err), tt.err)
			is.Equal(got, tt.want)
		})
	}
	is := is.New(t)
	is.Equal(b.Info().Resolve(secrets.Ref{Path: "db", Field: "user"}), secrets.Ref{Path: "db/user"})
	is.Equal(b.Info().Resolve(secrets.Ref{Path: "mount", Field: "unlinked"}), secrets.Ref{Path: "mount/unlinked"})
}

// A ..data link that leads out of the directory is rejected too.
func TestAVolumeThatLeadsOutIsRejected(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	outside := tree(t, map[string]string{"token": canary})
	dir := t.TempDir()
	link(t, dir, outside, "..data")
	link(t, dir, "..data/token", "token")
	content, err := os.ReadFile(filepath.Join(dir, "token"))
	is.NoErr(err)
	is.Equal(string(content), canary) // the control
	for _, path := range []string{"token", "unlinked"} {
		_, err = get(t, backend(t, dir), path)
		is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
	}

	inside := t.TempDir()
	newVolume(t, inside, map[string]string{"token": canary})
	link(t, filepath.Join(inside, "..v1"), "../../"+filepath.Base(outside)+"/token", "out")
	link(t, inside, "..data/out", "out")
	_, err = get(t, backend(t, inside), "out")
	is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
}

// A volume whose ..data link dangles is an outage, not "not found".
func TestABrokenVolumeIsUnavailable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		v := newVolume(t, dir, map[string]string{"token": canary})
		is.NoErr(os.RemoveAll(filepath.Join(dir, v.old)))
		write(t, dir, map[string]string{"plain": "plain"})
		b := backend(t, dir)
		for _, path := range []string{"token", "missing"} {
			_, err := get(t, b, path)
			is.Equal(secrets.Class(err), secrets.ErrUnavailable)
		}
		got, err := get(t, b, "plain")
		is.NoErr(err)
		is.Equal(got, "plain")
	})
}

const appearTimeout = 50 * time.Millisecond

// Kubernetes creates the link of a new key before its target. The backend waits for such a key.
func TestTheBackendWaitsForANewKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		v := newVolume(t, dir, pair("", 1))
		c := client(t, backend(t, dir))
		v.write("..next", map[string]string{"user": "user2", "password": "pass2", "token": canary})

		var found map[string]secrets.Secret
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			found, err = c.GetMany(t.Context(), "user", "token", "password")
		}()
		synctest.Wait() // until GetMany waits for the key
		v.swap("..next")
		<-done
		is.NoErr(err)
		for key, want := range map[string]string{"user": "user2", "token": canary, "password": "pass2"} { // all from one update
			is.Equal(found[key].Reveal(), want)
		}
	})
}

func TestTheBackendWaitsOnlyForNewKeysOfAVolume(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path string
		wait time.Duration
	}{
		{"token", appearTimeout},    // a dangling link below ..data
		{"dangling", appearTimeout}, // a link to such a link, or to one that does not exist yet
		{"missing", 0},              // no link at all
		{"user/x", 0},               // a file where a directory should be
		{"plain/missing", 0},        // not in the volume
		{"plain/dangling", 0},       // a dangling link outside a volume
		{"..data/missing", 0},       // rejected without a read
	} {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				dir := t.TempDir()
				v := newVolume(t, dir, pair("", 1))
				v.write("..next", map[string]string{"token": canary})
				link(t, dir, "nothing", "dangling")
				write(t, dir, map[string]string{"plain/x": "1"})
				link(t, dir, "nothing", "plain/dangling")
				b := backend(t, dir)
				begin := time.Now()
				_, err := get(t, b, tt.path)
				is.True(err != nil)
				is.True(errors.Is(err, secrets.ErrNotFound) || strings.HasPrefix(tt.path, "..")) // a reserved name is invalid
				is.Equal(time.Since(begin), tt.wait)
			})
		})
	}
}

// Info.Resolve has no context that could end a wait, so it never waits. Fetch does.
func TestResolveDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		v := newVolume(t, dir, pair("db/", 1))
		v.write("..next", pair("new/", 2))
		write(t, dir, map[string]string{"broken/..1/": ""})
		link(t, dir, "..gone", "broken/..data")
		link(t, dir, "..data/x", "broken/x")
		b := backend(t, dir)
		begin := time.Now()
		for i := range 100 {
			for _, path := range []string{"new", "broken", "broken/x", "db"} {
				ref := secrets.Ref{Path: path, Field: "f" + strconv.Itoa(i)}
				want := ref
				switch path {
				case "broken": // Fetch returns ErrUnavailable
					want = secrets.Ref{Path: path + "/" + ref.Field}
				case "db":
					want.Path = path + "/..names"
				}
				is.Equal(b.Info().Resolve(ref), want)
			}
		}
		is.Equal(time.Since(begin), 0*time.Second)

		_, err := get(t, b, "new") // the control
		is.True(errors.Is(err, secrets.ErrNotFound))
		is.Equal(time.Since(begin), appearTimeout)
	})
}

// The backend also waits for a document that is about to appear.
func TestTheBackendWaitsForANewDocument(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		v := newVolume(t, dir, pair("db/", 1))
		v.write("..next", pair("new/", 2))
		c := client(t, backend(t, dir))
		var found map[string]secrets.Secret
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			found, err = c.GetMany(t.Context(), "new#user", "new#password")
		}()
		synctest.Wait() // until GetMany waits for the key
		v.swap("..next")
		<-done
		is.NoErr(err)
		is.Equal(found["new#user"].Reveal()+found["new#password"].Reveal(), "user2pass2")
	})
}

func TestTheContextEndsTheWaitForANewKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		v := newVolume(t, dir, pair("", 1))
		v.write("..next", map[string]string{"token": canary})
		ctx, cancel := context.WithTimeout(t.Context(), appearTimeout/2)
		defer cancel()
		begin := time.Now()
		_, err := client(t, backend(t, dir)).GetMany(ctx, "user", "token")
		is.Equal(time.Since(begin), appearTimeout/2)
		is.True(errors.Is(err, context.DeadlineExceeded))
		is.True(!errors.Is(err, secrets.ErrNotFound)) // whether the key exists is unknown
	})
}

func BenchmarkGetMany(b *testing.B) {
	for _, n := range []int{1, 2, 20} {
		b.Run(fmt.Sprintf("%d files", n), func(b *testing.B) {
			dir := b.TempDir()
			keys := make([]string, n)
			if err := os.Mkdir(filepath.Join(dir, "..v"), 0o700); err != nil {
				b.Fatal(err)
			}
			for i := range keys {
				keys[i] = "f" + strconv.Itoa(i)
				if err := errors.Join(
					os.WriteFile(filepath.Join(dir, "..v", keys[i]), []byte(canary), 0o600),
					os.Symlink("..data/"+keys[i], filepath.Join(dir, keys[i])),
				); err != nil {
					b.Fatal(err)
				}
			}
			if err := os.Symlink("..v", filepath.Join(dir, "..data")); err != nil {
				b.Fatal(err)
			}
			backend, err := file.New(dir)
			if err != nil {
				b.Fatal(err)
			}
			c, err := secrets.New(backend)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.GetMany(b.Context(), keys...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
