package secretstls_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// Serve runs an HTTPS server that requires client certificates of the CA.
func Serve(ctx context.Context, client *secrets.Client, handler http.Handler, listener net.Listener) error {
	t, err := secretstls.New(ctx, client, "tls", secretstls.WithConfig(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}))
	if err != nil {
		return err
	}
	defer t.Close()
	server := &http.Server{Handler: handler, TLSConfig: t.Server()}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return server.ServeTLS(listener, "", "")
}

// Fetch is an HTTPS client that presents a certificate and trusts only the CA.
func Fetch(ctx context.Context, client *secrets.Client, url string) (proto, body string, err error) {
	t, err := secretstls.New(ctx, client, "tls", secretstls.WithConfig(&tls.Config{NextProtos: []string{"h2", "http/1.1"}}))
	if err != nil {
		return "", "", err
	}
	defer t.Close()
	transport := &http.Transport{DialTLSContext: t.DialTLS, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.Proto, string(text), err
}

func ExampleNew() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, err := os.MkdirTemp("", "secrets") // in a pod: "/run/secrets", with a Secret mounted at /run/secrets/tls
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ca := newAuthority("ca") // a CA for this example
	pair := ca.issue(1)
	for name, content := range map[string]string{"tls.crt": pair.cert, "tls.key": pair.key, "ca.crt": ca.pem} {
		if err := os.MkdirAll(filepath.Join(dir, "tls"), 0o700); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tls", name), []byte(content), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	mounted, err := file.New(dir)
	if err != nil {
		log.Fatal(err)
	}
	client, err := secrets.New(mounted)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error)
	go func() {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "hello, %s", r.TLS.PeerCertificates[0].Subject.CommonName)
		})
		done <- Serve(ctx, client, handler, listener)
	}()
	fmt.Println(Fetch(ctx, client, "https://"+listener.Addr().String()))
	stop()
	fmt.Println(<-done)
	// Output:
	// HTTP/2.0 hello, leaf <nil>
	// http: Server closed
}
