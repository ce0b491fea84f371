package vault_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// stranger is a server that notes whether anything reaches it.
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

func TestARedirectBringsNothingToAnotherHost(t *testing.T) {
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
		is.Equal(len(f.seen()), 1) // it is not worth trying again

		// The control: the stranger sees the token of a client that is allowed to follow.
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

func TestARedirectIsNotFollowedByTheHTTPClientOfTheProgram(t *testing.T) {
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		is := is.New(t)
		f := newFake(t)
		other, seen := stranger(t)
		redirect(f, status, other.URL+"/v1/secret/data/app")
		settings := api.DefaultConfig()
		settings.Address, settings.HttpClient = f.URL, new(http.Client) // which follows
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

func TestRedirectsWithinTheServerAreFollowed(t *testing.T) {
	for _, to := range []string{"/v1/secret/data/clean", "clean"} {
		is := is.New(t)
		f := newFake(t)
		f.put("clean", `{"a":"b"}`)
		redirect(f, http.StatusTemporaryRedirect, to)
		s, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err)
		is.Equal(s.Reveal(), `{"a":"b"}`)
	}
}

func TestRedirectsThatLeadNowhere(t *testing.T) {
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

func TestARedirectNeverGivesUpEncryption(t *testing.T) {
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
