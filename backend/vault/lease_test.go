package vault_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
)

func TestDynamicSecrets(t *testing.T) {
	f := newFake(t)
	for path, body := range map[string]string{
		"creds/app":        `{"lease_id":"database/creds/app/x","lease_duration":3600,"renewable":true,"data":{"username":"u","password":"p"}}`,
		"creds/endless":    `{"lease_id":"database/creds/app/x","lease_duration":0,"data":{"username":"u"}}`,
		"creds/far":        `{"lease_id":"database/creds/app/x","lease_duration":9223372036854775807,"data":{"username":"u"}}`,
		"creds/exponent":   `{"lease_id":"database/creds/app/x","lease_duration":1e30,"data":{"username":"u"}}`,
		"creds/odd":        `{"lease_id":"database/creds/app/x","lease_duration":-5,"data":{"username":"u"}}`,
		"creds/text":       `{"lease_id":"database/creds/app/x","lease_duration":"3600","data":{"username":"u"}}`,
		"creds/none":       `{"lease_id":"database/creds/app/x","data":{"username":"u"}}`,
		"creds/number":     `{"lease_id":7,"lease_duration":3600,"data":{"username":"u"}}`,
		"null":             `{"lease_id":null,"lease_duration":3600,"data":{"username":"u"}}`,
		"static-creds/app": `{"lease_id":"","lease_duration":0,"data":{"username":"u","rotation_period":86400,"ttl":120}}`,
		"static-creds/cron": `{"lease_id":"","lease_duration":0,"data":{"username":"u","rotation_schedule":"0 0 * * SAT",` +
			`"rotation_window":3600,"ttl":120.0}}`,
		"no-lease": `{"lease_id":"","lease_duration":2764800,"data":{"username":"u"}}`,
	} {
		f.reply("database/"+path, http.StatusOK, body)
	}
	f.reply("database/creds/unknown", http.StatusBadRequest, `{"errors":["unknown role: none"]}`)
	b := f.backend(t, vault.WithMount("database"), vault.WithDynamicSecrets())
	c := client(t, b)
	const none = -1
	for path, lease := range map[string]time.Duration{
		"creds/app": time.Hour, "creds/far": 100 * 365 * 24 * time.Hour, "creds/exponent": 100 * 365 * 24 * time.Hour,
		"creds/number": time.Hour,
		// A lease with an unknown duration must not be cached: it ends at once.
		"creds/endless": 0, "creds/odd": 0, "creds/text": 0, "creds/none": 0,
		"no-lease": none, "null": none, "static-creds/app": 2 * time.Minute, "static-creds/cron": 2 * time.Minute,
	} {
		is := is.New(t)
		before := time.Now()
		s, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
		after := time.Now()
		if end := s.Meta().ExpiresAt; lease == none {
			is.True(end.IsZero())
		} else {
			is.True(!end.Before(before.Add(lease)) && !end.After(after.Add(lease)))
		}
	}
	is := is.New(t)
	for _, request := range f.seen() {
		is.True(!strings.Contains(request, "sys/")) // no detection of the mount
	}
	_, err := c.Get(t.Context(), "creds/unknown#")
	is.True(errors.Is(err, secrets.ErrNotFound))
	_, err = c.Get(t.Context(), "creds/app?version=1#")
	is.True(errors.Is(err, secrets.ErrInvalidKey))
	f.seen()
	_, err = c.Has(t.Context(), "creds/app#")
	is.True(errors.Is(err, secrets.ErrInvalidKey))
	is.Equal(len(f.seen()), 0)
}

