package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
)

const preflight = "GET sys/internal/ui/mounts/secret"

func TestResolve(t *testing.T) {
	b := newFake(t).backend(t)
	for key, want := range map[string]secrets.Ref{
		"database":                    {Path: "database"},
		"database#":                   {Path: "database"},
		"database/password":           {Path: "database", Field: "password"},
		"database#password":           {Path: "database", Field: "password"},
		"database/password#":          {Path: "database/password"},
		"team/app/database":           {Path: "team/app", Field: "database"},
		"team/app#tls.key":            {Path: "team/app", Field: "tls.key"},
		"database?version=3#password": {Path: "database", Field: "password", Version: "3"},
		"database/password?version=3": {Path: "database", Field: "password", Version: "3"},
		"a/b?version=3#":              {Path: "a/b", Version: "3"},
		"a%23b/c":                     {Path: "a#b", Field: "c"},
	} {
		is := is.New(t)
		ref, err := secrets.ParseRef(key)
		is.NoErr(err)
		is.Equal(b.Info().Resolve(ref), want) // key
	}
}

func TestFieldsOfOneSecretTakeOneRead(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("database", `{"user":"u1","password":"p1","port":5432,"tls":{"on":true},"none":null}`)
	c := client(t, f.backend(t), middleware.Standard())
	for key, want := range map[string]string{
		"database#user": "u1", "database/password": "p1", "database#port": "5432", "database/tls": `{"on":true}`, "database#tls.on": "true",
		"database": `{"user":"u1","password":"p1","port":5432,"tls":{"on":true},"none":null}`,
	} {
		s, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
		is.Equal(s.Meta().Version, "1")
		is.Equal(s.Meta().Backend, "vault")
	}
	is.Equal(f.seen(), []string{preflight, "GET secret/data/database"})
	for _, key := range []string{"database#none", "database#nothing", "database/nothing"} {
		_, err := c.Get(t.Context(), key)
		is.True(errors.Is(err, secrets.ErrFieldNotFound))
	}
	_, err := c.Get(t.Context(), "database/user/name")
	is.True(errors.Is(err, secrets.ErrNotFound))
	is.True(strings.Contains(err.Error(), "field name of database/user; the whole secret is database/user/name#"))
}

func TestTenFieldsOfThreeSecretsTakeThreeReads(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	var keys []string
	for doc := range 3 {
		path := fmt.Sprintf("team/app%d", doc)
		f.put(path, `{"a":"1","b":"2","c":"3","d":"4"}`)
		for _, field := range []string{"a", "b", "c", "d"} {
			keys = append(keys, path+"/"+field)
		}
	}
	keys = keys[:10]
	reads := []string{"GET secret/data/team/app0", "GET secret/data/team/app1", "GET secret/data/team/app2"}
	c, cached := client(t, f.backend(t)), client(t, f.backend(t), middleware.Standard())
	for _, step := range []struct {
		client *secrets.Client
		want   []string
	}{
		{c, append(slices.Clone(reads), preflight)}, {c, reads},
		{cached, append(slices.Clone(reads), preflight)}, {cached, nil},
	} {
		found, err := step.client.GetMany(t.Context(), keys...)
		is.NoErr(err)
		is.Equal(len(found), 10)
		requests := f.seen()
		slices.Sort(requests)
		is.Equal(requests, step.want)
	}
}

func TestGetManyReadsADocumentOnce(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("a", `{"x":"1"}`)
	found, err := client(t, f.backend(t)).GetMany(t.Context(), "a", "b", "a", "a#x", "a/x", "a?version=1")
	is.Equal(len(found), 4)
	is.Equal(found["a"].Reveal(), `{"x":"1"}`)
	is.Equal(found["a#x"].Reveal(), "1")
	is.Equal(found["a/x"].Reveal(), "1")
	is.Equal(found["a?version=1"].Meta().Version, "1")
	failures, ok := errors.AsType[secrets.Errors](err)
	is.True(ok && len(failures) == 1)
	is.Equal(failures[0].Key, "b")
	is.True(errors.Is(err, secrets.ErrNotFound))
	is.Equal(len(f.seen()), 4) // the mount, a, b, and a?version=1
}

