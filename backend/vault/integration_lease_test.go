//go:build vault

package vault_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// newLeasing mounts an engine where each read creates a lease, without a database: KV version 1 with an option that Vault has for its own
// tests. The field ttl of the secret is the duration of the lease.
func newLeasing(t testing.TB, server *vaultserver.Server) *store {
	t.Helper()
	s := &store{t: t, server: server, mount: unique("leasing"), version: 1}
	server.Must(t, http.MethodPost, "sys/mounts/"+s.mount, map[string]any{
		"type": "kv", "options": map[string]any{"leased_passthrough": "true"},
	})
	return s
}

// leases returns the number of leases of a secret on the server.
func (s *store) leases(secret string) int {
	s.t.Helper()
	_, answer := s.server.Do(s.t, "LIST", "sys/leases/lookup/"+s.mount+"/"+secret, nil)
	data, _ := answer["data"].(map[string]any)
	keys, _ := data["keys"].([]any)
	return len(keys)
}

func TestRealLeases(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newLeasing(t, shared.Get(t))
	s.put("creds/app", `{"username":"u","password":"p","ttl":"1h"}`)
	s.put("creds/other", `{"username":"u","password":"p","ttl":"1h"}`)
	c := client(t, s.backend(vault.WithDynamicSecrets()), middleware.Standard())

	_, err := c.Has(t.Context(), "creds/app#password")
	is.Equal(secrets.Class(err), secrets.ErrInvalidKey) // unknown, and Has creates no lease
	is.Equal(s.leases("creds/app"), 0)

	before := time.Now()
	got, err := c.GetMany(t.Context(), "creds/app#username", "creds/app#password", "creds/app#")
	is.NoErr(err)
	after := time.Now()
	is.Equal(s.leases("creds/app"), 1) // for all fields
	for _, secret := range got {
		end := secret.Meta().ExpiresAt
		is.True(!end.Before(before.Add(time.Hour)) && !end.After(after.Add(time.Hour)))
		is.True(secret.Meta().Version != "")
	}
	has, err := c.Has(t.Context(), "creds/app#password")
	is.NoErr(err)
	is.True(has)
	_, err = c.Get(t.Context(), "creds/app#password")
	is.NoErr(err)
	is.Equal(s.leases("creds/app"), 1) // from the cache
	_, err = c.Refresh(t.Context(), "creds/app#password")
	is.NoErr(err)
	is.Equal(s.leases("creds/app"), 2)

	bare := client(t, s.backend(vault.WithDynamicSecrets()))
	_, err = bare.Has(t.Context(), "creds/other#password")
	is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
	is.Equal(s.leases("creds/other"), 0)
	_, err = bare.Get(t.Context(), "creds/none#password")
	is.Equal(secrets.Class(err), secrets.ErrNotFound)

	// Close keeps the leases of a token that the program set.
	is.NoErr(c.Close())
	is.Equal(s.leases("creds/app"), 2)
}

// An expired lease is not served; its successor is fetched before.
func TestRealLeaseEnds(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newLeasing(t, shared.Get(t))
	s.put("creds/app", `{"username":"u","ttl":"2s"}`)
	recorder := s.server.Record(t)
	c := client(t, s.backendAt(recorder.Addr, vault.WithToken(s.server.RootToken), vault.WithDynamicSecrets()), middleware.Standard())
	ctx, cancel := context.WithCancel(t.Context())
	readers := &reading{cancel: cancel}
	for range 2 {
		readers.read(ctx, blink, func(ctx context.Context) (bool, error) {
			began := time.Now()
			got, err := c.Get(ctx, "creds/app#username")
			return got.Meta().ExpiresAt.Before(began.Add(-blink)), err // coarse clock
		})
	}
	readers.goOn(t, 5*time.Second)
	is.Equal(readers.stop(), nil)
	reads, over, _ := readers.count()
	fetches := recorder.Count("GET", "/v1/"+s.mount)
	t.Logf("%d reads of a lease of 2 s over 5 s: %d fetches", reads, fetches)
	is.Equal(over, 0)
	is.True(fetches >= 3 && fetches <= 5)
}

// The leases of a login end with its token.
func TestRealLeasesEndWithTheToken(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newLeasing(t, shared.Get(t))
	s.put("creds/app", `{"username":"u","ttl":"1h"}`)
	s.put("creds/other", `{"username":"u","ttl":"1h"}`)
	recorder := s.server.Record(t)
	r := newRole(t, s, map[string]any{"token_ttl": "1h"})
	c := client(t, s.backendAt(recorder.Addr, r.auth(), vault.WithDynamicSecrets()), middleware.Standard())
	get := func(key string) {
		t.Helper()
		_, err := c.Get(t.Context(), key)
		is.NoErr(err)
	}
	fetches := func() int { return recorder.Count("GET", "/v1/"+s.mount+"/creds/app") }
	began := time.Now()
	get("creds/app#username")
	get("creds/app#username")
	is.Equal(fetches(), 1)
	is.Equal(s.leases("creds/app"), 1)

	eventually(t, "the token is old enough to be given up", func() bool { return time.Since(began) > 3*time.Second/2 })
	revoke(t, s.server, tokens(recorder)[0])
	eventually(t, "the server ends the leases", func() bool { return s.leases("creds/app") == 0 })
	get("creds/other#username") // notices the end of the token
	is.Equal(r.logins(recorder), 2)
	get("creds/app#username")
	is.Equal(fetches(), 2) // the cached value had the old token
	is.Equal(s.leases("creds/app"), 1)

	is.NoErr(c.Close())
	eventually(t, "the server ends the leases", func() bool { return s.leases("creds/app")+s.leases("creds/other") == 0 })
}

// A token at its maximum TTL ends with its leases, although the next login comes before.
func TestRealLeasesOverLogins(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newLeasing(t, shared.Get(t))
	s.put("creds/app", `{"username":"u","ttl":"1h"}`)
	recorder := s.server.Record(t)
	r := newRole(t, s, map[string]any{"token_ttl": "2s", "token_max_ttl": "2s"})
	c := client(t, s.backendAt(recorder.Addr, r.auth(), vault.WithDynamicSecrets()), middleware.Standard(cache.WithTTL(time.Hour)))
	readers := keepReading(t, c, 2, blink, "creds/app#username")
	readers.goOn(t, 5*time.Second)
	is.Equal(readers.stop(), nil)
	logins, fetched := 0, true
	for _, request := range recorder.Requests() {
		switch {
		case strings.HasPrefix(request.Path, "/v1/auth/"+r.mount):
			is.True(fetched) // with the previous token
			logins, fetched = logins+1, false
		case strings.HasPrefix(request.Path, "/v1/"+s.mount):
			fetched = true
		}
	}
	t.Logf("%d logins, and a lease of each", logins)
	is.True(logins >= 3)
}

// A lease counts also for a mount of KV.
func TestRealLeaseOfKV(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newLeasing(t, shared.Get(t))
	s.put("app", `{"password":"p","ttl":"1h"}`)
	got, err := client(t, s.backend()).Get(t.Context(), "app#password")
	is.NoErr(err)
	is.True(time.Until(got.Meta().ExpiresAt) > time.Hour-time.Minute)
}
