package awssm_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/internal/faultlink"
)

// A firewall forgets a connection, which swallows all requests from then on. HTTP/1.1 gives it up with the request that timed out. HTTP/2
// must ping to find out: https://github.com/golang/go/issues/36026.
func TestAConnectionThatDiesInSilenceIsReplaced(t *testing.T) {
	const patience = 30 * time.Second
	for name, c := range map[string]struct {
		http2    bool
		client   func(*x509.CertPool) aws.HTTPClient
		recovers bool
	}{
		"HTTP/2":              {true, sdkClient, true},
		"HTTP/1.1":            {false, sdkClient, true},
		"HTTP/2 of a program": {true, ownClient, false}, // the control: a client without pings is theirs, and stays dead
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for the network
			is := is.New(t)
			var protocol atomic.Value
			service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				protocol.Store(r.Proto)
				_, _ = fmt.Fprint(w, `{"Name":"db","SecretString":"value"}`) // the client may hang up
			}))
			service.EnableHTTP2 = c.http2
			service.StartTLS()
			t.Cleanup(service.Close)
			roots := x509.NewCertPool()
			roots.AddCert(service.Certificate())
			link := faultlink.New(t, service.Listener.Addr().String())
			cfg := config()
			cfg.HTTPClient = c.client(roots)
			b := backend(t, "https://"+link.Addr, awssm.WithConfig(cfg))
			read := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := b.Fetch(ctx, secrets.Ref{Path: "db"})
				return err
			}
			is.NoErr(read())
			is.Equal(strings.HasPrefix(protocol.Load().(string), "HTTP/2"), c.http2)
			link.Swallow()
			if err := read(); c.http2 {
				is.True(err != nil) // it is dead; HTTP/1.1 may have another one already
			}
			limit := patience
			if !c.recovers {
				limit = patience * 2 / 3 // in which those with pings have recovered
			}
			recovered := false
			for began := time.Now(); !recovered && time.Since(began) < limit; {
				recovered = read() == nil
			}
			is.Equal(recovered, c.recovers)
		})
	}
}

func sdkClient(roots *x509.CertPool) aws.HTTPClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.TLSClientConfig.RootCAs = roots })
}

func ownClient(roots *x509.CertPool) aws.HTTPClient {
	settings := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: settings}}
}
