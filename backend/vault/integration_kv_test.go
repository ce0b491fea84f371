//go:build vault

package vault_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

const versionTwo = 2

// eachVersion runs f on a mount of each KV version.
func eachVersion(t *testing.T, f func(t *testing.T, s *store)) {
	t.Helper()
	for version := 1; version <= versionTwo; version++ {
		t.Run(fmt.Sprintf("KV version %d", version), func(t *testing.T) {
			t.Parallel()
			f(t, newStore(t, shared.Get(t), version))
		})
	}
}

func TestRealReads(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("database", `{"password":"p","port":5432,"options":{"tls":true,"hosts":["a","b"]},"none":null}`)
		s.put("team/app/database", `{"password":"of the team"}`)
		values := map[string]string{
			"database/password":          "p",
			"database#password":          "p",
			"database#port":              "5432",
			"database#options.hosts.1":   "b",
			"database#options":           `{"hosts":["a","b"],"tls":true}`,
			"database":                   `{"none":null,"options":{"hosts":["a","b"],"tls":true},"password":"p","port":5432}`,
			"team/app/database#":         `{"password":"of the team"}`,
			"team/app/database/password": "of the team",
		}
		missing := map[string]error{
			"database/user":      secrets.ErrFieldNotFound,
			"database#none":      secrets.ErrFieldNotFound,
			"database/password#": secrets.ErrNotFound, // no such secret, and no guess
			"missing":            secrets.ErrNotFound,
			"team":               secrets.ErrNotFound, // a folder
			"Database":           secrets.ErrNotFound,
		}
		if s.version == versionTwo { // version 1 rejects an empty secret
			s.put("empty", `{}`)
			values["empty"] = `{}`
			missing["empty#field"] = secrets.ErrFieldNotFound
		}
		c := client(t, s.backend())
		for key, want := range values {
			got, err := c.Get(t.Context(), key)
			is.NoErr(err) // key
			is.Equal(got.Reveal(), want)
			is.Equal(got.Meta().Backend, "vault")
			is.True(got.Meta().ExpiresAt.IsZero()) // KV has no leases, whatever duration version 1 reports
			is.True(got.Meta().Version != "")
		}
		for key, class := range missing {
			_, err := c.Get(t.Context(), key)
			is.Equal(secrets.Class(err), class) // of key
			has, err := c.Has(t.Context(), key)
			is.NoErr(err)
			is.True(!has)
		}
	})
}

// Names that the server accepts, and that a client or proxy could misread.
func TestRealOddNames(t *testing.T) {
	names := []string{
		"with space", "100%", "%41", "what?", "what?version=1", "tag#1", "ключ/日本語", "a*b", "a+b", "a:b@c", "UPPER.lower", "~user",
		"data/x", "metadata", "metadata/x", "data", "x&y=z", "quote'\"", "back\\slash", "semi;colon,", "(paren)[bracket]{brace}", "é", "😀",
	}
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		for _, name := range names {
			s.put(name, `{"name":`+quoted(name)+`,"`+"odd field: %?#/"+`":"odd"}`)
		}
		c := client(t, s.backend())
		for _, name := range names {
			got, err := c.Get(t.Context(), whole(name))
			is.NoErr(err) // name
			value, err := got.Field("name")
			is.NoErr(err)
			is.Equal(value.Reveal(), name)
			odd, err := c.Get(t.Context(), whole(name)+"odd field: %?#/")
			is.NoErr(err)
			is.Equal(odd.Reveal(), "odd")
		}
		got, err := c.Get(t.Context(), "data/x/name")
		is.NoErr(err)
		is.Equal(got.Reveal(), "data/x") // not x
	})
}

