//go:build vault

package vault_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// refused logs in with auth, and returns the error of the refusal.
func refused(t *testing.T, s *store, auth *vault.Auth) error {
	t.Helper()
	_, err := client(t, s.backendAs(vault.WithAuth(auth))).Get(t.Context(), "app#password")
	is.New(t).Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	return err
}

func says(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v has no %q", err, want)
	}
}

// Errors of refused logins have this package's texts for a real server's answers.
func TestRealLoginTextsAppRole(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	for name, c := range map[string]struct {
		settings map[string]any
		auth     func(r *role) *vault.Auth
		want     string
	}{
		"a wrong secret ID": {nil, func(r *role) *vault.Auth {
			return vault.AppRole(r.roleID, vault.Value("x"), vault.WithAuthMount(r.mount))
		}, "the role ID or the secret ID is not valid"},
		"a wrong role ID": {nil, func(r *role) *vault.Auth {
			return vault.AppRole("x", vault.Value(r.secretID), vault.WithAuthMount(r.mount))
		}, "the role ID or the secret ID is not valid"},
		"another address": {map[string]any{"secret_id_bound_cidrs": "10.1.2.0/24"}, func(r *role) *vault.Auth {
			return vault.AppRole(r.roleID, vault.Value(r.secretID), vault.WithAuthMount(r.mount))
		}, "from this machine's address; see their CIDR blocks"},
		"no auth method": {nil, func(r *role) *vault.Auth {
			return vault.AppRole(r.roleID, vault.Value(r.secretID), vault.WithAuthMount("nowhere"))
		}, "no auth method is mounted there (see WithAuthMount)"},
	} {
		t.Run(name, func(t *testing.T) { says(t, refused(t, s, c.auth(newRole(t, s, c.settings))), c.want) })
	}
	good := newRole(t, s, map[string]any{"secret_id_bound_cidrs": "127.0.0.0/8"})
	_, err := client(t, s.backendAs(good.auth())).Get(t.Context(), "app#password")
	is.NoErr(err) // the control

	// After five wrong secret IDs, a server locks the role, without saying so:
	// https://developer.hashicorp.com/vault/docs/concepts/user-lockout
	locked := newRole(t, s, nil)
	for range 6 {
		err = refused(t, s, vault.AppRole(locked.roleID, vault.Value("x"), vault.WithAuthMount(locked.mount)))
	}
	says(t, err, "failed logins have locked it for a while")
}

