// Package vaultserver starts real HashiCorp Vault servers for tests, in dev mode on loopback, and breaks them on demand: it can seal, stop,
// restart and freeze them. A [Recorder] in front of a server records what a client sends. A [BlackHole] is a server that never answers.
//
//	server := vaultserver.Start(t)                      // for a test that seals or stops it
//	recorder := server.Record(t)                        // recorder.Addr is the address for the client under test
//	server.Must(t, "POST", "secret/data/app", map[string]any{"data": map[string]any{"password": "hunter2"}})
//
// A server is a process that starts in half a second. Tests that only read and write share one per package; see [Shared].
//
// # Limits
//
// Tests that use this package have the build tag vault, since they need the server's binary; see [Binary]. It does not work in a
// testing/synctest bubble, whose clock does not wait for a process.
package vaultserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets/internal/child"
)

// TB is the subset of *testing.T, *testing.B and *testing.F that this package uses.
type TB = child.TB

const (
	startTimeout   = time.Minute           // A server starts in half a second; ten of them on a busy machine take longer.
	requestTimeout = 30 * time.Second      // Only a frozen server takes that long.
	pollInterval   = 20 * time.Millisecond // Between two checks of a starting server.
	probeTimeout   = 50 * time.Millisecond // Without an answer by then, the server is frozen.
	maxAnswer      = 32 << 20              // Larger than any answer of a server.
	portAttempts   = 5                     // Attempts to start while other processes take the port.
	logTail        = 4 << 10               // Bytes of the log that an error shows.
	maxLog         = 64 << 20              // Bytes of the log that are read.
	newFile        = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	private        = 0o600
	caFile         = "vault-ca.pem" // As the server names it.
)

// An Option configures a server.
type Option func(*config)

type config struct {
	tls   bool
	flags []string
}

// WithTLS makes the server listen with TLS. Its certificate is for 127.0.0.1 and localhost, signed by the CA in [Server.CACert].
func WithTLS() Option { return func(c *config) { c.tls = true } }

// WithKVv1 mounts KV version 1 at secret/. Default: version 2.
func WithKVv1() Option { return WithFlags("-dev-kv-v1") }

// WithFlags adds flags of `vault server -dev`, such as -dev-leased-kv or -dev-latency=500.
func WithFlags(flags ...string) Option {
	return func(c *config) { c.flags = append(c.flags, flags...) }
}

// A Server is a Vault server in dev mode: in memory, unsealed, with a KV engine at secret/. Its methods are safe for concurrent use. Those
// that may fail take the calling test, and end it then, since tests may share a server.
type Server struct {
	// Addr is the address of the server, such as http://127.0.0.1:8200. A restart keeps it.
	Addr string
	// RootToken has all permissions. It differs between servers; a restart keeps it.
	RootToken string
	// CACert is the PEM file of the CA that signed the server's certificate, or "" without TLS.
	CACert string

	binary string
	dir    string
	config config

	mu        sync.Mutex
	process   *process // the last one started
	unsealKey string

	client atomic.Pointer[http.Client] // trusts the certificate of the running server
}

// Start starts a server, and stops it when t ends. If t has failed, it logs the end of the server's log.
func Start(t TB, options ...Option) *Server {
	t.Helper()
	s, err := New(options...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of the Vault server at %s:\n%s", s.Addr, s.logTail())
		}
		s.Close()
	})
	return s
}

// New starts a server without a test. The caller must call [Server.Close].
func New(options ...Option) (*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "vaultserver-")
	if err != nil {
		return nil, fmt.Errorf("vaultserver: %w", err)
	}
	// The token identifies this server: on a port lost to another process, no other server accepts it.
	s := &Server{binary: binary, dir: dir, RootToken: "root-" + strings.ToLower(rand.Text())}
	for _, option := range options {
		option(&s.config)
	}
	if s.config.tls {
		s.CACert = filepath.Join(dir, caFile)
	}
	for range portAttempts {
		var port string
		if port, err = freePort(); err != nil {
			break
		}
		if err = s.launch(port); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close stops the server permanently and removes its files. It may be called more than once.
func (s *Server) Close() {
	s.Stop()
	_ = os.RemoveAll(s.dir)
}

// Stop kills the server until a [Server.Restart]: connections are refused, and its data is lost.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func (s *Server) stop() {
	if s.process != nil {
		s.process.kill()
	}
}

