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

// cached returns a Client with all layers, and a backend that may be cached.
func cached(t *testing.T, dir string) *secrets.Client {
	t.Helper()
	return client(t, backend(t, dir, file.WithCaching()), middleware.Standard())
}

// What a key means is remembered with its value, so that it must not depend on which files are there.
func TestACachedKeyAlwaysMeansTheSame(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{"db": `{"user":"user1","password":"pass1"}`})
	c := cached(t, dir)
	for range 2 { // from the file, and from memory
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

	c.Invalidate("db#user") // and so is the whole document
	found, err = c.GetMany(t.Context(), "db#user", "db#password")
	is.NoErr(err)
	is.Equal(found["db#user"].Reveal()+found["db#password"].Reveal(), "user2pass2")
}

// The cached fields of a directory are of one update, however they are asked for.
func TestCachedFieldsOfADirectoryAreOfOneUpdate(t *testing.T) {
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
	other, err := c.Get(t.Context(), "db/password") // the control: a document of its own
	is.NoErr(err)
	is.Equal(other.Reveal(), "pass2")
}

// A warm key survives an outage of the directory, in whatever form it is asked for.
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

// A file that is no text makes a document of its directory impossible. It is still there under its own name.
func TestACachedFieldBesideABinaryFile(t *testing.T) {
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
