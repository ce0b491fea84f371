package vault_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest"
)

type vars = map[string]string

// One program logs in as the environment says: on a laptop with a token, in Kubernetes as its service account.
func TestVariablesOfALogin(t *testing.T) {
	jwt, secretID := filepath.Join(t.TempDir(), "jwt"), filepath.Join(t.TempDir(), "secret-id")
	write(t, jwt, "the.web.token\n")
	write(t, secretID, "\ufeffthe-secret-id\r\n")
	for name, c := range map[string]struct {
		vars vars
		opts []vault.Option
		path string // of the login, or "" without one
		sent vars
	}{
		"kubernetes": {vars{"VAULT_AUTH_METHOD": "kubernetes", "VAULT_ROLE": "web", "VAULT_JWT_FILE": jwt}, nil,
			"auth/kubernetes/login", vars{"role": "web", "jwt": "the.web.token"}},
		"kubernetes elsewhere": {
			vars{"VAULT_AUTH_METHOD": " Kubernetes", "VAULT_ROLE": "web", "VAULT_JWT_FILE": jwt, "VAULT_AUTH_PATH": "team/k8s/"}, nil,
			"auth/team/k8s/login", vars{"role": "web", "jwt": "the.web.token"}},
		"jwt": {vars{"VAULT_AUTH_METHOD": "jwt", "VAULT_ROLE": "web", "VAULT_JWT_FILE": jwt}, nil,
			"auth/jwt/login", vars{"role": "web", "jwt": "the.web.token"}},
		"jwt, default role": {vars{"VAULT_AUTH_METHOD": "jwt", "VAULT_JWT_FILE": jwt}, nil, "auth/jwt/login", vars{"jwt": "the.web.token"}},
		"approle": {vars{"VAULT_AUTH_METHOD": "approle", "VAULT_ROLE_ID": "the-role-id", "VAULT_SECRET_ID": "of-the-variable\n"}, nil,
			"auth/approle/login", vars{"role_id": "the-role-id", "secret_id": "of-the-variable"}},
		"approle, from a file": {
			vars{"VAULT_AUTH_METHOD": "approle", "VAULT_ROLE_ID": "the-role-id", "VAULT_SECRET_ID": "x", "VAULT_SECRET_ID_FILE": secretID}, nil,
			"auth/approle/login", vars{"role_id": "the-role-id", "secret_id": "the-secret-id"}},
		"with newlines at the end": {
			vars{"VAULT_AUTH_METHOD": "approle\n", "VAULT_ROLE_ID": "the-role-id\n", "VAULT_SECRET_ID": "s\r\n", "VAULT_AUTH_PATH": "team/a\n"}, nil,
			"auth/team/a/login", vars{"role_id": "the-role-id", "secret_id": "s"}},
		"a role with a newline at the end": {vars{"VAULT_AUTH_METHOD": "kubernetes", "VAULT_ROLE": "web\n", "VAULT_JWT_FILE": jwt}, nil,
			"auth/kubernetes/login", vars{"role": "web", "jwt": "the.web.token"}},
		"a method comes before a token": {
			vars{"VAULT_AUTH_METHOD": "kubernetes", "VAULT_ROLE": "web", "VAULT_JWT_FILE": jwt, "VAULT_TOKEN": "x"}, nil,
			"auth/kubernetes/login", vars{"role": "web", "jwt": "the.web.token"}},
		"an option comes before a method": {vars{"VAULT_AUTH_METHOD": "kubernetes"}, []vault.Option{vault.WithToken(fakeToken)}, "", nil},
		"token":                           {vars{"VAULT_AUTH_METHOD": "token", "VAULT_TOKEN": fakeToken}, nil, "", nil},
		"no method":                       {vars{"VAULT_ROLE": "web", "VAULT_TOKEN": fakeToken}, nil, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f := newFake(t)
			f.put("app", `{"password":"p"}`)
			var sent vars
			f.handle(c.path, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				is.NoErr(err)
				is.NoErr(json.Unmarshal(body, &sent))
				f.vault.ServeHTTP(w, r)
			})
			all := vars{"VAULT_ADDR": f.URL}
			maps.Copy(all, c.vars)
			b, err := vault.New(append(c.opts, environment(all))...)
			is.NoErr(err)
			s, err := client(t, b).Get(t.Context(), "app#password")
			is.NoErr(err)
			is.Equal(s.Reveal(), "p")
			is.Equal(sent, c.sent)
		})
	}
}

