package vault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// issuer is a certificate authority.
type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	is.New(t).NoErr(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	is.New(t).NoErr(err)
	cert, err := x509.ParseCertificate(der)
	is.New(t).NoErr(err)
	return &issuer{key, cert, block("CERTIFICATE", der)}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// pair returns a certificate for 127.0.0.1 and its key.
func (i *issuer) pair(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	is.New(t).NoErr(err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, i.cert, &private.PublicKey, i.key)
	is.New(t).NoErr(err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	is.New(t).NoErr(err)
	return block("CERTIFICATE", der), block("PRIVATE KEY", secret)
}

// rotating is a server that switches its certificate, its client authority and its credential on request.
type rotating struct {
	*fake

	authorities [2]*issuer // of the server and of its clients, before and after

	mu         sync.Mutex
	server     int // 0 before, 1 after
	clients    int // -1 for no certificate at all
	credential int
	version    uint16 // of TLS, or 0
	protocol   string

	connections atomic.Int32 // that are open
}

func newRotating(t testing.TB) *rotating {
	t.Helper()
	s := &rotating{fake: emptyFake(), authorities: [2]*issuer{newIssuer(t), newIssuer(t)}, clients: -1, protocol: "h2"}
	s.put("app", `{"password":"p"}`)
	s.fake.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.EnableHTTP2, s.Config.ErrorLog = true, log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.connections.Add(1)
		case http.StateClosed:
			s.connections.Add(-1)
		}
	}
	var certificates [2]tls.Certificate
	for n, authority := range s.authorities {
		pair, err := tls.X509KeyPair(bytesOf(authority.pair(t)))
		is.New(t).NoErr(err)
		certificates[n] = pair
	}
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		c := &tls.Config{Certificates: certificates[s.server : s.server+1], NextProtos: []string{s.protocol}, MaxVersion: s.version}
		if s.clients >= 0 {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
			c.ClientCAs.AddCert(s.authorities[s.clients].cert)
		}
		return c, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func bytesOf(cert, key string) (certPEM, keyPEM []byte) { return []byte(cert), []byte(key) }

// credentialOf returns the token or login credential that is valid before (0) or after (1) a change.
func credentialOf(n int) string { return fmt.Sprintf("hvs.credential-canary-%d", n) }

func (s *rotating) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	good := credentialOf(s.credential)
	s.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/login") {
		var body map[string]string
		_ = json.NewDecoder(r.Body).Decode(&body)
		if body["jwt"] != good && body["secret_id"] != good {
			respond(w, http.StatusBadRequest, `{"errors":["invalid role or secret ID"]}`)
			return
		}
		respond(w, http.StatusOK, `{"auth":{"client_token":"`+good+`","lease_duration":0}}`)
		return
	}
	if r.Header.Get("X-Vault-Token") != good {
		respond(w, http.StatusForbidden, bodyInvalidToken)
		return
	}
	r.Header.Set("X-Vault-Token", fakeToken)
	s.ServeHTTP(w, r)
}

// change applies f and closes the connections.
func (s *rotating) change(f func()) {
	s.mu.Lock()
	f()
	s.mu.Unlock()
	s.CloseClientConnections()
}

// fetch reads the secret within 5 seconds.
func (s *rotating) fetch(t testing.TB, b *vault.Backend) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := b.Fetch(ctx, secrets.Ref{Path: "app"})
	return err
}

// open returns a backend for s that trusts its first authority.
func (s *rotating) open(t testing.TB, opts ...vault.Option) *vault.Backend {
	t.Helper()
	b, err := vault.New(append(opts, vault.WithAddress(s.URL), vault.WithKVVersion(2), vault.WithMaxPause(time.Millisecond))...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func write(t testing.TB, path, content string) {
	t.Helper()
	is.New(t).NoErr(os.WriteFile(path, []byte(content), 0o600))
}

// rename replaces the file in one step, as a careful operator and the kubelet do.
func rename(t testing.TB, path, content string) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), "new")
	write(t, aside, content)
	is.New(t).NoErr(os.Rename(aside, path))
}