func TestVersions(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("database", `{"password":"one"}`)
	f.put("database", `{"password":"two"}`)
	f.put("gone", `{"password":"one"}`)
	f.put("gone", `{"password":"two"}`)
	f.vault.Delete("secret/gone")
	c := client(t, f.backend(t))
	for key, want := range map[string]string{"database#password": "two", "database?version=1#password": "one",
		"database/password?version=2": "two", "gone?version=1#password": "one"} {
		s, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
	}
	_, err := c.Get(t.Context(), "database?version=3")
	is.True(errors.Is(err, secrets.ErrNotFound))
	is.True(!errors.Is(err, secrets.ErrDeleted))
	for _, key := range []string{"gone", "gone#password", "gone?version=2"} {
		_, err := c.Get(t.Context(), key)
		is.True(errors.Is(err, secrets.ErrDeleted))
	}
	f.seen()
	// The server reads 0 and -1 as the latest version: the backend must not send them.
	for _, version := range []string{"0", "-1", "+1", "01", "1.0", "x", "1e3", "99999999999999999999"} {
		_, err := c.Get(t.Context(), "database?version="+version)
		is.True(errors.Is(err, secrets.ErrInvalidKey))
	}
	is.Equal(len(f.seen()), 0)
	f.reply("secret/data/odd", http.StatusOK, `{"data":{"data":{"a":"b"},"metadata":{"version":8}}}`)
	_, err = c.Get(t.Context(), "odd?version=7")
	is.True(errors.Is(err, secrets.ErrMalformed)) // another version than requested
}

func TestKVVersion1(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.version(1)
	f.put("database", `{"password":"one","big":12345678901234567890}`)
	c := client(t, f.backend(t))
	s, err := c.Get(t.Context(), "database/password")
	is.NoErr(err)
	is.Equal(s.Reveal(), "one")
	is.True(s.Meta().ExpiresAt.IsZero()) // whatever lease_duration says
	first := s.Meta().Version
	is.True(first != "")
	s, err = c.Get(t.Context(), "database#big")
	is.NoErr(err)
	is.Equal(s.Reveal(), "12345678901234567890")
	is.Equal(s.Meta().Version, first)
	is.Equal(f.seen(), []string{preflight, "GET secret/database", "GET secret/database"})
	f.put("database", `{"password":"two"}`)
	s, err = c.Get(t.Context(), "database/password")
	is.NoErr(err)
	is.True(s.Meta().Version != first)
	_, err = c.Get(t.Context(), "database?version=1#password")
	is.True(errors.Is(err, secrets.ErrInvalidKey))
	_, err = c.Get(t.Context(), "missing")
	is.True(errors.Is(err, secrets.ErrNotFound))
}

func TestReadsContinueDuringAnUpgrade(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.version(1)
	f.put("database", `{"password":"one"}`)
	b := f.backend(t)
	c := client(t, b)
	get := func() {
		t.Helper()
		s, err := c.Get(t.Context(), "database/password")
		is.NoErr(err)
		is.Equal(s.Reveal(), "one")
	}
	get()
	f.version(2)
	f.seen()
	get()
	is.Equal(f.seen(), []string{"GET secret/database", preflight, "GET secret/data/database"})
	get()
	is.Equal(f.seen(), []string{"GET secret/data/database"})

	_, err := f.backend(t, vault.WithKVVersion(1)).Fetch(t.Context(), secrets.Ref{Path: "database"})
	is.True(errors.Is(err, secrets.ErrInvalidKey)) // WithKVVersion is wrong: that is not a not-found
}

