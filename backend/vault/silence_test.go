package vault_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/faultlink"
)

// A connection that has died in silence, as behind a firewall that has forgotten it, is given up within half a minute. One of HTTP/1.1
// is given up with the request that has waited for it, and is the control. The time is real: connections of
// the kernel do not go into a bubble.
func TestSilentConnection(t *testing.T) {
	for _, c := range []struct {
		name   string
		http2  bool
		silent time.Duration // for how long new connections are silent too
		within time.Duration
	}{
		{"HTTP 1.1", false, 0, 5 * time.Second},
		{"HTTP 2", true, 0, 30 * time.Second},
		{"HTTP 2 and silent new connections", true, 20 * time.Second, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			f, protocol := emptyFake(), atomic.Int32{}
			f.put("app", `{"password":"p"}`)
			f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				protocol.Store(int32(r.ProtoMajor))
				f.ServeHTTP(w, r)
			}))
			f.EnableHTTP2, f.Config.ErrorLog = c.http2, log.New(io.Discard, "", 0)
			f.StartTLS()
			t.Cleanup(f.Close)
			ca := filepath.Join(t.TempDir(), "ca.pem")
			is.NoErr(os.WriteFile(ca, certificate(f.Server), 0o600))
			link := faultlink.New(t, f.Listener.Addr().String())
			b := f.backend(t, vault.WithAddress("https://"+link.Addr), vault.WithTLSCACert(ca), vault.WithKVVersion(2))
			var ended, failed atomic.Bool
			fetch := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
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
			for range 3 { // so that the connection is never idle, which net/http would use to close it
				others.Go(func() {
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
			link.Swallow()
			began := time.Now()
			for recovered := false; !recovered && time.Since(began) < time.Minute; {
				recovered = fetch() == nil && failed.Load()
			}
			t.Logf("recovered after %v", time.Since(began))
			is.True(time.Since(began) < c.within)
		})
	}
}
