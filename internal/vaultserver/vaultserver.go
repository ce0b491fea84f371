// Package vaultserver starts real HashiCorp Vault servers for tests, in dev mode and on loopback, and breaks them on demand:
// they can be sealed, stopped, restarted and frozen. A [Recorder] in front of one sees what a client sends, and a [BlackHole]
// is a server that never answers.
//
// The tests that use it carry the build tag vault, since they need the server's binary; see [Binary].
//
//	server := vaultserver.Start(t)                      // for a test that seals or stops it
//	recorder := server.Record(t)                        // recorder.Addr is the address for the client under test
//	server.Must(t, "POST", "secret/data/app", map[string]any{"data": map[string]any{"password": "hunter2"}})
//
// A server is a process and takes half a second to start, so what only reads and writes shares one per package; see [Shared].
//
// Nothing here may be called in a bubble of testing/synctest, whose clock does not wait for a process.
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

// TB is what this package needs of a *testing.T, a *testing.B or a *testing.F.
type TB = child.TB

const (
	startTimeout   = time.Minute           // A server starts in half a second; ten of them on a busy machine take longer.
	requestTimeout = 30 * time.Second      // No answer to a request of the harness takes that long, but that of a frozen server.
	pollInterval   = 20 * time.Millisecond // How often a starting server is looked at.
	probeTimeout   = 50 * time.Millisecond // A frozen server has not answered by then.
	maxAnswer      = 32 << 20              // More than any answer of a server.
	portAttempts   = 5                     // How often a start is repeated since another process took the port.
	logTail        = 4 << 10               // How much of its log tells why a server did not start.
	maxLog         = 64 << 20              // How much of it is read at all.
	newFile        = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	private        = 0o600
	caFile         = "vault-ca.pem" // The name that the server gives it.
)

// An Option changes how a server is started.
type Option func(*config)

type config struct {
	tls   bool
	flags []string
}

// WithTLS makes the server listen with TLS. Its certificate is for 127.0.0.1 and localhost, signed by the CA in [Server.CACert].
func WithTLS() Option { return func(c *config) { c.tls = true } }

// WithKVv1 makes version 1 of the engine of what is mounted at secret/, which is version 2 by default.
func WithKVv1() Option { return WithFlags("-dev-kv-v1") }

// WithFlags adds flags to those of `vault server -dev`, such as -dev-leased-kv or -dev-latency=500.
func WithFlags(flags ...string) Option {
	return func(c *config) { c.flags = append(c.flags, flags...) }
}

// A Server is a Vault server in dev mode: in memory, unsealed, with a KV engine at secret/. Its methods are safe for concurrent
// use. Those that need one take the test that calls them, since a server may be shared by tests, and end it if they fail.
type Server struct {
	// Addr is the address of the server, as http://127.0.0.1:8200. It stays what it is over a restart.
	Addr string
	// RootToken is a token that may do everything. It is another one for each server, and the same one after a restart.
	RootToken string
	// CACert is the PEM file of the CA that signed the server's certificate, or "" without TLS.
	CACert string

	binary string
	dir    string
	config config

	mu        sync.Mutex
	process   *process // the running server, or the one that ran last
	unsealKey string

	client atomic.Pointer[http.Client] // trusts the certificate of the running server
}

// Start starts a server for t, and stops it when t ends. The end of a failed test shows the end of the server's log.
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

// New starts a server for who has no test at hand, and must call [Server.Close].
func New(options ...Option) (*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "vaultserver-")
	if err != nil {
		return nil, fmt.Errorf("vaultserver: %w", err)
	}
	// A token of its own for each server: who answers to it is this server and no other on a port that was lost to another.
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

// Close stops the server for good and removes its files. It may be called more than once.
func (s *Server) Close() {
	s.Stop()
	_ = os.RemoveAll(s.dir)
}

// Stop kills the server, so that connections to it are refused, until a [Server.Restart]. What it held is lost.
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

// Restart starts the server anew on the port that it had, and stops it first if it runs. Dev mode holds everything in memory: all
// secrets, mounts, policies and tokens are gone, but for the mount at secret/ and the root token, which are as at the first
// start. With TLS, CACert has another CA under the name that it had.
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

// freePort returns a port that was free a moment ago. Vault cannot be asked which port it chose by itself.
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
		// The server cannot write to its files of an earlier start.
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

// environment is that of the tests, but for what would configure the server.
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

// await waits until the process serves and has said what unseals it.
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

// unsealKey finds in a log what the dev server prints once it has set itself up.
func unsealKey(log []byte) string {
	_, after, found := bytes.Cut(log, []byte("Unseal Key: "))
	key, _, whole := bytes.Cut(after, []byte("\n"))
	if !found || !whole {
		return ""
	}
	return string(bytes.TrimSpace(key))
}

// serves tells whether this server answers, to its own root token, what reads of secrets depend on. A KV engine of version 2
// refuses everything with 400 for a moment after its mounting and its unsealing.
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

// trust makes a client that trusts the CA that the process has made for itself.
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

// newClient returns a client that leaves no connection behind, and with it no goroutine, and that no proxy stands before.
func newClient(tlsConfig *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: tlsConfig}}
}

// Do sends a request with the root token: path is what follows /v1/, as "secret/data/app" or "sys/mounts/kv1", with a query
// perhaps, and body is encoded as JSON unless it is nil. It returns the status and the answer, which is nil if it was empty.
func (s *Server) Do(t TB, method, path string, body any) (status int, answer map[string]any) {
	t.Helper()
	return s.DoAs(t, s.RootToken, method, path, body)
}

// DoAs is [Server.Do] with another token, or with none if it is "".
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

// Must is [Server.Do] for what must succeed: any status but a 2xx ends the test.
func (s *Server) Must(t TB, method, path string, body any) map[string]any {
	t.Helper()
	status, answer := s.Do(t, method, path, body)
	if status < 200 || status > 299 {
		t.Fatalf("vaultserver: %s %s: %d %v", method, path, status, answer)
	}
	return answer
}

// Token makes a token. Its policy is rules in HCL, as `path "secret/data/app/*" { capabilities = ["read"] }`, beside the policy
// that is named default. What else sys/auth/token/create takes stands in options: ttl, num_uses, no_default_policy.
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

// Unseal unseals the server, and returns when it serves secrets again. What it held before it was sealed is there.
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

// Pause freezes the server until a [Server.Resume]: it still accepts connections and requests, and answers none. From its return
// on no request is answered. It works on Unix only.
func (s *Server) Pause(t TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.process.pause(); err != nil {
		t.Fatalf("vaultserver: %v", err)
	}
	// The signal takes effect a little after it was sent.
	for {
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		_, _, err := s.do(ctx, "", http.MethodGet, "sys/health", nil)
		cancel()
		if err != nil {
			return
		}
	}
}

// Resume lets the server go on. It answers then what it was sent while it was frozen.
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
		return 0, nil, fmt.Errorf("status %d, and no JSON object: %w", response.StatusCode, err)
	}
	return response.StatusCode, answer, nil
}