// While the rotation of a static role is due, the ttl is 0, and the password stays valid until Vault has rotated it. The ttl is not part of
// the document: it would change the version.
func TestAStaticRoleWhoseRotationIsDue(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	reply := func(password string, ttl int) {
		f.reply("database/static-creds/app", http.StatusOK, fmt.Sprintf(`{"lease_id":"","lease_duration":0,"data":{"username":"u",`+
			`"password":%q,"last_vault_rotation":"2026-11-28T14:39:40.135Z","rotation_period":86400,"ttl":%d}}`, password, ttl))
	}
	c := client(t, f.backend(t, vault.WithMount("database"), vault.WithDynamicSecrets()))
	get := func() secrets.Secret {
		t.Helper()
		s, err := c.Get(t.Context(), "static-creds/app#")
		is.NoErr(err)
		return s
	}
	reply("old <&>", 7)
	early := get()
	reply("old <&>", 0)
	due := get()
	is.True(time.Until(due.Meta().ExpiresAt) > 0)
	is.True(time.Until(due.Meta().ExpiresAt) <= time.Second)
	is.True(due.Equal(early))
	is.Equal(due.Meta().Version, early.Meta().Version)
	password, err := due.Field("password")
	is.NoErr(err)
	is.Equal(password.Reveal(), "old <&>")

	reply("new", 86400)
	is.True(!get().Equal(due))
	is.True(get().Meta().Version != due.Meta().Version)
}

// A cached secret ends with the token that obtained it.
func TestLeasesEndWithTheirToken(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	made := 0
	f.handle("database/creds/app", func(w http.ResponseWriter, _ *http.Request) {
		made++
		respond(w, http.StatusOK, fmt.Sprintf(`{"lease_id":"x","lease_duration":3600,"data":{"user":"u%d"}}`, made))
	})
	f.reply("database/static", http.StatusOK, `{"lease_id":"","lease_duration":0,"data":{"user":"static","rotation_period":60,"ttl":60}}`)
	file := filepath.Join(t.TempDir(), "token")
	is.NoErr(os.WriteFile(file, []byte(fakeToken+"\n"), 0o600))
	b, err := vault.New(vault.WithAddress(f.URL), vault.WithTokenFile(file), vault.WithMount("database"), vault.WithDynamicSecrets(),
		vault.WithLookup(noEnvironment))
	is.NoErr(err)
	c := client(t, b, middleware.Standard())
	get := func(key, want string) {
		t.Helper()
		s, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
	}
	get("creds/app#user", "u1")
	get("static#user", "static")
	get("creds/app#user", "u1") // the control: it is cached
	is.NoErr(os.WriteFile(file, []byte(fakeToken), 0o600))
	f.seen()
	_, err = c.Get(t.Context(), "missing")
	is.True(errors.Is(err, secrets.ErrNotFound))
	get("creds/app#user", "u1") // a newline does not change the token
	// Another token: the next request of any key drops the leases of the old one.
	f.handle("database/other", func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusNotFound, bodyMissing) })
	is.NoErr(os.WriteFile(file, []byte("hvs.another"), 0o600))
	f.seen()
	_, err = c.Get(t.Context(), "other")
	is.True(errors.Is(err, secrets.ErrNotFound))
	get("creds/app#user", "u2")
	get("static#user", "static")
	is.Equal(len(f.seen()), 2) // other and creds/app; a static role has no lease
}

func TestALeaseIsReadAgainIfItsTokenEndedMeanwhile(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	file := filepath.Join(t.TempDir(), "token")
	is.NoErr(os.WriteFile(file, []byte("hvs.one"), 0o600))
	var b *vault.Backend
	made := 0
	f.handle("database/creds/app", func(w http.ResponseWriter, r *http.Request) {
		made++
		if made == 1 { // meanwhile another request reads a new token
			is.NoErr(os.WriteFile(file, []byte("hvs.two"), 0o600))
			_, err := b.Fetch(r.Context(), secrets.Ref{Path: "none"})
			is.True(err != nil)
		}
		respond(w, http.StatusOK, fmt.Sprintf(`{"lease_id":"x","lease_duration":3600,"data":{"token":%q}}`, r.Header.Get("X-Vault-Token")))
	})
	f.reply("database/none", http.StatusNotFound, bodyMissing)
	b, err := vault.New(vault.WithAddress(f.URL), vault.WithTokenFile(file), vault.WithMount("database"), vault.WithDynamicSecrets(),
		vault.WithLookup(noEnvironment))
	is.NoErr(err)
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: "creds/app"})
	is.NoErr(err)
	is.Equal(s.Reveal(), `{"token":"hvs.two"}`)
	is.NoErr(b.Close())
}
