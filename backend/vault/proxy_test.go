package vault_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// Connections through a proxy use rotated files and HTTP/2 too.
func TestRotatedFilesBehindProxy(t *testing.T) {
	is := is.New(t)
	s, ca := newRotating(t), filepath.Join(t.TempDir(), "ca.pem")
	var tunnels atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		server, err := new(net.Dialer).DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer server.Close()
		tunnels.Add(1)
		w.WriteHeader(http.StatusOK)
		client, sent, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(server, sent) // the reader may have buffered the client's first bytes
			_ = server.Close()
		}()
		_, _ = io.Copy(client, server)
		_ = client.Close()
	}))
	t.Cleanup(proxy.Close)
	t.Setenv("VAULT_PROXY_ADDR", proxy.URL)
	var protocol atomic.Value
	s.handle("secret/data/app", func(w http.ResponseWriter, r *http.Request) {
		protocol.Store(r.Proto)
		respond(w, http.StatusOK, `{"data":{"data":{},"metadata":{"version":1}}}`)
	})
	write(t, ca, s.authorities[0].pem)
	b := s.open(t, vault.WithTLSCACert(ca), vault.WithToken(credentialOf(0)), environment(nil))
	is.NoErr(s.fetch(t, b))
	is.Equal(tunnels.Load(), int32(1))
	s.change(func() { s.server = 1 })
	err := s.fetch(t, b)
	is.Equal(secrets.Class(err), secrets.ErrUnavailable)
	is.True(strings.Contains(err.Error(), "the trusted ones are in "+ca+" (WithTLSCACert)"))
	rename(t, ca, s.authorities[1].pem)
	is.NoErr(s.fetch(t, b))
	is.Equal(protocol.Load(), "HTTP/2.0")
	is.True(tunnels.Load() >= 3)
}
