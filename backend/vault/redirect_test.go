package vault_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// stranger is another host that records its requests.
func stranger(t *testing.T) (s *httptest.Server, tokens *[]string) {
	t.Helper()
	tokens = new([]string)
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*tokens = append(*tokens, r.Header.Get("X-Vault-Token")+r.Header.Get("X-Vault-Namespace")+r.URL.User.String())
		respond(w, http.StatusOK, `{"data":{"data":{"a":"of the stranger"},"metadata":{"version":1}}}`)
	}))
	t.Cleanup(s.Close)
	return s, tokens
}

func redirect(f *fake, status int, to string) {
	f.handle("secret/data/app", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	})
}

func TestARedirectToAnotherHostSendsNothing(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		is := is.New(t)
		f := newFake(t)
		other, seen := stranger(t)
		redirect(f, status, other.URL+"/v1/secret/data/app")

		b := f.backend(t, vault.WithKVVersion(2), vault.WithNamespace("team"))
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.True(errors.Is(err, secrets.ErrUnavailable)) // not "not found"
		is.True(strings.Contains(err.Error(), "WithRedirectHosts"))
		is.Equal(len(*seen), 0)
		is.Equal(len(f.seen()), 1) // not retried

		// The control: a client that follows redirects sends its token to the stranger.
		host := strings.TrimPrefix(other.URL, "http://")
		for _, allowed := range []string{host, "127.0.0.1"} {
			*seen = nil
			b := f.backend(t, vault.WithKVVersion(2), vault.WithNamespace("team"), vault.WithRedirectHosts(allowed))
			s, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.NoErr(err)
			is.Equal(s.Reveal(), `{"a":"of the stranger"}`)
			is.Equal(*seen, []string{fakeToken + "team"})
		}
	}
}

func TestTheProgramsHTTPClientFollowsNoRedirect(t *testing.T) {
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		is := is.New(t)
		f := newFake(t)
		other, seen := stranger(t)
		redirect(f, status, other.URL+"/v1/secret/data/app")
		settings := api.DefaultConfig()
		settings.Address, settings.HttpClient = f.URL, new(http.Client) // its default follows redirects
		theirs, err := api.NewClient(settings)
		is.NoErr(err)
		theirs.SetToken(fakeToken)
		b, err := vault.New(vault.WithClient(theirs), vault.WithKVVersion(2), vault.WithLookup(noEnvironment))
		is.NoErr(err)
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.True(err != nil)
		is.True(!errors.Is(err, secrets.ErrNotFound))
		is.Equal(len(*seen), 0)
	}
}

// redirectOnce redirects the first request and answers later ones as usual.
func redirectOnce(f *fake, path, to string) {
	redirected := false
	f.handle(path, func(w http.ResponseWriter, r *http.Request) {
		if redirected {
			f.vault.ServeHTTP(w, r)
			return
		}
		redirected = true
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
}

func TestRedirectsToTheSameDocumentAreFollowed(t *testing.T) {
	for _, to := range []string{"/v1/secret/data/app", "app", "/v1/secret/data/./app", "/v1/secret/data/%61pp", "//HOST/v1/secret/data/app"} {
		is := is.New(t)
		f := newFake(t)
		f.put("app", `{"a":"b"}`)
		redirectOnce(f, "secret/data/app", strings.Replace(to, "HOST", strings.TrimPrefix(f.URL, "http://"), 1))
		s, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err) // to
		is.Equal(s.Reveal(), `{"a":"b"}`)
	}
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"a":"b"}`)
	f.put("app", `{"a":"c"}`)
	redirectOnce(f, "secret/data/app", "/v1/secret/data/app?version=1")
	s, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app", Version: "1"})
	is.NoErr(err)
	is.Equal(s.Reveal(), `{"a":"b"}`)
}

// A redirect decides the host only: the path keeps its original escapes.
func TestARedirectDoesNotRewriteThePath(t *testing.T) {
	for _, to := range []string{"/v1/secret%2Fdata%2Fapp", "/v1%2fsecret/data/app", "/v1/secret/data/%61pp", "/v1/secret/data/app#x"} {
		is := is.New(t)
		f := newFake(t)
		f.put("app", `{"a":"b"}`)
		var raw []string
		f.handle("secret/data/app", func(w http.ResponseWriter, r *http.Request) {
			if raw = append(raw, r.RequestURI); len(raw) == 1 {
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			f.vault.ServeHTTP(w, r)
		})
		_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err)
		is.Equal(raw, []string{"/v1/secret/data/app", "/v1/secret/data/app"}) // to
	}
}

// An IPv6 host may be written with or without brackets, like any host with or without a port.
func TestRedirectHostsOfIPv6(t *testing.T) {
	for _, c := range []struct {
		peer, to string
		trusted  bool
	}{
		{"::1", "https://[::1]:8200", true},
		{"[::1]", "https://[::1]:8200", true},
		{"[::1]", "https://[::1]", true},
		{"[::1]:443", "https://[::1]", true},
		{"[::1]:443", "https://[::1]:443", true},
		{"[::1]:8200", "https://[::1]:8200", true},
		{"[::1]:8200", "https://[::1]:8201", false},
		{"[::1]", "https://[::2]:8200", false},
		{"[::1]", "http://[::1]:8200", false},
		{"node.example:443", "https://node.example", true},
		{"node.example", "https://NODE.example:1", true},
	} {
		is := is.New(t)
		var hosts []string
		b, err := vault.New(vault.WithAddress("https://vault.example"), vault.WithToken(fakeToken), vault.WithKVVersion(2),
			vault.WithRedirectHosts(c.peer), vault.WithLookup(noEnvironment), vault.WithMaxPause(time.Millisecond),
			vault.WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				if hosts = append(hosts, r.URL.Host); len(hosts) == 1 {
					w.Header().Set("Location", c.to+r.URL.Path)
					w.WriteHeader(http.StatusTemporaryRedirect)
				} else {
					respond(w, http.StatusOK, `{"data":{"data":{"a":"b"},"metadata":{"version":1}}}`)
				}
				resp := w.Result()
				resp.Request = r
				return resp, nil
			})}))
		is.NoErr(err)
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.Equal(err == nil, c.trusted) // c.peer, c.to
		is.Equal(len(hosts) == 2, c.trusted)
		is.NoErr(b.Close())
	}
}

// A redirect to another document is refused: neither the server nor a proxy may swap documents.
func TestRedirectsToAnotherDocumentAreRefused(t *testing.T) {
	for _, to := range []string{
		"/v1/secret/data/clean", "clean", "/v1/secret/data/app/", "/v1/secret/data/app?version=1", "/v1/secret/data/APP", "/v1/other/data/app",
		"/secret/data/app", "/v2/secret/data/app", "/v1/secret/data/app/../clean", "/x/v1/secret/data/app", "/v1//secret/data/app", "/",
	} {
		is := is.New(t)
		f := newFake(t)
		f.put("app", `{"a":"b"}`)
		f.put("clean", `{"a":"c"}`)
		redirectOnce(f, "secret/data/app", to)
		s, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.Equal(secrets.Class(err), secrets.ErrUnavailable) // to
		is.True(s.IsZero())
		is.Equal(len(f.seen()), 1)
	}
	// A redirect must keep the version.
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"a":"b"}`)
	redirectOnce(f, "secret/data/app", "/v1/secret/data/app")
	_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app", Version: "1"})
	is.Equal(secrets.Class(err), secrets.ErrUnavailable)
}