func TestSettingsOfTheMountAreNotSecrets(t *testing.T) {
	for _, told := range []bool{true, false} { // whether the token may detect the version
		is := is.New(t)
		f := newFake(t)
		if !told {
			f.reply("sys/internal/ui/mounts/secret", http.StatusForbidden, bodyPreflightDenied)
		}
		f.version(1)
		b := f.backend(t)
		read := func() (string, error) {
			s, err := b.Fetch(t.Context(), secrets.Ref{Path: "config"})
			return s.Reveal(), err
		}
		_, err := read()
		is.True(errors.Is(err, secrets.ErrNotFound))
		f.put("config", `{"password":"one"}`)
		for _, version := range []int{1, 2} { // an upgrade
			f.version(version)
			value, err := read()
			is.NoErr(err)
			is.Equal(value, `{"password":"one"}`)
		}
		f.vault.Delete("secret/config")
		_, err = read()
		is.True(errors.Is(err, secrets.ErrDeleted))
		f.reply("secret/data/config", http.StatusNotFound, bodyMissing) // removed with all its versions
		_, err = read()
		is.True(errors.Is(err, secrets.ErrNotFound))
		_, err = f.backend(t).Fetch(t.Context(), secrets.Ref{Path: "config"})
		is.True(errors.Is(err, secrets.ErrNotFound))
	}
}

func TestReadsContinueWhenPoliciesChangeWithAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := inMemory(t)
		f.version(1)
		f.put("app", `{"x":"1"}`)
		b := f.backend(t)
		read := func(version string) error {
			_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app", Version: version})
			return err
		}
		is.NoErr(read(""))
		f.version(2)
		f.reply("secret/app", http.StatusForbidden, bodyDenied)
		is.True(errors.Is(read(""), secrets.ErrPermissionDenied))
		is.True(errors.Is(read("1"), secrets.ErrInvalidKey))
		time.Sleep(time.Minute)
		is.NoErr(read(""))
		is.NoErr(read("1"))

		f.version(1)
		is.NoErr(b.Close())
		b = f.backend(t)
		is.True(errors.Is(read("1"), secrets.ErrInvalidKey))
		f.version(2)
		time.Sleep(time.Minute)
		is.NoErr(read("1")) // without any other read before
	})
}

func TestWithKVVersionSkipsTheDetection(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("a", `{"x":"1"}`)
	_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.NoErr(err)
	is.Equal(f.seen(), []string{"GET secret/data/a"})
}

func TestMounts(t *testing.T) {
	f := newFake(t)
	f.vault.Mount("team/a/kv", 2)
	f.vault.Put("team/a/kv/app/db", `{"x":"1"}`)
	f.vault.Put("team/a/kv/data/x", `{"x":"2"}`)
	f.reply("sys/internal/ui/mounts/database", http.StatusOK, `{"data":{"path":"database/","type":"database","options":null}}`)
	f.reply("sys/internal/ui/mounts/team/a/kv/app", http.StatusOK, `{"data":{"path":"team/a/kv/","type":"kv","options":{"version":"2"}}}`)
	f.reply("sys/internal/ui/mounts/odd", http.StatusOK, page)
	for _, c := range []struct {
		mount, path string
		want        string
		class       error
		detail      string
	}{
		{mount: "team/a/kv", path: "app/db", want: `{"x":"1"}`},
		{mount: "team/a/kv/", path: "app/db", want: `{"x":"1"}`},
		{mount: "team/a/kv", path: "data/x", want: `{"x":"2"}`}, // a name with the prefix of version 2 paths
		{mount: "team/a/kv/app", path: "db", class: secrets.ErrInvalidKey, detail: `the mount is "team/a/kv"`},
		{mount: "database", path: "creds/app", class: secrets.ErrInvalidKey, detail: "WithDynamicSecrets"},
		{mount: "odd", path: "x", class: secrets.ErrUnavailable, detail: "not Vault's"},
		{mount: "nothing", path: "x", class: secrets.ErrNotFound, detail: "no secrets engine is mounted"},
	} {
		t.Run(c.mount+" "+c.path, func(t *testing.T) {
			is := is.New(t)
			s, err := f.backend(t, vault.WithMount(c.mount)).Fetch(t.Context(), secrets.Ref{Path: c.path})
			is.Equal(secrets.Class(err), c.class)
			if err != nil {
				is.True(strings.Contains(err.Error(), c.detail))
				return
			}
			is.Equal(s.Reveal(), c.want)
		})
	}
}