// Every file of the backend may be replaced while the program runs: the next connection or login uses the new content.
func TestRotatedFiles(t *testing.T) {
	type files map[string]string // by the name within a directory
	credential := func(n int) files { return files{"credential": credentialOf(n)} }
	for name, c := range map[string]struct {
		content func(t testing.TB, s *rotating, n int) files
		opts    func(s *rotating, in func(string) string) []vault.Option
		begin   func(s *rotating)
		change  func(s *rotating)
		says    string // part of the error in between
	}{
		"WithTLSCACert": {
			content: func(_ testing.TB, s *rotating, n int) files { return files{"ca.pem": s.authorities[n].pem} },
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{vault.WithTLSCACert(in("ca.pem")), vault.WithToken(credentialOf(0)), environment(nil)}
			},
			change: func(s *rotating) { s.server = 1 },
			says:   "from an authority that is not trusted",
		},
		"VAULT_CAPATH": {
			content: func(_ testing.TB, s *rotating, n int) files { return files{"ca.pem": s.authorities[n].pem} },
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{environment(map[string]string{"VAULT_CAPATH": in(""), "VAULT_TOKEN": credentialOf(0)})}
			},
			change: func(s *rotating) { s.server = 1 },
			says:   "from an authority that is not trusted",
		},
		"WithTLSClientCert": {
			content: func(t testing.TB, s *rotating, n int) files {
				cert, key := s.authorities[n].pair(t)
				return files{"tls.crt": cert, "tls.key": key, "ca.pem": s.authorities[0].pem}
			},
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{vault.WithTLSCACert(in("ca.pem")), vault.WithTLSClientCert(in("tls.crt"), in("tls.key")),
					vault.WithToken(credentialOf(0)), environment(nil)}
			},
			begin:  func(s *rotating) { s.clients = 0 },
			change: func(s *rotating) { s.clients = 1 },
			says:   "refused the client certificate in",
		},
		"WithTokenFile": {
			content: func(_ testing.TB, _ *rotating, n int) files { return credential(n) },
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{vault.WithTLSSkipVerify(), vault.WithTokenFile(in("credential")), environment(nil)}
			},
			change: func(s *rotating) { s.credential = 1 },
			says:   "token",
		},
		"VAULT_TOKEN_FILE": {
			content: func(_ testing.TB, _ *rotating, n int) files { return credential(n) },
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{vault.WithTLSSkipVerify(), environment(map[string]string{"VAULT_TOKEN_FILE": in("credential")})}
			},
			change: func(s *rotating) { s.credential = 1 },
			says:   "token",
		},
		"the token of vault login": {
			content: func(_ testing.TB, _ *rotating, n int) files { return files{".vault-token": credentialOf(n)} },
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{vault.WithTLSSkipVerify(), environment(map[string]string{"HOME": in("")})}
			},
			change: func(s *rotating) { s.credential = 1 },
			says:   "token",
		},
		"the secret ID of AppRole": {
			content: func(_ testing.TB, _ *rotating, n int) files { return credential(n) },
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{vault.WithTLSSkipVerify(), environment(nil),
					vault.WithAuth(vault.AppRole("role", vault.File(in("credential"))))}
			},
			change: func(s *rotating) { s.credential = 1 },
		},
		"the token of a service account": {
			content: func(_ testing.TB, _ *rotating, n int) files { return credential(n) },
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{vault.WithTLSSkipVerify(), environment(nil),
					vault.WithAuth(vault.Kubernetes("role", vault.WithServiceAccountToken(vault.File(in("credential")))))}
			},
			change: func(s *rotating) { s.credential = 1 },
		},
		"a JWT": {
			content: func(_ testing.TB, _ *rotating, n int) files { return credential(n) },
			opts: func(_ *rotating, in func(string) string) []vault.Option {
				return []vault.Option{vault.WithTLSSkipVerify(), environment(nil), vault.WithAuth(vault.JWT("role", vault.File(in("credential"))))}
			},
			change: func(s *rotating) { s.credential = 1 },
		},
	} {
		for how, replace := range map[string]func(t testing.TB, path, content string){"in one step": rename, "in place": write} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				s, dir := newRotating(t), t.TempDir()
				in := func(file string) string { return filepath.Join(dir, file) }
				if c.begin != nil {
					s.change(func() { c.begin(s) })
				}
				for file, content := range c.content(t, s, 0) {
					write(t, in(file), content)
				}
				b := s.open(t, c.opts(s, in)...)
				is.NoErr(s.fetch(t, b))
				s.CloseClientConnections()
				is.NoErr(s.fetch(t, b)) // the control: nothing has changed yet

				s.change(func() { c.change(s) })
				err := s.fetch(t, b)
				is.True(err != nil) // the control: the file has not changed yet
				is.True(strings.Contains(err.Error(), c.says))
				secretstest.AssertNoLeak(t, "canary", err)
				for file, content := range c.content(t, s, 1) {
					replace(t, in(file), content)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a refused login is retried after a pause
				defer cancel()
				for tick := time.NewTicker(20 * time.Millisecond); ; {
					if err = s.fetch(t, b); err == nil || ctx.Err() != nil {
						break
					}
					<-tick.C
				}
				is.NoErr(err)
			})
		}
	}
}

