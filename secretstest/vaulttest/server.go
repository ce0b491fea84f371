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

// Server is a Vault server. It is safe for concurrent use, its methods that change it included.
//
// A method that a test calls wrongly, such as with a path below no mount, fails the test if the server is [New]'s, and panics if it is
// [Unstarted]'s.
type Server struct {
	t       testing.TB // or nil
	address string

	mu      sync.Mutex
	mounts  map[string]*mount
	tokens  map[string]bool // those that are valid
	issued  int
	current string // what Token returns
	denied  map[string]bool
	sealed  bool
	failure int // the status of every answer, or 0
	counts  map[string]int
}

// mount is a KV secrets engine.
type mount struct {
	version int
	secrets map[string][]document // the versions of each secret, the latest last
}

// document is one version of a secret.
type document struct {
	object  string // or "", if it was deleted
	created time.Time
}

// New starts a server, which stops at the end of the test.
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

// Unstarted returns a server that listens nowhere: for [Server.Client], or as the handler of a server of the test's own.
func Unstarted() *Server {
	s := &Server{
		address: "http://localhost",
		mounts:  make(map[string]*mount), tokens: make(map[string]bool), denied: make(map[string]bool), counts: make(map[string]int),
	}
	s.current = s.issue()
	s.Mount("secret", 2)
	return s
}

// Address returns the address of the server, such as "http://127.0.0.1:34567", for vault.WithAddress or VAULT_ADDR. That of an
// [Unstarted] one is "http://localhost", where only [Server.Client] finds it.
func (s *Server) Address() string { return s.address }

// Client returns an HTTP client that is answered by the server itself, without a network, whatever the address is: for
// vault.WithHTTPClient in a bubble of testing/synctest.
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

// misused reports a fault of the test.
func (s *Server) misused(format string, args ...any) {
	if s.t == nil {
		panic("vaulttest: " + fmt.Sprintf(format, args...))
	}
	s.t.Helper()
	s.t.Fatalf("vaulttest: "+format, args...)
}

// Token returns a token that may read everything. It changes with [Server.ExpireToken].
func (s *Server) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// ExpireToken makes every token that the server has given so far invalid, as those are that have expired or were revoked. From then
// on, Token returns another one, and logins bring new ones.
func (s *Server) ExpireToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
	s.current = s.issue()
}

// issue returns a new token. s.mu is held, or s is new.
func (s *Server) issue() string {
	s.issued++
	token := fmt.Sprintf("hvs.vaulttest-%d", s.issued)
	s.tokens[token] = true
	return token
}

// Mount mounts a KV secrets engine of version 1 or 2. One that is there already gets that version, and keeps the latest version of each
// of its secrets.
func (s *Server) Mount(path string, version int) {
	if version != 1 && version != 2 || path == "" || strings.Trim(path, "/") != path {
		s.misused("Mount(%q, %d): a path without slashes around it and a version, 1 or 2, are needed", path, version)
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

// Delete deletes the latest version of the secret at path: Vault keeps its number and answers with a not-found that says so. On a
// mount of version 1, nothing is left of it.
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

// Deny lets no token read the secret at path any more, whether it is there or not.
func (s *Server) Deny(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.find(path)
	s.denied[path] = true
}

// Seal seals the server: it answers nothing until [Server.Recover].
func (s *Server) Seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
}

// Fail answers every request with status and a page of HTML, as a proxy does when the server behind it is gone, until [Server.Recover].
func (s *Server) Fail(status int) {
	if status < http.StatusOK || status > 999 {
		s.misused("Fail(%d): not a status of an answer", status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = status
}

// Recover ends what Deny, Seal and Fail have begun. Tokens that have expired stay so.
func (s *Server) Recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.denied)
	s.sealed, s.failure = false, 0
}

// Count returns how many times the secret at path was asked for, those times included that were denied or failed.
func (s *Server) Count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.find(path)
	return s.counts[path]
}

// find returns the mount of a path, and the name of the secret in it. s.mu is held.
func (s *Server) find(path string) (m *mount, name string) {
	_, name, m = s.split(path)
	if m == nil || name == "" {
		s.misused("%q is not the path of a secret below a mount; the mount at first is %q", path, "secret")
	}
	return m, name
}

// split returns the mount of a path, which is the longest that fits, and what follows it. s.mu is held.
func (s *Server) split(path string) (at, rest string, m *mount) {
	for name, candidate := range s.mounts {
		if after, ok := strings.CutPrefix(path+"/", name+"/"); ok && len(name) > len(at) {
			at, rest, m = name, strings.TrimSuffix(after, "/"), candidate
		}
	}
	return at, rest, m
}