func TestRealVersions(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	for n := range 4 {
		s.put("app", fmt.Sprintf(`{"n":"%d"}`, n+1))
	}
	c := client(t, s.backend())
	want := func(key, value, version string) {
		t.Helper()
		got, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(got.Reveal(), value)
		is.Equal(got.Meta().Version, version)
	}
	fails := func(key string, class error, detail string) {
		t.Helper()
		_, err := c.Get(t.Context(), key)
		is.Equal(secrets.Class(err), class)
		is.True(strings.Contains(err.Error(), detail))
		has, err := c.Has(t.Context(), key)
		is.True(!has)
		is.Equal(err == nil, errors.Is(class, secrets.ErrNotFound))
	}
	want("app#n", "4", "4")
	want("app?version=1#n", "1", "1")
	want("app?version=4#n", "4", "4")
	fails("app?version=5#n", secrets.ErrNotFound, "")
	for _, version := range []string{"0", "-1", "x", "1.0", "01", "4294967296", "18446744073709551617"} {
		fails("app?version="+version+"#n", secrets.ErrInvalidKey, "version")
	}

	s.do("delete", "app", 4)
	fails("app#n", secrets.ErrDeleted, "version 4 was deleted")
	fails("app?version=4#n", secrets.ErrDeleted, "version 4 was deleted")
	want("app?version=3#n", "3", "3") // the others remain
	s.do("undelete", "app", 4)
	want("app#n", "4", "4")
	s.do("destroy", "app", 4)
	fails("app#n", secrets.ErrDeleted, "version 4 was destroyed")
	s.do("undelete", "app", 4)
	fails("app#n", secrets.ErrDeleted, "version 4 was destroyed") // permanently
	s.put("app", `{"n":"5"}`)
	want("app#n", "5", "5")

	// A version beyond max_versions is a not-found.
	s.server.Must(t, http.MethodPost, s.at("metadata", "app"), map[string]any{"max_versions": 1})
	s.put("app", `{"n":"6"}`)
	want("app#n", "6", "6")
	fails("app?version=3#n", secrets.ErrNotFound, "")

	s.server.Must(t, http.MethodDelete, s.at("metadata", "app"), nil)
	fails("app#n", secrets.ErrNotFound, "")
	s.put("app", `{"n":"again"}`)
	want("app#n", "again", "1") // numbering restarts

	// Metadata alone is not a secret.
	s.server.Must(t, http.MethodPost, s.at("metadata", "bare"), map[string]any{"custom_metadata": map[string]any{"owner": "me"}})
	fails("bare", secrets.ErrNotFound, "")
}

func TestRealVersionsOfVersionOne(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), 1)
	s.put("app", `{"n":"1"}`)
	c := client(t, s.backend())
	first, err := c.Get(t.Context(), "app#n")
	is.NoErr(err)
	again, err := c.Get(t.Context(), "app#n")
	is.NoErr(err)
	is.Equal(first.Meta().Version, again.Meta().Version)
	s.put("app", `{"n":"2"}`)
	changed, err := c.Get(t.Context(), "app#n")
	is.NoErr(err)
	is.Equal(changed.Reveal(), "2")
	is.True(changed.Meta().Version != first.Meta().Version)
	_, err = c.Get(t.Context(), "app?version=1#n")
	is.True(errors.Is(err, secrets.ErrInvalidKey))
}

// The engine of version 1 reports a field of this name as a duration without a lease, whatever its value.
func TestRealTTLOfVersionOne(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared.Get(t), 1)
	paths := []string{"app", "config", "config/app", "data/app", "metadata/app", "subkeys/app"}
	for _, opts := range [][]vault.Option{nil, {vault.WithKVVersion(1)}} {
		b := s.backend(opts...)
		for _, path := range paths {
			for _, field := range []string{"ttl", "lease"} {
				for _, value := range []string{`""`, "0", `"0s"`, "-1", `"-1s"`, "null", `"1s"`, `"soon"`} {
					is := is.New(t)
					document := `{"` + field + `":` + value + `}`
					s.put(path, document)
					got, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
					is.NoErr(err) // path, field, value
					is.Equal(got.Reveal(), document)
					is.True(got.Meta().ExpiresAt.IsZero())
				}
			}
		}
	}
}