// VAULT_MOUNT is the mount, unless an option sets it.
func TestVariableOfTheMount(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.vault.Mount("team/kv", 1)
	f.vault.Put("team/kv/app", `{"password":"of-the-team"}`)
	f.put("app", `{"password":"of-the-default"}`)
	for value, c := range map[string]struct {
		opts []vault.Option
		want string
	}{
		"team/kv":  {nil, "of-the-team"},
		"team/kv/": {nil, "of-the-team"},
		"":         {nil, "of-the-default"},
		"team":     {[]vault.Option{vault.WithMount("secret")}, "of-the-default"},
	} {
		b, err := vault.New(append(c.opts, environment(vars{"VAULT_ADDR": f.URL, "VAULT_TOKEN": fakeToken, "VAULT_MOUNT": value}))...)
		is.NoErr(err)
		s, err := client(t, b).Get(t.Context(), "app#password")
		is.NoErr(err)
		is.Equal(s.Reveal(), c.want)
	}
}

// An incomplete login in the environment is a fault that names the missing variable. It never selects another source of tokens.
func TestIncompleteVariables(t *testing.T) {
	const noToken = "no token: give WithToken, WithTokenFile or WithAuth, or set VAULT_TOKEN, VAULT_TOKEN_FILE or VAULT_AUTH_METHOD"
	for _, c := range []struct {
		vars vars
		want []string
	}{
		{vars{"VAULT_AUTH_METHOD": "kubernetes"}, []string{"VAULT_AUTH_METHOD is kubernetes, which needs VAULT_ROLE too"}},
		{vars{"VAULT_AUTH_METHOD": "jwt", "VAULT_ROLE": "web"}, []string{"VAULT_AUTH_METHOD is jwt, which needs VAULT_JWT_FILE too"}},
		{vars{"VAULT_AUTH_METHOD": "approle"}, []string{"VAULT_AUTH_METHOD is approle, which needs VAULT_ROLE_ID too",
			"VAULT_AUTH_METHOD is approle, which needs VAULT_SECRET_ID or VAULT_SECRET_ID_FILE too"}},
		{vars{"VAULT_AUTH_METHOD": "kubernetes", "VAULT_ROLE": " \n"}, []string{"VAULT_AUTH_METHOD is kubernetes, which needs VAULT_ROLE too"}},
		{vars{"VAULT_AUTH_METHOD": "approle", "VAULT_ROLE_ID": " ", "VAULT_SECRET_ID": "\n"}, []string{
			"VAULT_AUTH_METHOD is approle, which needs VAULT_ROLE_ID too",
			"VAULT_AUTH_METHOD is approle, which needs VAULT_SECRET_ID or VAULT_SECRET_ID_FILE too"}},
		{vars{"VAULT_NAMESPACE": "a\n" + canary}, []string{"VAULT_NAMESPACE is not a namespace, such as team/shop"}},
		{vars{"VAULT_AUTH_METHOD": canary}, []string{"VAULT_AUTH_METHOD is not a known method: set it to token, kubernetes, jwt or " +
			"approle; WithAuth takes any other"}},
		{vars{"VAULT_AUTH_METHOD": "kubernetes", "VAULT_ROLE": "web", "VAULT_AUTH_PATH": "auth/" + canary},
			[]string{"VAULT_AUTH_PATH must be the mount of the auth method, without auth/"}},
		{vars{"VAULT_MOUNT": canary + "//"}, []string{"VAULT_MOUNT is not the path of a mount, such as secret or team/kv"}},
		{vars{"VAULT_AUTH_METHOD": "token", "VAULT_TOKEN": ""}, []string{noToken}},
		{vars{"VAULT_ROLE": "web", "VAULT_TOKEN": ""}, []string{noToken, "VAULT_ROLE has no effect without VAULT_AUTH_METHOD"}},
	} {
		is := is.New(t)
		all := vars{"VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": "t", "HOME": t.TempDir()}
		maps.Copy(all, c.vars)
		_, err := vault.New(environment(all))
		is.True(err != nil)
		for _, want := range c.want {
			if !strings.Contains(err.Error(), "secrets: vault: "+want) && !strings.Contains(err.Error(), "; "+want) {
				t.Errorf("%q has no %q", err, want)
			}
		}
		secretstest.AssertNoLeak(t, canary, err)
	}
}
