package secretstls_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// A new version is served without a restart, also by Configs returned earlier.
func TestServerFollowsTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ca := newAuthority("ca")
		s := newSecret(t, kubernetes(ca.issue(1), ca))
		followed := s.follow()
		server := followed.Server()
		is.Equal(shake(server, trusting(ca)).serial(), int64(1))
		first := current(followed)
		is.True(current(followed) == first) // one Config for all connections of a version

		s.set(kubernetes(ca.issue(2), ca))
		is.Equal(shake(server, trusting(ca)).serial(), int64(2))
		is.Equal(shake(followed.Server(), trusting(ca)).serial(), int64(2))
		is.True(current(followed) != first)
		is.NoErr(followed.Err())
	})
}

// An unusable version is not used: the last good one stays until another good one comes.
func TestTheLastGoodVersionStays(t *testing.T) {
	ca := newAuthority("ca")
	p, other := ca.issue(2), ca.issue(3)
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for name, broken := range map[string]string{
		"a pair that does not match": kubernetes(pair{p.cert, other.key}, ca),
		"the other half":             kubernetes(pair{other.cert, p.key}, ca),
		"half of a key":              kubernetes(pair{p.cert, p.key[:100]}, ca),
		"an empty CA":                document(map[string]any{"tls.crt": p.cert, "tls.key": p.key, "ca.crt": ""}),
		"the CA is removed":          kubernetes(p),
		"no fields":                  "{}",
		"a curve crypto/tls lacks":   kubernetes(pair{leafOf(ca, p224.Public()), keyPEM(p224)}, ca),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newSecret(t, kubernetes(ca.issue(1), ca))
				followed := s.follow()
				s.set(broken)
				is.Equal(shake(followed.Server(), trusting(ca)).serial(), int64(1))
				is.True(secrets.Class(followed.Err()) == secrets.ErrMalformed || errors.Is(followed.Err(), secrets.ErrFieldNotFound))
				is.True(strings.HasPrefix(followed.Err().Error(), "secrets: fake: tls: "))
				time.Sleep(10 * time.Minute) // it retries without success
				is.Equal(serves(followed), int64(1))

				s.set(kubernetes(p, ca))
				is.Equal(shake(followed.Server(), trusting(ca)).serial(), int64(2))
				is.NoErr(followed.Err())
			})
		})
	}
}

// If the CA is removed, the client must not trust the system roots instead, unless it did from the start.
func TestARemovedCAIsNotReplacedByTheSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ca := newAuthority("ca")
		s := newSecret(t, kubernetes(ca.issue(1))) // the control
		followed := s.follow()
		s.set(kubernetes(ca.issue(2)))
		is.Equal(serves(followed), int64(2))
		is.NoErr(followed.Err())
		s.set(kubernetes(ca.issue(3), ca))
		is.Equal(serves(followed), int64(3))
		s.set(kubernetes(ca.issue(4)))
		is.Equal(serves(followed), int64(3))
		is.True(strings.Contains(followed.Err().Error(), "the document has no CA (ca.crt) any more"))
	})
}

// ClientAuth comes from WithConfig, and the CA from the version.
func TestClientsAreVerifiedWithTheCAOfTheVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		old, next := newAuthority("old"), newAuthority("new")
		s := newSecret(t, kubernetes(old.issue(1), old))
		followed := s.follow(secretstls.WithConfig(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}))
		server := followed.Server()
		attempt := func(issuer *authority) bool { return shake(server, showing(trusting(old, next), issuer.issue(9))).ok() }
		is.True(attempt(old))
		is.True(!attempt(next))
		is.True(!shake(server, trusting(old)).ok()) // without a certificate

		s.set(kubernetes(old.issue(2), old, next))
		is.True(attempt(old))
		is.True(attempt(next))

		s.set(kubernetes(next.issue(3), next))
		is.True(!attempt(old))
		is.True(attempt(next))
	})
}

// An expired certificate is served: the clock may be wrong, and the previous one is no better. The client refuses it.
func TestAnExpiredCertificateIsNotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ca := newAuthority("ca")
		s := newSecret(t, kubernetes(ca.expired(1), ca))
		followed := s.follow()
		is.NoErr(followed.Err())
		is.True(!shake(followed.Server(), trusting(ca)).ok())
		s.set(kubernetes(ca.issue(2), ca)) // the control
		is.True(shake(followed.Server(), trusting(ca)).ok())
	})
}

// Callers own the Config that Server returns. Their changes affect no other Config and no connection.
func TestConfigsOfCallers(t *testing.T) {
	is := is.New(t)
	ca := newAuthority("ca")
	followed := newSecret(t, kubernetes(ca.issue(1), ca)).follow(secretstls.WithConfig(&tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13, NextProtos: make([]string, 0, 8),
	}))
	c := followed.Server()
	c.NextProtos = append(c.NextProtos, "h2")
	clone := c.Clone()
	clone.NextProtos = append(clone.NextProtos, "http/1.1")
	for _, server := range []*tls.Config{c, clone} {
		is.True(!shake(server, trusting(ca)).ok()) // the server requires a certificate
		client := showing(trusting(ca), ca.issue(2))
		client.NextProtos = []string{"h2"}
		o := shake(server, client)
		is.NoErr(o.serverErr)
		is.Equal(o.client.Version, uint16(tls.VersionTLS13))
		is.Equal(o.client.NegotiatedProtocol, "")
		client.MaxVersion = tls.VersionTLS12
		is.True(!shake(server, client).ok())
	}
	c.ClientAuth = tls.NoClientCert // a connection must not be less strict than the template or the caller requires
	is.True(!shake(c, showing(trusting(ca), ca.issue(2))).ok())
	is.True(!shake(c.Clone(), trusting(ca)).ok())
	other := followed.Server()
	is.Equal(len(other.NextProtos), 0)
	is.Equal(other.ClientAuth, tls.RequireAndVerifyClientCert)
	is.True(shake(other, showing(trusting(ca), ca.issue(2))).ok())
}

