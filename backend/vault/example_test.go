package vault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

func Example() {
	address, stop := demo()
	defer stop()

	backend, err := vault.New(vault.WithAddress(address), vault.WithToken("hvs.example")) // or VAULT_ADDR and VAULT_TOKEN
	if err != nil {
		log.Fatal(err)
	}
	client, err := secrets.New(backend,
		secrets.WithFallback(fallback.To(env.New(env.WithPrefix("SHOP_")))), // in an outage, and for what Vault does not have
		middleware.Standard(cache.WithTTL(time.Minute)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx := context.Background()
	found, err := client.GetMany(ctx, "database/user", "database/password") // one read
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found["database/user"].Reveal(), found["database/password"], found["database/user"].Meta().Version)
	// Output: app [REDACTED] 3
}

// New makes no network calls, and its error has every fault of the configuration.
func ExampleNew() {
	_, err := vault.New(
		vault.WithAddress("http://vault:8200"),
		vault.WithAuth(vault.Kubernetes("")),
	)
	fmt.Println(err)
	// Output:
	// secrets: vault: WithAuth: Kubernetes: an empty role
	// secrets: vault: WithAddress: http://vault:8200 would send the token and the secrets in the clear; use https, or pass WithPlaintext
}

func ExampleAppRole() {
	address, stop := demo()
	defer stop()
	file := secretIDFile("c7f1…")
	defer os.Remove(file)

	backend, err := vault.New(
		vault.WithAddress(address),
		vault.WithAuth(vault.AppRole("web", vault.File(file))),
	)
	show(backend, err)
	// Output:
	// PUT /v1/auth/approle/login role_id=web
	// app
	// PUT /v1/auth/token/revoke-self
}

func ExampleKubernetes() {
	address, stop := demo()
	defer stop()
	file := secretIDFile("eyJhbGciOi…") // the kubelet writes it
	defer os.Remove(file)

	backend, err := vault.New(
		vault.WithAddress(address),
		vault.WithAuth(vault.Kubernetes("web",
			vault.WithAuthMount("clusters/east"),              // by default, "kubernetes"
			vault.WithServiceAccountToken(vault.File(file)))), // by default, where every pod has it
	)
	show(backend, err)
	// Output:
	// PUT /v1/auth/clusters/east/login role=web
	// app
	// PUT /v1/auth/token/revoke-self
}

func ExampleJWT() {
	address, stop := demo()
	defer stop()
	os.Setenv("EXAMPLE_ID_TOKEN", "eyJhbGciOi…") //nolint:errcheck // the runner of a CI job sets it
	defer os.Unsetenv("EXAMPLE_ID_TOKEN")

	backend, err := vault.New(
		vault.WithAddress(address),
		vault.WithAuth(vault.JWT("ci", vault.Env("EXAMPLE_ID_TOKEN"))),
	)
	show(backend, err)
	// Output:
	// PUT /v1/auth/jwt/login role=ci
	// app
	// PUT /v1/auth/token/revoke-self
}

// Each login reads the file again, so a rotated secret ID needs no restart.
func ExampleFile() {
	address, stop := demo()
	defer stop()
	file := secretIDFile("c7f1…") // such as /run/secrets/vault_secret_id
	defer os.Remove(file)

	login := vault.AppRole("web", vault.File(file), vault.WithAuthMount("team/approle"))
	backend, err := vault.New(vault.WithAddress(address), vault.WithAuth(login))
	show(backend, err)
	// Output:
	// PUT /v1/auth/team/approle/login role_id=web
	// app
	// PUT /v1/auth/token/revoke-self
}

func ExampleEnv() {
	address, stop := demo()
	defer stop()
	os.Setenv("EXAMPLE_SECRET_ID", "c7f1…") //nolint:errcheck // the deployment sets it
	defer os.Unsetenv("EXAMPLE_SECRET_ID")

	login := vault.AppRole("web", vault.Env("EXAMPLE_SECRET_ID"))
	backend, err := vault.New(vault.WithAddress(address), vault.WithAuth(login))
	show(backend, err)
	// Output:
	// PUT /v1/auth/approle/login role_id=web
	// app
	// PUT /v1/auth/token/revoke-self
}

// A credential that the program has already obtained, such as a secret ID that was delivered wrapped.
func ExampleValue() {
	address, stop := demo()
	defer stop()
	secretID := "c7f1…" // the result of unwrapping

	login := vault.AppRole("web", vault.Value(secretID))
	backend, err := vault.New(vault.WithAddress(address), vault.WithAuth(login))
	show(backend, err)
	// Output:
	// PUT /v1/auth/approle/login role_id=web
	// app
	// PUT /v1/auth/token/revoke-self
}

// The program has an official client, and renews its token.
func ExampleWithClient() {
	address, stop := demo()
	defer stop()
	official, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	if err := official.SetAddress(address); err != nil {
		log.Fatal(err)
	}
	official.SetToken("hvs.example")

	backend, err := vault.New(vault.WithClient(official))
	show(backend, err)
	// Output: app
}

// certAuth logs in with the client certificate of the connection.
type certAuth struct{ role string }

func (a certAuth) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return client.Logical().WriteWithContext(ctx, "auth/cert/login", map[string]any{"name": a.role})
}

