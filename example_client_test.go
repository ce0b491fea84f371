package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Without layers there is no cache: each Get is a call of the backend. Standard adds the recommended layers.
func ExampleNew() {
	for name, opts := range map[string][]secrets.Option{"no layers": nil, "Standard": {middleware.Standard()}} {
		backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
		client, err := secrets.New(backend, opts...)
		if err != nil {
			log.Panic(err)
		}
		defer client.Close()

		for range 100 {
			_, _ = client.Get(context.Background(), "api/token")
		}
		fmt.Println(name, "calls:", backend.Calls())
	}
	// Unordered output:
	// no layers calls: 100
	// Standard calls: 1
}

// A key names a whole document or a field of it.
func ExampleClient_Get() {
	ctx := context.Background()
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"correct horse"}`}))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	password, err := client.Get(ctx, "database#password")
	fmt.Println(password, len(password.Reveal()), err)
	_, err = client.Get(ctx, "database#port")
	fmt.Println(err)
	// Output:
	// [REDACTED] 13 <nil>
	// secrets: fake: database#port: field not found: the document has no field port; its fields are password, user
}

// Call Invalidate when another system reports that a secret has changed.
func ExampleClient_Invalidate() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()
	_, _ = client.Get(ctx, "api/token") // now it is in the cache

	backend.Set("api/token", "battery staple")
	client.Invalidate("api/token")
	token, err := client.Get(ctx, "api/token")
	fmt.Println("version", token.Meta().Version, err)
	// Output:
	// version 2 <nil>
}

// The Client closes its backend. Later calls fail with ErrClosed.
func ExampleClient_Close() {
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(client.Close(), backend.Closed())
	_, err = client.Get(context.Background(), "api/token")
	fmt.Println(errors.Is(err, secrets.ErrClosed))
	// Output:
	// <nil> true
	// true
}

// previous adds Info.Alternates to a fake backend: the version before the current one.
type previous struct{ *secretstest.Backend }

func (p previous) Info() secrets.Info {
	info := p.Backend.Info()
	info.Alternates = func(ref secrets.Ref) []secrets.Ref { return []secrets.Ref{{Path: ref.Path, Version: "previous"}} }
	return info
}

// A server that verifies tokens accepts the old one for a while after a rotation.
func ExampleClient_Alternates() {
	backend := previous{secretstest.NewBackend(map[string]string{"signing-key": "new key"})}
	backend.SetVersion("signing-key", "previous", "old key")
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	others, err := client.Alternates(context.Background(), "signing-key")
	for _, other := range others {
		fmt.Println("also accept version", other.Meta().Version)
	}
	fmt.Println(err)
	// Output:
	// also accept version previous
	// <nil>
}
