package vault

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// An error of a refused login says which part is wrong, in this package's words only. The bodies are from the sources that login_errors.go
// names; the integration tests get most of them from a real server.
func TestLoginTexts(t *testing.T) {
	const canary = "canary-7f3Kq9"
	for _, c := range []struct {
		status int
		body   string
		class  error
		means  string
	}{
		{400, "invalid role or secret ID", secrets.ErrUnauthenticated, wrongIDs},
		{400, `invalid secret_id "` + canary + `"`, secrets.ErrUnauthenticated, wrongIDs},
		{400, `source address "` + canary + `" unauthorized through CIDR restrictions on the secret ID`,
			secrets.ErrUnauthenticated, notFrom},
		{400, `source address "` + canary + `" unauthorized by CIDR restrictions on the role: %!w(<nil>)`,
			secrets.ErrUnauthenticated, notFrom},
		{400, `invalid role name "` + canary + `"`, secrets.ErrUnauthenticated, noRole},
		{400, `role "` + canary + `" could not be found`, secrets.ErrUnauthenticated, noRole},
		{400, "missing role", secrets.ErrUnauthenticated, "no default role"},
		{400, "role with oidc role_type is not allowed", secrets.ErrUnauthenticated, "role_type must be jwt"},
		{403, "service account name not authorized", secrets.ErrUnauthenticated, "bound_service_account_names"},
		{403, "namespace not authorized err=" + canary, secrets.ErrUnauthenticated, "bound_service_account_namespaces"},
		{403, "invalid expiration time (exp) claim: token is expired", secrets.ErrUnauthenticated, "the JWT has expired"},
		{400, "error validating token: invalid expiration time (exp) claim: token is expired",
			secrets.ErrUnauthenticated, "the JWT has expired"},
		{400, "error validating token: invalid not before (nbf) claim: token not yet valid", secrets.ErrUnauthenticated, "clocks"},
		{400, "error validating token: invalid issued at (iat) claim: token issued in the future",
			secrets.ErrUnauthenticated, "clocks"},
		{400, "error validating token: invalid audience (aud) claim: audience claim does not match any expected audience",
			secrets.ErrUnauthenticated, noAudience},
		{400, "audience claim found in JWT but no audiences bound to the role",
			secrets.ErrUnauthenticated, "the role has no bound_audiences"},
		{400, "error validating token: invalid issuer (iss) claim", secrets.ErrUnauthenticated, "bound_issuer"},
		{400, "error validating token: invalid subject (sub) claim", secrets.ErrUnauthenticated, "bound_subject"},
		{400, `error validating claims: claim "` + canary + `" does not match any associated bound claim values`,
			secrets.ErrUnauthenticated, "bound_claims"},
		{400, `claim "` + canary + `" not found in token`, secrets.ErrUnauthenticated, "user_claim"},
		{400, "error validating token: error verifying token signature: no known key successfully validated the token signature",
			secrets.ErrUnauthenticated, badSignature},
		{400, "error validating token: error verifying token signature: failed to verify signature: failed to verify id token signature",
			secrets.ErrUnauthenticated, badSignature},
		{400, "error validating token: error verifying token signature" +
			": failed to verify signature: fetching keys oidc: get keys failed " + canary,
			secrets.ErrUnavailable, "identity provider"},
		{400, "error configuring token validator: " + canary, secrets.ErrUnavailable, "identity provider"},
		{400, "could not load configuration", secrets.ErrUnauthenticated, "not configured"},
		{403, "permission denied", secrets.ErrUnauthenticated, "did not say why"},
		{400, canary, secrets.ErrUnauthenticated, "refused the login at auth/x (status 400)"},
	} {
		t.Run(c.body, func(t *testing.T) {
			is := is.New(t)
			err := answer{status: c.status, fromVault: true, errors: []string{c.body}}.loginFailure(" at auth/x")
			is.Equal(secrets.Class(err), c.class)
			if !strings.Contains(err.Error(), c.means) {
				t.Errorf("%q has no %q", err, c.means)
			}
			is.True(strings.Contains(err.Error(), "auth/x"))
			secretstest.AssertNoLeak(t, canary, err)
		})
	}
}