// An auth method that this package lacks takes a few lines, unless the official client has it.
func ExampleWithAuth() {
	address, stop := demo()
	defer stop()

	backend, err := vault.New(vault.WithAddress(address), vault.WithAuth(certAuth{role: "web"}))
	show(backend, err)
	// Output:
	// PUT /v1/auth/cert/login name=web
	// app
	// PUT /v1/auth/token/revoke-self
}

// A Vault Agent writes its token to a file, the sink, and replaces it there.
func ExampleWithTokenFile() {
	address, stop := demo()
	defer stop()
	sink := secretIDFile("hvs.of-the-agent")
	defer os.Remove(sink)

	backend, err := vault.New(vault.WithAddress(address), vault.WithTokenFile(sink))
	show(backend, err)
	// Output: app
}

func ExampleWithDynamicSecrets() {
	address, stop := demo()
	defer stop()

	backend, err := vault.New(
		vault.WithAddress(address),
		vault.WithToken("hvs.example"),
		vault.WithMount("database"),
		vault.WithDynamicSecrets(),
	)
	if err != nil {
		log.Fatal(err)
	}
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	credentials, err := client.Get(context.Background(), "creds/app#") // user and password of one lease
	if err != nil {
		log.Fatal(err)
	}
	user, err := credentials.Field("username")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.Reveal(), time.Until(user.Meta().ExpiresAt).Round(time.Minute))
	// Output: v-app-x 1h0m0s
}

// show reads a secret and closes the client.
func show(backend *vault.Backend, err error) {
	if err != nil {
		log.Fatal(err)
	}
	client, err := secrets.New(backend)
	if err != nil {
		log.Fatal(err)
	}
	user, err := client.Get(context.Background(), "database/user")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.Reveal())
	if err := client.Close(); err != nil {
		log.Fatal(err)
	}
}

func secretIDFile(content string) string {
	file, err := os.CreateTemp("", "secrets")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Clean(file.Name()), []byte(content), 0o600); err != nil {
		log.Fatal(err)
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}
	return file.Name()
}

// demo is a server that accepts every login and has two secrets.
func demo() (address string, stop func()) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			var login map[string]string
			if json.NewDecoder(r.Body).Decode(&login) != nil {
				login = nil
			}
			fmt.Print("PUT ", r.URL.Path)
			for _, name := range []string{"role_id", "role", "name"} {
				if value := login[name]; value != "" {
					fmt.Print(" ", name, "=", value)
				}
			}
			fmt.Println()
			respond(w, http.StatusOK, `{"auth":{"client_token":"hvs.example","lease_duration":3600,"renewable":true}}`)
		case r.URL.Path == "/v1/sys/internal/ui/mounts/secret":
			respond(w, http.StatusOK, `{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`)
		case r.URL.Path == "/v1/secret/data/database":
			respond(w, http.StatusOK, `{"data":{"data":{"user":"app","password":"correct horse"},"metadata":{"version":3}}}`)
		case r.URL.Path == "/v1/database/creds/app":
			respond(w, http.StatusOK, `{"lease_id":"database/creds/app/1","lease_duration":3600,"data":{"username":"v-app-x","password":"y"}}`)
		default:
			respond(w, http.StatusNotFound, `{"errors":[]}`)
		}
	}))
	return server.URL, server.Close
}
