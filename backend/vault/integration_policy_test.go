//go:build vault

package vault_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// A read that the policies do not grant is denied, whether the secret exists or not; it is never a not-found.
func TestRealPolicies(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		s.put("app/db", `{"password":"p"}`)
		s.put("other", `{"password":"p"}`)
		below, exact := s.data("app/*"), s.data("app/db")
		read := func(path string) string { return `path "` + path + `" { capabilities = ["read"] }` }
		below = strings.ReplaceAll(below, "%2A", "*")
		for name, test := range map[string]struct {
			policy  string
			options map[string]any
			want    map[string]error // by key
		}{
			"on all below a path": {read(below), nil, map[string]error{
				"app/db/password": nil, "app/none/password": secrets.ErrNotFound, "app/db/none": secrets.ErrFieldNotFound,
				"other#password": secrets.ErrPermissionDenied, "none#password": secrets.ErrPermissionDenied,
			}},
			"on one path": {read(exact), nil, map[string]error{
				"app/db/password": nil, "app/none/password": secrets.ErrPermissionDenied, "other": secrets.ErrPermissionDenied,
			}},
			"on all below a path, without the default policy": {read(below), map[string]any{"no_default_policy": true}, map[string]error{
				"app/db/password": nil, "other": secrets.ErrPermissionDenied, "app/none/x": secrets.ErrNotFound,
			}},
			"of another mount": {read("elsewhere/*"), nil, map[string]error{
				"app/db/password": secrets.ErrPermissionDenied, "none": secrets.ErrPermissionDenied,
			}},
			"that denies": {read(below) + "\n" + `path "` + exact + `" { capabilities = ["deny"] }`, nil, map[string]error{
				"app/db/password": secrets.ErrPermissionDenied, "app/none/x": secrets.ErrNotFound,
			}},
			"that lists only": {`path "` + below + `" { capabilities = ["list"] }`, nil, map[string]error{
				"app/db/password": secrets.ErrPermissionDenied, "app/none/x": secrets.ErrPermissionDenied,
			}},
		} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				c := client(t, s.backendAs(vault.WithToken(s.server.Token(t, test.policy, test.options))))
				for key, class := range test.want {
					got, err := c.Get(t.Context(), key)
					has, hasErr := c.Has(t.Context(), key)
					if class == nil {
						is.NoErr(err)
						is.Equal(got.Reveal(), "p")
						is.NoErr(hasErr)
						is.True(has)
						continue
					}
					is.Equal(secrets.Class(err), class) // of key
					is.True(!has)
					is.Equal(hasErr == nil, errors.Is(class, secrets.ErrNotFound))
				}
			})
		}
	})
}

// The text of a denial names the path that a policy must grant.
func TestRealDenialNamesThePath(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		none := s.server.Token(t, `path "elsewhere" { capabilities = ["read"] }`, nil)
		_, err := client(t, s.backendAs(vault.WithToken(none))).Get(t.Context(), "app/db/password")
		is.True(strings.Contains(err.Error(), s.mount+"/data/app/db"))
		is.True(strings.Contains(err.Error(), s.mount+"/app/db"))
		some := s.server.Token(t, `path "`+s.data("other")+`" { capabilities = ["read"] }`, nil)
		_, err = client(t, s.backendAs(vault.WithToken(some))).Get(t.Context(), "app/db/password")
		is.True(strings.Contains(err.Error(), s.data("app/db"))) // the path for the mount's version
	})
}

func TestRealTokens(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		s.put("app", `{"password":"p"}`)
		revoked := s.server.Token(t, s.readable(), nil)
		if status, _ := s.server.DoAs(t, revoked, "POST", "auth/token/revoke-self", nil); status/100 != 2 {
			t.Fatal("the token was not revoked")
		}
		for name, auth := range map[string]vault.Option{
			"bogus":            vault.WithToken("hvs.bogus"),
			"of another form":  vault.WithToken("a token with spaces"),
			"revoked":          vault.WithToken(revoked),
			"of another batch": vault.WithToken("hvb.AAAAAQJbogus"),
			"of a namespace":   vault.WithToken("hvs.bogus.nsid"),
		} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				c := client(t, s.backendAs(auth))
				for _, key := range []string{"app#password", "none"} {
					_, err := c.Get(t.Context(), key)
					is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
					has, err := c.Has(t.Context(), key)
					is.True(!has)
					is.True(err != nil)
				}
			})
		}
	})
}

// boundElsewhere returns a token that is bound to other addresses.
func boundElsewhere(t testing.TB, s *store) string {
	t.Helper()
	role := unique("bound")
	s.server.Must(t, http.MethodPost, "auth/token/roles/"+role, map[string]any{
		"token_bound_cidrs": []string{"10.9.9.9/32"}, "allowed_policies": []string{"default"}, "orphan": true,
	})
	made := s.server.Must(t, http.MethodPost, "auth/token/create/"+role, map[string]any{"policies": []string{"default"}})
	return text(t, made, "auth", "client_token")
}