// Connections use the Config of the version. A check that a program sets on the Config of Server would silently not run, so every handshake
// fails.
func TestChecksThatAreSetOnTheReturnedConfigFail(t *testing.T) {
	ca := newAuthority("ca")
	s := newSecret(t, kubernetes(ca.issue(1), ca))
	verifyConnection := func(tls.ConnectionState) error { return nil }
	checked := secretstls.WithConfig(&tls.Config{VerifyConnection: verifyConnection, MinVersion: tls.VersionTLS12})
	for name, tt := range map[string]struct {
		change func(c *tls.Config)
		field  string // "" if it is not a check
		opts   []secretstls.Option
	}{
		"ClientAuth":           {func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert }, "ClientAuth", nil},
		"ClientCAs":            {func(c *tls.Config) { c.ClientCAs = x509.NewCertPool() }, "ClientCAs", nil},
		"MinVersion":           {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, "MinVersion", nil},
		"MinVersion, replaced": {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, "MinVersion", []secretstls.Option{checked}},
		"VerifyConnection":     {func(c *tls.Config) { c.VerifyConnection = verifyConnection }, "VerifyConnection", nil},
		"VerifyConnection, removed": {
			func(c *tls.Config) { c.VerifyConnection = nil }, "VerifyConnection", []secretstls.Option{checked},
		},
		"VerifyPeerCertificate": {func(c *tls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
		}, "VerifyPeerCertificate", nil},
		"nothing (control)":            {func(*tls.Config) {}, "", nil},
		"nothing of another (control)": {func(*tls.Config) {}, "", []secretstls.Option{checked}},
		"NextProtos (control)":         {func(c *tls.Config) { c.NextProtos = []string{"h2"} }, "", nil},
		"the same again (control)":     {func(c *tls.Config) { c.MinVersion = tls.VersionTLS12 }, "", []secretstls.Option{checked}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := s.follow(tt.opts...).Server()
			tt.change(c)
			for _, server := range []*tls.Config{c, c.Clone()} { // http.Server and gRPC use a clone
				o := shake(server, trusting(ca))
				is.Equal(o.ok(), tt.field == "")
				if tt.field != "" {
					want := "secrets: secretstls: " + tt.field + " of the Config that Server returned was changed; give it to WithConfig"
					is.Equal(o.serverErr.Error(), want)
				}
			}
		})
	}
}

// Servers may share the Config of one call. Each serves with its own clone.
func TestServersThatShareAConfig(t *testing.T) {
	is := is.New(t)
	ca := newAuthority("ca")
	config := newSecret(t, kubernetes(ca.issue(1), ca)).follow().Server()
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Proto)) })
	for range 3 {
		address := serve(t, &http.Server{TLSConfig: config, Handler: hello})
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusting(ca).RootCAs}, ForceAttemptHTTP2: true}
		is.Equal(get(t, transport, "https://"+address), "HTTP/2.0 HTTP/2.0")
		transport.CloseIdleConnections()
	}
}

// An http.Server adds HTTP/2 only to a clone of the outer Config. NextProtos of WithConfig decides what clients may choose.
func TestHTTPServers(t *testing.T) {
	ca := newAuthority("ca")
	s := newSecret(t, kubernetes(ca.issue(1), ca))
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	for name, tt := range map[string]struct {
		server *http.Server
		opts   []secretstls.Option
		want   string
	}{
		"by default": {&http.Server{}, nil, "HTTP/2.0"},
		"with NextProtos": {
			&http.Server{}, []secretstls.Option{secretstls.WithConfig(&tls.Config{NextProtos: []string{"h2", "http/1.1"}})}, "HTTP/2.0",
		},
		"HTTP/1.1 only": {
			&http.Server{Protocols: http1}, []secretstls.Option{secretstls.WithConfig(&tls.Config{NextProtos: []string{"http/1.1"}})}, "HTTP/1.1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			tt.server.TLSConfig = s.follow(tt.opts...).Server()
			tt.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Proto)) })
			address := serve(t, tt.server)
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusting(ca).RootCAs}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			is.Equal(get(t, transport, "https://"+address), tt.want+" "+tt.want)
		})
	}
}

// serve serves TLS on the loopback interface until the test ends.
func serve(t *testing.T, server *http.Server) (address string) {
	t.Helper()
	listener := loopback()
	var done sync.WaitGroup
	done.Go(func() { _ = server.ServeTLS(listener, "", "") })
	t.Cleanup(func() {
		_ = server.Close()
		done.Wait()
	})
	return listener.Addr().String()
}