func TestRealLoginTextsJWT(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	issuer, mount, policy := newSigner(t), unique("jwt"), unique("policy")
	s.server.Must(t, http.MethodPut, "sys/policies/acl/"+policy, map[string]any{"policy": s.readable()})
	s.server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "jwt"})
	says(t, refused(t, s, vault.JWT("app", vault.Value("x"), vault.WithAuthMount(mount))), "its auth method is not configured")
	s.server.Must(t, http.MethodPost, "auth/"+mount+"/config", map[string]any{"jwt_validation_pubkeys": issuer.pem, "bound_issuer": "us"})
	newRole := func(name string, settings map[string]any) {
		all := map[string]any{"role_type": "jwt", "user_claim": "sub", "token_policies": policy, "bound_audiences": "vault"}
		maps.Copy(all, settings)
		s.server.Must(t, http.MethodPost, "auth/"+mount+"/role/"+name, all)
	}
	newRole("app", nil)
	newRole("claims", map[string]any{"bound_claims": map[string]any{"team": "shop"}})
	newRole("subject", map[string]any{"bound_subject": "somebody"})
	newRole("user", map[string]any{"user_claim": "email"})
	newRole("near", map[string]any{"token_bound_cidrs": "10.1.2.0/24"})
	newRole("silent", map[string]any{"bound_audiences": nil, "bound_subject": "runner"})
	now := time.Now()
	token := func(signer *signer, changes map[string]any) string {
		claims := map[string]any{
			"sub": "runner", "aud": "vault", "iss": "us", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		}
		maps.Copy(claims, changes)
		return signer.sign(t, claims)
	}
	good := token(issuer, nil)
	for _, c := range []struct{ name, role, token, want string }{
		{"expired", "app", token(issuer, map[string]any{"exp": now.Add(-time.Hour).Unix()}), "the JWT has expired"},
		{"early", "app", token(issuer, map[string]any{"nbf": now.Add(time.Hour).Unix()}), "the JWT is not valid yet"},
		{"issued later", "app", token(issuer, map[string]any{"iat": now.Add(time.Hour).Unix()}), "the JWT is not valid yet"},
		{"another audience", "app", token(issuer, map[string]any{"aud": "other"}), "the audience of the JWT is not one of the role's"},
		{"an unbound audience", "silent", good, "the role has no bound_audiences"},
		{"another issuer", "app", token(issuer, map[string]any{"iss": "them"}), "bound_issuer"},
		{"another key", "app", token(newSigner(t), nil), "no key of the auth method has signed the JWT"},
		{"another claim", "claims", token(issuer, map[string]any{"team": "other"}), "bound_claims"},
		{"another subject", "subject", good, "bound_subject"},
		{"no user", "user", good, "user_claim"},
		{"no role", "none", good, "its auth method has no such role"},
		{"no default role", "", good, "no default role"},
		{"no JWT", "app", "canary-no-token", "the credential is not a signed JWT"},
		{"another address", "near", good, "does not allow this machine's address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := refused(t, s, vault.JWT(c.role, vault.Value(c.token), vault.WithAuthMount(mount)))
			says(t, err, c.want)
			is.True(!strings.Contains(err.Error(), c.token))
		})
	}
	b := s.backendAs(vault.WithAuth(vault.JWT("app", vault.Value(good), vault.WithAuthMount(mount))))
	_, err := client(t, b).Get(t.Context(), "app#password")
	is.NoErr(err) // the control
}

func TestRealLoginTextsKubernetes(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared.Get(t), versionTwo)
	kube, issuer, mount := newCluster(t), newSigner(t), unique("kubernetes")
	s.server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "kubernetes"})
	s.server.Must(t, http.MethodPost, "auth/"+mount+"/config", map[string]any{
		"kubernetes_host": kube.URL, "token_reviewer_jwt": issuer.sign(t, map[string]any{"sub": "reviewer"}), "disable_local_ca_jwt": true,
	})
	s.server.Must(t, http.MethodPost, "auth/"+mount+"/role/web", map[string]any{
		"bound_service_account_names": "web", "bound_service_account_namespaces": "shop", "audience": "vault",
	})
	for _, c := range []struct {
		name, role, account, namespace, audience string
		end                                      time.Duration
		want                                     string
	}{
		{"another account", "web", "db", "shop", "vault", time.Hour, "the role is not for this service account"},
		{"another namespace", "web", "web", "test", "vault", time.Hour, "the role is not for this Kubernetes namespace"},
		{"another audience", "web", "web", "shop", "other", time.Hour, "the audience of the JWT is not one of the role's"},
		{"expired", "web", "web", "shop", "vault", -time.Hour, "the JWT has expired"},
		{"no role", "none", "web", "shop", "vault", time.Hour, "its auth method has no such role"},
		{"not reviewed", "web", "web", "shop", "vault", time.Hour, "did not say why"},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := issuer.sign(t, map[string]any{
				"aud": []string{c.audience}, "iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:" + c.namespace + ":" + c.account,
				"exp": time.Now().Add(c.end).Unix(), "nbf": time.Now().Add(-2 * time.Hour).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix(),
				"kubernetes.io": map[string]any{"namespace": c.namespace, "serviceaccount": map[string]any{"name": c.account, "uid": "uid"}},
			})
			says(t, refused(t, s, vault.Kubernetes(c.role, vault.WithAuthMount(mount), vault.WithServiceAccountToken(vault.Value(token)))), c.want)
		})
	}
}