// The server denies the detection of the mount's version, as for a token without any permission there.
func TestDeniedMountDetection(t *testing.T) {
	const v1, v2 = "secret/app", "secret/data/app"
	value1, value2 := `{"data":{"a":"1"}}`, `{"data":{"data":{"a":"2"},"metadata":{"version":3}}}`
	for _, c := range []struct {
		name      string
		preflight int
		one, two  string // body, or "" for denied
		class     error
		want      string
		detail    string
		requests  int // of a first and a second Fetch
		noted     int
	}{
		{name: "version 2", preflight: 403, two: value2, one: bodyOtherVersion, want: `{"a":"2"}`, requests: 2, noted: 1},
		{name: "version 1", preflight: 403, two: bodyMissing, one: value1, want: `{"a":"1"}`, requests: 3, noted: 1},
		{name: "version 1 alone allowed", preflight: 403, one: value1, want: `{"a":"1"}`, requests: 3, noted: 1},
		{name: "an old server", preflight: 404, two: bodyMissing, one: value1, want: `{"a":"1"}`, requests: 3, noted: 1},
		{name: "a proxy that forbids it", preflight: 405, two: value2, one: bodyOtherVersion, want: `{"a":"2"}`, requests: 2, noted: 1},
		{name: "missing on version 2", preflight: 403, two: bodyMissing, one: bodyOtherVersion, class: secrets.ErrNotFound, requests: 3,
			noted: 1},
		{name: "deleted", preflight: 403, two: bodyDeleted, one: bodyOtherVersion, class: secrets.ErrDeleted, requests: 2, noted: 1},
		{name: "denied on version 2", preflight: 403, one: bodyOtherVersion, class: secrets.ErrPermissionDenied, requests: 3, noted: 1},
		{name: "missing on either", preflight: 403, two: bodyMissing, one: bodyMissing, class: secrets.ErrNotFound, requests: 3, noted: 3},
		{name: "denied on either", preflight: 403, class: secrets.ErrPermissionDenied,
			detail: v2 + " for KV version 2, or on " + v1 + " for version 1", requests: 3, noted: 3},
		{name: "denied on version 2, missing on 1", preflight: 403, one: bodyMissing, class: secrets.ErrPermissionDenied, requests: 3,
			noted: 3},
		{name: "a secret of version 1 named data/app", preflight: 403, two: `{"data":{"data":"x"}}`, one: value1, want: `{"a":"1"}`, requests: 3,
			noted: 1},
		{name: "the server sealed", preflight: 503, class: secrets.ErrUnavailable, requests: 3, noted: 3},
		{name: "the token unknown", preflight: 4030, class: secrets.ErrUnauthenticated, requests: 1, noted: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // some are retried
			is := is.New(t)
			f := newFake(t)
			body := bodyPreflightDenied
			if c.preflight > 1000 {
				body, c.preflight = bodyInvalidToken, 403
			}
			f.reply("sys/internal/ui/mounts/secret", c.preflight, body)
			for path, body := range map[string]string{v1: c.one, v2: c.two} {
				switch {
				case body == "":
					f.reply(path, http.StatusForbidden, bodyDenied)
				case body == value1, body == value2, strings.HasPrefix(body, `{"data":{"data":"x"`):
					f.reply(path, http.StatusOK, body)
				default:
					f.reply(path, http.StatusNotFound, body)
				}
			}
			b := f.backend(t)
			for _, requests := range []int{c.requests, c.noted} {
				s, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
				is.Equal(secrets.Class(err), c.class)
				if err == nil {
					is.Equal(s.Reveal(), c.want)
				} else {
					is.True(strings.Contains(err.Error(), c.detail))
				}
				is.Equal(len(f.seen()), requests)
			}
		})
	}
}

