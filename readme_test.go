package secrets_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// This file holds the tests that README.md and docs/ show. docs_test.go checks that they are the same.

// TestPayInAnOutage is the test that README.md shows.
func TestPayInAnOutage(t *testing.T) {
	backend := secretstest.NewBackend(map[string]string{"api/token": "canary-7f3Kq9ZxWv2m"})
	client, err := secrets.New(backend)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	backend.Fail(secrets.ErrUnavailable)
	err = NewShop(client).Pay(t.Context()) // the code under test
	if !errors.Is(err, secrets.ErrUnavailable) {
		t.Error(err)
	}
	secretstest.AssertNoLeak(t, "canary-7f3Kq9ZxWv2m", err)
}

// TestPay is the table test that docs/testing.md shows.
func TestPay(t *testing.T) {
	const canary = "canary-7f3Kq9ZxWv2m"
	for name, tc := range map[string]struct {
		prepare func(*secretstest.Backend)
		want    error
	}{
		"paid":    {func(*secretstest.Backend) {}, nil},
		"missing": {func(b *secretstest.Backend) { b.Remove("api/token") }, secrets.ErrNotFound},
		"denied":  {func(b *secretstest.Backend) { b.Fail(secrets.ErrPermissionDenied) }, secrets.ErrPermissionDenied},
		"outage":  {func(b *secretstest.Backend) { b.Fail(secrets.ErrUnavailable) }, secrets.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			backend := secretstest.NewBackend(map[string]string{"api/token": canary})
			tc.prepare(backend)
			client, err := secrets.New(backend)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()

			err = NewShop(client).Pay(t.Context())
			if !errors.Is(err, tc.want) {
				t.Errorf("Pay: %v, want %v", err, tc.want)
			}
			secretstest.AssertNoLeak(t, canary, err)
		})
	}
}

// TestStore holds the backend of ExampleBackend to what a backend promises.
func TestStore(t *testing.T) {
	const token = "canary-of-the-token"
	serve := func(t *testing.T, answer http.HandlerFunc) secrets.Backend {
		t.Helper()
		server := httptest.NewServer(answer)
		t.Cleanup(server.Close)
		store, err := NewStore(server.URL, secrets.NewSecret(token, secrets.Meta{}))
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	// failing answers with a status whose text is the secret, and sends back the token, as a server may.
	failing := func(code int) func(*testing.T, string) (secrets.Backend, string) {
		return func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			return serve(t, func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nConnection: close\r\n\r\n%s %s", code, secret, secret, r.Header.Get("Authorization"))
					_ = conn.Close()
				}
			}), "database"
		}
	}
	secretstest.Run(t,
		func(t *testing.T, documents map[string]string) secrets.Backend {
			t.Helper()
			return serve(t, func(w http.ResponseWriter, r *http.Request) {
				document, found := documents[strings.TrimPrefix(r.URL.Path, "/v1/")]
				if !found {
					http.NotFound(w, r)
					return
				}
				_, _ = w.Write([]byte(document))
			})
		},
		secretstest.WithBinary(),
		secretstest.WithFailure(secrets.ErrUnauthenticated, failing(http.StatusUnauthorized)),
		secretstest.WithFailure(secrets.ErrPermissionDenied, failing(http.StatusForbidden)),
		secretstest.WithFailure(secrets.ErrUnavailable, failing(http.StatusServiceUnavailable)),
		secretstest.WithStall(func(t *testing.T) (secrets.Backend, string) {
			t.Helper()
			return serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "database"
		}),
	)
	// The suite does not know the token.
	for _, code := range []int{http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusTeapot} {
		backend, path := failing(code)(t, "text of the server")
		_, err := backend.Fetch(t.Context(), secrets.Ref{Path: path})
		secretstest.AssertNoLeak(t, token, err, fmt.Sprintf("%+v", backend))
		secretstest.AssertNoLeak(t, "text of the server", err)
	}
}
