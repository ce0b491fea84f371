package vault_test

import (
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// environment makes a backend look up variables in vars.
func environment(vars map[string]string) vault.Option {
	return vault.WithLookup(func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	})
}

func TestFaults(t *testing.T) {
	const ok = "https://vault.example:8200"
	newClient := func() *api.Client {
		c, err := api.NewClient(&api.Config{Address: ok})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	type opts = []vault.Option
	for _, c := range []struct {
		name string
		env  map[string]string
		opts opts
		want string // a part of the error, or "" if there is none
	}{
		{name: "nothing", want: "no address: give WithAddress, or set VAULT_ADDR"},
		{name: "no token", env: map[string]string{"VAULT_ADDR": ok}, want: "no token: give WithToken"},
		{name: "an empty token", env: map[string]string{"VAULT_ADDR": ok, "VAULT_TOKEN": ""}, want: "no token"},
		{name: "a token", env: map[string]string{"VAULT_ADDR": ok, "VAULT_TOKEN": "t\n"}},
		{name: "a token of two lines", env: map[string]string{"VAULT_ADDR": ok, "VAULT_TOKEN": canary + "\nb"}, want: "printable"},
		{name: "a token file", env: map[string]string{"VAULT_ADDR": ok, "VAULT_TOKEN_FILE": "nowhere"}},
		{name: "an agent", env: map[string]string{"VAULT_AGENT_ADDR": "http://127.0.0.1:8100"}},
		{name: "an agent in code", opts: opts{vault.WithAddress("http://localhost:8100"), vault.WithoutToken()}},
		{name: "an agent's socket", env: map[string]string{"VAULT_AGENT_ADDR": "unix:///run/agent.sock"}},
		{name: "in the clear", opts: opts{vault.WithAddress("http://vault.example:8200"), vault.WithToken("t")}, want: "WithPlaintext"},
		{name: "in the clear, as wanted",
			opts: opts{vault.WithAddress("http://vault.example:8200"), vault.WithToken("t"), vault.WithPlaintext()}},
		{name: "in the clear by the environment", env: map[string]string{"VAULT_ADDR": "http://10.0.0.1:8200", "VAULT_TOKEN": "t"},
			want: "VAULT_ADDR: http://10.0.0.1:8200 would send"},
		{name: "loopback", opts: opts{vault.WithAddress("http://[::1]:8200"), vault.WithToken("t")}},
		{name: "no loopback", opts: opts{vault.WithAddress("http://localhost.example"), vault.WithToken("t")}, want: "WithPlaintext"},
		{name: "a user", opts: opts{vault.WithAddress("https://u:" + canary + "@vault.example"), vault.WithToken("t")},
			want: "a user name or a password"},
		{name: "no address at all", opts: opts{vault.WithAddress("://" + canary), vault.WithToken("t")},
			want: "is not an address: it must begin with https://"},
		{name: "no scheme", opts: opts{vault.WithAddress("vault.example:8200"), vault.WithToken("t")}, want: "must begin with https://"},
		{name: "an IP address alone", opts: opts{vault.WithAddress("127.0.0.1:8200"), vault.WithToken("t")}, want: "must begin with https://"},
		{name: "no host", opts: opts{vault.WithAddress("https:///v1"), vault.WithToken("t")}, want: "must begin with https://"},
		{name: "a query", opts: opts{vault.WithAddress(ok + "?a=" + canary), vault.WithToken("t")}, want: "a query"},
		{name: "a path of the API", opts: opts{vault.WithAddress(ok + "/v1/"), vault.WithToken("t")}, want: "WithAddress ends in /v1"},
		{name: "an empty address", opts: opts{vault.WithAddress(""), vault.WithToken("t")}, want: "WithAddress: an empty address"},
		{name: "two tokens", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithTokenFile("f")},
			want: "WithTokenFile is a second source of tokens, after WithToken"},
		{name: "a token in the environment too", env: map[string]string{"VAULT_TOKEN": "x"},
			opts: opts{vault.WithAddress(ok), vault.WithToken("t")}},
		{name: "a nil method", opts: opts{vault.WithAddress(ok), vault.WithAuth(nil)}, want: "WithAuth: a nil method"},
		{name: "a bad method", opts: opts{vault.WithAddress(ok), vault.WithAuth(vault.Kubernetes(""))}, want: "WithAuth: "},
		{name: "an empty token file", opts: opts{vault.WithAddress(ok), vault.WithTokenFile("")}, want: "WithTokenFile: an empty path"},
		{name: "a bad mount", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithMount("a/../b")},
			want: `WithMount: "a/../b" is not the path of a mount`},
		{name: "no mount", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithMount("")}, want: "WithMount"},
		{name: "a bad version", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithKVVersion(3)}, want: "WithKVVersion: 3"},
		{name: "KV and not", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithKVVersion(1), vault.WithDynamicSecrets()},
			want: "WithDynamicSecrets"},
		{name: "no name", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithName("")}, want: "WithName"},
		{name: "no size", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithMaxSize(0)}, want: "WithMaxSize"},
		{name: "no look-up", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithLookup(nil)}, want: "WithLookup: nil"},
		{name: "a nil option", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), nil}, want: "option 4 is nil"},
		{name: "a bad host", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithRedirectHosts("https://x")},
			want: "WithRedirectHosts"},
		{name: "any host", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithRedirectHosts("*.example")},
			want: "WithRedirectHosts"},
		{name: "no CA", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithTLSCACert("/nowhere/ca.pem")}, want: "TLS: "},
		{name: "no CA by the environment", env: map[string]string{"VAULT_CACERT": "/nowhere/ca.pem"},
			opts: opts{vault.WithAddress(ok), vault.WithToken("t")}, want: "TLS: "},
		{name: "a bad CA by the environment", env: map[string]string{"VAULT_CACERT_BYTES": "x"},
			opts: opts{vault.WithAddress(ok), vault.WithToken("t")}, want: "TLS: "},
		{name: "half a client certificate", env: map[string]string{"VAULT_CLIENT_CERT": "/x"},
			opts: opts{vault.WithAddress(ok), vault.WithToken("t")}, want: "TLS: "},
		{name: "half a client certificate in code", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithTLSClientCert("x", "")},
			want: "WithTLSClientCert"},
		{name: "a bad switch", env: map[string]string{"VAULT_SKIP_VERIFY": "maybe"}, opts: opts{vault.WithAddress(ok), vault.WithToken("t")},
			want: "VAULT_SKIP_VERIFY is neither"},
		{name: "TLS twice", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithTLSConfig(&tls.Config{}),
			vault.WithTLSServerName("x")}, want: "WithTLSConfig is the whole"},
		{name: "no TLS", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithTLSConfig(nil)}, want: "WithTLSConfig: nil"},
		{name: "TLS beside an HTTP client",
			opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithHTTPClient(&http.Client{}), vault.WithTLSSkipVerify()},
			want: "WithHTTPClient has TLS settings"},
		{name: "no HTTP client", opts: opts{vault.WithAddress(ok), vault.WithToken("t"), vault.WithHTTPClient(nil)}, want: "WithHTTPClient: nil"},
		{name: "no client", opts: opts{vault.WithClient(nil)}, want: "WithClient: nil"},
		{name: "a client", opts: opts{vault.WithClient(newClient()), vault.WithToken("t")}},
		{name: "a client without a token", opts: opts{vault.WithClient(newClient())}, want: "no token"},
		{name: "a client and an address", opts: opts{vault.WithClient(newClient()), vault.WithToken("t"), vault.WithAddress(ok)},
			want: "WithClient already says how to connect; drop WithAddress"},
		{name: "a socket and a transport",
			opts: opts{vault.WithAddress("unix:///x"), vault.WithToken("t"), vault.WithHTTPClient(&http.Client{Transport: transport(nil)})},
			want: "unix://"},
		{name: "many", opts: opts{vault.WithMount(""), vault.WithMaxSize(-1)}, want: "no token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			b, err := vault.New(append(opts{environment(c.env)}, c.opts...)...)
			if c.want == "" {
				is.NoErr(err)
				is.NoErr(b.Close())
				return
			}
			is.True(err != nil)
			is.True(b == nil)
			is.True(strings.Contains(err.Error(), c.want))
			is.True(strings.HasPrefix(err.Error(), "secrets: vault: "))
			secretstest.AssertNoLeak(t, canary, err)
		})
	}
}

