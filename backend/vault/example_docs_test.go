package vault_test

import (
	"net/http"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
)

// These are the blocks of docs/vault.md that no other example has. They need a server.

func ExampleWithHTTPClient_pings() {
	transport := http.DefaultTransport.(*http.Transport).Clone() // keeps HTTPS_PROXY and the timeouts; a bare http.Transport has neither
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second}
	backend, err := vault.New(vault.WithHTTPClient(&http.Client{Transport: transport}))
	show(backend, err)
}

func ExampleWithAuthNamespace_team() {
	backend, err := vault.New(
		vault.WithNamespace("team/shop"),
		vault.WithAuth(vault.Kubernetes("web", vault.WithAuthNamespace("team"))),
	)
	show(backend, err)
}

func ExampleWithMount_severalMounts() {
	run := func() error {
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
		return nil
	}
	_ = run()
}
