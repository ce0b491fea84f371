//go:build vault

package vault_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

func TestRealTLS(t *testing.T) {
	t.Parallel()
	server := vaultserver.Start(t, vaultserver.WithTLS())
	s := newStore(t, server, versionTwo)
	s.put("app", `{"password":"p"}`)
	pem, err := os.ReadFile(server.CACert)
	if err != nil {
		t.Fatal(err)
	}
	other := vaultserver.Start(t, vaultserver.WithTLS()) // with another authority
	trusting := vault.WithTLSCACert(server.CACert)
	plain := strings.Replace(server.Addr, "https://", "http://", 1)
	named := strings.Replace(server.Addr, "127.0.0.1", "localhost", 1)
	type opts []vault.Option
	for name, test := range map[string]struct {
		address string
		opts    opts
		class   error
		detail  string
	}{
		"with the authority":        {server.Addr, opts{trusting}, nil, ""},
		"by a name":                 {named, opts{trusting}, nil, ""},
		"with the authority in env": {server.Addr, opts{environment(map[string]string{"VAULT_CACERT": server.CACert})}, nil, ""},
		"with its text in env":      {server.Addr, opts{environment(map[string]string{"VAULT_CACERT_BYTES": string(pem)})}, nil, ""},
		"without a check":           {server.Addr, opts{vault.WithTLSSkipVerify()}, nil, ""},
		"without a check by env":    {server.Addr, opts{environment(map[string]string{"VAULT_SKIP_VERIFY": "true"})}, nil, ""},
		"without the authority":     {server.Addr, nil, secrets.ErrUnavailable, "an authority that is not trusted; see WithTLSCACert"},
		"with another authority": {server.Addr, opts{vault.WithTLSCACert(other.CACert)}, secrets.ErrUnavailable,
			"an authority that is not trusted"},
		"for another name": {
			server.Addr, opts{trusting, vault.WithTLSServerName("vault.example.com")}, secrets.ErrUnavailable,
			"its certificate is for another name; see WithTLSServerName",
		},
		"in the clear": {plain, opts{trusting}, secrets.ErrUnavailable, "https://"},
		"with TLS where there is none": {
			strings.Replace(shared.Get(t).Addr, "http://", "https://", 1), opts{trusting}, secrets.ErrUnavailable, "no answer from the server",
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := client(t, s.backendAt(test.address, vault.WithToken(server.RootToken), test.opts...))
			got, err := c.Get(t.Context(), "app#password")
			if test.class == nil {
				is.NoErr(err)
				is.Equal(got.Reveal(), "p")
				return
			}
			t.Log(err)
			is.Equal(secrets.Class(err), test.class)
			is.True(strings.Contains(err.Error(), test.detail))
			is.True(!strings.Contains(err.Error(), server.RootToken))
		})
	}
}

// Tokens and login credentials go only to the host of the address, or to a host of WithRedirectHosts.
func TestRealRedirect(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	r := newRole(t, s, nil)
	token := s.server.Token(t, s.readable(), nil)
	for name, test := range map[string]struct {
		auth      vault.Option
		canary    string
		status    int
		path      string // the redirected path
		location  func(address string) string
		hosts     []string // allowed hosts; {} is the other server
		followed  bool
		withToken bool
	}{
		"of a read":          {auth: vault.WithToken(token), canary: token, status: 307, path: "/v1/" + s.mount},
		"of a look":          {auth: vault.WithToken(token), canary: token, status: 307, path: "/v1/sys"},
		"of a login":         {auth: r.auth(), canary: r.secretID, status: 307, path: "/v1/auth"},
		"for good":           {auth: vault.WithToken(token), canary: token, status: 301, path: "/v1/"},
		"for now":            {auth: vault.WithToken(token), canary: token, status: 302, path: "/v1/"},
		"for good, as it is": {auth: vault.WithToken(token), canary: token, status: 308, path: "/v1/"},
		"with another allowed": {auth: vault.WithToken(token), canary: token, status: 307, path: "/v1/",
			hosts: []string{"10.1.2.3", "localhost"}},
		"that is allowed":     {auth: vault.WithToken(token), canary: token, status: 307, path: "/v1/", hosts: []string{"{}"}, followed: true},
		"of an allowed login": {auth: r.auth(), canary: r.secretID, status: 307, path: "/v1/", hosts: []string{"{}"}, followed: true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			stranger, front := s.server.Record(t), s.server.Record(t)
			front.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, test.path) {
					return false
				}
				w.Header().Set("Location", stranger.Addr+r.URL.RequestURI())
				w.WriteHeader(test.status)
				return true
			})
			var opts []vault.Option
			for _, host := range test.hosts {
				opts = append(opts, vault.WithRedirectHosts(strings.Replace(host, "{}", strings.TrimPrefix(stranger.Addr, "http://"), 1)))
			}
			got, err := client(t, s.backendAt(front.Addr, test.auth, opts...)).Get(t.Context(), "app#password")
			is.True(front.Saw(test.canary))
			if test.followed {
				is.NoErr(err)
				is.Equal(got.Reveal(), "p")
				is.True(stranger.Saw(test.canary)) // control: a leak would be seen
				return
			}
			is.Equal(secrets.Class(err), secrets.ErrUnavailable)
			is.True(strings.Contains(err.Error(), "WithRedirectHosts"))
			is.Equal(stranger.Requests(), []vaultserver.Request{}) // nothing
			is.Equal(stranger.Connections(), 0)
		})
	}
}