// Restart stops the server if it runs, and starts it on the same port. Dev mode holds everything in memory: secrets, mounts, policies and
// tokens are gone, except the mount at secret/ and the root token. With TLS, the file CACert has a new CA.
func (s *Server) Restart(t TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(s.Addr, "https://"), "http://"))
	if err == nil {
		err = s.launch(port)
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
}

var errPortTaken = errors.New("vaultserver: the port was taken by another process")

// freePort returns a port that was free a moment ago. Vault does not report a port that it chooses.
func freePort() (string, error) {
	listener, err := listen()
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return "", fmt.Errorf("vaultserver: %w", err)
	}
	return port, nil
}

func listen() (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("vaultserver: %w", err)
	}
	return listener, nil
}

// launch starts the process on port and waits until it serves.
func (s *Server) launch(port string) error {
	addr := "127.0.0.1:" + port
	args := []string{
		"server", "-dev", "-dev-root-token-id=" + s.RootToken, "-dev-listen-address=" + addr, "-dev-no-store-token",
	}
	s.Addr = "http://" + addr
	if s.config.tls {
		s.Addr = "https://" + addr
		args = append(args, "-dev-tls", "-dev-tls-cert-dir="+s.dir)
		// The server cannot overwrite its files of an earlier start.
		for _, name := range []string{caFile, "vault-cert.pem", "vault-key.pem"} {
			_ = os.Remove(filepath.Join(s.dir, name))
		}
	}
	process, err := startProcess(s.binary, append(args, s.config.flags...), environment(s.dir), s.logFile())
	if err != nil {
		return err
	}
	if err := s.await(process); err != nil {
		process.kill()
		return err
	}
	s.process = process
	return nil
}

// environment returns the tests' environment without variables that configure the server.
func environment(home string) []string {
	env := []string{"HOME=" + home, "USERPROFILE=" + home}
	for _, variable := range os.Environ() {
		switch name, _, _ := strings.Cut(variable, "="); {
		case name == "HOME", name == "USERPROFILE", strings.HasPrefix(name, "VAULT_"):
		default:
			env = append(env, variable)
		}
	}
	return env
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

func (s *Server) log() []byte {
	f, err := os.Open(s.logFile())
	if err != nil {
		return nil
	}
	defer f.Close()
	log, _ := io.ReadAll(io.LimitReader(f, maxLog))
	return log
}

func (s *Server) logTail() string {
	log := s.log()
	return string(log[max(0, len(log)-logTail):])
}

// await waits until the process serves and has logged its unseal key.
func (s *Server) await(process *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if s.unsealKey = unsealKey(s.log()); s.unsealKey != "" && s.serves(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-process.Done:
			if log := s.logTail(); strings.Contains(log, "Error initializing listener") {
				return fmt.Errorf("%w:\n%s", errPortTaken, log)
			}
			return fmt.Errorf("vaultserver: the server ended at once: %w\n%s", process.Err, s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("vaultserver: the server does not serve after %v\n%s", startTimeout, s.logTail())
		}
	}
}

// unsealKey returns the unseal key that the dev server logs, or "" if it is not complete yet.
func unsealKey(log []byte) string {
	_, after, found := bytes.Cut(log, []byte("Unseal Key: "))
	key, _, whole := bytes.Cut(after, []byte("\n"))
	if !found || !whole {
		return ""
	}
	return string(bytes.TrimSpace(key))
}

// serves reports whether this server, identified by its root token, answers what reads of secrets need. A KV engine of version 2 answers
// 400 for a moment after its mounting and its unsealing.
func (s *Server) serves(ctx context.Context) bool {
	if err := s.trust(); err != nil {
		return false
	}
	status, _, err := s.do(ctx, s.RootToken, http.MethodGet, "auth/token/lookup-self", nil)
	if err != nil || status != http.StatusOK {
		return false
	}
	status, _, err = s.do(ctx, s.RootToken, http.MethodGet, "secret/data/vaultserver-probe", nil)
	return err == nil && status == http.StatusNotFound
}

// trust creates a client that trusts the CA of the process.
func (s *Server) trust() error {
	if !s.config.tls {
		s.client.Store(newClient(nil))
		return nil
	}
	pem, err := os.ReadFile(s.CACert)
	if err != nil {
		return fmt.Errorf("vaultserver: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return errors.New("vaultserver: no certificate in " + s.CACert)
	}
	s.client.Store(newClient(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}))
	return nil
}

// newClient returns a client that uses no proxy, and leaves no connection and no goroutine behind.
func newClient(tlsConfig *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: tlsConfig}}
}

