package vaulttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a fake Vault server. All its methods are safe for concurrent use.
//
// If a test misuses a method, for example with a path outside all mounts, a server of [New] fails the test and one of [Unstarted] panics.
type Server struct {
	t       testing.TB // or nil
	address string

	mu      sync.Mutex
	mounts  map[string]*mount
	tokens  map[string]bool // valid tokens
	issued  int
	current string // result of Token
	denied  map[string]bool
	sealed  bool
	failure int // status of every answer, or 0
	counts  map[string]int
}

// mount is a KV secrets engine.
type mount struct {
	version int
	secrets map[string][]document // versions of each secret, latest last
}

// document is one version of a secret.
type document struct {
	object  string // "" if deleted
	created time.Time
}

// New starts a server on loopback that stops at the end of the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := Unstarted()
	s.t = t
	listening := httptest.NewServer(s)
	t.Cleanup(func() {
		listening.CloseClientConnections()
		listening.Close()
	})
	s.address = listening.URL
	return s
}

// Unstarted returns a server without a listener. Use it through [Server.Client] or as an [http.Handler].
func Unstarted() *Server {
	s := &Server{
		address: "http://localhost",
		mounts:  make(map[string]*mount), tokens: make(map[string]bool), denied: make(map[string]bool), counts: make(map[string]int),
	}
	s.current = s.issue()
	s.Mount("secret", 2)
	return s
}

// Address returns the address of the server, such as "http://127.0.0.1:34567", for vault.WithAddress or VAULT_ADDR. For an [Unstarted]
// server it is "http://localhost", which only [Server.Client] reaches.
func (s *Server) Address() string { return s.address }

// Client returns an HTTP client whose requests go directly to the server, without a network, whatever their address. Use it with
// vault.WithHTTPClient in a testing/synctest bubble.
func (s *Server) Client() *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		resp := w.Result()
		resp.Request = r
		return resp, r.Context().Err()
	})}
}

type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var (
	_ http.RoundTripper = roundTrip(nil)
	_ http.Handler      = (*Server)(nil)
)

// misused reports an error in the test.
func (s *Server) misused(format string, args ...any) {
	if s.t == nil {
		panic("vaulttest: " + fmt.Sprintf(format, args...))
	}
	s.t.Helper()
	s.t.Fatalf("vaulttest: "+format, args...)
}

// Token returns a token that can read everything. [Server.ExpireToken] changes it.
func (s *Server) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// ExpireToken invalidates all tokens issued so far, as if they had expired or been revoked. Token and logins then return new ones.
func (s *Server) ExpireToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
	s.current = s.issue()
}

// issue returns a new token. s.mu must be held, or s must be new.
func (s *Server) issue() string {
	s.issued++
	token := fmt.Sprintf("hvs.vaulttest-%d", s.issued)
	s.tokens[token] = true
	return token
}

// Mount mounts a KV secrets engine of version 1 or 2. An existing mount changes to that version and keeps the latest version of each
// secret.
func (s *Server) Mount(path string, version int) {
	if version != 1 && version != 2 || path == "" || strings.Trim(path, "/") != path {
		s.misused("Mount(%q, %d): the path must not begin or end with a slash, and the version must be 1 or 2", path, version)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mounts[path] == nil {
		s.mounts[path] = &mount{secrets: make(map[string][]document)}
	}
	s.mounts[path].version = version
}

// Put stores a JSON object as the next version of the secret at path, such as "secret/database".
func (s *Server) Put(path, object string) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(object), &members); err != nil || members == nil {
		s.misused("Put(%q): the secret is not a JSON object", path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, name := s.find(path)
	m.secrets[name] = append(m.secrets[name], document{object, time.Now()})
}

// Delete deletes the latest version of the secret at path. KV v2 then answers with a not-found that has the version number; KV v1 removes
// the secret.
func (s *Server) Delete(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, name := s.find(path)
	versions := m.secrets[name]
	switch {
	case len(versions) == 0:
		s.misused("Delete(%q): there is no such secret", path)
	case m.version == 1:
		delete(m.secrets, name)
	default:
		versions[len(versions)-1].object = ""
	}
}

// Deny denies every token the read of the secret at path, which need not exist.
func (s *Server) Deny(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.find(path)
	s.denied[path] = true
}

// Seal seals the server: it answers every request with "Vault is sealed", until [Server.Recover].
func (s *Server) Seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
}

// Fail answers every request with status and an HTML page, like a proxy whose upstream is down, until [Server.Recover].
func (s *Server) Fail(status int) {
	if status < http.StatusOK || status > 999 {
		s.misused("Fail(%d): not an HTTP status of an answer", status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = status
}

// Recover removes the effects of Deny, Seal and Fail. Expired tokens stay expired.
func (s *Server) Recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.denied)
	s.sealed, s.failure = false, 0
}

// Count returns the number of requests for the secret at path, including denied and failed ones.
func (s *Server) Count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.find(path)
	return s.counts[path]
}

// find returns the mount of a path, and the name of the secret in it. s.mu must be held.
func (s *Server) find(path string) (m *mount, name string) {
	_, name, m = s.split(path)
	if m == nil || name == "" {
		s.misused("%q is not the path of a secret in a mount; the initial mount is %q", path, "secret")
	}
	return m, name
}

// split returns the longest mount that matches path, and the rest of path. s.mu must be held.
func (s *Server) split(path string) (at, rest string, m *mount) {
	for name, candidate := range s.mounts {
		if after, ok := strings.CutPrefix(path+"/", name+"/"); ok && len(name) > len(at) {
			at, rest, m = name, strings.TrimSuffix(after, "/"), candidate
		}
	}
	return at, rest, m
}
