//go:build vault

package vault_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestRealConformance(t *testing.T) {
	t.Run("KV version 1", func(t *testing.T) { t.Parallel(); conformOnServer(t, 1) })
	t.Run("KV version 2", func(t *testing.T) { t.Parallel(); conformOnServer(t, 2) })
}

func conformOnServer(t *testing.T, version int) {
	t.Helper()
	server := shared.Get(t)
	holding := func(t *testing.T, secret string) *store {
		t.Helper()
		s := newStore(t, server, version)
		s.put("app", `{"a":`+quoted(secret)+`}`)
		return s
	}
	as := func(token func(t *testing.T) string) func(*testing.T, string) (secrets.Backend, string) {
		return func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			return holding(t, secret).backendAs(vault.WithToken(token(t))), "app"
		}
	}
	opts := []secretstest.RunOption{
		secretstest.WithObjectsOnly(),
		secretstest.WithFailure(secrets.ErrPermissionDenied, as(func(t *testing.T) string {
			return server.Token(t, `path "sys/nothing" { capabilities = ["read"] }`, nil)
		})),
		secretstest.WithFailure(secrets.ErrUnauthenticated, as(func(*testing.T) string { return "hvs.bogus" })),
		secretstest.WithFailure(secrets.ErrUnavailable, func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			s := holding(t, secret)
			throttle(t, s)
			return s.backend(), "app"
		}),
		secretstest.WithStall(func(t *testing.T) (secrets.Backend, string) {
			t.Helper()
			return open(t, vaultserver.NewBlackHole(t).Addr, vault.WithToken("hvs.none")), "app"
		}),
	}
	if version == 2 {
		opts = append(opts,
			secretstest.WithFloatNumbers(), // see TestRealNumbers
			secretstest.WithFailure(secrets.ErrDeleted, func(t *testing.T, secret string) (secrets.Backend, string) {
				t.Helper()
				s := holding(t, secret)
				s.do("delete", "app", 1)
				return s.backend(), "app"
			}),
			secretstest.WithVersions(func(t *testing.T) (secrets.Backend, string, map[string]string) {
				t.Helper()
				s := newStore(t, server, version)
				versions := map[string]string{"1": `{"a":"one"}`, "2": `{"a":"two"}`}
				s.put("app", versions["1"])
				s.put("app", versions["2"])
				return s.backend(), "app", versions
			}))
	}
	secretstest.Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
		t.Helper()
		s := newStore(t, server, version)
		for path, document := range objects(documents) {
			s.put(path, document)
		}
		return s.backend()
	}, opts...)
}

// throttle makes the server answer reads of a store with status 429.
func throttle(t testing.TB, s *store) (end func()) {
	t.Helper()
	name := "sys/quotas/rate-limit/" + s.mount
	s.server.Must(t, http.MethodPost, name, map[string]any{"path": s.mount + "/", "rate": 1, "interval": "1h"})
	eventually(t, "the quota is used up", func() bool {
		status, _ := s.server.Do(t, http.MethodGet, s.data("nothing"), nil)
		return status == http.StatusTooManyRequests
	})
	return func() { s.server.Must(t, http.MethodDelete, name, nil) }
}

// The document is the server's JSON. Version 2 of the engine parses numbers as floating-point ones. Both versions escape HTML characters,
// which does not change the value.
func TestRealNumbers(t *testing.T) {
	t.Parallel()
	const written = `{"big":9007199254740993,"decimal":1.50,"large":123456789012345678901234567890,"markup":"<a&b>","whole":1.0}`
	for version, read := range map[int]map[string]string{
		1: {"big": "9007199254740993", "decimal": "1.50", "large": "123456789012345678901234567890", "markup": "<a&b>", "whole": "1.0"},
		2: {"big": "9007199254740992", "decimal": "1.5", "large": "1.2345678901234568e+29", "markup": "<a&b>", "whole": "1"},
	} {
		is := is.New(t)
		s := newStore(t, shared.Get(t), version)
		s.put("app", written)
		c := client(t, s.backend())
		for field, want := range read {
			got, err := c.Get(t.Context(), "app#"+field)
			is.NoErr(err)
			is.Equal(got.Reveal(), want) // the field of that version
		}
		document, err := c.Get(t.Context(), "app")
		is.NoErr(err)
		is.True(strings.Contains(document.Reveal(), `\u003ca\u0026b\u003e`))
	}
}