// The replayed answers of the unit tests are those of this real server.
func TestRealTokenAnswers(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	want := tokenAnswers[0]
	revoked := s.server.Token(t, s.readable(), nil)
	revoke(t, s.server, revoked)
	none := s.server.Token(t, `path "elsewhere" { capabilities = ["read"] }`, map[string]any{"no_default_policy": true})
	for name, test := range map[string]struct {
		token, path, want string
	}{
		"dead":                       {revoked, s.data("app"), want.dead},
		"dead, for the mount":        {revoked, "sys/internal/ui/mounts/" + s.mount, want.dead},
		"dead, for itself":           {revoked, "auth/token/lookup-self", want.dead},
		"denied":                     {none, s.data("app"), want.denied},
		"denied, for the mount":      {none, "sys/internal/ui/mounts/" + s.mount, strings.ReplaceAll(want.deniedMount, "secret/", s.mount+"/")},
		"denied, for itself":         {none, "auth/token/lookup-self", want.denied},
		"bound elsewhere":            {boundElsewhere(t, s), s.data("app"), want.elsewhere},
		"bound elsewhere, itself":    {boundElsewhere(t, s), "auth/token/lookup-self", want.elsewhere},
		"of a namespace":             {"hvs.bogus.nsid", s.data("app"), bodyOtherNamespace},
		"of a namespace, for itself": {"hvs.bogus.nsid", "auth/token/lookup-self", bodyOtherNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, answer := s.server.DoAs(t, test.token, http.MethodGet, test.path, nil)
			got, err := json.Marshal(answer)
			is.NoErr(err)
			is.Equal(string(got), test.want)
		})
	}
}

// An ambiguous denial costs one look-up of the token, whatever is read.
func TestRealTokenBoundElsewhere(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("app", `{"password":"p"}`)
		recorder := s.server.Record(t)
		c := client(t, s.backendAt(recorder.Addr, vault.WithToken(boundElsewhere(t, s))))
		for range 5 {
			_, err := c.Get(t.Context(), "app#password")
			is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
		}
		is.Equal(recorder.Count("GET", "/v1/auth/token/lookup-self"), 1)
	})
}

// A denial by policy needs no look-up of the token.
func TestRealDenialByPolicyNeedsNoLookup(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		recorder := s.server.Record(t)
		none := s.server.Token(t, `path "elsewhere" { capabilities = ["read"] }`, nil)
		_, err := client(t, s.backendAt(recorder.Addr, vault.WithToken(none))).Get(t.Context(), "app#password")
		is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
		is.Equal(recorder.Count("GET", "/v1/auth/token/lookup-self"), 0)
	})
}

// The server denies a request without a token almost like a policy does.
func TestRealNoToken(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("app", `{"password":"p"}`)
		_, err := client(t, s.backendAs(vault.WithoutToken())).Get(t.Context(), "app#password")
		is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	})
}

func TestRealTokenExpires(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("app", `{"password":"p"}`)
		c := client(t, s.backendAs(vault.WithToken(s.server.Token(t, s.readable(), map[string]any{"ttl": "2s"}))))
		_, err := c.Get(t.Context(), "app#password")
		is.NoErr(err)
		eventually(t, "the token expires", func() bool {
			_, err = c.Get(t.Context(), "app#password")
			return err != nil
		})
		is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	})
}

// Detecting the mount's version uses none of a token's uses.
func TestRealTokenWithUses(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("app", `{"password":"p"}`)
		c := client(t, s.backendAs(vault.WithToken(s.server.Token(t, s.readable(), map[string]any{"num_uses": 3}))))
		for range 3 {
			_, err := c.Get(t.Context(), "app#password")
			is.NoErr(err)
		}
		_, err := c.Get(t.Context(), "app#password")
		is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	})
}

// If a proxy blocks the detection, the answers to reads decide the version.
func TestRealWithoutPreflight(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		s.put("app/db", `{"password":"p"}`)
		s.put("data/app/db", `{"password":"of data"}`) // where version 2 has app/db
		for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed} {
			is := is.New(t)
			recorder := s.server.Record(t)
			recorder.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				isDetection := strings.HasPrefix(r.URL.Path, "/v1/sys/internal/")
				if isDetection {
					respond(w, status, `{"errors":["no"]}`)
				}
				return isDetection
			})
			for _, first := range []string{"app/db/password", "app/none/password"} { // the first read decides the version
				c := client(t, s.backendAt(recorder.Addr, vault.WithToken(s.server.RootToken)))
				for _, key := range []string{first, "app/db/password", "app/none/password", "data/app/db/password"} {
					got, err := c.Get(t.Context(), key)
					switch key {
					case "app/none/password":
						is.Equal(secrets.Class(err), secrets.ErrNotFound)
					case "app/db/password":
						is.NoErr(err)
						is.Equal(got.Reveal(), "p")
					default:
						is.NoErr(err)
						is.Equal(got.Reveal(), "of data")
					}
				}
			}
			denied := s.server.Token(t, `path "`+s.data("app/db")+`" { capabilities = ["read"] }`, nil)
			c := client(t, s.backendAt(recorder.Addr, vault.WithToken(denied)))
			_, err := c.Get(t.Context(), "app/none/password")
			is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
			got, err := c.Get(t.Context(), "app/db/password")
			is.NoErr(err)
			is.Equal(got.Reveal(), "p")
		}
	})
}
