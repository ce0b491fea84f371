package secrets_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// The password changes while the old one is in the cache. Do tries the old one, then the new one.
func ExampleClient_Do() {
	backend := secretstest.NewBackend(map[string]string{"database": "old password"})
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	_, _ = client.Get(ctx, "database")
	backend.Set("database", "new password")

	err = client.Do(ctx, "database", func(_ context.Context, s secrets.Secret) error {
		if s.Reveal() != "new password" { // a database has its own error for that, see RejectedIf
			fmt.Println("version", s.Meta().Version, "refused")
			return fmt.Errorf("login: %w", secrets.ErrRejected)
		}
		fmt.Println("version", s.Meta().Version, "accepted")
		return nil
	})
	fmt.Println(err)
	// Output:
	// version 1 refused
	// version 2 accepted
	// <nil>
}
