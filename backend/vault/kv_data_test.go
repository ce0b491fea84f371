package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

// Version 1 reports a field named ttl or lease as the duration, without a lease. Such a secret is not taken for version 2, whatever its
// path: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1#ttl.
func TestTheTTLOfVersionOneIsData(t *testing.T) {
	for _, field := range []string{"ttl", "lease"} {
		for value, duration := range map[string]string{
			`""`: "0", "0": "0", `"0s"`: "0", "null": "0", "-1": "-1", `"-1s"`: "-1", `"1h"`: "3600", "1e30": "1e30", `"soon"`: "2764800",
		} {
			for _, path := range []string{"app", "config", "config/app", "data/app", "metadata/app", "subkeys/app"} {
				for name, preflight := range map[string]int{"told": 0, "not told": http.StatusForbidden} {
					t.Run(strings.Join([]string{field, value, path, name}, " "), func(t *testing.T) {
						is := is.New(t)
						f := newFake(t)
						f.version(1)
						if preflight != 0 {
							f.reply("sys/internal/ui/mounts/secret", preflight, bodyPreflightDenied)
						}
						document := fmt.Sprintf(`{"password":"p",%q:%s}`, field, value)
						f.reply("secret/"+path, http.StatusOK,
							`{"lease_id":"","renewable":false,"lease_duration":`+duration+`,"data":`+document+`,"wrap_info":null}`)
						s, err := f.backend(t).Fetch(t.Context(), secrets.Ref{Path: path})
						is.NoErr(err)
						is.Equal(s.Reveal(), document)
						is.True(s.Meta().ExpiresAt.IsZero())
					})
				}
			}
		}
	}
}

// A version with a scheduled deletion (delete_version_after) is served until then:
// https://developer.hashicorp.com/vault/docs/secrets/kv/kv-v2.
func TestAVersionIsServedUntilItsDeletion(t *testing.T) {
	body := func(end string) string {
		return `{"data":{"data":{"a":"b"},"metadata":{"version":1,"destroyed":false,"deletion_time":` + end + `}}}`
	}
	for end, want := range map[string]time.Time{
		`""`:                               {},
		"null":                             {},
		`"2999-01-01T00:00:00Z"`:           time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC),
		`"2031-11-24T02:41:16.421288153Z"`: time.Date(2031, 11, 24, 2, 41, 16, 421288153, time.UTC),
		`"2020-01-01T00:00:00Z"`:           time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), // past by this machine's clock
	} {
		is := is.New(t)
		f := newFake(t)
		f.reply("secret/data/app", http.StatusOK, body(end))
		s, err := f.backend(t).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err)
		is.True(s.Meta().ExpiresAt.Equal(want)) // end
	}
	for _, end := range []string{`"soon"`, "5", "{}", `"2031-11-24"`} {
		is := is.New(t)
		f := newFake(t)
		f.reply("secret/data/app", http.StatusOK, body(end))
		_, err := f.backend(t).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.Equal(secrets.Class(err), secrets.ErrMalformed) // its end is unknown
	}
}

// An invalid created_time does not fail the read.
func TestCreatedAt(t *testing.T) {
	for created, want := range map[string]time.Time{
		`"2026-11-24T02:41:16.41092911Z"`:  time.Date(2026, 11, 24, 2, 41, 16, 410929110, time.UTC),
		`"2026-11-24T04:41:16.000+02:00"`:  time.Date(2026, 11, 24, 2, 41, 16, 0, time.UTC),
		`"0001-01-01T00:00:00Z"`:           {},
		`""`:                               {},
		`"yesterday"`:                      {},
		`"2026-11-24"`:                     {},
		`"2026-13-24T02:41:16.41092911Z"`:  {},
		"1795488076":                       {},
		"null":                             {},
		`{"at":"2026-11-24T02:41:16.41Z"}`: {},
	} {
		is := is.New(t)
		f := newFake(t)
		f.reply("secret/data/app", http.StatusOK, `{"data":{"data":{"a":"b"},"metadata":{"version":1,"created_time":`+created+`}}}`)
		f.reply("secret/data/without", http.StatusOK, `{"data":{"data":{"a":"b"},"metadata":{"version":1}}}`)
		b := f.backend(t)
		s, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err)
		is.True(s.Meta().CreatedAt.Equal(want)) // created
		s, err = b.Fetch(t.Context(), secrets.Ref{Path: "without"})
		is.NoErr(err)
		is.True(s.Meta().CreatedAt.IsZero())
	}
}

// Vault stores null as a secret, after "vault write secret/data/app data=null", and returns null.
func TestANullIsADocumentWithoutFields(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.reply("secret/data/app", http.StatusOK, bodyNull)
	c := client(t, f.backend(t))
	s, err := c.Get(t.Context(), "app")
	is.NoErr(err)
	is.Equal(s.Reveal(), "{}")
	is.Equal(s.Meta().Version, "1")
	_, err = c.Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
}

// An inconsistent answer is not used.
func TestInconsistentAnswersAreMalformed(t *testing.T) {
	two := func(rest string) string {
		return `{"data":{"data":{"a":"` + canary + `"},"metadata":{"version":1}}` + rest + `}`
	}
	for name, body := range map[string]string{
		"errors":               two(`,"errors":["x"]`),
		"one error":            two(`,"errors":"x"`),
		"destroyed":            `{"data":{"data":{"a":"b"},"metadata":{"version":1,"destroyed":true}}}`,
		"destroyed is no bool": `{"data":{"data":{"a":"b"},"metadata":{"version":1,"destroyed":"yes"}}}`,
		"two documents":        `{"data":{"data":{"a":"b"},"data":{"a":"c"},"metadata":{"version":1}}}`,
		"a version as text":    `{"data":{"data":{"a":"b"},"metadata":{"version":"1"}}}`,
		"a negative version":   `{"data":{"data":{"a":"b"},"metadata":{"version":-1}}}`,
		"no document":          `{"data":{"metadata":{"version":1}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f := newFake(t)
			f.reply("secret/data/app", http.StatusOK, body)
			s, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.Equal(secrets.Class(err), secrets.ErrMalformed)
			is.True(s.IsZero())
		})
	}
	for name, body := range map[string]string{
		"data twice":   two(`,"data":null`),
		"an escape":    two(`,"d\u0061ta":null`),
		"errors twice": two(`,"errors":null,"errors":null`),
		"two versions": `{"data":{"data":{"a":"b"},"metadata":{"version":1,"version":2}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f := newFake(t)
			f.reply("secret/data/app", http.StatusOK, body)
			_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.True(err != nil) // Vault sends no duplicates
		})
	}
	for name, body := range map[string]string{"no errors": two(`,"errors":[]`), "null": two(`,"errors":null`)} { // the controls
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.reply("secret/data/app", http.StatusOK, body)
			_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.New(t).NoErr(err)
		})
	}
}