// A certificate pair of which only half is new is not used. Requests succeed as long as the server accepts the last good pair.
func TestHalfWrittenFiles(t *testing.T) {
	is := is.New(t)
	s, dir := newRotating(t), t.TempDir()
	s.clients = 0
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	oldCert, oldKey := s.authorities[0].pair(t)
	newCert, newKey := s.authorities[1].pair(t)
	write(t, ca, s.authorities[0].pem)
	write(t, cert, oldCert)
	write(t, key, oldKey)
	b := s.open(t, vault.WithTLSCACert(ca), vault.WithTLSClientCert(cert, key), vault.WithToken(credentialOf(0)), environment(nil))
	for _, half := range []struct {
		path, content, good, says string
	}{
		{cert, newCert, oldCert, "do not belong together"},
		{cert, oldCert[:len(oldCert)/2], oldCert, cert + " (WithTLSClientCert): it holds no complete PEM certificate"},
		{cert, oldCert + oldCert[:len(oldCert)/2], oldCert, "it holds no complete PEM certificate"},
		{cert, "", oldCert, "it holds no complete PEM certificate"},
		{key, oldKey[:len(oldKey)/2], oldKey, key + " (WithTLSClientCert): it holds no complete PEM private key"},
		{key, newKey, oldKey, "do not belong together"},
		{ca, "", s.authorities[0].pem, ca + " (WithTLSCACert): it holds no complete PEM certificate"},
	} {
		write(t, half.path, half.content)
		s.change(func() { s.clients = 0 })
		is.NoErr(s.fetch(t, b)) // with the last good content
		s.change(func() { s.clients = 1 })
		err := s.fetch(t, b)
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.True(strings.Contains(err.Error(), half.says))
		is.True(strings.Contains(err.Error(), "refused the client certificate in "+cert))
		write(t, half.path, half.good)
		err = s.fetch(t, b)
		is.True(err != nil && !strings.Contains(err.Error(), half.says)) // the files are good again
	}
	is.NoErr(os.Remove(key))
	s.change(func() { s.clients = 0 })
	is.NoErr(s.fetch(t, b))
	write(t, cert, newCert)
	write(t, key, newKey)
	s.change(func() { s.clients = 1 })
	is.NoErr(s.fetch(t, b))
}

// A request under way when a file is replaced finishes on its connection. Later requests use a new HTTP/2 connection.
func TestRequestsUnderWayFinishOnTheOldConnection(t *testing.T) {
	is := is.New(t)
	s, ca := newRotating(t), filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, s.authorities[0].pem)
	type seen struct{ peer, proto string }
	var mu sync.Mutex
	all := make(map[string]seen)
	note := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		all[r.URL.Path] = seen{r.RemoteAddr, r.Proto}
		respond(w, http.StatusOK, `{"data":{"data":{},"metadata":{"version":1}}}`)
	}
	received, goOn := make(chan struct{}), make(chan struct{})
	s.handle("secret/data/slow", func(w http.ResponseWriter, r *http.Request) {
		close(received)
		<-goOn
		note(w, r)
	})
	for _, path := range []string{"first", "before", "after"} {
		s.handle("secret/data/"+path, note)
	}
	b := s.open(t, vault.WithTLSCACert(ca), vault.WithToken(credentialOf(0)), environment(nil))
	fetch := func(path string) error {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
		return err
	}
	is.NoErr(fetch("first"))
	slow := make(chan error)
	go func() { slow <- fetch("slow") }()
	<-received
	is.NoErr(fetch("before"))
	write(t, ca, s.authorities[1].pem+s.authorities[0].pem)
	is.NoErr(fetch("after"))
	close(goOn)
	is.NoErr(<-slow)
	is.Equal(all["/v1/secret/data/slow"], all["/v1/secret/data/first"])
	is.Equal(all["/v1/secret/data/before"], all["/v1/secret/data/first"]) // the control
	is.True(all["/v1/secret/data/after"].peer != all["/v1/secret/data/first"].peer)
	is.Equal(all["/v1/secret/data/after"].proto, "HTTP/2.0")
}