// The process environment suffices. Variables that would change answers are ignored.
func TestRealEnvironment(t *testing.T) {
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	t.Setenv("VAULT_ADDR", s.server.Addr)
	t.Setenv("VAULT_TOKEN", s.server.RootToken+"\n")
	t.Setenv("VAULT_NAMESPACE", "team") // Vault Community ignores it
	t.Setenv("VAULT_WRAP_TTL", "60")
	t.Setenv("VAULT_MAX_RETRIES", "0")
	status, answer := s.server.Do(t, http.MethodGet, s.data("app"), nil)
	is.Equal(status, http.StatusOK)
	is.Equal(answer["wrap_info"], nil)
	b, err := vault.New(vault.WithMount(s.mount))
	is.NoErr(err)
	got, err := client(t, b).Get(t.Context(), "app#password")
	is.NoErr(err)
	is.Equal(got.Reveal(), "p")

	// VAULT_AGENT_ADDR does not win over WithAddress.
	t.Setenv("VAULT_AGENT_ADDR", vaultserver.NewBlackHole(t).Addr)
	b, err = vault.New(vault.WithMount(s.mount), vault.WithAddress(s.server.Addr))
	is.NoErr(err)
	_, err = client(t, b).Get(t.Context(), "app#password")
	is.NoErr(err)
}

func TestRealNamespace(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	recorder := s.server.Record(t)
	c := client(t, s.backendAt(recorder.Addr, newRole(t, s, nil).auth(), vault.WithNamespace("team/a")))
	_, err := c.Get(t.Context(), "app#password")
	is.NoErr(err)
	is.NoErr(c.Close())
	is.Equal(recorder.Count("", "/v1/auth/token/revoke-self"), 1)
	for _, request := range recorder.Requests() { // including login and revocation
		is.Equal(request.Header.Get("X-Vault-Namespace"), "team/a")
	}
}

// A wrapped answer, which a proxy may request, is not a secret.
func TestRealWrapped(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	recorder := s.server.Record(t)
	recorder.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v1/"+s.mount) {
			r.Header.Set("X-Vault-Wrap-Ttl", "60")
		}
		return false
	})
	_, err := client(t, s.backendAt(recorder.Addr, vault.WithToken(s.server.RootToken))).Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrMalformed)
	is.True(strings.Contains(err.Error(), "wrapped"))
}

// WithClient takes the address, token and settings of an official client.
func TestRealClient(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	theirs := official(t, s.server)
	b, err := vault.New(vault.WithClient(theirs), vault.WithMount(s.mount), vault.WithLookup(noEnvironment))
	is.NoErr(err)
	c := client(t, b)
	_, err = c.Get(t.Context(), "app#password")
	is.NoErr(err)
	theirs.SetToken("hvs.bogus")
	_, err = c.Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	theirs.SetToken(s.server.Token(t, s.readable(), nil))
	_, err = c.Get(t.Context(), "app#password")
	is.NoErr(err)
	is.NoErr(c.Close())
	is.True(valid(t, s.server, theirs.Token())) // not revoked: it is the program's
}

func official(t testing.TB, server *vaultserver.Server) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	config.Address = server.Addr
	c, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(server.RootToken)
	t.Cleanup(config.HttpClient.CloseIdleConnections)
	return c
}
