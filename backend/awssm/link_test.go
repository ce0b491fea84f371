package awssm_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/internal/faultlink"
)

// A firewall drops the state of a connection, and every later request on it gets no answer. HTTP/1.1 closes the connection when a request
// times out. HTTP/2 must ping to detect it: https://github.com/golang/go/issues/36026.
func TestAConnectionThatDiesInSilenceIsReplaced(t *testing.T) {
	const patience = 30 * time.Second
	for name, c := range map[string]struct {
		http2    bool
		client   func(roots *x509.CertPool, dial dialer) aws.HTTPClient
		recovers bool
	}{
		"HTTP/2":              {true, sdkClient, true},
		"HTTP/1.1":            {false, sdkClient, true},
		"HTTP/2 of a program": {true, ownClient, false}, // the control: the program's client has no pings and does not recover
	} {
		t.Run(name, func(t *testing.T) {
			issuer := httptest.NewTLSServer(nil) // only for its certificate
			defer issuer.Close()
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var protocol atomic.Int32
				link, listener := faultlink.InMemory(t)
				service := &http.Server{
					TLSConfig: &tls.Config{Certificates: issuer.TLS.Certificates, MinVersion: tls.VersionTLS12},
					Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
					Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						protocol.Store(int32(r.ProtoMajor))
						_, _ = fmt.Fprint(w, `{"Name":"db","SecretString":"value"}`) // the client may hang up
					}),
				}
				service.Protocols.SetHTTP1(!c.http2)
				service.Protocols.SetHTTP2(c.http2)
				go func() { _ = service.ServeTLS(listener, "", "") }() // it ends with Close
				t.Cleanup(func() { _ = service.Close() })
				roots := x509.NewCertPool()
				roots.AddCert(issuer.Certificate())
				cfg := config()
				cfg.HTTPClient = c.client(roots, func(context.Context, string, string) (net.Conn, error) { return link.Dial(), nil })
				b := backend(t, "https://127.0.0.1", awssm.WithConfig(cfg))
				read := func() error {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, err := b.Fetch(ctx, secrets.Ref{Path: "db"})
					return err
				}
				is.NoErr(read())
				is.Equal(protocol.Load() == 2, c.http2)
				link.SwallowAll()      // also new connections: net/http may have closed an HTTP/1.1 connection after a request
				is.True(read() != nil) // no answer
				link.Swallow()
				limit := patience
				if !c.recovers {
					limit = patience * 2 / 3 // enough for a client with pings
				}
				recovered := false
				for began := time.Now(); !recovered && time.Since(began) < limit; {
					recovered = read() == nil
				}
				is.Equal(recovered, c.recovers)
			})
		})
	}
}

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// sdkClient returns a client of the SDK's own type.
func sdkClient(roots *x509.CertPool, dial dialer) aws.HTTPClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig.RootCAs, t.DialContext = roots, dial
	})
}

// ownClient returns an http.Client of the program.
func ownClient(roots *x509.CertPool, dial dialer) aws.HTTPClient {
	settings := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: settings, DialContext: dial}}
}