// The token of a login in another namespace is renewed and revoked there, and reads in the backend's namespace.
func TestAuthNamespace(t *testing.T) {
	root, child := "", "team/child"
	for _, c := range []struct {
		name   string
		opts   []AuthOption
		logins string // the namespace of the logins
	}{
		{"by default", nil, child},
		{"of the parent", []AuthOption{WithAuthNamespace("team")}, "team"},
		{"of the root", []AuthOption{WithAuthNamespace(root)}, root},
		{"the last one", []AuthOption{WithAuthNamespace(root), WithAuthNamespace("team")}, "team"},
	} {
		t.Run(c.name, func(t *testing.T) {
			method := AppRole("role", Value("id"), append(c.opts, WithAuthMount("test"))...)
			bubble(t, method, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
				s.server.client().SetNamespace(child)
				got, err := s.token(t.Context())
				is.NoErr(err)
				_, err = s.server.get(t.Context(), got, "secret/data/app", nil)
				is.NoErr(err)
				pass(time.Minute) // the TTL
				is.NoErr(s.close())
				for suffix, want := range map[string]string{
					"/login": c.logins, "/renew-self": c.logins, "/revoke-self": c.logins, "/secret/data/app": child,
				} {
					calls := w.calls(suffix)
					is.True(len(calls) > 0)
					for _, call := range calls {
						is.Equal(call.namespace, want)
					}
				}
				is.Equal(s.server.client().Namespace(), child)
			})
		})
	}
	is.New(t).True(AppRole("role", Value("id"), WithAuthNamespace("a\nb")).Validate() != nil)
}

// A token that the server rejects is replaced, whatever its age: Vault up to 1.16 and OpenBao say only "permission denied". A proxy's
// refusal is not about the token: the renewal is retried a little later.
func TestRenewalOfDeadToken(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		ended  bool // the token ends at once
		logins int
	}{
		{"Vault 1.21", http.StatusForbidden, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, true, 1},
		{"Vault 1.16, OpenBao", http.StatusForbidden, `{"errors":["permission denied"]}`, true, 1},
		{"a policy", http.StatusForbidden, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, true, 2},
		{"a proxy", http.StatusForbidden, `RBAC: access denied`, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
				_, err := s.token(t.Context())
				is.NoErr(err)
				w.set(func() {
					w.answer = func(call call) (int, string) {
						if strings.HasSuffix(call.path, "/renew-self") && call.token == "token-canary-0001" {
							return c.status, c.body
						}
						return 0, ""
					}
				})
				pass(50 * time.Second)
				is.Equal(len(e.all()) > 0, c.ended)
				is.Equal(len(w.calls("/login")), c.logins)
			})
		})
	}
}

// Close succeeds if there is nothing left to revoke.
func TestRevocationOfDeadToken(t *testing.T) {
	for body, class := range map[string]error{
		`{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`: nil,
		`{"errors":["permission denied"]}`:                                                nil,
		`{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`:                     secrets.ErrPermissionDenied,
		`RBAC: access denied`: secrets.ErrUnavailable,
	} {
		bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
			_, err := s.token(t.Context())
			is.NoErr(err)
			w.set(func() { w.answer = func(call) (int, string) { return http.StatusForbidden, body } })
			is.Equal(secrets.Class(s.close()), class)
		})
	}
}

// Outside of a pod there is no token of a service account. The error says what to set instead.
func TestMissingServiceAccountTokenNamesTheAlternatives(t *testing.T) {
	is := is.New(t)
	_, missing := os.Stat(serviceAccountToken)
	_, err := readFile("the credential in", serviceAccountToken, strings.TrimSpace)
	is.Equal(err != nil && strings.Contains(err.Error(), "VAULT_JWT_FILE"), errors.Is(missing, fs.ErrNotExist))
	_, err = readFile("the credential in", t.TempDir()+"/none", strings.TrimSpace)
	is.True(err != nil && !strings.Contains(err.Error(), "VAULT_JWT_FILE")) // another file needs another hint
}