func TestNewReportsAllFaults(t *testing.T) {
	is := is.New(t)
	_, err := vault.New(vault.WithLookup(noEnvironment), vault.WithMount(""), vault.WithMaxSize(-1), vault.WithName(""))
	for _, want := range []string{"WithMount", "WithMaxSize", "WithName", "no address", "no token"} {
		is.True(strings.Contains(err.Error(), want))
	}
}

// With WithLookup, the process environment has no effect.
func TestWithLookupReplacesTheProcessEnvironment(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"x":"1"}`)
	other, seen := stranger(t)
	for name, value := range map[string]string{
		"VAULT_ADDR": other.URL, "VAULT_AGENT_ADDR": other.URL, "VAULT_TOKEN": "hvs.of-the-process", "VAULT_NAMESPACE": "of-the-process",
		"VAULT_WRAP_TTL": "60s", "VAULT_MAX_RETRIES": "9", "VAULT_CLIENT_TIMEOUT": "1ms", "VAULT_DISABLE_REDIRECTS": "false",
	} {
		t.Setenv(name, value)
	}
	var header http.Header
	f.handle("secret/data/app", func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		respond(w, http.StatusOK, `{"data":{"data":{},"metadata":{"version":1}}}`)
	})
	_, err := f.backend(t).Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.NoErr(err)
	is.Equal(len(*seen), 0)
	is.Equal(header.Get("X-Vault-Token"), fakeToken)
	is.Equal(header.Get("X-Vault-Wrap-Ttl"), "")
	is.Equal(header.Get("X-Vault-Namespace"), "")
	is.Equal(header.Get("X-Vault-Request"), "true")
}

func TestOptionsWinOverVariables(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	var header http.Header
	f.handle("team/kv/data/app", func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		respond(w, http.StatusOK, `{"data":{"data":{},"metadata":{"version":1}}}`)
	})
	tokenSent := func(vars map[string]string, opts ...vault.Option) (token, namespace string) {
		t.Helper()
		for name, value := range vars {
			t.Setenv(name, value)
		}
		b, err := vault.New(append(opts, vault.WithMount("team/kv"), vault.WithKVVersion(2))...)
		is.NoErr(err)
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err)
		is.NoErr(b.Close())
		return header.Get("X-Vault-Token"), header.Get("X-Vault-Namespace")
	}
	file := filepath.Join(t.TempDir(), "token")
	is.NoErr(os.WriteFile(file, []byte("of-the-file\n"), 0o600))

	vars := map[string]string{"VAULT_ADDR": f.URL, "VAULT_TOKEN": " of-the-variable\n", "VAULT_NAMESPACE": "team"}
	token, namespace := tokenSent(vars)
	is.Equal([2]string{token, namespace}, [2]string{"of-the-variable", "team"})
	token, namespace = tokenSent(vars, vault.WithToken("of-the-option"), vault.WithNamespace(""))
	is.Equal([2]string{token, namespace}, [2]string{"of-the-option", ""})
	maps.Copy(vars, map[string]string{"VAULT_TOKEN": "", "VAULT_TOKEN_FILE": file})
	token, _ = tokenSent(vars)
	is.Equal(token, "of-the-file")
	maps.Copy(vars, map[string]string{"VAULT_TOKEN_FILE": "", "VAULT_AGENT_ADDR": f.URL, "VAULT_ADDR": "https://127.0.0.1:1"})
	token, _ = tokenSent(vars)
	is.Equal(token, "") // an agent adds its own
	maps.Copy(vars, map[string]string{"VAULT_AGENT_ADDR": "https://127.0.0.1:1"})
	token, _ = tokenSent(vars, vault.WithAddress(f.URL), vault.WithToken("of-the-option"))
	is.Equal(token, "of-the-option") // the address in code wins
}

func TestWithClient(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	var header http.Header
	f.handle("secret/data/app", func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		respond(w, http.StatusOK, `{"data":{"data":{},"metadata":{"version":1}}}`)
	})
	own, err := api.NewClient(&api.Config{Address: f.URL})
	is.NoErr(err)
	own.SetToken("one")
	own.SetNamespace("team")
	own.AddHeader("X-Own", "yes")
	own.SetWrappingLookupFunc(func(string, string) string { return "60s" })
	b, err := vault.New(vault.WithClient(own), vault.WithKVVersion(2), vault.WithLookup(noEnvironment))
	is.NoErr(err)
	for _, token := range []string{"one", "two"} { // the program renews it
		own.SetToken(token)
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err)
		is.Equal(header.Get("X-Vault-Token"), token)
		is.Equal(header.Get("X-Vault-Namespace"), "team")
		is.Equal(header.Get("X-Own"), "yes")
		is.Equal(header.Get("X-Vault-Wrap-Ttl"), "")
	}
	is.NoErr(b.Close())
	is.Equal(own.Token(), "two")             // unchanged
	is.Equal(len(f.seen()), 2)               // nothing was revoked
	is.Equal(own.Namespace(), "team")        // nor changed
	other, seen := stranger(t)               // and the copy follows no redirect,
	redirect(f, http.StatusFound, other.URL) // though the program's own would
	b, err = vault.New(vault.WithClient(own), vault.WithKVVersion(2), vault.WithLookup(noEnvironment))
	is.NoErr(err)
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.True(errors.Is(err, secrets.ErrUnavailable))
	is.Equal(len(*seen), 0)
	is.NoErr(b.Close())
}

func TestNoDumpOfABackendShowsATokenOrASecret(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"a":"`+canary+`"}`)
	b := f.backend(t)
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.NoErr(err)
	secretstest.AssertNoLeak(t, fakeToken, b, s) // the connection is open and has buffers
	secretstest.AssertNoLeak(t, canary, b, s)
}