// Version 2 has no secrets at these paths, even if the program sets version 1.
func TestRealEndpointsOfVersionTwoAreNoSecrets(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"ttl":"0s","lease":0}`)
	b := s.backend(vault.WithKVVersion(1))
	for _, path := range []string{"config", "data/app", "metadata/app", "subkeys/app"} {
		is := is.New(t)
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
		is.Equal(secrets.Class(err), secrets.ErrInvalidKey) // path
	}
	s.do("delete", "app", 1)
	is := is.New(t)
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "data/app"})
	is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
}

// The server accepts null as a secret.
func TestRealNull(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.server.Must(t, http.MethodPost, s.at("data", "app"), map[string]any{"data": nil})
	c := client(t, s.backend())
	got, err := c.Get(t.Context(), "app")
	is.NoErr(err)
	is.Equal(got.Reveal(), "{}")
	is.Equal(got.Meta().Version, "1")
	_, err = c.Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
}

// For a key that was copied from an API path, the not-found shows the right key.
func TestRealKeyThatBeginsWithTheMount(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("team/app", `{"password":"p"}`)
		c := client(t, s.backend())
		_, err := c.Get(t.Context(), s.data("team/app")+"#password")
		is.Equal(secrets.Class(err), secrets.ErrNotFound)
		is.True(strings.Contains(err.Error(), "write team/app in place of "+s.data("team/app")))
		_, err = c.Get(t.Context(), "team/app#password")
		is.NoErr(err)
	})
}

// A version with a scheduled deletion can be read until then, although the server sends a deletion_time with it.
func TestRealDeleteVersionAfter(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.server.Must(t, http.MethodPost, s.at("metadata", "app"), map[string]any{"delete_version_after": "2s"})
	s.put("app", `{"n":"1"}`)
	c := client(t, s.backend())
	got, err := c.Get(t.Context(), "app#n")
	is.NoErr(err)
	is.Equal(got.Reveal(), "1")
	left := time.Until(got.Meta().ExpiresAt)
	is.True(left > 0 && left <= 2*time.Second) // a cache drops it then
	eventually(t, "the version is deleted", func() bool {
		_, err = c.Get(t.Context(), "app#n")
		return err != nil
	})
	is.Equal(secrets.Class(err), secrets.ErrDeleted)
}

// More documents than are fetched in parallel, also for concurrent callers.
func TestRealGetMany(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		const many = 50
		documents := make(map[string]string, many)
		for i := range many {
			documents[fmt.Sprintf("app-%d", i)] = fmt.Sprintf(`{"n":"%d"}`, i)
		}
		for path, document := range documents {
			s.put(path, document)
		}
		paths := slices.Concat(slices.Sorted(maps.Keys(documents)), []string{"missing", "app-1"})
		c := client(t, s.backend())
		check := func(paths []string) {
			t.Helper()
			keys := make([]string, len(paths))
			for i, path := range paths {
				keys[i] = path + "#"
			}
			found, err := c.GetMany(t.Context(), keys...)
			is.Equal(len(found), many)
			for path, document := range documents {
				is.Equal(found[path+"#"].Reveal(), document)
			}
			failures, ok := errors.AsType[secrets.Errors](err)
			is.True(ok && len(failures) == 1)
			is.Equal(failures[0].Key, "missing#")
			is.Equal(secrets.Class(failures[0]), secrets.ErrNotFound)
		}
		check(paths)
		slices.Reverse(paths)
		check(paths)
		var together sync.WaitGroup
		for range 8 {
			together.Go(func() { check(paths) })
		}
		together.Wait()
	})
}

func TestRealMounts(t *testing.T) {
	t.Parallel()
	server := shared.Get(t)
	team := unique("team")
	deep := newStoreAt(t, server, versionTwo, team+"/a/kv")
	deep.put("app/db", `{"password":"deep"}`)
	old := newStoreAt(t, server, 1, team+"/b")
	old.put("app/db", `{"password":"old"}`)
	server.Must(t, http.MethodPost, "sys/mounts/"+team+"/database", map[string]any{"type": "database"})
	server.Must(t, http.MethodPost, "sys/mounts/"+team+"/plain", map[string]any{"type": "kv"}) // version 1, without saying so
	server.Must(t, http.MethodPost, team+"/plain/app/db", map[string]any{"password": "plain"})

	for name, test := range map[string]struct {
		mount, want string
		class       error
		detail      string
		opts        []vault.Option
	}{
		"of three segments":        {mount: team + "/a/kv", want: "deep"},
		"with a slash at its end":  {mount: team + "/a/kv/", want: "deep"},
		"of version 1":             {mount: team + "/b", want: "old"},
		"without options":          {mount: team + "/plain", want: "plain"},
		"whose version is known":   {mount: team + "/a/kv", want: "deep", opts: []vault.Option{vault.WithKVVersion(versionTwo)}},
		"whose version 1 is known": {mount: team + "/b", want: "old", opts: []vault.Option{vault.WithKVVersion(1)}},
		"whose version is not 1": {mount: team + "/a/kv", class: secrets.ErrInvalidKey, detail: "WithKVVersion",
			opts: []vault.Option{vault.WithKVVersion(1)}},
		"that is not there":          {mount: team + "/none", class: secrets.ErrNotFound, detail: "no secrets engine is mounted"},
		"with a beginning of a path": {mount: team + "/a", class: secrets.ErrNotFound},
		"with more than its path":    {mount: team + "/a/kv/more", class: secrets.ErrInvalidKey, detail: "WithMount"},
		"of a database":              {mount: team + "/database", class: secrets.ErrInvalidKey, detail: "WithDynamicSecrets"},
		"of the system":              {mount: "sys", class: secrets.ErrInvalidKey, detail: "WithDynamicSecrets"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			b := open(t, server.Addr, slices.Concat([]vault.Option{vault.WithToken(server.RootToken), vault.WithMount(test.mount)}, test.opts)...)
			got, err := client(t, b).Get(t.Context(), "app/db/password")
			if test.class == nil {
				is.NoErr(err)
				is.Equal(got.Reveal(), test.want)
				return
			}
			is.Equal(secrets.Class(err), test.class)
			is.True(strings.Contains(err.Error(), test.detail))
		})
	}
}

func TestRealQuota(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("app", `{"password":"p"}`)
		c := client(t, s.backend())
		end := throttle(t, s)
		_, err := c.Get(t.Context(), "app/password")
		is.Equal(secrets.Class(err), secrets.ErrUnavailable)
		is.True(strings.Contains(err.Error(), "429"))
		_, err = c.Has(t.Context(), "missing")
		is.Equal(secrets.Class(err), secrets.ErrUnavailable) // not a plain false
		end()
		got, err := c.Get(t.Context(), "app/password")
		is.NoErr(err)
		is.Equal(got.Reveal(), "p")
	})
}
