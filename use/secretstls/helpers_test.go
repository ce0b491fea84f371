package secretstls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// secret is a document "tls" that a test changes, and its client.
type secret struct {
	t       *testing.T
	backend *secretstest.Backend
	client  *secrets.Client
}

func newSecret(t *testing.T, document string) *secret {
	t.Helper()
	backend := secretstest.NewBackend(map[string]string{"tls": document})
	client, err := secrets.New(backend)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = client.Close() })
	return &secret{t, backend, client}
}

// follow returns a TLS of s.
func (s *secret) follow(opts ...secretstls.Option) *secretstls.TLS {
	s.t.Helper()
	followed, err := secretstls.New(s.t.Context(), s.client, "tls", opts...)
	is.New(s.t).NoErr(err)
	s.t.Cleanup(func() { _ = followed.Close() })
	return followed
}

// set changes the document, and waits until all watchers have it. Call it in a bubble.
func (s *secret) set(document string) {
	s.t.Helper()
	s.backend.Set("tls", document)
	_, err := s.client.Refresh(s.t.Context(), "tls")
	is.New(s.t).NoErr(err)
	synctest.Wait()
}

// setAndAwait changes the document outside a bubble, and waits until followed serves the certificate with that serial number.
func (s *secret) setAndAwait(followed *secretstls.TLS, document string, serial int64) {
	s.t.Helper()
	s.backend.Set("tls", document)
	_, err := s.client.Refresh(s.t.Context(), "tls")
	is.New(s.t).NoErr(err)
	await(s.t, func() bool { return serves(followed) == serial })
}

// await returns when done returns true. It fails the test after a long time.
func await(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the condition was not met in time")
		}
	}
}

// current returns the Config of the current version.
func current(followed *secretstls.TLS) *tls.Config {
	return must(followed.Server().GetConfigForClient(&tls.ClientHelloInfo{}))
}

// serves returns the serial number of the certificate that followed serves.
func serves(followed *secretstls.TLS) int64 {
	return current(followed).Certificates[0].Leaf.SerialNumber.Int64()
}

// outcome is the result of one handshake on both sides.
type outcome struct {
	client, server       tls.ConnectionState
	clientErr, serverErr error
}

func (o outcome) ok() bool { return o.clientErr == nil && o.serverErr == nil }

// serial returns the serial number of the server's certificate.
func (o outcome) serial() int64 { return o.client.PeerCertificates[0].SerialNumber.Int64() }

// loopback listens on the loopback interface.
func loopback() net.Listener {
	return must(new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0"))
}

// shake makes one handshake. It does not use net.Pipe, which has no buffer: both sides could block in a write. The client reads a byte,
// which also processes TLS 1.3 tickets and the alert of a refusal.
func shake(server, client *tls.Config) (o outcome) {
	listener := loopback()
	defer listener.Close()
	b := must(new(net.Dialer).DialContext(context.Background(), "tcp", listener.Addr().String()))
	a := must(listener.Accept())
	s, c := tls.Server(a, server), tls.Client(b, client)
	var all sync.WaitGroup
	all.Go(func() {
		defer a.Close()
		if o.serverErr = s.HandshakeContext(context.Background()); o.serverErr == nil {
			o.server = s.ConnectionState()
			_, o.serverErr = s.Write([]byte("x"))
		}
	})
	all.Go(func() {
		defer b.Close()
		_, o.clientErr = io.ReadFull(c, make([]byte, 1)) // includes the handshake
		if o.clientErr == nil {
			o.client = c.ConnectionState()
		}
	})
	all.Wait()
	return o
}

// trusting returns a client Config for localhost that trusts cas, with a session cache.
func trusting(cas ...*authority) *tls.Config {
	pool := x509.NewCertPool()
	for _, ca := range cas {
		pool.AddCert(ca.cert)
	}
	return &tls.Config{ServerName: "localhost", RootCAs: pool, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
}

// showing returns c with a certificate for servers that request one.
func showing(c *tls.Config, p pair) *tls.Config {
	c = c.Clone()
	cert := must(tls.X509KeyPair([]byte(p.cert), []byte(p.key)))
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return c
}
