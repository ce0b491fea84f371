package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"
	"gopkg.in/yaml.v3"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// manifest returns the variables of deployment.yaml.
func manifest(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := yaml.NewDecoder(strings.NewReader(string(text)))
	for {
		var d struct {
			Kind string `yaml:"kind"`
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct {
							Env []struct {
								Name  string `yaml:"name"`
								Value string `yaml:"value"`
							} `yaml:"env"`
						} `yaml:"containers"`
					} `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		if err := documents.Decode(&d); err != nil {
			t.Fatal(err)
		}
		if d.Kind == "Deployment" {
			all := make(map[string]string)
			for _, v := range d.Spec.Template.Spec.Containers[0].Env {
				all[v.Name] = v.Value
			}
			return all
		}
	}
}

// The program runs with the variables of the manifest. The address and the files of the cluster are those of the test.
func TestRun(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	const password = "canary-7f3Kq9ZxWv2m"
	server.Put("secret/shop/database", `{"user":"shop","password":"`+password+`"}`)
	server.Put("secret/shop/api", `{"token":"battery staple"}`)
	token := filepath.Join(t.TempDir(), "token")
	is.NoErr(os.WriteFile(token, []byte("of the service account"), 0o600))
	for name, value := range manifest(t) {
		t.Setenv(name, value)
	}
	t.Setenv("VAULT_ADDR", server.Address())
	t.Setenv("VAULT_CACERT", "")
	t.Setenv("VAULT_JWT_FILE", token)

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	is.NoErr(err)
	addr := listener.Addr().String()
	is.NoErr(listener.Close())
	var log strings.Builder
	redaction := redact.New()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, slog.New(redaction.Handler(slog.NewJSONHandler(&log, nil))), redaction, addr)
	}()
	get := func(path string) (int, string) {
		for { // until it serves
			resp, err := http.Get("http://" + addr + path) //nolint:noctx // the test's deadline ends it
			if err != nil {
				continue
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			is.NoErr(err)
			return resp.StatusCode, string(body)
		}
	}
	status, _ := get("/ready")
	is.Equal(status, http.StatusOK)
	status, body := get("/pay")
	is.Equal(status, http.StatusOK)
	is.Equal(body, "paid with a token of 14 characters\n")
	http.DefaultClient.CloseIdleConnections()
	cancel()
	is.NoErr(<-done)
	secretstest.AssertNoLeak(t, password, log.String())
}

// A pod stays ready in an outage of Vault, until the lease of its credential ends. It is not ready after a denial.
func TestReady(t *testing.T) {
	for _, tc := range []struct {
		name  string
		class error
		lease time.Duration
		want  int
	}{
		{"outage", secrets.ErrUnavailable, 0, http.StatusOK},
		{"outage in a lease", secrets.ErrUnavailable, time.Hour, http.StatusOK},
		{"outage past the lease", secrets.ErrUnavailable, 50 * time.Second, http.StatusServiceUnavailable},
		{"denial", secrets.ErrPermissionDenied, 0, http.StatusServiceUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			t.Log(tc.name)
			backend := secretstest.NewBackend(map[string]string{"shop/database": `{"user":"shop","password":"correct horse"}`})
			if tc.lease > 0 {
				backend.SetLease("shop/database", tc.lease)
			}
			client, err := secrets.New(backend)
			is.NoErr(err)
			defer client.Close()
			database, err := client.Watch(t.Context(), "shop/database#")
			is.NoErr(err)
			probe := func() int {
				w := httptest.NewRecorder()
				handler(client, database).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ready", http.NoBody))
				return w.Code
			}
			is.Equal(probe(), http.StatusOK)
			backend.Fail(tc.class)
			time.Sleep(time.Minute)
			synctest.Wait()
			is.True(database.Err() != nil)
			is.Equal(probe(), tc.want)
		})
	}
}