func TestTLS(t *testing.T) {
	is := is.New(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, `{"data":{"data":{},"metadata":{"version":1}}}`)
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	is.NoErr(os.WriteFile(ca, certificate(server), 0o600))
	for _, c := range []struct {
		name   string
		env    map[string]string
		opts   []vault.Option
		detail string
	}{
		{name: "nothing", detail: "an authority that is not trusted"},
		{name: "WithTLSCACert", opts: []vault.Option{vault.WithTLSCACert(ca)}},
		{name: "VAULT_CACERT", env: map[string]string{"VAULT_CACERT": ca}},
		{name: "VAULT_CACERT_BYTES", env: map[string]string{"VAULT_CACERT_BYTES": string(certificate(server))}},
		{name: "VAULT_CAPATH", env: map[string]string{"VAULT_CAPATH": filepath.Dir(ca)}},
		{name: "VAULT_SKIP_VERIFY", env: map[string]string{"VAULT_SKIP_VERIFY": "true"}},
		{name: "WithTLSSkipVerify", opts: []vault.Option{vault.WithTLSSkipVerify()}},
		{name: "another name", opts: []vault.Option{vault.WithTLSCACert(ca), vault.WithTLSServerName("vault.internal")},
			detail: "for another name"},
		{name: "a name of it", opts: []vault.Option{vault.WithTLSCACert(ca), vault.WithTLSServerName("example.com")}},
		{name: "VAULT_TLS_SERVER_NAME", env: map[string]string{"VAULT_TLS_SERVER_NAME": "vault.internal"},
			opts: []vault.Option{vault.WithTLSCACert(ca)}, detail: "for another name"},
		{name: "WithTLSConfig", env: map[string]string{"VAULT_TLS_SERVER_NAME": "vault.internal"},
			opts: []vault.Option{vault.WithTLSConfig(server.Client().Transport.(*http.Transport).TLSClientConfig)}},
		{name: "WithHTTPClient", opts: []vault.Option{vault.WithHTTPClient(server.Client())}},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			b, err := vault.New(append(c.opts, environment(c.env), vault.WithAddress(server.URL), vault.WithToken("t"), vault.WithKVVersion(2))...)
			is.NoErr(err)
			_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.NoErr(b.Close())
			if c.detail == "" {
				is.NoErr(err)
				return
			}
			is.True(errors.Is(err, secrets.ErrUnavailable))
			is.True(strings.Contains(err.Error(), c.detail))
		})
	}
}