// Do sends a request with the root token. path follows /v1/, such as "secret/data/app" or "sys/mounts/kv1", and may have a query. body is
// encoded as JSON unless it is nil. Do returns the status and the answer; an empty answer is nil.
func (s *Server) Do(t TB, method, path string, body any) (status int, answer map[string]any) {
	t.Helper()
	return s.DoAs(t, s.RootToken, method, path, body)
}

// DoAs is [Server.Do] with another token, or without one if it is "".
func (s *Server) DoAs(t TB, token, method, path string, body any) (status int, answer map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	status, answer, err := s.do(ctx, token, method, path, body)
	if err != nil {
		t.Fatalf("vaultserver: %s %s: %v", method, path, err)
	}
	return status, answer
}

// Must is [Server.Do] that must succeed: any status but a 2xx ends the test.
func (s *Server) Must(t TB, method, path string, body any) map[string]any {
	t.Helper()
	status, answer := s.Do(t, method, path, body)
	if status < 200 || status > 299 {
		t.Fatalf("vaultserver: %s %s: %d %v", method, path, status, answer)
	}
	return answer
}

// Token creates a token with the policy rules, in HCL such as `path "secret/data/app/*" { capabilities = ["read"] }`, in addition to the
// policy default. options are other parameters of auth/token/create: ttl, num_uses, no_default_policy.
func (s *Server) Token(t TB, rules string, options map[string]any) string {
	t.Helper()
	name := "policy-" + strings.ToLower(rand.Text())
	s.Must(t, http.MethodPut, "sys/policies/acl/"+name, map[string]any{"policy": rules})
	body := map[string]any{"policies": []string{name}}
	maps.Copy(body, options)
	answer := s.Must(t, http.MethodPost, "auth/token/create", body)
	auth, _ := answer["auth"].(map[string]any)
	token, ok := auth["client_token"].(string)
	if !ok {
		t.Fatalf("vaultserver: no token in the answer: %v", answer)
	}
	return token
}

// Seal seals the server: it answers 503 to everything until an [Server.Unseal].
func (s *Server) Seal(t TB) {
	t.Helper()
	s.Must(t, http.MethodPut, "sys/seal", nil)
}

// Unseal unseals the server with its data, and returns when it serves secrets again.
func (s *Server) Unseal(t TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	key := map[string]any{"key": s.unsealKey}
	if status, answer, err := s.do(ctx, "", http.MethodPut, "sys/unseal", key); err != nil || status != http.StatusOK {
		t.Fatalf("vaultserver: unsealing: %d %v %v", status, answer, err)
	}
	if err := s.await(s.process); err != nil {
		t.Fatalf("%v", err)
	}
}

// Pause freezes the server until a [Server.Resume]: it accepts connections and requests, and answers none. After Pause returns, no request
// is answered. It works on Unix only.
func (s *Server) Pause(t TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.process.pause(); err != nil {
		t.Fatalf("vaultserver: %v", err)
	}
	// The signal takes effect after a short time.
	for {
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		_, _, err := s.do(ctx, "", http.MethodGet, "sys/health", nil)
		cancel()
		if err != nil {
			return
		}
	}
}

// Resume unfreezes the server, which then answers the requests it received meanwhile.
func (s *Server) Resume(t TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.process.resume(); err != nil {
		t.Fatalf("vaultserver: %v", err)
	}
}

func (s *Server) do(
	ctx context.Context, token, method, path string, body any,
) (status int, answer map[string]any, err error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.Addr+"/v1/"+path, content)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	response, err := s.client.Load().Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, err
	}
	if len(raw) == 0 {
		return response.StatusCode, nil, nil
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return 0, nil, fmt.Errorf("status %d without a JSON object: %w", response.StatusCode, err)
	}
	return response.StatusCode, answer, nil
}