// A connection whose request outlasts several changes closes with the first change after that request, or with the backend, not 90 seconds
// later. Frequent rotation must not exhaust file descriptors.
func TestOldConnectionsAreClosed(t *testing.T) {
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			is := is.New(t)
			s, ca := newRotating(t), filepath.Join(t.TempDir(), "ca.pem")
			s.protocol = protocol
			rotations := 0
			rotate := func() {
				rotations++
				rename(t, ca, strings.Repeat(s.authorities[0].pem, rotations))
			}
			rotate()
			received, goOn := make(chan struct{}), make(chan struct{})
			s.handle("secret/data/slow", func(w http.ResponseWriter, _ *http.Request) {
				received <- struct{}{}
				<-goOn
				respond(w, http.StatusOK, `{"data":{"data":{},"metadata":{"version":1}}}`)
			})
			b := s.open(t, vault.WithTLSCACert(ca), vault.WithToken(credentialOf(0)), environment(nil))
			var slow sync.WaitGroup
			for range 5 {
				slow.Go(func() {
					_, err := b.Fetch(t.Context(), secrets.Ref{Path: "slow"})
					is.NoErr(err)
				})
				<-received
				rotate()
				is.NoErr(s.fetch(t, b))
			}
			is.True(s.connections.Load() >= 6) // the control
			close(goOn)
			slow.Wait()
			rotate()
			is.NoErr(s.fetch(t, b))
			eventually(t, "one connection is left", func() bool { return s.connections.Load() == 1 })
			is.NoErr(b.Close())
			eventually(t, "none is left", func() bool { return s.connections.Load() == 0 })
		})
	}
}

// An error of a refused handshake says TLS, which side refused, and the option to check.
func TestRefusedTLS(t *testing.T) {
	for _, c := range []struct {
		version  uint16
		protocol string
	}{{tls.VersionTLS12, "h2"}, {tls.VersionTLS13, "h2"}, {tls.VersionTLS13, "http/1.1"}} {
		t.Run(tls.VersionName(c.version)+" "+c.protocol, func(t *testing.T) {
			is := is.New(t)
			s, dir := newRotating(t), t.TempDir()
			s.clients, s.version, s.protocol = 0, c.version, c.protocol
			cert, key := s.authorities[1].pair(t)
			certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
			write(t, certFile, cert)
			write(t, keyFile, key)
			auth := vault.WithAuth(vault.AppRole("role", vault.Value(credentialOf(0))))
			for range 20 { // the alert races with the end of the connection
				for _, opts := range [][]vault.Option{{vault.WithToken(credentialOf(0))}, {auth}} {
					err := s.fetch(t, s.open(t, append(opts, vault.WithTLSSkipVerify(), environment(nil))...))
					is.Equal(secrets.Class(err), secrets.ErrUnavailable)
					is.True(strings.Contains(err.Error(), "require a client certificate") ||
						strings.Contains(err.Error(), "requires a client certificate"))
					is.True(strings.Contains(err.Error(), "TLS") && strings.Contains(err.Error(), "see WithTLSClientCert"))
					err = s.fetch(t, s.open(t, append(opts, vault.WithTLSSkipVerify(), environment(map[string]string{
						"VAULT_CLIENT_CERT": certFile, "VAULT_CLIENT_KEY": keyFile,
					}))...))
					is.Equal(secrets.Class(err), secrets.ErrUnavailable)
					is.True(strings.Contains(err.Error(), "refused the client certificate in "+certFile+" (VAULT_CLIENT_CERT, VAULT_CLIENT_KEY)"))
				}
			}
			s.change(func() { s.clients = 1 })
			is.NoErr(s.fetch(t, s.open(t, vault.WithToken(credentialOf(0)), vault.WithTLSSkipVerify(), vault.WithTLSClientCert(certFile, keyFile),
				environment(nil)))) // the control
		})
	}
}
