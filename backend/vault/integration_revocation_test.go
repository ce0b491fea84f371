//go:build vault

package vault_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// What the server no longer grants is gone with the next fetch of the cache: no stale value hides it. A fallback answers only for a
// not-found.
func TestRealTakenAway(t *testing.T) {
	for name, test := range map[string]struct {
		take, back func(s *store, policy, token string)
		class      error  // nil if the fallback answers
		want       string // after it was granted again
	}{
		"the right to read": {
			take: func(s *store, policy, _ string) {
				s.server.Must(s.t, http.MethodPut, policy, map[string]any{"policy": `path "elsewhere" { capabilities = ["read"] }`})
			},
			back: func(s *store, policy, _ string) {
				s.server.Must(s.t, http.MethodPut, policy, map[string]any{"policy": s.readable()})
			},
			class: secrets.ErrPermissionDenied, want: "p",
		},
		"the token": {
			take:  func(s *store, _, token string) { revoke(s.t, s.server, token) },
			class: secrets.ErrUnauthenticated,
		},
		"the version": {
			take:  func(s *store, _, _ string) { s.do("delete", "app", 1) },
			back:  func(s *store, _, _ string) { s.do("undelete", "app", 1) },
			class: secrets.ErrDeleted, want: "p",
		},
		"the field": {
			take:  func(s *store, _, _ string) { s.put("app", `{"other":"o"}`) },
			back:  func(s *store, _, _ string) { s.put("app", `{"password":"again"}`) },
			class: secrets.ErrFieldNotFound, want: "again",
		},
		"the secret": {
			take: func(s *store, _, _ string) { s.server.Must(s.t, http.MethodDelete, s.at("metadata", "app"), nil) },
			back: func(s *store, _, _ string) { s.put("app", `{"password":"new"}`) },
			want: "new",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			s := newStore(t, shared.Get(t), versionTwo)
			s.put("app", `{"password":"p"}`)
			policy := "sys/policies/acl/" + s.mount
			s.server.Must(t, http.MethodPut, policy, map[string]any{"policy": s.readable()})
			made := s.server.Must(t, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{s.mount}})
			token := text(t, made, "auth", "client_token")
			other := env.New(env.WithLookup(func(string) (string, bool) { return "of env", true }))
			c := client(t, s.backendAs(vault.WithToken(token)), secrets.WithFallback(fallback.To(other)),
				middleware.Standard(cache.WithTTL(shortTTL), cache.WithNegativeTTL(shortTTL)))
			get := func() (string, error) {
				got, err := c.Get(t.Context(), "app#password")
				is.True(!got.Meta().Stale)
				if err != nil {
					return "", err
				}
				return got.Reveal(), nil
			}
			readers := keepReading(t, c, 2, blink, "app#password")
			readers.goOn(t, 2*shortTTL)
			is.Equal(readers.stop(), nil)

			test.take(s, policy, token)
			within(t, 3*time.Second, "it is gone", func() bool {
				got, err := get()
				if err == nil && got == "p" {
					return false
				}
				if test.class == nil {
					is.NoErr(err)
					is.Equal(got, "of env")
				} else {
					is.Equal(secrets.Class(err), test.class)
				}
				return true
			})
			if test.back == nil {
				return
			}
			test.back(s, policy, token)
			within(t, 3*time.Second, "it is back", func() bool {
				got, err := get()
				return err == nil && got == test.want
			})
		})
	}
}