// A Vault below a path shares its host with other programs, which must not get the token.
func TestARedirectStaysBelowTheAddress(t *testing.T) {
	for to, followed := range map[string]bool{
		"/other/app": false, "/v1/secret/data/app": false, "/vaults/v1/secret/data/app": false, "/vault/../other/v1/secret/data/app": false,
		"/vault/v1/secret/data/app": true, // the control
	} {
		is := is.New(t)
		var tokens []string
		first := true
		f := emptyFake()
		f.put("app", `{"a":"b"}`)
		shared := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if first {
				first = false
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			tokens = append(tokens, r.Header.Get("X-Vault-Token"))
			r.URL.Path = strings.TrimPrefix(r.URL.Path, "/vault")
			f.ServeHTTP(w, r)
		}))
		b, err := vault.New(vault.WithAddress(shared.URL+"/vault"), vault.WithToken(fakeToken), vault.WithKVVersion(2),
			vault.WithLookup(noEnvironment))
		is.NoErr(err)
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.Equal(err == nil, followed) // to
		is.Equal(len(tokens) == 1, followed)
		is.NoErr(b.Close())
		shared.Close()
	}
}

// The host of a redirect is text of the server, which may echo the request.
func TestNoHostOfARedirectIsInAnError(t *testing.T) {
	for _, to := range []string{
		"https://" + fakeToken + ".example/", "http://" + fakeToken + ":80/v1/secret/data/app", fakeToken + "://x/", "/" + fakeToken,
	} {
		is := is.New(t)
		f := newFake(t)
		redirect(f, http.StatusTemporaryRedirect, to)
		_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.Equal(secrets.Class(err), secrets.ErrUnavailable)
		secretstest.AssertNoLeak(t, fakeToken, err)
	}
}

func TestInvalidRedirects(t *testing.T) {
	f := newFake(t)
	own, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{
		"a loop":          "/v1/secret/data/app",
		"no address":      "",
		"a bad address":   "http://[::1/" + canary,
		"another port":    "http://" + own.Hostname() + ":1/v1/secret/data/app",
		"another scheme":  "https://" + own.Host + "/v1/secret/data/app",
		"an odd scheme":   "file:///etc/passwd",
		"a user":          "http://" + canary + ":x@another.example/",
		"the suffix of a": "http://" + own.Host + ".example/",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			redirect(f, http.StatusTemporaryRedirect, to)
			_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.True(errors.Is(err, secrets.ErrUnavailable))
			is.True(!strings.Contains(err.Error(), canary))
		})
	}
}

func TestARedirectNeverDropsTLS(t *testing.T) {
	is := is.New(t)
	plain, seen := stranger(t)
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/v1/secret/data/app", http.StatusTemporaryRedirect))
	t.Cleanup(secure.Close)
	b, err := vault.New(vault.WithAddress(secure.URL), vault.WithHTTPClient(secure.Client()), vault.WithToken(fakeToken),
		vault.WithKVVersion(2), vault.WithRedirectHosts("127.0.0.1"), vault.WithLookup(noEnvironment))
	is.NoErr(err)
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.True(errors.Is(err, secrets.ErrUnavailable))
	is.Equal(len(*seen), 0)
	is.NoErr(b.Close())
}
