package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// The environment answers for keys that Vault does not have, and while Vault is down, but never for a key that Vault denies.
func ExampleTo() {
	vault := secretstest.NewBackend(map[string]string{
		"database": "from-vault",
		"admin":    "for-others",
	}, secretstest.WithName("vault"))
	vault.FailPath("admin", secrets.ErrPermissionDenied)
	env := secretstest.NewBackend(map[string]string{
		"database": "from-env",
		"region":   "eu",
		"admin":    "weaker",
	}, secretstest.WithName("env"))

	client, err := secrets.New(vault, secrets.WithFallback(fallback.To(env)))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	show := func(key string) {
		s, err := client.Get(context.Background(), key)
		switch {
		case errors.Is(err, secrets.ErrPermissionDenied):
			fmt.Println(key, "is denied")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println(key, "is from", s.Meta().Backend)
		}
	}
	show("database")
	show("region")
	show("admin")
	vault.Fail(secrets.ErrUnavailable)
	show("database")

	// Output:
	// database is from vault
	// region is from env
	// admin is denied
	// database is from env
}

// The environment answers for keys that Vault does not have. While Vault is down, it is not asked, since its values may be outdated.
func ExampleOnNotFound() {
	vault := secretstest.NewBackend(map[string]string{"database": "from-vault"}, secretstest.WithName("vault"))
	env := secretstest.NewBackend(map[string]string{"database": "old", "region": "eu"}, secretstest.WithName("env"))

	client, err := secrets.New(vault, secrets.WithFallback(fallback.OnNotFound(env)))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	s, err := client.Get(context.Background(), "region")
	fmt.Println(s.Meta().Backend, err)

	vault.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: "the server is sealed"})
	_, err = client.Get(context.Background(), "database")
	fmt.Println(err)

	// Output:
	// env <nil>
	// secrets: vault: database: unavailable: the server is sealed
}
