package vault_test

import (
	"net/http"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
)

// Blocks of docs/vault.md that need servers: compiled, not run.
var _ = []any{withPings, inTwoNamespaces, ofTwoMounts}

func withPings() (secrets.Backend, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() // keeps HTTPS_PROXY and the timeouts; a bare http.Transport has neither
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second}
	backend, err := vault.New(vault.WithHTTPClient(&http.Client{Transport: transport}))
	return backend, err
}

func inTwoNamespaces() (secrets.Backend, error) {
	backend, err := vault.New(
		vault.WithNamespace("team/shop"),
		vault.WithAuth(vault.Kubernetes("web", vault.WithAuthNamespace("team"))),
	)
	return backend, err
}

func ofTwoMounts(use func(shop, billing *secrets.Client) error) error {
	shopBackend, err := vault.New(vault.WithMount("shop/kv"), vault.WithName("shop"))
	if err != nil {
		return err
	}
	shop, err := secrets.New(shopBackend, middleware.Standard())
	if err != nil {
		return err
	}
	defer shop.Close()

	billingBackend, err := vault.New(vault.WithMount("billing/kv"), vault.WithName("billing"))
	if err != nil {
		return err
	}
	billing, err := secrets.New(billingBackend, middleware.Standard())
	if err != nil {
		return err
	}
	defer billing.Close()
	return use(shop, billing)
}
