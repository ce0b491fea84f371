package secretstls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// listen accepts connections with server until the test ends. To each it writes the serial number of the client's certificate, or "none".
func listen(t *testing.T, server *tls.Config) (address string) {
	t.Helper()
	listener := tls.NewListener(loopback(), server)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { answer(conn.(*tls.Conn)) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

func answer(conn *tls.Conn) {
	defer conn.Close()
	if conn.HandshakeContext(context.Background()) != nil {
		return
	}
	text := "none"
	if certs := conn.ConnectionState().PeerCertificates; len(certs) > 0 {
		text = certs[0].SerialNumber.String()
	}
	_, _ = io.WriteString(conn, text)
}

// dialed is the outcome of one DialTLS.
type dialed struct {
	state  tls.ConnectionState
	answer string // from the server
	err    error
}

func dial(t *testing.T, followed *secretstls.TLS, address string) (d dialed) {
	t.Helper()
	conn, err := followed.DialTLS(t.Context(), "tcp", address)
	if err != nil {
		return dialed{err: err}
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	return dialed{conn.(*tls.Conn).ConnectionState(), string(text), err}
}

// DialTLS trusts the CA of the current version and presents its certificate.
func TestDialFollowsTheSecret(t *testing.T) {
	is := is.New(t)
	old, next := newAuthority("old"), newAuthority("new")
	served := newSecret(t, kubernetes(old.issue(1), old))
	server := served.follow(secretstls.WithConfig(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}))
	address := listen(t, server.Server())
	s := newSecret(t, kubernetes(old.issue(11), old))
	followed := s.follow()
	is.Equal(dial(t, followed, address).answer, "11")

	served.setAndAwait(server, kubernetes(next.issue(2), old, next), 2)
	var unknown x509.UnknownAuthorityError
	is.True(errors.As(dial(t, followed, address).err, &unknown))
	s.setAndAwait(followed, kubernetes(old.issue(12), old, next), 12)
	is.Equal(dial(t, followed, address).answer, "12")
	s.setAndAwait(followed, kubernetes(next.issue(13), next), 13)
	is.Equal(dial(t, followed, address).answer, "13")
}

// DialTLS verifies ServerName or, without it, the host of the address, which may be an IP address.
func TestDialVerifiesTheName(t *testing.T) {
	ca := newAuthority("ca")
	s := newSecret(t, kubernetes(ca.issue(1), ca))
	address := listen(t, s.follow().Server())
	for _, tt := range []struct {
		serverName string
		ok         bool
	}{
		{"", true},
		{"127.0.0.1", true},
		{"localhost", true},
		{"127.0.0.2", false},
		{"example.com", false},
	} {
		t.Run(tt.serverName, func(t *testing.T) {
			is := is.New(t)
			d := dial(t, s.follow(secretstls.WithConfig(&tls.Config{ServerName: tt.serverName})), address)
			if tt.ok {
				is.NoErr(d.err)
				return
			}
			var wrong x509.HostnameError
			is.True(errors.As(d.err, &wrong))
		})
	}
}

// Without ServerName, DialTLS refuses a certificate without the dialed IP address.
func TestDialVerifiesIPAddresses(t *testing.T) {
	is := is.New(t)
	ca := newAuthority("ca")
	key := newKey()
	s := newSecret(t, kubernetes(pair{leafOf(ca, key.Public()), keyPEM(key)}, ca)) // for localhost only
	address := listen(t, s.follow().Server())
	var wrong x509.HostnameError
	is.True(errors.As(dial(t, s.follow(), address).err, &wrong))
	is.NoErr(dial(t, s.follow(secretstls.WithConfig(&tls.Config{ServerName: "localhost"})), address).err) // the control
}

// Without a CA in the document, DialTLS trusts the system roots, which have not issued the certificate.
func TestDialWithoutACATrustsTheSystem(t *testing.T) {
	is := is.New(t)
	ca := newAuthority("ca")
	address := listen(t, newSecret(t, kubernetes(ca.issue(1), ca)).follow().Server())
	is.True(dial(t, newSecret(t, kubernetes(ca.issue(2))).follow(), address).err != nil)
	is.NoErr(dial(t, newSecret(t, kubernetes(ca.issue(2), ca)).follow(), address).err) // the control
}

// Client sessions resume only within a version: a server whose CA was removed must not be accepted because of a session. The server here
// keeps its ticket keys.
func TestSessionsOfDial(t *testing.T) {
	for name, protocol := range versions {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			old, next := newAuthority("old"), newAuthority("new")
			p := old.issue(1)
			address := listen(t, &tls.Config{Certificates: []tls.Certificate{must(tls.X509KeyPair([]byte(p.cert), []byte(p.key)))}})
			s := newSecret(t, kubernetes(old.issue(11), old))
			followed := s.follow(secretstls.WithConfig(&tls.Config{MaxVersion: protocol}))
			resumed := func() bool {
				d := dial(t, followed, address)
				is.NoErr(d.err)
				return d.state.DidResume
			}
			is.True(!resumed())
			is.True(resumed())
			s.setAndAwait(followed, kubernetes(old.issue(12), old, next), 12)
			is.True(!resumed())
			is.True(resumed())
			s.setAndAwait(followed, kubernetes(next.issue(13), next), 13)
			is.True(dial(t, followed, address).err != nil)
		})
	}
}

