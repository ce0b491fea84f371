package secretshttp_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

// The versions of the credential. Each is distinct enough to be found in any output.
const (
	first  = "canary-7f3Kq9ZxWv2m"
	second = "canary-Pw81sLbN4cTd"
)

// open returns a client of backend with a cache.
func open(t *testing.T, backend secrets.Backend) *secrets.Client {
	t.Helper()
	client, err := secrets.New(backend, secrets.WithCache(cache.New()))
	is.New(t).NoErr(err)
	t.Cleanup(func() { is.New(t).NoErr(client.Close()) })
	return client
}

// holding returns a backend with the first version of the credential.
func holding() *secretstest.Backend {
	return secretstest.NewBackend(map[string]string{"api": first})
}

// staged is a backend whose documents have alternates.
type staged struct {
	*secretstest.Backend

	alternates []string
}

func (s *staged) Info() secrets.Info {
	info := s.Backend.Info()
	info.Alternates = func(ref secrets.Ref) (refs []secrets.Ref) {
		for _, version := range s.alternates {
			refs = append(refs, secrets.Ref{Path: ref.Path, Version: version})
		}
		return refs
	}
	return info
}

// bearer sets the credential in the form that most APIs use.
func bearer(r *http.Request, s secrets.Secret) error {
	r.Header.Set("Authorization", "Bearer "+s.Reveal())
	return nil
}

// server is a real TLS server that accepts some credentials.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	accepted []string
	got      []string // credentials of its requests, in order
	bodies   []string // bodies of accepted requests, as far as read
	dumps    []string // complete requests
}

// serve starts a server that answers 401 to credentials other than accepted. Paths in handlers have their own behaviour.
func serve(t *testing.T, accepted ...string) *server {
	t.Helper()
	s := &server{accepted: accepted}
	s.Server = httptest.NewUnstartedServer(s)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	ok := slices.Contains(s.accepted, token)
	s.got = append(s.got, token)
	s.mu.Unlock()
	dump, err := httputil.DumpRequest(r, false)
	if err == nil {
		s.note(&s.dumps, string(dump))
	}
	if to := r.URL.Query().Get("to"); to != "" {
		http.Redirect(w, r, to, http.StatusFound)
		return
	}
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "refused")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.note(&s.bodies, string(body))
	_, _ = io.WriteString(w, "welcome")
}

func (s *server) note(to *[]string, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*to = append(*to, text)
}

// accept makes s accept only these credentials.
func (s *server) accept(tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = tokens
}

// take returns the credentials, bodies and dumps of the requests since the last call.
func (s *server) take() (tokens, bodies []string, dumps string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tokens, bodies, dumps = s.got, s.bodies, strings.Join(s.dumps, "\n")
	s.got, s.bodies, s.dumps = nil, nil, nil
	return tokens, bodies, dumps
}

// host returns host:port of s.
func (s *server) host() string { return s.Listener.Addr().String() }

// base returns a transport that trusts the servers of this package.
func base(t *testing.T, s *server) *http.Transport {
	t.Helper()
	ours, ok := s.Client().Transport.(*http.Transport)
	is.New(t).True(ok)
	b := ours.Clone()
	b.TLSClientConfig = &tls.Config{RootCAs: ours.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}
	t.Cleanup(b.CloseIdleConnections)
	return b
}

// calling returns an HTTP client that sets the credential on requests to s.
func calling(t *testing.T, client *secrets.Client, s *server) *http.Client {
	t.Helper()
	return &http.Client{Transport: secretshttp.Transport(base(t, s), client, "api", bearer, secretshttp.Hosts(s.host()))}
}

// answer sends r and returns the status and body of the response.
func answer(t *testing.T, c *http.Client, r *http.Request) (status int, body string) {
	t.Helper()
	is := is.New(t)
	resp, err := c.Do(r)
	is.NoErr(err)
	text, err := io.ReadAll(resp.Body)
	is.NoErr(err)
	is.NoErr(resp.Body.Close())
	return resp.StatusCode, string(text)
}

// request returns a request. It has GetBody if net/http knows the type of body.
func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	is.New(t).NoErr(err)
	return r
}

// onlyOnce hides the type of a body from net/http, so the request has no GetBody.
type onlyOnce struct{ io.Reader }

// roundTrip is a function as a RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// tracked is a body that records whether it was closed.
type tracked struct {
	io.Reader

	closed bool
}

func (b *tracked) Close() error {
	b.closed = true
	return nil
}
