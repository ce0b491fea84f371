package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest"
)

const secretID = "secret-id-canary-7f3Kq9ZxWv2m"

// loginServer answers logins on loopback, and records the last request.
type loginServer struct {
	*httptest.Server

	mu     sync.Mutex
	method string
	uri    string
	header http.Header
	body   map[string]any
	status int
	answer string
}

func newLoginServer(t *testing.T) *loginServer {
	t.Helper()
	s := &loginServer{status: http.StatusOK, answer: `{"auth":{"client_token":"hvs.of-the-login","lease_duration":60,"renewable":true}}`}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		text, _ := io.ReadAll(r.Body)
		s.method, s.uri, s.header, s.body = r.Method, r.RequestURI, r.Header, nil
		_ = json.Unmarshal(text, &s.body)
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *loginServer) set(status int, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.answer = status, answer
}

// client returns an official client with short pauses between retries.
func (s *loginServer) client(t *testing.T) *api.Client {
	t.Helper()
	for _, name := range []string{"VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_AGENT_ADDR"} {
		t.Setenv(name, "")
	}
	config := api.DefaultConfig()
	config.Address, config.MaxRetries = s.URL, 0
	client, err := api.NewClient(config)
	is.New(t).NoErr(err)
	t.Cleanup(config.HttpClient.CloseIdleConnections)
	return client
}

func TestAuthOnTheWire(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		is.New(t).NoErr(os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	t.Setenv("SECRET_ID_OF_THE_TEST", secretID)
	for _, c := range []struct {
		name string
		auth *vault.Auth
		uri  string
		body map[string]any
	}{
		{
			"AppRole", vault.AppRole("role", vault.Value(secretID)), "/v1/auth/approle/login",
			map[string]any{"role_id": "role", "secret_id": secretID},
		},
		{
			"AppRole with a file", vault.AppRole("role", vault.File(file("id", secretID+"\n"))), "/v1/auth/approle/login",
			map[string]any{"role_id": "role", "secret_id": secretID},
		},
		{
			"AppRole with a variable", vault.AppRole("role", vault.Env("SECRET_ID_OF_THE_TEST")), "/v1/auth/approle/login",
			map[string]any{"role_id": "role", "secret_id": secretID},
		},
		{
			"AppRole elsewhere", vault.AppRole("role", vault.Value(secretID), vault.WithAuthMount("team a/approle/")),
			"/v1/auth/team%20a/approle/login",
			map[string]any{"role_id": "role", "secret_id": secretID},
		},
		{
			"Kubernetes", vault.Kubernetes("role", vault.WithServiceAccountToken(vault.File(file("jwt", "a.b.c")))), "/v1/auth/kubernetes/login",
			map[string]any{"role": "role", "jwt": "a.b.c"},
		},
		{
			"JWT", vault.JWT("role", vault.Value("a.b.c")), "/v1/auth/jwt/login",
			map[string]any{"role": "role", "jwt": "a.b.c"},
		},
		{
			"JWT with the default role", vault.JWT("", vault.Value("a.b.c"), vault.WithAuthMount("oidc")), "/v1/auth/oidc/login",
			map[string]any{"jwt": "a.b.c"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			s := newLoginServer(t)
			is.NoErr(c.auth.Validate())
			secret, err := c.auth.Login(t.Context(), s.client(t))
			is.NoErr(err)
			is.Equal(secret.Auth.ClientToken, "hvs.of-the-login")
			is.Equal(s.method, http.MethodPut)
			is.Equal(s.uri, c.uri)
			is.Equal(s.body, c.body)
			is.Equal(s.header.Get("X-Vault-Token"), "")
			is.Equal(s.header.Get("X-Vault-Request"), "true")
		})
	}
}

func TestEachLoginReadsTheCredential(t *testing.T) {
	is := is.New(t)
	s := newLoginServer(t)
	path := filepath.Join(t.TempDir(), "token")
	auth := vault.Kubernetes("role", vault.WithServiceAccountToken(vault.File(path)))
	login := func() error {
		_, err := auth.Login(t.Context(), s.client(t))
		return err
	}
	err := login()
	is.True(errors.Is(err, secrets.ErrUnavailable)) // the file may appear later
	is.True(strings.Contains(err.Error(), path))
	for _, jwt := range []string{"first", "second"} {
		is.NoErr(os.WriteFile(path, []byte(jwt), 0o600))
		is.NoErr(login())
		is.Equal(s.body["jwt"], jwt)
	}
	is.NoErr(os.WriteFile(path, []byte("\n"), 0o600))
	is.True(errors.Is(login(), secrets.ErrUnavailable))
	is.NoErr(os.WriteFile(path, make([]byte, 1<<20), 0o600))
	is.True(errors.Is(login(), secrets.ErrUnauthenticated))
}

// A credential loses one byte order mark and one newline; UTF-16 is an error.
func TestCredentialText(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ content, sent, detail string }{
		"a newline":         {secretID + "\n", secretID, ""},
		"of Windows":        {"\uFEFF" + secretID + "\r\n", secretID, ""},
		"of two lines":      {secretID + "\n\n", secretID + "\n", ""},
		"with white space":  {" " + secretID + " ", " " + secretID + " ", ""},
		"UTF-16":            {"\xff\xfea\x00b\x00", "", "it is UTF-16; save it as UTF-8"},
		"a\nname\nof lines": {"", "", `name\nof lines": the file is empty`},
	} {
		is := is.New(t)
		s, path := newLoginServer(t), filepath.Join(dir, name)
		is.NoErr(os.WriteFile(path, []byte(c.content), 0o600))
		_, err := vault.AppRole("role", vault.File(path)).Login(t.Context(), s.client(t))
		if c.detail != "" {
			is.True(strings.Contains(err.Error(), c.detail))
			continue
		}
		is.NoErr(err)
		is.Equal(s.body["secret_id"], c.sent)
		t.Setenv("SECRET_ID_OF_THE_TEST", c.content)
		_, err = vault.AppRole("role", vault.Env("SECRET_ID_OF_THE_TEST")).Login(t.Context(), s.client(t))
		is.NoErr(err)
		is.Equal(s.body["secret_id"], c.sent)
	}
}

