package file_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/middleware"
)

// cached returns a Client with all layers for a backend with WithCaching.
func cached(t *testing.T, dir string) *secrets.Client {
	t.Helper()
	return client(t, backend(t, dir, file.WithCaching()), middleware.Standard())
}

// A cache keeps the document and field of a key, so they must not depend on which files exist.
func TestACachedKeyAlwaysMeansTheSame(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{"db": `{"user":"user1","password":"pass1"}`})
	c := cached(t, dir)
	for range 2 { // from the file, then from the cache
		_, err := c.Get(t.Context(), "db#user")
		is.NoErr(err)
	}
	is.NoErr(os.Remove(filepath.Join(dir, "db")))
	write(t, dir, pair("db/", 2))
	_, err := c.Get(t.Context(), "db#password")
	is.NoErr(err)
	found, err := c.GetMany(t.Context(), "db#user", "db#password")
	is.NoErr(err)
	is.True(!torn(found["db#user"].Reveal(), found["db#password"].Reveal()))
	is.Equal(found["db#user"].Meta().Version, found["db#password"].Meta().Version)

	c.Invalidate("db#user") // invalidates the whole document
	found, err = c.GetMany(t.Context(), "db#user", "db#password")
	is.NoErr(err)
	is.Equal(found["db#user"].Reveal()+found["db#password"].Reveal(), "user2pass2")
}

// The cached fields of a directory come from one update, even if they are read one by one.
func TestCachedFieldsOfADirectoryComeFromOneUpdate(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, pair("db/", 1))
	c := cached(t, dir)
	user, err := c.Get(t.Context(), "db#user")
	is.NoErr(err)
	write(t, dir, pair("db/", 2))
	password, err := c.Get(t.Context(), "db#password")
	is.NoErr(err)
	is.Equal(user.Reveal()+password.Reveal(), "user1pass1")
	other, err := c.Get(t.Context(), "db/password") // the control: a separate document
	is.NoErr(err)
	is.Equal(other.Reveal(), "pass2")
}

// A cached key survives an outage of the directory, in both forms.
func TestACachedFieldSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := filepath.Join(t.TempDir(), "d")
		write(t, dir, pair("db/", 1))
		c := cached(t, dir)
		keys := []string{"db#password", "db/password"}
		for _, key := range keys {
			_, err := c.Get(t.Context(), key)
			is.NoErr(err)
		}
		is.NoErr(os.Rename(dir, dir+"-gone"))
		time.Sleep(10 * time.Minute) // longer than a value is fresh
		for _, key := range keys {
			s, err := c.Get(t.Context(), key)
			is.NoErr(err)
			is.Equal(s.Reveal(), "pass1")
			is.True(s.Meta().Stale)
		}
	})
}

// With a binary file in it, a directory is not a document. Its files can still be read by their paths.
func TestWithCachingABinaryFileMakesEveryFieldMalformed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := cached(t, tree(t, map[string]string{"db/password": canary, "db/keystore": "\xff"}))
	for _, field := range []string{"password", "keystore"} {
		_, err := c.Get(t.Context(), "db#"+field)
		is.Equal(secrets.Class(err), secrets.ErrMalformed)
		_, err = c.Get(t.Context(), "db/"+field)
		is.NoErr(err)
	}
}

// A file is empty for a moment during a write in place. The cache keeps it for a second, not for its TTL.
func TestAnEmptyFileIsCachedForASecond(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{"token": "", "db": `{"password":"","user":"app"}`, "db#user": "app"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				dir := tree(t, map[string]string{"token": "", "db/user": "app", "db/password": "", "control": "old"})
				c := cached(t, dir)
				get := func(key string) string {
					s, err := c.Get(t.Context(), key)
					is.NoErr(err)
					return s.Reveal()
				}
				is.Equal(get(key), want) // an empty secret is valid
				is.Equal(get("control"), "old")
				write(t, dir, map[string]string{"token": canary, "db/user": "new", "db/password": canary, "control": "new"})
				time.Sleep(time.Second)
				is.Equal(get(key), map[string]string{
					"token": canary, "db": `{"password":"` + canary + `","user":"new"}`, "db#user": "new",
				}[key])
				is.Equal(get("control"), "old") // a value that is not empty stays cached
			})
		})
	}
}

// An empty file that was written less than a second ago is read again: the writer may not be done.
func TestAnEmptyFileThatWasJustWrittenIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"token": "", "old": ""})
		now := time.Now()
		is.NoErr(os.Chtimes(filepath.Join(dir, "token"), now, now))
		is.NoErr(os.Chtimes(filepath.Join(dir, "old"), now, now.Add(-time.Second)))
		b := backend(t, dir)

		got, err := get(t, b, "old")
		is.NoErr(err)
		is.Equal(got, "")
		is.Equal(time.Since(now), 0*time.Second) // the control: no wait for an old empty file

		done := make(chan struct{})
		go func() {
			defer close(done)
			got, err = get(t, b, "token")
		}()
		synctest.Wait() // until get waits
		write(t, dir, map[string]string{"token": canary})
		<-done
		is.NoErr(err)
		is.Equal(got, canary)

		is.NoErr(os.WriteFile(filepath.Join(dir, "token"), nil, 0o600))
		is.NoErr(os.Chtimes(filepath.Join(dir, "token"), time.Now(), time.Now()))
		got, err = get(t, b, "token")
		is.NoErr(err)
		is.Equal(got, "") // nothing was written meanwhile: an empty secret
	})
}