// ctx ends a dial, also during a handshake with a silent server.
func TestContextEndsADial(t *testing.T) {
	is := is.New(t)
	ca := newAuthority("ca")
	followed := newSecret(t, kubernetes(ca.issue(1), ca)).follow()
	silent := loopback()
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		conn, err := silent.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.ReadFull(conn, make([]byte, 100)) // the handshake has begun
		cancel()
		_, _ = io.Copy(io.Discard, conn) // until DialTLS closes it
	})
	conn, err := followed.DialTLS(ctx, "tcp", silent.Addr().String())
	is.True(errors.Is(err, context.Canceled))
	is.True(conn == nil)
	all.Wait()
	_, err = followed.DialTLS(ctx, "tcp", listen(t, followed.Server()))
	is.True(err != nil)
}

// HTTP/2 over DialTLSContext needs NextProtos and ForceAttemptHTTP2.
func TestHTTPTransport(t *testing.T) {
	ca := newAuthority("ca")
	s := newSecret(t, kubernetes(ca.issue(1), ca))
	var mu sync.Mutex
	var serial string
	verifying := s.follow(secretstls.WithConfig(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		serial = r.TLS.PeerCertificates[0].SerialNumber.String()
		mu.Unlock()
		_, _ = io.WriteString(w, r.Proto)
	})
	address := serve(t, &http.Server{TLSConfig: verifying.Server(), Handler: handler})
	for name, tt := range map[string]struct {
		protos []string
		force  bool
		want   string
	}{
		"both":                     {[]string{"h2", "http/1.1"}, true, "HTTP/2.0 HTTP/2.0"},
		"without NextProtos":       {nil, true, "HTTP/1.1 HTTP/1.1"},
		"without either":           {nil, false, "HTTP/1.1 HTTP/1.1"},
		"without ForceAttempt, h1": {[]string{"http/1.1"}, false, "HTTP/1.1 HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			followed := s.follow(secretstls.WithConfig(&tls.Config{NextProtos: tt.protos}))
			transport := &http.Transport{DialTLSContext: followed.DialTLS, ForceAttemptHTTP2: tt.force}
			defer transport.CloseIdleConnections()
			is.Equal(get(t, transport, "https://"+address), tt.want)
			mu.Lock()
			defer mu.Unlock()
			is.Equal(serial, "1")
		})
	}
}

// get returns the protocol of the response, and its body.
func get(t *testing.T, transport *http.Transport, url string) string {
	t.Helper()
	is := is.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	is.NoErr(err)
	resp, err := transport.RoundTrip(req)
	is.NoErr(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	is.NoErr(err)
	return strings.TrimSpace(resp.Proto + " " + string(body))
}