func TestAuthFaults(t *testing.T) {
	t.Setenv("UNSET_OF_THE_TEST", "")
	for _, c := range []struct {
		name string
		auth *vault.Auth
		text string
	}{
		{"no role ID", vault.AppRole("", vault.Value(secretID)), "AppRole: an empty role_id"},
		{"no secret ID", vault.AppRole("role", vault.Value("")), "AppRole: secret_id: an empty value"},
		{"no credential", vault.AppRole("role", vault.Credential{}), "AppRole: secret_id: no credential"},
		{"no path", vault.AppRole("role", vault.File("")), "an empty path"},
		{"no variable", vault.AppRole("role", vault.Env("")), "an empty name"},
		{"no role", vault.Kubernetes(" "), "Kubernetes: an empty role"},
		{"no token", vault.Kubernetes("role", vault.WithServiceAccountToken(vault.Credential{})), "WithServiceAccountToken: no credential"},
		{"wrong option", vault.JWT("role", vault.Value(secretID), vault.WithServiceAccountToken(vault.Value("x"))), "an option of Kubernetes"},
		{"nil option", vault.JWT("role", vault.Value(secretID), nil), "option 1 is nil"},
		{"empty mount", vault.AppRole("role", vault.Value(secretID), vault.WithAuthMount("")), "WithAuthMount"},
		{"mount that leads out", vault.AppRole("role", vault.Value(secretID), vault.WithAuthMount("../sys")), "WithAuthMount"},
		{"mount with an empty segment", vault.AppRole("role", vault.Value(secretID), vault.WithAuthMount("a//b")), "WithAuthMount"},
		{"mount with a slash before it", vault.AppRole("role", vault.Value(secretID), vault.WithAuthMount("/a")), "WithAuthMount"},
		{"mount with auth", vault.AppRole("role", vault.Value(secretID), vault.WithAuthMount("auth/approle")), "must not begin with auth/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			err := c.auth.Validate()
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), c.text))
			s := newLoginServer(t)
			_, err = c.auth.Login(t.Context(), s.client(t))
			is.True(errors.Is(err, secrets.ErrUnauthenticated))
			is.Equal(s.method, "") // nothing was sent
			_, err = vault.New(vault.WithAddress(s.URL), vault.WithAuth(c.auth))
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), c.text))
			secretstest.AssertNoLeak(t, secretID, err)
		})
	}
	both := vault.AppRole("", vault.Value("")).Validate()
	is.New(t).Equal(len(strings.Split(both.Error(), "\n")), 2) // every fault at once
	_, err := vault.AppRole("role", vault.Env("UNSET_OF_THE_TEST")).Login(t.Context(), nil)
	is.New(t).True(errors.Is(err, secrets.ErrUnauthenticated))
}

func TestAuthFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		answer string
		class  error
		detail string
	}{
		{"wrong secret ID", 400, `{"errors":["invalid role or secret ID"]}`, secrets.ErrUnauthenticated,
			"at auth/approle (status 400): the role ID or the secret ID"},
		{"no mount", 403, `{"errors":["permission denied"]}`, secrets.ErrUnauthenticated, "WithAuthMount"},
		{"quoting", 400, `{"errors":["` + secretID + `"]}`, secrets.ErrUnauthenticated, "at auth/approle (status 400)"},
		{"sealed", 503, `{"errors":["Vault is sealed"]}`, secrets.ErrUnavailable, "sealed"},
		{"proxy", 404, `<html>` + secretID, secrets.ErrUnavailable, "status 404"},
		{"gateway", 404, `{"message":"no Route matched with those values"}`, secrets.ErrUnavailable, "status 404"},
		{"no JSON", 200, `<html>` + secretID, secrets.ErrUnavailable, "at auth/approle is not Vault's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			s := newLoginServer(t)
			s.set(c.status, c.answer)
			_, err := vault.AppRole("role", vault.Value(secretID)).Login(t.Context(), s.client(t))
			is.Equal(secrets.Class(err), c.class)
			is.True(strings.Contains(err.Error(), c.detail))
			is.True(!strings.Contains(err.Error(), s.URL))
			secretstest.AssertNoLeak(t, secretID, err)
		})
	}
	t.Run("control: the official client", func(t *testing.T) {
		s := newLoginServer(t)
		s.set(400, `{"errors":["`+secretID+`"]}`)
		_, err := s.client(t).Logical().Write("auth/approle/login", nil)
		is.New(t).True(len(secretstest.Leaks(secretID, err)) > 0)
	})
	t.Run("no server", func(t *testing.T) {
		is := is.New(t)
		s := newLoginServer(t)
		client := s.client(t)
		s.Close()
		_, err := vault.AppRole("role", vault.Value(secretID)).Login(t.Context(), client)
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.True(!strings.Contains(err.Error(), "127.0.0.1"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = vault.AppRole("role", vault.Value(secretID)).Login(ctx, client)
		is.Equal(err, context.Canceled)
	})
}

func TestAuthShowsNoCredential(t *testing.T) {
	credential := vault.Value(secretID)
	auth := vault.AppRole("role-id-canary-5hTg2", credential)
	secretstest.AssertNoLeak(t, secretID, credential, &credential, auth, *auth, fmt.Sprintf("%+v %#v", auth, *auth))
	secretstest.AssertNoLeak(t, "role-id-canary-5hTg2", auth, *auth)
	open := struct{ Value string }{secretID}
	is.New(t).True(len(secretstest.Leaks(secretID, open)) > 0) // control
}