func TestTheMountIsDetectedOnce(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	const callers = 50
	for i := range callers {
		f.put(fmt.Sprint("app", i), `{"x":"1"}`)
	}
	b := f.backend(t)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			if _, err := b.Fetch(t.Context(), secrets.Ref{Path: fmt.Sprint("app", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	requests := f.seen()
	is.Equal(len(requests), callers+1)
	is.Equal(requests[0], preflight)
}

func TestACanceledMountDetectionIsRepeatedForTheOthers(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"x":"1"}`)
	var requests atomic.Int64
	received := make(chan struct{}, 10)
	f.handle("sys/internal/ui/mounts/secret", func(w http.ResponseWriter, r *http.Request) {
		first := requests.Add(1) == 1
		received <- struct{}{}
		if first { // it hangs
			<-r.Context().Done()
			return
		}
		respond(w, http.StatusOK, `{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`)
	})
	b := f.backend(t)
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 2)
	go func() {
		_, err := b.Fetch(ctx, secrets.Ref{Path: "app"})
		results <- err
	}()
	<-received
	go func() {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		results <- err
	}()
	cancel()
	first, second := <-results, <-results
	if first == nil {
		first, second = second, first
	}
	is.Equal(first, context.Canceled)
	is.NoErr(second)
}

func TestACallerWithANewTokenRepeatsARefusedDetection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := inMemory(t)
		f.put("app", `{"x":"1"}`)
		answer := make(chan struct{})
		f.handle("sys/internal/ui/mounts/secret", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Vault-Token") != fakeToken {
				<-answer
				respond(w, http.StatusForbidden, bodyInvalidToken)
				return
			}
			respond(w, http.StatusOK, `{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`)
		})
		file := filepath.Join(t.TempDir(), "token")
		b, err := vault.New(vault.WithAddress(f.URL), vault.WithHTTPClient(f.client), vault.WithTokenFile(file), vault.WithLookup(noEnvironment))
		is.NoErr(err)
		results := make(chan error, 2)
		for _, token := range []string{"hvs.old", fakeToken} {
			is.NoErr(os.WriteFile(file, []byte(token), 0o600))
			go func() {
				_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
				results <- err
			}()
			synctest.Wait()
		}
		close(answer)
		is.NoErr(<-results)
		is.NoErr(<-results)
		is.NoErr(b.Close())
	})
}

func TestANotFoundOfARecreatedMountIsRechecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := inMemory(t)
		f.put("app", `{"x":"1"}`)
		b := f.backend(t)
		read := func() error {
			_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
			return err
		}
		is.NoErr(read())
		f.version(1)                                    // removed, and mounted as version 1
		is.True(errors.Is(read(), secrets.ErrNotFound)) // the control: version 2 is not rechecked yet
		time.Sleep(time.Minute)
		is.NoErr(read())
		f.seen()
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "missing"})
		is.True(errors.Is(err, secrets.ErrNotFound))
		is.Equal(len(f.seen()), 1) // detection at most once a minute
	})
}

func TestHostilePaths(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	b := f.backend(t, vault.WithKVVersion(2))
	for _, path := range []string{"", "../x", "a/../../sys/health", "a//b", "/abs", "a/", ".", "./a", "a\x00b", "a\nb", "a\u202eb",
		strings.Repeat("x", 513), "\xff"} {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
		is.True(errors.Is(err, secrets.ErrInvalidKey))
	}
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "a", Field: "b"})
	is.True(errors.Is(err, secrets.ErrInvalidKey))
	is.Equal(len(f.seen()), 0)
	for path, wire := range map[string]string{
		"%2e%2e/x": "secret/data/%2e%2e/x", "a b?version=1#f": "secret/data/a b?version=1#f", "ü/x+y:z*": "secret/data/ü/x+y:z*",
		"data/x": "secret/data/data/x",
	} {
		f.put(path, `{"x":"1"}`)
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
		is.Equal(f.seen(), []string{"GET " + wire})
	}
}
