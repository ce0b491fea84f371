package vault_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/faultlink"
)

// A dead connection without a reset, as after a firewall has dropped it, is closed within half a minute. With HTTP/1.1, the control, the
// request that times out closes it.
func TestSilentConnection(t *testing.T) {
	for _, c := range []struct {
		name   string
		http2  bool
		silent time.Duration // how long new connections are dead too
		within time.Duration
	}{
		{"HTTP 1.1", false, 0, 5 * time.Second},
		{"HTTP 2", true, 0, 30 * time.Second},
		{"HTTP 2 and silent new connections", true, 20 * time.Second, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				f, protocol, authority := emptyFake(), atomic.Int32{}, newIssuer(t)
				f.put("app", `{"password":"p"}`)
				f.Server = &httptest.Server{URL: "https://127.0.0.1"}
				link, listener := faultlink.InMemory(t)
				pair, err := tls.X509KeyPair(bytesOf(authority.pair(t)))
				is.NoErr(err)
				server := &http.Server{
					TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, ErrorLog: log.New(io.Discard, "", 0),
					Protocols: new(http.Protocols),
					Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						protocol.Store(int32(r.ProtoMajor))
						f.ServeHTTP(w, r)
					}),
				}
				server.Protocols.SetHTTP1(!c.http2)
				server.Protocols.SetHTTP2(c.http2)
				go func() { _ = server.ServeTLS(listener, "", "") }()
				t.Cleanup(func() { _ = server.Close() })
				ca := filepath.Join(t.TempDir(), "ca.pem")
				is.NoErr(os.WriteFile(ca, []byte(authority.pem), 0o600))
				b := f.backend(t, vault.WithTLSCACert(ca), vault.WithKVVersion(2),
					vault.WithDial(func() net.Conn { return link.Dial() }))
				var ended, failed atomic.Bool
				fetch := func() error {
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					defer cancel()
					time.Sleep(10 * time.Millisecond)
					_, err := b.Fetch(ctx, secrets.Ref{Path: "app"})
					if err != nil {
						failed.Store(true)
					}
					return err
				}
				is.NoErr(fetch())
				is.Equal(protocol.Load() == 2, c.http2)
				is.NoErr(fetch())
				is.Equal(link.Accepted(), 1) // both on one connection
				is.True(!failed.Load())

				var others sync.WaitGroup
				defer others.Wait()
				defer ended.Store(true)
				for n := range 3 { // the connection is never idle, when net/http would close it
					others.Go(func() {
						time.Sleep(time.Duration(n+1) * 450 * time.Millisecond)
						for !ended.Load() {
							_ = fetch()
						}
					})
				}
				if c.silent > 0 {
					link.SwallowAll()
					for began := time.Now(); time.Since(began) < c.silent; {
						is.True(fetch() != nil)
					}
				}
				time.Sleep(2 * time.Second)
				link.Swallow()
				began := time.Now()
				for recovered := false; !recovered && time.Since(began) < time.Minute; {
					recovered = fetch() == nil && failed.Load()
				}
				t.Logf("recovered after %v", time.Since(began))
				is.True(time.Since(began) < c.within)
			})
		})
	}
}