func TestASocket(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	is.NoErr(err)
	f := emptyFake()
	f.Server = httptest.NewUnstartedServer(f)
	is.NoErr(f.Listener.Close())
	f.Listener = l
	f.Start()
	t.Cleanup(f.Close)
	f.put("app", `{"x":"1"}`)
	b, err := vault.New(vault.WithAddress("unix://"+path), vault.WithToken(fakeToken), vault.WithLookup(noEnvironment))
	is.NoErr(err)
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.NoErr(err)
	is.Equal(s.Reveal(), `{"x":"1"}`)
	is.NoErr(b.Close())
}

func TestAServerThatIsNotThere(t *testing.T) {
	is := is.New(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	is.NoErr(err)
	address := "http://" + l.Addr().String()
	is.NoErr(l.Close())
	b, err := vault.New(vault.WithAddress(address), vault.WithToken(canary), vault.WithLookup(noEnvironment))
	is.NoErr(err) // New does not connect
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.True(errors.Is(err, secrets.ErrUnavailable))
	is.True(strings.Contains(err.Error(), "connection refused"))
	secretstest.AssertNoLeak(t, canary, err)
	secretstest.AssertNoLeak(t, canary, b) // nor does a dump of the backend show the token
	is.NoErr(b.Close())
	is.NoErr(b.Close())
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.True(errors.Is(err, secrets.ErrClosed))
}

func TestARequestThatCloseCutsOffIsErrClosed(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.reply("auth/approle/login", http.StatusOK, `{"auth":{"client_token":"`+fakeToken+`","lease_duration":0}}`)
	f.reply("auth/token/revoke-self", http.StatusNoContent, "")
	received, closed := make(chan struct{}), make(chan struct{})
	f.handle("secret/data/app", func(w http.ResponseWriter, _ *http.Request) {
		close(received)
		<-closed
		respond(w, http.StatusForbidden, bodyInvalidToken)
	})
	b, err := vault.New(vault.WithAddress(f.URL), vault.WithAuth(vault.AppRole("role", vault.Value("id"))), vault.WithKVVersion(2),
		vault.WithLookup(noEnvironment))
	is.NoErr(err)
	result := make(chan error)
	go func() {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		result <- err
	}()
	<-received
	is.NoErr(b.Close())
	close(closed)
	is.True(errors.Is(<-result, secrets.ErrClosed))
}

// A Client closes its backend. If another Client shares it, its error must say so.
func TestASecondClientOfAClosedBackend(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{"plain": nil, "with all layers": {middleware.Standard()}} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f := newFake(t)
			f.put("db", `{"password":"p"}`)
			f.put("other", `{"password":"p"}`)
			b := f.backend(t, vault.WithName("prod"))
			first, second := client(t, b, opts...), client(t, b, opts...)
			_, err := second.Get(t.Context(), "db#password") // the control
			is.NoErr(err)
			is.NoErr(first.Close())
			_, err = second.Get(t.Context(), "other#password")
			is.True(errors.Is(err, secrets.ErrClosed))
			is.Equal(err.Error(), "secrets: prod: other#password: closed: the backend was closed; each Client needs a backend of its own")
		})
	}
}
